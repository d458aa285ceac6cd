package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/history"
)

// The long version: go test . -run 'TestLinearizable|Killed' -operations 100000 -timeout 30m
var operations = flag.Int("operations", 3000, "how many operations clients perform while servers crash and links are cut")

// registers is what the clients of a store saw.
type registers = history.History[history.RegisterCall, string]

// perform performs a random SET or GET of a few keys, and tells the history. An error says that the
// connection can't be used any more.
func perform(h *registers, client int, c *plainClient, luck *rand.Rand, keys int, value string) error {
	call := history.RegisterCall{Key: fmt.Sprint("key", luck.IntN(keys)), Read: luck.IntN(2) == 0}
	args := []string{"get", call.Key}
	if !call.Read {
		call.Value = value
		args = []string{"set", call.Key, value}
	}
	began := h.Begin(client, call)
	reply, err := c.do(args...)
	switch {
	case err != nil:
		began.End("", raft.ErrOutcomeUnknown)
		return err
	case strings.HasPrefix(reply, "-"+codeNotApplied+" "):
		began.End("", raft.ErrNotApplied)
	case strings.HasPrefix(reply, "-"):
		began.End("", raft.ErrOutcomeUnknown)
		if !strings.HasPrefix(reply, "-"+codeUnknown+" ") {
			return fmt.Errorf("%w: %s", errAnswer, reply)
		}
		return errors.New(reply)
	case call.Read && reply == "nil$":
		began.End("", nil)
	case call.Read:
		began.End(strings.Trim(reply, `"`), nil)
	default:
		began.End(call.Value, nil)
	}
	return nil
}

var errAnswer = errors.New("an answer that no server should give")

// pipes is a listener whose clients come by calling dial.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() (*plainClient, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return newPlainClient(ours), nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// A simulated is a cluster in virtual time, with a server for clients at each node.
type simulated struct {
	*rafttest.Cluster[*kv.Machine]
	mu      sync.Mutex
	servers []*server
	pipes   []*pipes
	limits  limits
}

func newSimulated(t *testing.T, seed uint64) *simulated {
	o, err := parseOptions([]string{"-dir", "x", "-timeout", "3s"}, io.Discard)
	require.NoError(t, err)
	s := &simulated{servers: make([]*server, 3), pipes: make([]*pipes, 3), limits: o.limits}
	s.Cluster = rafttest.NewCluster(t, 3, func() *kv.Machine { return kv.New(&kv.Memory{}) }, rafttest.ClusterOptions{
		Network: memory.Options{Seed: seed, Faults: memory.Faults{MaxDelay: 20 * time.Millisecond, Loss: 0.01, Duplicate: 0.01, Reorder: 0.05}},
		Config:  func(_ int, config *raft.Config) { config.SnapshotMinBytes = 64 << 10 },
	})
	for i := range 3 {
		s.serve(i)
	}
	return s
}

// serve lets clients come to a server.
func (s *simulated) serve(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipes[i] = newPipes()
	s.servers[i] = newServer(s.Node(i), s.Machine(i), raft.Server{ID: s.ID(i)}, s.pipes[i], s.limits)
	go func() { _ = s.servers[i].serve() }() // ends when end closes the listener
}

// end breaks off whatever clients do at a server.
func (s *simulated) end(i int) {
	s.mu.Lock()
	server := s.servers[i]
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = server.stop(ctx)
}

func (s *simulated) dial(i int) (*plainClient, error) {
	s.mu.Lock()
	pipes := s.pipes[i]
	s.mu.Unlock()
	return pipes.dial()
}

// client performs operations at random servers.
func (s *simulated) client(h *registers, number, count int, seed uint64, answered func(error)) {
	luck := rand.New(rand.NewPCG(seed, uint64(number)))
	var c *plainClient
	for n := range count {
		if c == nil {
			var err error
			if c, err = s.dial(luck.IntN(3)); err != nil {
				<-time.After(50 * time.Millisecond)
				continue
			}
		}
		_ = c.conn.SetDeadline(time.Now().Add(10 * time.Second)) // a pipe takes any
		if err := perform(h, number, c, luck, 40, fmt.Sprint(number, "-", n)); err != nil {
			answered(err)
			_ = c.conn.Close()
			c = nil
		}
		<-time.After(time.Duration(luck.IntN(20)) * time.Millisecond)
	}
	if c != nil {
		_ = c.conn.Close()
	}
}

// TestLinearizable: each key is a register that changes at one moment for all servers, whatever
// crashes and whatever is cut.
func TestLinearizable(t *testing.T) {
	const clients, seeds = 6, 3
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			s := newSimulated(t, seed)
			h := history.New[history.RegisterCall, string]()
			var working sync.WaitGroup
			for number := range clients {
				working.Go(func() {
					s.client(h, number, *operations/clients/seeds, seed, func(err error) {
						if errors.Is(err, errAnswer) {
							t.Error(err)
						}
					})
				})
			}
			done := make(chan struct{})
			go func() { working.Wait(); close(done) }()
			s.disturb(done, rand.New(rand.NewPCG(seed, 99)))
			s.Converge()
			for i := range 3 {
				s.end(i)
			}
			require.NoError(t, history.Check(h, history.Registers()))
			count := h.Count()
			t.Logf("%+v", count)
			require.Greater(t, count.Returned, *operations/seeds/2)
		})
	}
}

// disturb crashes and cuts until done.
func (s *simulated) disturb(done <-chan struct{}, luck *rand.Rand) {
	for {
		select {
		case <-done:
			return
		case <-time.After(time.Duration(500+luck.IntN(2000)) * time.Millisecond):
		}
		victim := s.Leader()
		if luck.IntN(3) == 0 {
			victim = luck.IntN(3)
		}
		switch luck.IntN(3) {
		case 0:
			s.end(victim)
			s.Crash(victim)
			<-time.After(time.Duration(luck.IntN(2000)) * time.Millisecond)
			s.Restart(victim)
			s.serve(victim)
		case 1:
			s.Crash(victim) // its clients learn that the outcome is unknown
			s.end(victim)
			s.Restart(victim)
			s.serve(victim)
		case 2:
			s.Isolate(victim)
			<-time.After(time.Duration(luck.IntN(4000)) * time.Millisecond)
			s.Heal()
		}
	}
}

// TestReadonly: after READONLY a server that is cut off still reads from a state that was the newest
// not long ago, and no longer than that.
func TestReadonly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimulated(t, 1)
		follower := (s.Leader() + 1) % 3
		c, err := s.dial(follower)
		require.NoError(t, err)
		require.Equal(t, "+OK", c.must(t, "set a 1"))
		require.Equal(t, `"1"`, c.must(t, "get a"))
		s.Isolate(follower)
		require.Equal(t, "+OK", c.must(t, "readonly"))
		require.Equal(t, `"1"`, c.must(t, "get a"))
		<-time.After(s.limits.stale)
		require.Regexp(t, "^-TRYAGAIN not carried out: raft: read not served: context deadline exceeded", c.must(t, "get a"))
		s.Heal()
		require.Equal(t, "+OK", c.must(t, "readwrite"))
		require.Equal(t, `"1"`, c.must(t, "get a"))
		require.NoError(t, c.conn.Close())
		for i := range 3 {
			s.end(i)
		}
	})
}
