package tcp_test

import (
	"context"
	"crypto/tls"
	"errors"
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
	authority  *authority // nil without TLS
	servers    []raft.Server
	transports []*tcp.Transport
	nodes      []*raft.Node
}

func newBesieged(t *testing.T, authority *authority) *besieged {
	b := &besieged{t: t, authority: authority}
	for i := range 3 {
		b.transports = append(b.transports, b.listen(memberNumber(i)))
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

func strangerNumber(i int) string { return fmt.Sprint("stranger", i) }

func (b *besieged) listen(id raft.ServerID) *tcp.Transport {
	options := tcp.Options{Logger: slog.New(slog.DiscardHandler)}
	if b.authority != nil {
		options.TLS = b.authority.issue(string(id), time.Hour)
	}
	transport, err := tcp.Listen("127.0.0.1:0", options)
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
	leader := -1
	require.Eventually(b.t, func() bool { // on a busy computer one may just have lost its place
		known := b.nodes[0].Status().Leader
		leader = slices.IndexFunc(b.servers, func(s raft.Server) bool { return s.ID == known })
		return leader >= 0
	}, time.Minute, time.Millisecond)
	require.NoError(b.t, b.transports[leader].Close())
	return b.propose((leader + 1) % 3)
}

// A stranger connects to a server again and again, and stays until it is shown out. With TLS it has
// a certificate of the cluster's authority, in its own name. What it wants is places, not the
// processors that it shares with the servers: it rests for much longer than a greeting takes.
func stranger(stop <-chan struct{}, number int, to raft.Server, config *tls.Config) {
	rest := 20 * time.Millisecond
	for {
		select {
		case <-stop:
			return
		case <-time.After(rest):
		}
		conn, err := net.Dial("tcp", to.Address)
		if err != nil {
			continue // it was killed
		}
		from := raft.Server{ID: raft.ServerID(strangerNumber(number)), Address: "127.0.0.1:1"}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if config != nil && number%25 < 15 { // the others don't even speak TLS
			conn = tls.Client(conn, config)
		}
		start := time.Now()
		switch number % 25 {
		case 0, 1:
			err = tcp.GreetForStream(conn, from, to.ID)
		case 2, 3, 4, 5:
			err = tcp.GreetForMessages(conn, from, to.ID)
		case 6, 7, 8, 9: // proves nothing but its name
			if secure, ok := conn.(*tls.Conn); ok {
				err = secure.Handshake()
			}
		default: // says nothing
		}
		rest = min(max(20*time.Millisecond, 200*time.Since(start)), 2*time.Second)
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
		var config *tls.Config
		if b.authority != nil {
			config = b.authority.issue(strangerNumber(number/3), time.Hour)
			config.InsecureSkipVerify = true // it doesn't matter to a stranger whom it reaches
		}
		coming.Go(func() { stranger(stop, number/3, b.servers[number%3], config) })
	}
	b.t.Cleanup(func() {
		close(stop)
		coming.Wait()
	})
}

// median returns the second of three measurements: the computer may be busy during one. What one
// has started has ended before the next one begins.
func median(t *testing.T, what string, measure func(t *testing.T) time.Duration) time.Duration {
	var took []time.Duration
	for range 3 {
		t.Run(what, func(t *testing.T) { took = append(took, measure(t)) })
	}
	require.Len(t, took, 3)
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
	t.Run("plain", func(t *testing.T) { strangersDontHoldUpMembers(t, nil) })
	t.Run("TLS", func(t *testing.T) { strangersDontHoldUpMembers(t, newAuthority(t)) })
}

func strangersDontHoldUpMembers(t *testing.T, authority *authority) {
	const strangers = 300
	peace := median(t, "peace", func(t *testing.T) time.Duration { return newBesieged(t, authority).killLeader() })
	war := median(t, "war", func(t *testing.T) time.Duration {
		b := newBesieged(t, authority)
		b.propose(0)
		b.siege(strangers)
		<-time.After(time.Second) // until they have taken what they can get
		return b.killLeader()
	})
	t.Logf("a leader that was killed is replaced within %v in peace, within %v among %d strangers", peace, war, strangers)
	require.Less(t, war, 2*max(peace, 2*time.Second)) // an election takes up to two election timeouts

	b := newBesieged(t, authority)
	b.propose(0)
	b.siege(strangers)
	<-time.After(time.Second)
	transport := b.listen("d")
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
	for errors.Is(err, raft.ErrUnreachable) && ctx.Err() == nil { // on a loaded machine it may not answer in time
		_, err = b.nodes[0].AddServer(ctx, d)
	}
	require.NoError(t, err)
	require.NoError(t, node.Read(ctx))
	t.Logf("a server is added within %v", time.Since(start))
}
