package raft

// The goroutines of a node:
//
//	goroutine   owns                        waits for                        ends when
//	─────────   ─────────────────────────   ──────────────────────────────   ───────────────────────────────────
//	run         the loop, and so the core   the inbox, the core's deadline   Close, a failure, a broken invariant
//	writeLane   Storage.Write               writes from the loop             its queue is closed
//	fetchLane   Storage.Entries             fetches from the loop            its queue is closed
//	applyLane   the state machine           batches from the loop            its queue is closed
//	WhileLeader nothing                     news of the leadership           the caller's function has returned
//
// and those that bring snapshots to and fro, which come and go (node_snapshots.go,
// node_streams.go).
//
// Lanes and callers wait for the loop; the loop waits for nobody: it hands over what the core wants
// done and goes on. What is in flight is bounded by the core's own limits, and so the queues are
// too. The last of run and the two storage lanes closes the storage, and the last of all lets Close
// return; so a storage or a state machine that hangs holds up its own lane, and nobody else. The
// transport's goroutines only put something into the inbox.

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Node is a server while it runs: a Core with a clock, a disk, a network and a state machine. Its
// methods may be called by any goroutine, also from within the state machine, except that Apply
// must not wait for a command or a read of its own node.
//
// It holds what its goroutines share. What is the loop's alone is in the loop, which nobody else
// gets hold of.
type Node struct {
	config Config // completed by Start, and not changed after
	logger *slog.Logger
	trace  Trace
	clock  clock

	inbox     inbox     // brings the loop whatever it is to know
	board     board     // shows what the loop knows
	lanes     lanes     // do what the loop hands them
	transfers transfers // bring snapshots to and fro
	waiters   waiterPool
	slabs     slabPool
	life      lifetime
}

// errClose is the reason to stop that is no failure.
var errClose = errors.New("closed by the caller")

// Start starts a server on what its storage holds. The storage and the transport are the node's
// from now on: Close closes them, and so does a Start that fails.
//
// The error is ErrConfig for a config that can't be used, ErrCorrupt for a storage that is damaged,
// ErrOutdated for a cluster whose level this version doesn't know, or what the storage or the
// transport returned.
func Start(config Config) (*Node, error) {
	n, l, err := newNode(config)
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
	go n.run(l)
	go n.writeLane()
	go n.fetchLane()
	go n.applyLane()
	return n, nil
}

// newNode makes a node of what the storage holds, and its loop.
func newNode(config Config) (*Node, *loop, error) {
	if config.Seed == 0 {
		config.Seed = randomNumber()
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	settings, err := config.normalize()
	if err != nil {
		return nil, nil, err
	}
	settings.Incarnation = Incarnation(randomNumber())
	settings.StartLuck = uint32(randomNumber())
	beside, err := config.load(&settings)
	if err != nil {
		return nil, nil, err
	}
	started := clock{time.Now()} // as Instant 0, which the core counts from
	var core *Core
	err = guard("core", func() (err error) {
		core, err = NewCore(settings)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	applier := NewApplier(config.Machine, core.Origin())
	if config.CompareResults {
		applier.CompareResults()
	}
	if config.Durable != nil {
		if err := applier.Resume(config.Durable, settings.MachineApplied, beside); err != nil {
			return nil, nil, err
		}
	}
	n := &Node{
		config: config, logger: config.Logger.With("node", config.ID), clock: started,
		inbox: inbox{
			maxMessages: config.MaxInboxMessages, maxMessageBytes: config.MaxInboxBytes,
			maxProposals: config.MaxPending, maxCommandBytes: config.MaxPendingBytes,
			wake: make(chan struct{}, 1),
		},
		lanes: newLanes(applier),
	}
	if config.Trace != nil {
		n.trace = *config.Trace
	}
	n.life.begin()
	n.transfers = transfers{
		storage: config.Storage, transport: config.Transport, perSecond: config.SnapshotBytesPerSecond,
		progressEvery: settings.Heartbeat, inbox: &n.inbox, life: &n.life, trace: &n.trace, logger: n.logger,
		receiver: receiver{arrivals: make(map[uint64]*arrival)},
	}
	return n, newLoop(n, core, settings.ElectionTimeout), nil
}

// load fills in what the storage and the state machine hold, and returns what the latter keeps
// beside its state.
func (c *Config) load(settings *CoreConfig) (beside []byte, err error) {
	err = guard("storage", func() (err error) {
		settings.Saved, err = c.Storage.Load()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raft: load: %w", err)
	}
	if s := &settings.Saved; c.BootstrapFrom != nil && s.State.Server == "" && s.Last == 0 {
		err = guard("storage", func() (err error) {
			settings.Saved, err = c.bootstrapFrom(settings.Incarnation)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("raft: bootstrap from a snapshot: %w", err)
		}
	}
	if c.Address, err = c.ownAddress(&settings.Saved); err != nil {
		return nil, err
	}
	settings.Address = c.Address
	if c.Durable == nil {
		return nil, nil
	}
	settings.DurableMachine = true
	err = guard("state machine", func() (err error) {
		settings.MachineApplied, beside, err = c.Durable.Load()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("raft: load state machine: %w", err)
	}
	return beside, nil
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
	case <-n.life.done:
		return n.life.failed
	default:
		return nil
	}
}

// Done is closed when the node has stopped, by Close or by a failure: it takes no part any more,
// every caller has an answer, and Err and Status tell the end. The transport and the storage are
// then being closed, which Close waits for.
func (n *Node) Done() <-chan struct{} { return n.life.done }

// Close stops the node and answers all callers. A node that leads hands over first (§3.10), if
// there is a server to hand over to, so that the cluster needn't miss it: until that one leads, an
// election timeout has passed, or ctx has ended, what is on its way goes on, and nothing new is
// taken. Close returns when everything is released, or when ctx ends: then a call to the storage,
// the transport or the state machine hasn't returned, and the rest is released when it does. The
// error is ctx.Err(), or what closing the storage and the transport returned. A second Close
// changes nothing, except that the hand-over ends with its ctx too.
func (n *Node) Close(ctx context.Context) error {
	n.inbox.resign()
	select {
	case <-n.life.done:
	case <-ctx.Done():
		n.inbox.stop(errClose)
	}
	select {
	case <-n.life.released:
		return errors.Join(n.life.closing, n.life.storageClose)
	default:
	}
	select {
	case <-n.life.released:
		return errors.Join(n.life.closing, n.life.storageClose)
	case <-ctx.Done():
		return fmt.Errorf("raft: close: %w", ctx.Err())
	}
}

// handler is the node's side towards the transport.
type handler Node

// Receive implements Handler.
func (h *handler) Receive(m wire.Message) { h.inbox.receive(m) }

// Stream implements Handler.
func (h *handler) Stream(from ServerID, stream io.ReadCloser) { h.transfers.take(from, stream) }

// Lost implements Handler.
func (h *handler) Lost(server ServerID) { h.inbox.lost(server) }

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

// A clock counts from the start of a node.
type clock struct{ epoch time.Time }

// now reads the clock.
func (c clock) now() Instant { return Instant(time.Since(c.epoch)) }
