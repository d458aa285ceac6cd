package raft

// The goroutines of a node:
//
//	goroutine    owns                  waits for                        ends when
//	───────────  ────────────────────  ───────────────────────────────  ──────────────────────────
//	shard.run    the loop, with the    the inbox and the core's         Close, a failure, or a
//	             core in it            deadline                         broken invariant
//	writeLane    Storage.Write         writes from the loop             its queue is closed
//	fetchLane    Storage.Entries       fetches from the loop            its queue is closed
//	applyLane    the state machine     batches from the loop            its queue is closed
//	settleMoves  nothing               news of the leadership           the node stops
//	WhileLeader  nothing               news of the leadership           the leadership, the node or
//	                                                                    the caller's function ends
//
// Other goroutines bring snapshots to and fro. They come and go, and are listed in
// node_snapshots.go.
//
// Lanes and callers wait for the loop. The loop waits for none of them: it hands over what the core
// wants done, and goes on. The core's own limits bound the work that is in flight, and so they
// bound the queues too.
//
// The storage is closed by the last of shard.run, writeLane, fetchLane and discardReceived, which
// runs only if a snapshot has come. The last goroutine of all lets Close return. So a storage or a
// state machine that hangs holds up its own lane and the end of Close, and nothing else. The
// goroutines of the transport only put something into the inbox, or bring a snapshot.

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A Node is a server while it runs: a Core with a clock, a disk, a network and a state machine.
//
// Any goroutine may call its methods, any number of them at a time. The state machine may call them
// too, with one exception: while one of its own methods runs, it must not wait for its own node to
// apply a command, to serve a read, to take a snapshot or to close. Each of these waits for the
// state machine.
type Node struct {
	// This is what the goroutines of the node share. What belongs to the loop alone is in the loop,
	// and no other goroutine has a reference to that.

	config nodeConfig // never changes
	group  GroupID
	logger diary
	trace  *Trace // never nil, and never changed
	clock  *clock // the nodes of a host have one together
	step   step   // where the loop is
	glance glance
	moved  *moves

	inbox     inbox     // brings the loop everything that it has to know
	board     board     // shows what the loop knows
	lanes     lanes     // do the work that the loop hands them
	transfers transfers // bring snapshots to and fro
	tail      account   // the entries in memory, of a group in a host
	weighed   *groupLog // what the host knows of the group's log; the loop alone uses it
	*pools
	life lifetime
}

// pools keep what callers need for a while. The nodes of a host have them together, and so they have
// the places for snapshots; these are nil for a node that stands alone.
type pools struct {
	waiters   waiterPool
	slabs     slabPool
	snapshots *hostSnapshots
}

// A nodeConfig is what a node needs of its Config while it runs.
type nodeConfig struct {
	*CoreConfig // what its core has (Core.Config)

	Storage   Storage
	Transport Transport
	Validate  func(command []byte) error

	MaxCommandBytes, MaxSessions, MaxSessionBytes int
}

// patience is how long a caller whose wait is over, or who asks for the status, waits for the loop. If
// the loop stands still for longer, it is inside a function of the user's.
func (c *nodeConfig) patience() time.Duration { return max(c.ElectionTimeout/4, time.Millisecond) }

// errClose is the one reason to stop that is no failure.
var errClose = errors.New("closed by the caller")

// Start starts a server on what its storage holds. It returns when the server runs; the server may
// not know a leader yet. From the call on, the storage and the transport belong to the node: Close
// closes them, and a Start that fails closes them too.
//
// The error is ErrConfig if the config can't be used, ErrCorrupt if the storage is damaged, or
// ErrOutdated if this version doesn't know the level of the cluster. errors.As finds a *PanicError
// in it if the storage, the transport or the state machine panicked. Otherwise it wraps what the
// storage, the transport, Config.Durable or Config.BootstrapFrom returned.
func Start(config Config) (*Node, error) {
	n, l, err := newNode(config, "", nil)
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
	n.startMoves()
	n.startLanes()
	go n.run(l)
	return n, nil
}

// startMoves begins to put the addresses of Config.Moved into the log.
func (n *Node) startMoves() {
	if n.moved != nil {
		n.life.enter()
		go n.settleMoves(n.moved)
	}
}

// newNode makes a node from what the storage holds, and the loop of that node. host is the process in
// which the node is one of many, or nil.
func newNode(config Config, group GroupID, host *Host) (*Node, *loop, error) {
	settings, err := config.complete()
	if err != nil {
		return nil, nil, err
	}
	if host == nil {
		_, _ = crand.Read(settings.KeyLuck[:]) // it never fails
	}
	if err := config.load(&settings); err != nil {
		return nil, nil, err
	}
	moved, err := config.movesOf(&settings.Saved)
	if err != nil {
		return nil, nil, err
	}
	started := &clock{time.Now()} // this is Instant 0: the core counts from it
	if host != nil {
		started = &host.clock
		settings.Now, settings.Coalesced, settings.SnapshotTurns, settings.Share = started.now(), true, true, host.common.share
		settings.MaxWriteBytes = min(settings.MaxWriteBytes, maxGroupWrite)
	}
	core, applier, err := config.makeCore(&settings)
	if err != nil {
		return nil, nil, err
	}
	n := &Node{
		config: nodeConfig{
			CoreConfig: core.Config(), Storage: config.Storage, Transport: config.Transport, Validate: config.Validate,
			MaxCommandBytes: config.MaxCommandBytes, MaxSessions: config.MaxSessions, MaxSessionBytes: config.MaxSessionBytes,
		},
		group: group, clock: started,
		inbox: inbox{
			maxMessages: config.MaxInboxMessages, maxMessageBytes: config.MaxInboxBytes,
			maxProposals: config.MaxPending, maxCommandBytes: config.MaxPendingBytes,
			bounded: host != nil,
		},
		lanes: lanes{applier: applier}, moved: moved,
	}
	n.inbox.lock()
	n.inbox.added() // the first turn comes at once: it tells the transport who the members are
	if host == nil {
		n.makeLanes()
	} else {
		host.makeLanes(n)
		host.commands.join(&n.inbox.commandRoom)
		host.messages.join(&n.inbox.messageRoom)
	}
	if host == nil {
		n.pools, n.logger = new(pools), newDiary(config.ID, config.Logger)
	} else {
		n.pools, n.logger = &host.pools, host.logger.of(group)
	}
	n.tellTo(config.Trace)
	n.life.begin(&n.logger)
	if config.Durable != nil {
		applier.SaveBy(n.patiently)
	}
	n.transfers = transfers{Node: n, perSecond: config.SnapshotBytesPerSecond}
	return n, newLoop(n, core), nil
}

// complete fills in the defaults, and draws what must be drawn. It returns the core's share.
func (c *Config) complete() (settings CoreConfig, err error) {
	if c.Seed == 0 {
		c.Seed = randomNumber()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	err = guard("storage or transport", func() (err error) { // they are asked for their limits
		if settings, err = c.normalize(); err == nil {
			err = c.checkAddresses()
		}
		return err
	})
	settings.Incarnation = Incarnation(randomNumber())
	settings.StartLuck = uint32(randomNumber())
	return settings, err
}

// makeCore makes the core, and what drives the state machine.
func (c *Config) makeCore(settings *CoreConfig) (core *Core, applier *Applier, err error) {
	err = guard("core", func() (err error) {
		core, err = NewCore(*settings)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	applier = NewApplier(c.Machine, core.Origin())
	if c.CompareResults {
		applier.CompareResults()
	}
	if c.Durable != nil {
		err = applier.Resume(c.Durable, settings.MachineApplied, settings.MachineBeside)
	}
	return core, applier, err
}

// load fills in what the storage and the state machine hold.
func (c *Config) load(settings *CoreConfig) (err error) {
	err = guard("storage", func() (err error) {
		settings.Saved, err = c.Storage.Load()
		return err
	})
	if err != nil {
		return because(errors.New("raft: load"), err)
	}
	if err := c.reserveRoom(settings); err != nil {
		return err
	}
	if s := &settings.Saved; c.BootstrapFrom != nil && s.State.Server == "" && s.Last == 0 {
		err = guard("storage", func() (err error) {
			settings.Saved, err = c.bootstrapFrom(settings.Incarnation)
			return err
		})
		if err != nil {
			return because(errors.New("raft: bootstrap from a snapshot"), err)
		}
	}
	if c.Address, err = c.ownAddress(&settings.Saved); err != nil {
		return err
	}
	settings.Address = c.Address
	if c.Durable == nil {
		return nil
	}
	settings.DurableMachine = true
	err = guard("state machine", func() (err error) {
		settings.MachineApplied, settings.MachineBeside, err = c.Durable.Load()
		return err
	})
	if err != nil {
		return because(errors.New("raft: load state machine"), err)
	}
	return nil
}

// open lets the transport bring messages. They wait in the inbox until the loop runs.
func (n *Node) open() error {
	err := guard("transport", func() error {
		return n.config.Transport.Start(Server{ID: n.config.ID, Address: n.config.Address}, (*handler)(n))
	})
	if err != nil {
		return because(errors.New("raft: start transport"), err)
	}
	return nil
}

// Err returns the failure that stopped the node. It is nil while the node runs, and nil after
// Close.
func (n *Node) Err() error {
	select {
	case <-n.life.done.wait():
		return n.life.failed
	default:
		return nil
	}
}

// Done returns a channel that is closed when the node has stopped, by Close or by a failure. From
// then on the node takes no part in the cluster, every call has its answer, and Err and Status tell
// how it ended. The transport and the storage may still be in the course of closing: Close waits
// for them, Done doesn't.
func (n *Node) Done() <-chan struct{} { return n.life.done.wait() }

// Close stops the node and answers all calls that wait. It returns when everything is released.
//
// A leader hands the leadership over first (§3.10), if there is a server that can take it: so the
// cluster isn't without a leader for an election timeout. The hand-over ends when the other server
// leads, when an election timeout has passed, when the transport has lost all that could lead
// (Handler.Lost), or when ctx ends. Until then the calls that were made before go on, and new calls
// get ErrClosed. A server that doesn't lead, or finds nobody to hand over to, waits for the answers to
// commands that are on their way, also for an election timeout at most.
//
// If ctx ends before everything is released, Close returns an error that wraps ctx.Err(): a call of
// the storage, the transport or the state machine hasn't returned yet. The rest is released when
// that call returns. Otherwise the error is what closing the transport and the storage returned.
//
// Close may be called again, at any time. A second call waits like the first one. It changes
// nothing else, except that the hand-over also ends when the ctx of the second call does.
func (n *Node) Close(ctx context.Context) error {
	n.inbox.resign()
	select {
	case <-n.life.done.wait():
	case <-ctx.Done():
		n.inbox.stop(errClose)
	}
	select {
	case <-n.life.released.wait():
		return errors.Join(n.life.closing, n.life.storageClose)
	default:
	}
	select {
	case <-n.life.released.wait():
		return errors.Join(n.life.closing, n.life.storageClose)
	case <-ctx.Done():
		return because(errors.New("raft: close"), ctx.Err())
	}
}

// run takes turns with the loop of a node that stands alone.
func (n *Node) run(l *loop) {
	s := newShard(*n.clock)
	s.add(l)
	s.run()
}

// A handler is the node as its transport sees it.
type handler Node

// Receive implements Handler.
func (h *handler) Receive(m wire.Message) {
	if m.Group == "" { // otherwise it is for another process, with many groups
		h.inbox.receive(m)
	}
}

// Stream implements Handler.
func (h *handler) Stream(from ServerID, stream io.ReadCloser) { h.transfers.take(from, stream) }

// Lost implements Handler.
func (h *handler) Lost(server ServerID) { h.inbox.lost(server) }

// randomNumber draws a random number that isn't 0.
func randomNumber() uint64 {
	for {
		var b [8]byte
		_, _ = crand.Read(b[:]) // it never fails
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}

// A clock counts from the start of its node.
type clock struct{ epoch time.Time }

// now reads the clock.
func (c clock) now() Instant { return Instant(time.Since(c.epoch)) }
