package tcp_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

// A besieged is a cluster on real sockets, to which strangers connect all the time.
type besieged struct {
	t          *testing.T
	servers    []raft.Server
	transports []*tcp.Transport
	nodes      []*raft.Node
}

func newBesieged(t *testing.T) *besieged {
	b := &besieged{t: t}
	for i := range 3 {
		b.transports = append(b.transports, b.listen("127.0.0.1:0"))
		b.servers = append(b.servers, raft.Server{ID: memberNumber(i), Address: b.transports[i].Addr().String()})
	}
	for i := range b.servers {
		b.nodes = append(b.nodes, b.start(i, memory.NewStorage()))
	}
	t.Cleanup(func() {
		for i, node := range b.nodes {
			_ = node.Close(context.Background()) // one that was killed can't hand over
			require.NoError(t, b.transports[i].AtRest())
		}
	})
	return b
}

func memberNumber(i int) raft.ServerID { return raft.ServerID("abc"[i : i+1]) }

func (b *besieged) listen(address string) *tcp.Transport {
	transport, err := tcp.Listen(address, tcp.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(b.t, err)
	return transport
}

func (b *besieged) start(i int, storage raft.Storage) *raft.Node {
	node, err := raft.Start(raft.Config{
		ID: b.servers[i].ID, Address: b.servers[i].Address, Machine: &tally{}, Storage: storage, Transport: b.transports[i],
		Bootstrap: b.servers, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b.t, err)
	return node
}

// propose proposes at a server, and returns how long that took.
func (b *besieged) propose(i int) time.Duration {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	_, err := b.nodes[i].Propose(ctx, []byte("1"))
	require.NoError(b.t, err)
	return time.Since(start)
}

// killLeader cuts the leader off as the end of its process does, and returns after how long the
// others have another one.
func (b *besieged) killLeader() time.Duration {
	b.propose(0)
	leader := 0
	for b.servers[leader].ID != b.nodes[0].Status().Leader {
		leader++
	}
	require.NoError(b.t, b.transports[leader].Close())
	return b.propose((leader + 1) % 3)
}

// A stranger connects to a server again and again, and stays until it is shown out.
func stranger(stop <-chan struct{}, number int, to raft.Server) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
		}
		conn, err := net.Dial("tcp", to.Address)
		if err != nil {
			continue // it was killed
		}
		from := raft.Server{ID: raft.ServerID(fmt.Sprint("stranger", number)), Address: "127.0.0.1:1"}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		switch number % 25 {
		case 0, 1:
			err = tcp.GreetForStream(conn, from, to.ID)
		case 2, 3, 4, 5:
			err = tcp.GreetForMessages(conn, from, to.ID)
		default: // says nothing
		}
		if err == nil {
			done := make(chan struct{})
			go func() {
				select {
				case <-stop:
				case <-done:
				}
				_ = conn.Close()
			}()
			_, _ = io.Copy(io.Discard, conn)
			close(done)
		}
		_ = conn.Close()
	}
}

// siege has so many strangers come, a third of them to each server, until the test ends.
func (b *besieged) siege(strangers int) {
	stop := make(chan struct{})
	var coming sync.WaitGroup
	for number := range strangers {
		coming.Go(func() { stranger(stop, number/3, b.servers[number%3]) })
	}
	b.t.Cleanup(func() {
		close(stop)
		coming.Wait()
	})
}

// median returns the second of three measurements: the computer may be busy during one.
func median(measure func() time.Duration) time.Duration {
	took := []time.Duration{measure(), measure(), measure()}
	slices.Sort(took)
	return took[1]
}

// Three hundred strangers connect all the time: most say nothing, some claim to be
// servers, some open streams. A leader that is killed is replaced as fast as in peace, and a server
// that joins gets its places.
func TestStrangersDontHoldUpMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	t.Parallel() // the servers of this test are its own
	const strangers = 300
	peace := median(func() time.Duration { return newBesieged(t).killLeader() })
	war := median(func() time.Duration {
		b := newBesieged(t)
		b.propose(0)
		b.siege(strangers)
		<-time.After(time.Second) // until they have taken what they can get
		return b.killLeader()
	})
	t.Logf("a leader that was killed is replaced within %v in peace, within %v among %d strangers", peace, war, strangers)
	require.Less(t, war, 2*max(peace, 2*time.Second)) // an election takes up to two election timeouts

	b := newBesieged(t)
	b.propose(0)
	b.siege(strangers)
	<-time.After(time.Second)
	transport := b.listen("127.0.0.1:0")
	d := raft.Server{ID: "d", Address: transport.Addr().String()}
	node, err := raft.Start(raft.Config{
		ID: d.ID, Address: d.Address, Machine: &tally{}, Storage: memory.NewStorage(), Transport: transport, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, node.Close(context.Background())) }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	start := time.Now()
	_, err = b.nodes[0].AddServer(ctx, d)
	require.NoError(t, err)
	require.NoError(t, node.Read(ctx))
	t.Logf("a server is added within %v", time.Since(start))
}
