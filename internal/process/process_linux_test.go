package process_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/process"
)

// These are the programs: one that talks, and one that starts another one and never ends.
const (
	echo   = "echo"
	parent = "parent"
)

func init() {
	programs[echo] = runEcho
	programs[parent] = runParent
}

// runEcho says each line that it is told, until one says what its exit code is. It takes connections at
// its first argument, if that is an address.
func runEcho() {
	if len(os.Args) == 2 {
		listener, err := net.Listen("tcp", os.Args[1])
		if err != nil {
			panic(err)
		}
		defer func() { _ = listener.Close() }() // the process ends
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		os.Exit(0)
	}()
	fmt.Fprintln(os.Stderr, "echo", os.Args[1:])
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if code, err := strconv.Atoi(lines.Text()); err == nil {
			os.Exit(code)
		}
		fmt.Println(lines.Text())
	}
}

// TestProcess: a process is started, told things, ended in each way, and started again.
func TestProcess(t *testing.T) {
	g := process.NewGroup(t)
	life := 0
	p := g.Add("it", func() *exec.Cmd { life++; return process.Command(t, echo, "life", fmt.Sprint(life)) })
	for _, end := range []func(){
		p.Kill,
		p.Terminate,
		func() {
			p.Tell("7")
			require.Equal(t, 7, p.AwaitExit())
			p.Kill() // it may have ended
		},
	} {
		p.StartTalking()
		require.Equal(t, "hello", p.Ask("hello"))
		p.Pause()
		p.Tell("more")
		state := func() string {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Command.Process.Pid))
			require.NoError(t, err)
			return strings.Fields(string(stat))[2]
		}
		process.Await(t, func() bool { return state() == "T" }, "it isn't stopped")
		p.Resume()
		require.Equal(t, "more", p.Line())
		p.RequireAlive()
		end()
	}
	log, err := os.ReadFile(filepath.Join(g.Dir, "it.log"))
	require.NoError(t, err)
	require.Equal(t, "echo [life 1]\necho [life 2]\necho [life 3]\n", string(log))
}

// failing is a test that notes how it fails, and goes on no further then.
type failing struct {
	testing.TB
	failure string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, arguments ...any) {
	f.failure = fmt.Sprintf(format, arguments...)
	panic(f)
}

// failure returns how a call fails the test f.
func failure(f *failing, call func()) string {
	f.failure = ""
	defer func() { _ = recover() }() // what isn't a failure leaves the text empty
	call()
	return f.failure
}

// TestWhatGoesWrong: the test fails when a process does what it must not do.
func TestWhatGoesWrong(t *testing.T) {
	f := &failing{TB: t}
	fails := func(want string, call func()) {
		t.Helper()
		_ = failure(f, call)
		require.Contains(t, f.failure, want)
	}
	p := process.NewGroup(f).Add("it", func() *exec.Cmd { return process.Command(t, echo) })
	p.StartTalking()
	fails("it runs already", p.Start)
	p.Tell("3")
	require.Equal(t, 3, p.AwaitExit())
	fails("it has ended by itself: exit status 3", p.RequireAlive)
	fails("it says no more", func() { p.Line() })
	fails("it: ", func() { p.Tell("hello") })
	fails("it: terminated: os: process already finished", p.Terminate)
}

// runParent runs a process in a test that doesn't end.
func runParent() {
	g := process.NewGroup(endless{})
	p := g.Add("child", func() *exec.Cmd { return process.Command(endless{}, echo) })
	p.StartTalking()
	fmt.Println(p.Command.Process.Pid)
	select {}
}

// endless is a test that doesn't end by itself.
type endless struct{ testing.TB }

func (endless) Helper()                   {}
func (endless) TempDir() string           { return os.Args[1] }
func (endless) Cleanup(func())            {}
func (endless) Logf(string, ...any)       {}
func (endless) Fatal(arguments ...any)    { panic(fmt.Sprint(arguments...)) }
func (endless) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// TestProcessesEndWithTheTest: a process doesn't outlive its test, even one that is killed.
func TestProcessesEndWithTheTest(t *testing.T) {
	dir := t.TempDir()
	p := process.NewGroup(t).Add("parent", func() *exec.Cmd { return process.Command(t, parent, dir) })
	p.StartTalking()
	child, err := strconv.Atoi(p.Line())
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(child, 0))
	p.Kill()
	process.Await(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") // nobody may wait for it
	}, "the process lives on")
}

// TestCluster: the servers of a cluster have addresses of their own, know each other's, and the one
// that leads is found.
func TestCluster(t *testing.T) {
	c := process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd {
		return process.Command(t, echo, s.Name, c.Peers, s.Address)
	})
	all := append(c.Addresses(), c.FreeAddress())
	for i, peer := range strings.Split(c.Peers, ",") {
		id, address, found := strings.Cut(peer, "=")
		require.True(t, found)
		require.Equal(t, c.Servers[i].Name, id)
		all = append(all, address)
	}
	require.Len(t, all, 7)
	seen := map[string]bool{}
	for _, address := range all {
		require.False(t, seen[address], address)
		seen[address] = true
		listener, err := net.Listen("tcp", address)
		require.NoError(t, err)
		require.NoError(t, listener.Close())
	}
	for _, s := range c.Servers {
		s.StartTalking()
	}
	terms := map[string]uint64{"a": 1, "c": 3, "b": 2}
	leads := func(s *process.Process) uint64 { return terms[s.Name] }
	require.Equal(t, c.Servers[2], c.Leader(leads))
	c.Servers[2].Pause()
	require.Equal(t, c.Servers[1], c.Leader(leads))
	require.Equal(t, c.Servers[:2], c.Others(c.Servers[2]))
	c.Servers[2].Kill()
	c.Servers[2].StartTalking()
	require.Equal(t, c.Servers[2], c.Leader(leads))
}

// TestNetwork: a process in a network is heard, cut off, and heard again.
func TestNetwork(t *testing.T) {
	process.InNetwork(t, func(t *testing.T, n *process.Network) {
		p := n.Join(1, "it", func() *exec.Cmd { return process.Command(t, echo, process.Host(1)+":7000") })
		require.Equal(t, "hello", p.Ask("hello"))
		answers := func() error {
			connection, err := net.DialTimeout("tcp", process.Host(1)+":7000", time.Second)
			if err == nil {
				err = connection.Close()
			}
			return err
		}
		process.Await(t, func() bool { return answers() == nil }, "nothing comes through")
		n.Cut(p)
		require.ErrorIs(t, answers(), os.ErrDeadlineExceeded, "a reset, or an error, comes through")
		require.Equal(t, "still here", p.Ask("still here")) // pipes are no network
		n.Heal(p)
		process.Await(t, func() bool { return answers() == nil }, "nothing comes through any more")
	})
}
