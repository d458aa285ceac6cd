package raft_test

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A heavy transport is one whose methods can hang.
type heavy struct {
	raft.Transport
	send, servers func()
}

func (h *heavy) Send(m wire.Message) {
	if h.send != nil {
		h.send()
	}
	h.Transport.Send(m)
}

func (h *heavy) SetServers(servers []raft.Server) {
	if h.servers != nil {
		h.servers()
	}
	h.Transport.SetServers(servers)
}

// stuck are the functions that run in the loop, and what the status says while one doesn't return.
var stuck = map[string]struct {
	hang func(*raft.Config, *heavy, func())
	says string
}{
	"Trace.Turn":           {func(c *raft.Config, _ *heavy, h func()) { c.Trace.Turn = func(raft.TurnTrace) { h() } }, "Trace"},
	"Trace.Received":       {func(c *raft.Config, _ *heavy, h func()) { c.Trace.Received = func(wire.Message) { h() } }, "Trace"},
	"Trace.Sent":           {func(c *raft.Config, _ *heavy, h func()) { c.Trace.Sent = func(wire.Message) { h() } }, "Trace"},
	"Trace.Committed":      {func(c *raft.Config, _ *heavy, h func()) { c.Trace.Committed = func(raft.Index) { h() } }, "Trace"},
	"Trace.Answered":       {func(c *raft.Config, _ *heavy, h func()) { c.Trace.Answered = func(raft.AnswerTrace) { h() } }, "Trace"},
	"Transport.Send":       {func(_ *raft.Config, t *heavy, h func()) { t.send = h }, "Transport"},
	"Transport.SetServers": {func(_ *raft.Config, t *heavy, h func()) { t.servers = h }, "Transport"},
}

// A function of the user's that runs in the loop, and doesn't return, holds up the node. It holds up
// no caller whose context ends: each gets an honest answer soon, also to what it asks for then. The
// status says what holds the node up.
func TestNobodyOutlivesItsContextWhileTheLoopStandsStill(t *testing.T) {
	for name, test := range stuck {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release, hangs := make(chan struct{}), atomic.Bool{}
				hang := func() {
					if hangs.Load() {
						<-release
					}
				}
				c := newCluster(t, 3, memory.Faults{})
				c.adjust = func(config *raft.Config) {
					if config.ID == "d" {
						config.Bootstrap = nil
					}
					if config.ID == "a" {
						transport := &heavy{Transport: config.Transport}
						config.Transport, config.Priority, config.Trace = transport, 1, &raft.Trace{}
						test.hang(config, transport, hang)
					}
				}
				for _, id := range c.ids {
					c.start(id)
				}
				time.Sleep(20 * electionTimeout)
				node := c.nodes["a"]
				require.Equal(t, "leader", node.Status().Role)
				synctest.Wait() // the turn in which it answered has ended
				hangs.Store(true)
				if name == "Transport.SetServers" {
					c.disks["d"] = &disk{Storage: memory.NewStorage()}
					c.start("d")
					_, _ = node.AddLearner(within(t, electionTimeout), raft.Server{ID: "d", Address: "at d"})
				} else {
					_, err := node.Propose(within(t, electionTimeout), []byte("first"))
					require.Equal(t, name != "Trace.Answered", errors.Is(err, raft.ErrOutcomeUnknown), "the node has looked at it: %v", err)
				}

				start := time.Now()
				_, err := node.Propose(within(t, electionTimeout), []byte("x"))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorIs(t, err, raft.ErrNotApplied, "the node hasn't looked at it")
				require.ErrorContains(t, err, test.says)
				require.LessOrEqual(t, time.Since(start), 2*electionTimeout)
				start = time.Now()
				require.ErrorIs(t, node.Read(within(t, electionTimeout)), context.DeadlineExceeded)
				require.ErrorIs(t, node.TransferLeadership(within(t, electionTimeout), "b"), raft.ErrNotApplied)
				require.LessOrEqual(t, time.Since(start), 3*electionTimeout)
				status := node.Status()
				require.Contains(t, status.Stuck, test.says)
				require.EqualValues(t, "a", status.ID)
				require.NotEmpty(t, status.Members)
				require.ErrorIs(t, node.Close(within(t, electionTimeout)), context.DeadlineExceeded)

				hangs.Store(false)
				close(release)
				require.NoError(t, node.Close(t.Context()))
				require.NotContains(t, c.machines["b"].applied(), "x")
				require.NotContains(t, c.machines["a"].applied(), "x")
			})
		})
	}
}

// A scribe is a Logger that does something with each line.
type scribe func()

func (s scribe) Enabled(context.Context, slog.Level) bool  { s(); return true }
func (s scribe) Handle(context.Context, slog.Record) error { s(); return nil }
func (s scribe) WithAttrs([]slog.Attr) slog.Handler        { s(); return s }
func (s scribe) WithGroup(string) slog.Handler             { s(); return s }

// Whatever a Logger does, its node goes on.
func TestLoggerCantHarmItsNode(t *testing.T) {
	for name, act := range map[string]func(node *raft.Node, release chan struct{}){
		"panics":             func(*raft.Node, chan struct{}) { panic("boom") },
		"ends its goroutine": func(*raft.Node, chan struct{}) { runtime.Goexit() },
		"blocks":             func(_ *raft.Node, release chan struct{}) { <-release },
		"asks for the status": func(node *raft.Node, _ chan struct{}) {
			if node != nil {
				_ = node.Status()
			}
		},
		"proposes": func(node *raft.Node, _ chan struct{}) {
			if node != nil {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				_, _ = node.Propose(ctx, []byte("logged"))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, memory.Faults{})
				release := make(chan struct{})
				c.adjust = func(config *raft.Config) {
					id := config.ID
					config.Logger = slog.New(scribe(func() { act(c.nodes[id], release) }))
				}
				for _, id := range c.ids {
					c.start(id)
				}
				for i := range 5 {
					leader, others := c.leader()
					_, err := others[0].Propose(within(t, time.Minute), []byte("x"))
					require.NoError(t, err)
					require.NoError(t, leader.TransferLeadership(within(t, time.Minute), others[0].Status().ID), "%d", i)
				}
				start := time.Now()
				for _, id := range c.ids {
					require.NoError(t, c.nodes[id].Close(t.Context()))
				}
				if name == "panics" || name == "ends its goroutine" {
					require.Less(t, time.Since(start), time.Second)
				}
				close(release)
				synctest.Wait()
			})
		})
	}
}
