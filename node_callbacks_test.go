package raft_test

import (
	"context"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A prank is what a function of the user's does to the node that calls it, from some moment on.
type prank struct {
	act  func()
	node *raft.Node // that it is played at

	mu    sync.Mutex
	armed bool
	once  bool // it does it no more than once
}

func (p *prank) arm(armed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = armed
}

func (p *prank) play() {
	p.mu.Lock()
	armed := p.armed
	p.armed = armed && !p.once
	p.mu.Unlock()
	if armed {
		p.act()
	}
}

// A callback is a function of the user's that a node calls.
type callback struct {
	install func(c *raft.Config, play func())
	call    func(ctx context.Context, node *raft.Node, play func()) // in place of install
	stops   string                                                  // the place that its panic is put down to, if that stops the node
}

// traced returns a callback of a trace.
func traced(set func(t *raft.Trace, play func())) callback {
	return callback{install: func(c *raft.Config, play func()) { c.Trace = &raft.Trace{}; set(c.Trace, play) }, stops: "trace"}
}

// stored is a storage that plays before its calls.
type stored struct {
	raft.Storage
	write, create func()
}

func (s *stored) Write(w raft.Write) error { s.write(); return s.Storage.Write(w) }

func (s *stored) CreateSnapshot(m raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	s.create()
	return s.Storage.CreateSnapshot(m)
}

// closing is a machine whose snapshots play when they are closed.
type closing struct {
	raft.StateMachine
	play func()
}

type closingPage struct {
	io.WriterTo
	play func()
}

func (p closingPage) Close() error { p.play(); return nil }

func (m closing) Snapshot() (io.WriterTo, error) {
	w, err := m.StateMachine.Snapshot()
	return closingPage{w, m.play}, err
}

type playingWriter func()

func (w playingWriter) Write(b []byte) (int, error) { w(); return len(b), nil }

func idle() {}

var callbacks = map[string]callback{
	"StateMachine.Apply": {stops: "state machine", install: func(c *raft.Config, play func()) {
		c.Machine.(*journal).whileApplying(func(string) { play() })
	}},
	"StateMachine.Snapshot": {stops: "state machine", install: func(c *raft.Config, play func()) {
		c.Machine.(*journal).whileSaving(func() error { play(); return nil })
	}},
	"WriterTo": {install: func(c *raft.Config, play func()) {
		c.Machine.(*journal).whileWriting(func() error { play(); return nil })
	}},
	"Closer":                 {install: func(c *raft.Config, play func()) { c.Machine = closing{c.Machine, play} }},
	"Storage.Write":          {stops: "storage", install: func(c *raft.Config, play func()) { c.Storage = &stored{c.Storage, play, idle} }},
	"Storage.CreateSnapshot": {install: func(c *raft.Config, play func()) { c.Storage = &stored{c.Storage, idle, play} }},
	"Transport.Send":         {stops: "transport", install: func(c *raft.Config, play func()) { c.Transport = &heavy{c.Transport, play, idle} }},
	"Transport.SetServers":   {stops: "transport", install: func(c *raft.Config, play func()) { c.Transport = &heavy{c.Transport, idle, play} }},
	"Validate":               {install: func(c *raft.Config, play func()) { c.Validate = func([]byte) error { play(); return nil } }},
	"Trace.Turn":             traced(func(t *raft.Trace, play func()) { t.Turn = func(raft.TurnTrace) { play() } }),
	"Trace.Received":         traced(func(t *raft.Trace, play func()) { t.Received = func(wire.Message) { play() } }),
	"Trace.Sent":             traced(func(t *raft.Trace, play func()) { t.Sent = func(wire.Message) { play() } }),
	"Trace.Committed":        traced(func(t *raft.Trace, play func()) { t.Committed = func(raft.Index) { play() } }),
	"Trace.Answered":         traced(func(t *raft.Trace, play func()) { t.Answered = func(raft.AnswerTrace) { play() } }),
	"Trace.Wrote":            traced(func(t *raft.Trace, play func()) { t.Wrote = func(raft.WriteTrace) { play() } }),
	"Trace.Applied":          traced(func(t *raft.Trace, play func()) { t.Applied = func(raft.ApplyTrace) { play() } }),
	"Trace.Snapshot":         traced(func(t *raft.Trace, play func()) { t.Snapshot = func(raft.SnapshotTrace) { play() } }),
	"WhileLeader's function": {call: func(ctx context.Context, node *raft.Node, play func()) {
		_ = node.WhileLeader(ctx, func(context.Context, raft.Term) error { play(); return nil })
	}},
	"Events' consumer": {call: func(ctx context.Context, node *raft.Node, play func()) {
		for range node.Events(ctx) {
			play()
		}
	}},
	"ExportSnapshot's writer": {call: func(ctx context.Context, node *raft.Node, play func()) {
		_, _ = node.ExportSnapshot(ctx, playingWriter(play))
	}},
}

// use does what makes a node call everything.
func use(ctx context.Context, node *raft.Node, b *callback, play func()) {
	_, _ = node.Propose(ctx, []byte("x"))
	_, _ = node.Snapshot(ctx)
	_, _ = node.AddLearner(ctx, reached("d"))
	if b.call != nil {
		b.call(ctx, node, play)
	}
}

// playAt lets a callback of server a, the leader, do something, and returns when that has had its
// effect. The other servers go on, and so does the test, whatever that is.
func playAt(t *testing.T, b callback, p *prank) (*cluster, *raft.Node) {
	c := newCluster(t, 3, memory.Faults{})
	c.adjust = func(config *raft.Config) {
		switch config.ID {
		case "d":
			config.Bootstrap = nil
		case "a":
			config.Priority = 1
			if b.install != nil {
				b.install(config, p.play)
			}
		}
	}
	c.disks["d"] = &disk{Storage: memory.NewStorage()}
	for _, id := range append(c.ids, "d") {
		c.start(id)
	}
	time.Sleep(20 * electionTimeout)
	node := c.nodes["a"]
	require.Equal(t, "leader", node.Status().Role)
	p.node = node
	p.arm(true)
	go func() { // which the callback may end
		ctx, cancel := context.WithTimeout(context.Background(), 5*electionTimeout)
		defer cancel()
		use(ctx, node, &b, p.play)
	}()
	time.Sleep(30 * electionTimeout)
	_, err := c.nodes["b"].Propose(within(t, time.Minute), []byte("at another server"))
	require.NoError(t, err)
	require.EqualValues(t, "a", node.Status().ID)
	return c, node
}

// A callback that panics, or ends its goroutine, stops its node with the cause, or fails what it was
// called for.
func TestCallbacksThatFail(t *testing.T) {
	for how, act := range map[string]func(){"panics": func() { panic("boom") }, "ends its goroutine": runtime.Goexit} {
		for name, b := range callbacks {
			if b.call != nil && how == "panics" {
				continue // it panics in the caller's own goroutine
			}
			t.Run(name+" "+how, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &prank{act: act, once: true}
					_, node := playAt(t, b, p)
					if b.stops == "" {
						require.NoError(t, node.Err())
						_, err := node.Propose(within(t, time.Minute), []byte("goes on"))
						require.NoError(t, err)
						_, err = node.Snapshot(within(t, time.Minute))
						require.NoError(t, err)
						return
					}
					var panicked *raft.PanicError
					require.ErrorAs(t, node.Err(), &panicked)
					require.Equal(t, b.stops, panicked.Where)
					_, err := node.Propose(t.Context(), nil)
					require.ErrorIs(t, err, raft.ErrStopped)
				})
			})
		}
	}
}

// While a callback blocks, calls end by their contexts, the status is told, and Close gives up with
// its context. When the callback returns, everything is released.
func TestCallbacksThatBlock(t *testing.T) {
	for name, b := range callbacks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				p := &prank{act: func() { <-release }}
				_, node := playAt(t, b, p)
				if name != "Validate" { // which runs in the caller's own goroutine
					start := time.Now()
					_, _ = node.Propose(within(t, electionTimeout), []byte("meanwhile"))
					_ = node.Read(within(t, electionTimeout))
					_, _ = node.Snapshot(within(t, electionTimeout))
					require.LessOrEqual(t, time.Since(start), 4*electionTimeout)
				}
				if err := node.Close(within(t, electionTimeout)); err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
				}
				p.arm(false)
				close(release)
				require.NoError(t, node.Close(t.Context()))
				synctest.Wait() // a writer that an export waits for is in its caller's goroutine
			})
		})
	}
}

// A callback that calls its own node gets answers, or errors by its contexts, and the node goes on.
func TestCallbacksThatCallTheNode(t *testing.T) {
	for name, b := range callbacks {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &prank{once: true}
				called := make(chan struct{})
				p.act = func() {
					defer close(called)
					node := p.node
					ctx, cancel := context.WithTimeout(context.Background(), electionTimeout)
					defer cancel()
					_ = node.Leadership()
					_ = node.Status()
					_, _ = node.Propose(ctx, []byte("from within"))
					_ = node.Read(ctx)
					_, _ = node.Snapshot(ctx)
					_ = node.TransferLeadership(ctx, "b")
				}
				_, node := playAt(t, b, p)
				<-called
				_, err := node.Propose(within(t, time.Minute), []byte("goes on"))
				require.NoError(t, err)
				require.NoError(t, node.Err())
			})
		})
	}
}
