package tcp_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

var silentCut = flag.Duration("silent-cut", 8*time.Second, "how long the network of TestSilentCutByTheKernel drops everything")

// The parts of TestSilentCutByTheKernel are processes. This variable of their environment says
// which part a process plays.
const namespacePart = "RAFT_TCP_TEST_PART"

// A real kernel carries the packets of three servers, each in a network namespace of its own, over
// a bridge. The ports of the bridge then drop everything, so that no reset and no error comes. A
// single follower is cut off, and then all three are. When the network works again, so does the
// cluster, within a few seconds however long the cut was. (Without receipts, TCP's own timers
// decide: after a cut of 15 s it is 12 s, and after 60 s it is 49 s.)
//
//	go test ./tcp -run TestSilentCutByTheKernel -v -silent-cut 1m
func TestSilentCutByTheKernel(t *testing.T) {
	if os.Getenv(namespacePart) == "network" {
		cutNetwork(t)
		return
	}
	if testing.Short() {
		t.Skip("it takes 20 s")
	}
	t.Parallel() // it mostly waits
	for _, tool := range []string{"unshare", "ip", "bridge"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("network namespaces need ", tool)
		}
	}
	if out, err := exec.Command("unshare", "-nm", "ip", "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("no network namespace, or no bridge in it, can be made here: %v: %s", err, out)
	}
	command := exec.Command("unshare", "-nm", os.Args[0], "-test.run=^TestSilentCutByTheKernel$", "-test.v", "-silent-cut="+silentCut.String())
	command.Env = append(os.Environ(), namespacePart+"=network")
	out, err := command.CombinedOutput()
	t.Log(string(out))
	require.NoError(t, err)
}

// A namespaced is a server in its network namespace.
type namespaced struct {
	port    string // of the bridge
	command *exec.Cmd
	input   io.WriteCloser
	answers chan string
}

// system runs a command.
func system(t *testing.T, name string, arguments ...string) {
	t.Helper()
	out, err := exec.Command(name, arguments...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, arguments, out)
}

// newNamespaced starts a process in a network namespace, and connects that with the bridge.
func newNamespaced(t *testing.T, number int) *namespaced {
	s := &namespaced{port: fmt.Sprint("port", number), answers: make(chan string, 100)}
	s.command = exec.Command("unshare", "-n", os.Args[0], "-test.run=^TestServerInANamespace$", "-test.v")
	s.command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", namespacePart, number))
	s.command.Stderr = os.Stderr
	input, err := s.command.StdinPipe()
	require.NoError(t, err)
	output, err := s.command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, s.command.Start())
	s.input = input
	t.Cleanup(func() {
		require.NoError(t, s.input.Close())
		require.NoError(t, s.command.Wait())
	})
	go func() {
		for lines := bufio.NewScanner(output); lines.Scan(); {
			if answer, ok := strings.CutPrefix(lines.Text(), "answer: "); ok {
				s.answers <- answer
			}
		}
	}()
	require.Equal(t, "here", within(t, s.answers)) // it is in its namespace
	namespace := fmt.Sprintf("/proc/%d/ns/net", s.command.Process.Pid)
	system(t, "ip", "link", "add", s.port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
	system(t, "ip", "link", "set", s.port, "master", "br0", "up")
	return s
}

// ask sends a line to the process.
func (s *namespaced) ask(t *testing.T, line string) {
	_, err := fmt.Fprintln(s.input, line)
	require.NoError(t, err)
}

// cutNetwork is the process that has the network.
func cutNetwork(t *testing.T) {
	system(t, "ip", "link", "set", "lo", "up")
	system(t, "ip", "link", "add", "br0", "type", "bridge")
	system(t, "ip", "link", "set", "br0", "up")
	var servers []*namespaced
	for number := 1; number <= 3; number++ {
		servers = append(servers, newNamespaced(t, number))
	}
	for _, s := range servers {
		s.ask(t, "start")
	}
	for _, s := range servers {
		s.ask(t, "propose")
		require.Equal(t, "proposed", within(t, s.answers))
	}
	for _, all := range []bool{false, true} {
		servers[0].ask(t, "leader")
		leader := within(t, servers[0].answers)
		cut := servers
		if !all {
			follower := (strings.Index("abc", leader) + 1) % len(servers)
			cut = servers[follower:][:1]
		}
		for _, s := range cut {
			system(t, "bridge", "link", "set", "dev", s.port, "state", "disabled")
		}
		<-time.After(*silentCut)
		for _, s := range cut {
			system(t, "bridge", "link", "set", "dev", s.port, "state", "forwarding")
		}
		healed := time.Now()
		for _, s := range cut {
			s.ask(t, "propose")
		}
		for _, s := range cut {
			require.Equal(t, "proposed", within(t, s.answers))
		}
		took := time.Since(healed)
		t.Logf("%d cut off for %v: they work %v after the healing", len(cut), *silentCut, took)
		require.Less(t, took, 4*time.Second) // twice the bound, since the computer may be busy
	}
}

func memberID(number int) raft.ServerID { return raft.ServerID("abc"[number-1 : number]) }

// TestServerInANamespace is a server of TestSilentCutByTheKernel.
func TestServerInANamespace(t *testing.T) {
	var self int
	if _, err := fmt.Sscan(os.Getenv(namespacePart), &self); err != nil {
		t.Skip("it is a part of another test")
	}
	answer := func(text any) { fmt.Println("answer:", text) }
	answer("here")
	var servers []raft.Server
	for number := 1; number <= 3; number++ {
		servers = append(servers, raft.Server{ID: memberID(number), Address: fmt.Sprintf("10.9.0.%d:7001", number)})
	}
	var node *raft.Node
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch lines.Text() {
		case "start":
			system(t, "ip", "link", "set", "lo", "up")
			system(t, "ip", "addr", "add", fmt.Sprintf("10.9.0.%d/24", self), "dev", "eth0")
			system(t, "ip", "link", "set", "eth0", "up")
			transport, err := tcp.Listen(servers[self-1].Address, tcp.Options{})
			require.NoError(t, err)
			node, err = raft.Start(raft.Config{
				ID: memberID(self), Machine: &tally{}, Storage: memory.NewStorage(), Transport: transport,
				Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			defer func() { _ = node.Close(context.Background()) }() // nobody to hand over to
		case "leader":
			answer(node.Status().Leader)
		case "propose":
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
			if _, err := node.Propose(ctx, []byte("1")); err != nil {
				answer(err)
			} else {
				answer("proposed")
			}
			cancel()
		}
	}
}
