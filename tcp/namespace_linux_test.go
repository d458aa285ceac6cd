package tcp_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

var silentCut = flag.Duration("silent-cut", 8*time.Second, "how long the network of TestSilentCutByTheKernel drops everything")

// namespacePart is a variable of the environment. It makes TestServerInANamespace a server, and holds
// its number.
const namespacePart = "RAFT_TCP_TEST_PART"

// A real kernel carries the packets of three servers, each in a network namespace of its own, over
// a bridge. The ports of the bridge then drop everything, so that no reset and no error comes. A
// single follower is cut off, and then all three are. When the network works again, so does the
// cluster, within a few seconds however long the cut was. (Without receipts, TCP's own timers
// decide: after a cut of 15 s it is 12 s, and after 60 s it is 49 s.)
//
//	go test ./tcp -run TestSilentCutByTheKernel -v -silent-cut 1m
func TestSilentCutByTheKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes 20 s")
	}
	t.Parallel() // it mostly waits
	process.InNetwork(t, cutNetwork, "-silent-cut="+silentCut.String())
}

// startNamespaced starts a server in a network namespace.
func startNamespaced(t *testing.T, n *process.Network, number int) *process.Process {
	s := n.Join(number, string(memberID(number)), func() *exec.Cmd {
		program, err := os.Executable()
		require.NoError(t, err)
		command := exec.Command(program, "-test.run=^TestServerInANamespace$", "-test.v")
		command.Env = append(os.Environ(), fmt.Sprintf("%s=%d", namespacePart, number))
		return command
	})
	require.Equal(t, "started", answer(s))
	t.Cleanup(func() {
		s.Tell("end")
		require.Zero(t, s.AwaitExit())
	})
	return s
}

// answer returns the next answer of a server.
func answer(s *process.Process) string {
	for {
		if answer, ok := strings.CutPrefix(s.Line(), "answer: "); ok {
			return answer
		}
	}
}

// cutNetwork is the process that has the network.
func cutNetwork(t *testing.T, n *process.Network) {
	var servers []*process.Process
	for number := 1; number <= 3; number++ {
		servers = append(servers, startNamespaced(t, n, number))
	}
	for _, s := range servers {
		s.Tell("propose")
		require.Equal(t, "proposed", answer(s))
	}
	for _, all := range []bool{false, true} {
		servers[0].Tell("leader")
		leader := answer(servers[0])
		cut := servers
		if !all {
			follower := (strings.Index("abc", leader) + 1) % len(servers)
			cut = servers[follower:][:1]
		}
		for _, s := range cut {
			n.Cut(s)
		}
		<-time.After(*silentCut)
		for _, s := range cut {
			n.Heal(s)
		}
		healed := time.Now()
		for _, s := range cut {
			s.Tell("propose")
		}
		for _, s := range cut {
			require.Equal(t, "proposed", answer(s))
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
	var servers []raft.Server
	for number := 1; number <= 3; number++ {
		servers = append(servers, raft.Server{ID: memberID(number), Address: fmt.Sprintf("%s:7001", process.Host(number))})
	}
	transport, err := tcp.Listen(servers[self-1].Address, tcp.Options{})
	require.NoError(t, err)
	node, err := raft.Start(raft.Config{
		ID: memberID(self), Machine: &tally{}, Storage: memory.NewStorage(), Transport: transport,
		Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	defer func() { _ = node.Close(context.Background()) }() // nobody to hand over to
	answer := func(text any) { fmt.Println("answer:", text) }
	answer("started")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan() && lines.Text() != "end"; {
		switch lines.Text() {
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
