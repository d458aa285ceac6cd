package raft

// The goroutines of a node:
//
//	goroutine   owns                        waits for                        ends when
//	─────────   ─────────────────────────   ──────────────────────────────   ───────────────────────────────────
//	run         the core and the waiters    the inbox, the core's deadline   Close, a failure, a broken invariant
//	writeLane   Storage.Write               writes from the loop             its queue is closed
//	fetchLane   Storage.Entries             fetches from the loop            its queue is closed
//	applyLane   the state machine           batches from the loop            its queue is closed
//	WhileLeader nothing                     news of the leadership           the caller's function has returned
//
// and those that bring snapshots to and fro, which come and go (node_snapshots.go, node_streams.go).
//
// Lanes and callers wait for the loop; the loop waits for nobody: it hands over what the core wants done
// and goes on. What is in flight is bounded by the core's own limits, and so the queues are too. The last of
// run and the two storage lanes closes the storage, and the last of all lets Close return; so a storage or
// a state machine that hangs holds up its own lane, and nobody else. The transport's goroutines only put
// something into the inbox.

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A Node is a server while it runs: a Core with a clock, a disk, a network and a state machine. Its methods
// may be called by any goroutine, also from within the state machine, except that Apply must not wait for a
// command or a read of its own node.
type Node struct {
	config  Config
	logger  *slog.Logger
	slow    time.Duration // a write or a batch that takes so long is logged
	inbox   inbox
	writes  *queue[Write]
	fetches *queue[Fetch]
	applies *queue[machineTask]
	applier *Applier
	trace   Trace

	waiterPool, slabPool sync.Pool // of *waiter and *slab; a node has its own, or else a bubble would meet another's channels

	// What follows belongs to the loop until done is closed.
	core      *Core
	epoch     time.Time // Instant 0
	alarm     alarm
	events    events
	handed    int     // how many of events.proposals the core has
	proposing *waiter // the one that it is being given
	read      Instant // when the clock was last read
	effects   Effects
	proposals waiters
	reads     waiters
	calls     waiters
	seen      Standing
	committed Index // that the trace was told of
	writing   stopwatch
	applying  stopwatch
	tasks     []machineTask // for the state machine, of one drain
	// snapshotCalls are the calls of Snapshot that wait, sendings end the streams that are being sent, accepted is the last
	// stream that was accepted.
	snapshotCalls map[uint64]chan SnapshotAnswer
	sendings      map[uint64]context.CancelFunc
	accepted      uint64
	reading       stopwatch
	// leaderless is since when no leader is known, ledSince since when this server leads, while that is so.
	leaderless, ledSince Instant
	resigning            bool
	step                 string // what the loop is at, for the report of a panic

	board board

	receiver  receiver
	ctx       context.Context // ends when the node stops
	cancelCtx context.CancelFunc
	heartbeat Duration

	done   chan struct{}
	failed error  // set before done is closed
	last   Status // likewise

	users, storageUsers   atomic.Int32
	released              chan struct{}
	closing, storageClose error // what closing transport and storage returned, set before released is closed
}

// errClose is the reason to stop that is no failure.
var errClose = errors.New("closed by the caller")

// Start starts a server on what its storage holds. The storage and the transport are the node's from now on:
// Close closes them, and so does a Start that fails.
//
// The error is ErrConfig for a config that can't be used, ErrCorrupt for a storage that is damaged, ErrOutdated for a
// cluster whose level this version doesn't know, or what the storage or the transport returned.
func Start(config Config) (*Node, error) {
	n, err := newNode(config)
	if err == nil {
		err = n.open()
	}
	if err != nil {
		if config.Transport != nil {
			err = errors.Join(err, guard("transport", config.Transport.Close))
		}
		if config.Storage != nil {
			err = errors.Join(err, guard("storage", config.Storage.Close))
		}
		return nil, err
	}
	go n.run()
	go n.writeLane()
	go n.fetchLane()
	go n.applyLane()
	return n, nil
}

// newNode makes a node of what the storage holds.
func newNode(config Config) (*Node, error) {
	if config.Seed == 0 {
		config.Seed = randomNumber()
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	core, err := config.normalize()
	if err != nil {
		return nil, err
	}
	core.Incarnation = Incarnation(randomNumber())
	err = guard("storage", func() (err error) {
		core.Saved, err = config.Storage.Load()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raft: load: %w", err)
	}
	if s := &core.Saved; config.BootstrapFrom != nil && s.State.Server == "" && s.Last == 0 {
		err = guard("storage", func() (err error) {
			core.Saved, err = config.bootstrapFrom(core.Incarnation)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("raft: bootstrap from a snapshot: %w", err)
		}
	}
	if config.Address, err = config.ownAddress(&core.Saved); err != nil {
		return nil, err
	}
	core.Address = config.Address
	var beside []byte
	if config.Durable != nil {
		core.DurableMachine = true
		err = guard("state machine", func() (err error) {
			core.MachineApplied, beside, err = config.Durable.Load()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("raft: load state machine: %w", err)
		}
	}
	n := &Node{
		config: config, logger: config.Logger.With("node", config.ID), slow: max(time.Duration(core.ElectionTimeout)/4, time.Millisecond),
		inbox: inbox{
			maxMessages: config.MaxInboxMessages, maxMessageBytes: config.MaxInboxBytes,
			maxProposals: config.MaxPending, maxCommandBytes: config.MaxPendingBytes,
			wake: make(chan struct{}, 1),
		},
		writes: newQueue[Write](), fetches: newQueue[Fetch](), applies: newQueue[machineTask](),
		epoch: time.Now(), done: make(chan struct{}), released: make(chan struct{}),
		snapshotCalls: make(map[uint64]chan SnapshotAnswer), sendings: make(map[uint64]context.CancelFunc),
		receiver: receiver{arrivals: make(map[uint64]*arrival)},
	}
	n.ctx, n.cancelCtx = context.WithCancel(context.Background())
	err = guard("core", func() (err error) {
		n.core, err = NewCore(core)
		return err
	})
	if err != nil {
		return nil, err
	}
	n.applier = NewApplier(config.Machine, n.core.Origin())
	if config.CompareResults {
		n.applier.CompareResults()
	}
	if config.Durable != nil {
		if err := n.applier.Resume(config.Durable, core.MachineApplied, beside); err != nil {
			return nil, err
		}
	}
	n.heartbeat = core.Heartbeat
	if config.Trace != nil {
		n.trace = *config.Trace
	}
	n.seen = n.standing()
	n.board.post(n.news(Standing{})...)
	n.users.Store(4)
	n.storageUsers.Store(3)
	return n, nil
}

// open lets the transport bring messages. They wait in the inbox until the loop runs.
func (n *Node) open() error {
	err := guard("transport", func() error {
		return n.config.Transport.Start(Server{ID: n.config.ID, Address: n.config.Address}, (*handler)(n))
	})
	if err != nil {
		return fmt.Errorf("raft: start transport: %w", err)
	}
	return nil
}

// Err returns the failure that stopped the node. It is nil while the node runs, and after Close.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.failed
	default:
		return nil
	}
}

// Done is closed when the node has stopped, by Close or by a failure: it takes no part any more, every
// caller has an answer, and Err and Status tell the end. The transport and the storage are then being
// closed, which Close waits for.
func (n *Node) Done() <-chan struct{} { return n.done }

// Close stops the node and answers all callers. A node that leads hands over first (§3.10), if there is a server to hand
// over to, so that the cluster needn't miss it: until that one leads, an election timeout has passed, or ctx has
// ended, what is on its way goes on, and nothing new is taken. Close returns when everything is released, or when ctx
// ends: then a call to the storage, the transport or the state machine hasn't returned, and the rest is
// released when it does. The error is ctx.Err(), or what closing the storage and the transport returned. A
// second Close changes nothing, except that the hand-over ends with its ctx too.
func (n *Node) Close(ctx context.Context) error {
	n.inbox.resign()
	select {
	case <-n.done:
	case <-ctx.Done():
		n.inbox.stop(errClose)
	}
	select {
	case <-n.released:
		return errors.Join(n.closing, n.storageClose)
	default:
	}
	select {
	case <-n.released:
		return errors.Join(n.closing, n.storageClose)
	case <-ctx.Done():
		return fmt.Errorf("raft: close: %w", ctx.Err())
	}
}

// handler is the node's side towards the transport.
type handler Node

// Receive implements Handler.
func (h *handler) Receive(m Message) { h.inbox.receive(m) }

// Lost implements Handler.
func (h *handler) Lost(server ServerID) { h.inbox.lost(server) }

// run is the loop with its one edge: whatever goes wrong inside ends here.
func (n *Node) run() {
	defer n.leave(&n.storageUsers, n.closeStorage)
	n.step = "core"
	broken := &PanicError{} // unless guard returns: then something has ended the goroutine
	var cause error = broken
	defer func() {
		if broken != nil {
			broken.Where = n.step
		}
		n.finish(cause, broken == nil)
	}()
	cause = guard("", n.loop)
	if !errors.As(cause, &broken) || broken.Where != "" {
		broken = nil // another goroutine's panic, if it was one
	}
}

// loop takes what has gathered, hands it to the core, and sees to what the core wants done, until there is a
// reason to stop.
func (n *Node) loop() error {
	n.alarm.timer = time.AfterFunc(time.Duration(never), n.inbox.alarm)
	defer n.alarm.timer.Stop()
	for {
		n.handed = 0
		n.events.reset()
		n.gather()
		if !n.inbox.take(&n.events, n.effects.AwaitsApplied) {
			n.alarm.set(n.core.Deadline(), n.read)
			<-n.inbox.wake
			if !n.inbox.take(&n.events, true) && !n.alarm.due(n.now()) {
				continue // a token that came after what it was for
			}
		}
		if n.events.stop != nil {
			return n.events.stop
		}
		if n.events.resign {
			n.core.Resign(n.now())
			if n.resigning = true; n.core.Resigned() {
				return errClose
			}
		}
		n.handIn()
		if n.resigning && n.core.Resigned() {
			return errClose
		}
		n.core.Drain(&n.effects)
		n.perform()
		n.observe()
		n.traceTurn()
	}
}

// gather lets those come first who are about to bring something, again and again while more callers come: what is taken
// at once is written, sent and answered at once. This is a place in the queue of the scheduler, not a wait, which a lone caller
// doesn't feel.
func (n *Node) gather() {
	runtime.Gosched()
	for before, callers := 0, n.inbox.callers(); callers > before; callers = n.inbox.callers() {
		before = callers
		runtime.Gosched()
	}
}

// now reads the clock.
func (n *Node) now() Instant { return Instant(time.Since(n.epoch)) }

// An alarm wakes the loop at the core's deadline.
type alarm struct {
	timer *time.Timer // puts a token into the inbox
	at    Instant     // when it does; 0 for never
}

// set sets the alarm. A deadline that has moved away leaves the timer as it is, since it moves with nearly
// every event; the timer then fires early and is set again. Only when more than half of the time is over is it
// set anew at once, so that an idle server isn't woken for nothing.
func (a *alarm) set(deadline, now Instant) {
	if now < a.at && a.at <= deadline && deadline-a.at <= a.at-now {
		return
	}
	a.at = deadline
	a.timer.Reset(time.Duration(deadline - now))
}

// due says whether the time has come that the alarm was set for.
func (a *alarm) due(now Instant) bool {
	if now < a.at {
		return false
	}
	a.at = 0
	return true
}

// perform sees to what the core wants done. Each of these is safe at once; the disk begins first, since it
// takes longest.
func (n *Node) perform() {
	e := &n.effects
	if e.Write.Number != 0 {
		n.writing.begin(n.read, 1)
		n.writes.put(e.Write)
	}
	n.step = "transport"
	if e.Servers != nil {
		n.config.Transport.SetServers(e.Servers)
	}
	for i := range e.Messages {
		n.traceSent(&e.Messages[i])
		n.config.Transport.Send(e.Messages[i])
	}
	n.step = "core"
	n.applying.begin(n.read, len(e.Apply))
	n.performMachine()
	n.reading.begin(n.read, len(e.Fetches))
	n.fetches.put(e.Fetches...)
	n.performStreams()
	n.answer()
}

// performMachine hands the state machine what it is to do, in order.
func (n *Node) performMachine() {
	e := &n.effects
	if e.RestoreSnapshot != nil {
		n.tasks = append(n.tasks, machineTask{restore: e.RestoreSnapshot})
	}
	for _, entries := range e.Apply {
		n.tasks = append(n.tasks, machineTask{entries: entries})
	}
	if e.TakeSnapshot != nil {
		n.tasks = append(n.tasks, machineTask{take: e.TakeSnapshot})
	}
	n.applies.put(n.tasks...)
	n.tasks = emptied(n.tasks)
}

// answer gives callers the answers that the core has for them.
func (n *Node) answer() {
	for i := range n.effects.Answers {
		a := &n.effects.Answers[i]
		waiting := &n.proposals
		switch {
		case a.Read:
			waiting = &n.reads
		case a.Call:
			waiting = &n.calls
		}
		if w := waiting.take(a.Number); w != nil {
			kind, since := w.kind, w.since
			w.answer(a)
			n.traceAnswer(a, kind, since)
		}
	}
}

// randomNumber draws a number other than 0.
func randomNumber() uint64 {
	for {
		var b [8]byte
		_, _ = crand.Read(b[:]) // it never fails
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}
