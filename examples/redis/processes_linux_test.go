package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// processes is a cluster of real processes, with files and sockets of their own.
type processes struct {
	t       *testing.T
	dir     string
	peers   string
	flags   []string // beside those that all have
	servers []*process
	// parent starts the processes on a thread of its own. They end when that thread ends, and so
	// when the test dies in whatever way.
	parent chan func()
}

// A process is one server.
type process struct {
	id, address string
	command     *exec.Cmd
	exited      chan struct{} // closed when the command has ended
	paused      bool
}

// startProcesses starts three servers at a loopback address of the test's own, and ends them with
// the test.
func startProcesses(t *testing.T, flags ...string) *processes {
	p := &processes{t: t, dir: t.TempDir(), flags: flags, parent: make(chan func())}
	go func() {
		runtime.LockOSThread() // until the end of the goroutine, and so of the thread
		for start := range p.parent {
			start()
		}
	}()
	addresses := freeAddresses(t, 6)
	var peers []string
	for i, id := range []string{"a", "b", "c"} {
		peers = append(peers, id+"="+addresses[i])
		p.servers = append(p.servers, &process{id: id, address: addresses[3+i]})
	}
	p.peers = strings.Join(peers, ",")
	t.Cleanup(func() {
		for _, s := range p.servers {
			if s.command != nil {
				p.kill(s)
			}
			if t.Failed() {
				log, err := os.ReadFile(filepath.Join(p.dir, s.id+".log"))
				t.Logf("server %s: %v\n%s", s.id, err, log[max(0, len(log)-4000):])
			}
		}
		close(p.parent)
	})
	for _, s := range p.servers {
		p.start(s)
	}
	for _, s := range p.servers {
		p.await(s)
	}
	return p
}

// freeAddresses returns addresses that nobody has, at a host of the test's own where there is one.
func freeAddresses(t *testing.T, n int) (free []string) {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	if listener, err := net.Listen("tcp", host+":0"); err != nil {
		t.Logf("the servers share 127.0.0.1 with others: %v", err)
		host = "127.0.0.1"
	} else {
		require.NoError(t, listener.Close())
	}
	for range 1000 {
		address := fmt.Sprintf("%s:%d", host, 10_000+rand.IntN(20_000))
		if slices.Contains(free, address) {
			continue
		}
		listener, err := net.Listen("tcp", address)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // somebody has the port, maybe at every host
		}
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		if free = append(free, address); len(free) == n {
			return free
		}
	}
	require.FailNow(t, "no addresses are free", "at %s", host)
	return nil
}

// start starts a server that isn't running.
func (p *processes) start(s *process) {
	p.t.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, s.id+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	program, err := os.Executable()
	require.NoError(p.t, err)
	s.command = exec.Command(program, append([]string{"-id", s.id, "-peers", p.peers, "-listen", s.address, "-dir", p.dir, "-timeout", "2s"}, p.flags...)...)
	s.command.Env = append(os.Environ(), asServer+"=1")
	s.command.Stdout, s.command.Stderr = log, log
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	p.parent <- func() { started <- s.command.Start() }
	require.NoError(p.t, <-started)
	require.NoError(p.t, log.Close())
	command, exited := s.command, make(chan struct{})
	s.exited = exited
	go func() {
		_ = command.Wait() // command.ProcessState says the same
		close(exited)
	}()
}

// kill ends a server as a power cut ends a process: the server doesn't notice.
func (p *processes) kill(s *process) {
	p.t.Helper()
	if err := s.command.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(p.t, err)
	}
	p.awaitExit(s)
	s.paused = false
}

// terminate asks a server to end, and requires that it ends cleanly.
func (p *processes) terminate(s *process) {
	p.t.Helper()
	require.NoError(p.t, s.command.Process.Signal(syscall.SIGTERM))
	p.awaitExit(s)
	require.Zero(p.t, s.command.ProcessState.ExitCode(), "server %s: %s", s.id, s.command.ProcessState)
}

func (p *processes) awaitExit(s *process) {
	p.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(patience):
		require.FailNow(p.t, "a process doesn't end", s.id)
	}
}

// pause stops a server in the middle of whatever it does, and resume lets it go on.
func (p *processes) pause(s *process) {
	p.t.Helper()
	require.NoError(p.t, s.command.Process.Signal(syscall.SIGSTOP))
	s.paused = true
}

func (p *processes) resume(s *process) {
	p.t.Helper()
	require.NoError(p.t, s.command.Process.Signal(syscall.SIGCONT))
	s.paused = false
}

// others returns all servers but one.
func (p *processes) others(than *process) []*process {
	return slices.DeleteFunc(slices.Clone(p.servers), func(s *process) bool { return s == than })
}

// ask sends a server one command on a connection of its own.
func (p *processes) ask(s *process, args ...any) (any, error) {
	client := redis.NewClient(&redis.Options{Addr: s.address, MaxRetries: -1, DialTimeout: time.Second, PoolSize: 1})
	defer func() { _ = client.Close() }() // it was used for one command
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return client.Do(ctx, args...).Result()
}

// info returns a number that a server tells in INFO.
func (p *processes) info(s *process, name string) (number int) {
	p.t.Helper()
	text, err := p.ask(s, "info")
	require.NoError(p.t, err)
	_, at, found := strings.Cut(fmt.Sprint(text), name+":")
	require.True(p.t, found, name)
	_, err = fmt.Sscan(at, &number)
	require.NoError(p.t, err)
	return number
}

// await waits until a server answers a read, and so until it knows a leader.
func (p *processes) await(s *process) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		_, err := p.ask(s, "exists", "somewhere")
		return err == nil
	}, patience, pollEach, "server %s doesn't answer", s.id)
}

// leader waits until a server says that it leads, and returns it.
func (p *processes) leader() (leader *process) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		highest := 0
		for _, s := range p.servers {
			if s.paused {
				continue
			}
			info, err := p.ask(s, "info", "raft")
			text := fmt.Sprint(info)
			var term int
			_, at, found := strings.Cut(text, "raft_term:")
			if err != nil || !found || !strings.Contains(text, "raft_role:leader\r\n") {
				continue
			}
			if _, err := fmt.Sscan(at, &term); err == nil && term > highest {
				leader, highest = s, term
			}
		}
		return highest > 0
	}, patience, pollEach, "nobody leads")
	return leader
}

// followers returns the servers that don't lead, and the one that does.
func (p *processes) followers() (followers []*process, leader *process) {
	p.t.Helper()
	leader = p.leader()
	return p.others(leader), leader
}
