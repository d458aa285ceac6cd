package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Options say what a run consists of besides its Params.
type Options struct {
	// Machine makes the state machine of a server. If it is nil, the servers have the simulator's
	// own.
	Machine func() raft.StateMachine
	// Store makes what the state machine of a server keeps its durable state on. It replaces
	// Machine.
	Store func() Store
	// Command makes the nth command. It must depend only on n. If it is nil, the simulator makes
	// the commands.
	Command func(n int64) []byte
	// Invariant, when not nil, is checked on every copy of the state machine after every batch.
	Invariant func(raft.StateMachine) error
	// Clone replaces a core by its clone before every event, and then uses the original for
	// something else. The run must not change by that.
	Clone bool
}

// A World is a whole cluster and its surroundings, in one thread. It can be used for one run after
// the other.
type World struct {
	params    Params
	options   Options
	hosts     *Hosts // whose processes serve this group, among others; nil if the servers have this one alone
	group     int    // which of their groups this is
	luck      luck
	now       int64 // nanoseconds since the start of the run
	n         int   // number of servers
	servers   [MaxServers]server
	links     [MaxServers][MaxServers]link
	ghost     ghost
	past      *heritage  // what this run, or an earlier one, began with
	inherited raft.Index // the index up to which the log is of another run
	stats     Stats
	violation *Violation

	effects raft.Effects // reused by every drain
	stores  []Store      // of state machines that belong to no server

	// timed is true while time passes by itself: whatever is to happen is then in the queue.
	// Otherwise it happens only when an event names it.
	timed bool
	calm  bool // there are no more faults
	// beyond says that the run has left what is promised while disks go back, hopeless that not
	// even progress is promised (see back.go). excused is the invariant that didn't hold then, ""
	// for none.
	beyond, hopeless bool
	excused          string

	streams     []*stream
	streamCount uint64
	feedings    [MaxServers][MaxServers]feeding // by leader and peer
	queue       queue
	slab        slab

	// operations of clients, by number
	ops      []operation
	changes  []int32       // those of ops that are changes of the members
	target   []raft.Member // used by eachSet: the members that a change asks for
	asks     uint64        // number of times that the timed run has asked for a change of the members
	sessions [maxClients]sessionClient
	clients  uint64 // number of operations that clients of the timed run have begun
	faults   uint64 // number of faults that the timed run has begun
	losses   uint64 // number of times that it has let a disk lose entries
	checks   uint64

	// patience is the number of events without faults after which a run counts as one without
	// progress. It is MaxEvents, except during Shrink.
	patience int

	stamped  bool    // the run is a timed one: its events get the instants at which they happen
	record   bool    // keep what happens in history
	waking   bool    // what happens is a part of an OpWake
	macros   int     // number of macro events so far: those in which time passes by itself
	macro    int     // the number of the macro event that is going on; 0 for none
	expandAt int     // the number of the macro event that is recorded as the events within it
	history  []Event // so far
	trace    *recorder
	hash     uint64 // over everything that happened

	phase      uint64 // of a timed run; its luck depends on it
	phaseBegun int64
	passes     uint64
	probes     [MaxServers]int64 // operations that prove progress, by server
	biggest    int               // size of the largest command that was proposed, in bytes
	mending    int               // number of times that links were cut
	freed      int64             // since when all disks have room, once the faults have ended; 0 before
	vacant     int64             // the instant at which the leader crashed, if none was elected since
}

// A server is one member of the cluster with all that belongs to it.
type server struct {
	id    raft.ServerID
	up    bool
	life  uint32 // counts the starts, on whatever disk
	core  *raft.Core
	disk  *disk
	disks []*disk // all disks that it has had, the present one last
	spare []*disk // disks to be used again in the next run
	// address is where the server listens. known are the addresses at which it believes the others
	// to listen.
	address string
	known   [MaxServers]string
	// reached says to which servers it can send although it doesn't know their address: they have
	// connected to it, or it knew them before.
	reached [MaxServers]bool
	rotten  bool // a byte of its disk has changed, and not all that it has damaged was repaired
	spared  bool // that has hit the parts of other groups on the disk alone
	frozen  frozenState
	start   uint64 // the name of the current life's start

	level    wire.Level // the level that the present life knows
	upgraded bool       // the next life knows the latest level

	// The lanes: what the core has handed out and hasn't got back.
	writes  []*raft.Write
	lane    []task // of the state machine
	fetches []raft.Fetch
	fetched []fetchedEntries

	applier *raft.Applier
	replica replica
	capture *capture // a state that is being written to the disk
	partial *partial // what was received of a snapshot
	kept    kept     // what a durable state machine has on its disk
	beside  []byte   // what it got last to keep beside its state

	// Of a user's durable state machine
	store   Store
	durable raft.DurableMachine
	opened  bool    // the store is open
	saves   []saved // from the one of which it went on last

	went
	keyed
	roomy

	lastWrite raft.WriteNumber // of this life

	open int // calls without an answer
	offers

	times
	termBegin raft.Index // the first index of the last term in the view

	status status
	view   []slot // the log with all writes that were handed out
	// configurations are those in the view.
	configurations []placed
	checked        raft.Index // the index up to which the view was compared to what is committed
	handedAt       raft.Index // the end of the log when the server began to hand over
	ledHere        raft.Term  // the last term in which this life of the server led and wrote an entry of that term

	// proposals, reads and calls map the numbers that the core gives to operations, plus 1.
	proposals, reads, calls []int32
	transfers               []transfer // by the numbers of the core's calls
	// wanted are the indexes that the calls for a snapshot ask for, by the numbers of these calls.
	// It is 0 for a call that was answered.
	wanted []raft.Index
	// starts has the operations of each start on each disk. It finds the operation that an Origin
	// names.
	starts [][]lifeOps

	// clocks are the rates at which the clock has run. The last one holds now.
	clocks []clock

	// For timed runs
	deadline     raft.Instant // the deadline for which the next tick is planned
	tickAt       int64        // the earliest tick in the queue; 0 for none
	paused       int64        // until this instant the process stands still
	waiting      []item       // what would have happened meanwhile
	arrived      []arrived    // the messages among that
	stalled      int64        // until this instant the disk writes nothing
	stalledReads int64        // until this instant the disk reads nothing
	lame         int64        // until this instant the state machine does nothing
	writing      bool
	applying     bool
	reading      bool
	storing      bool
	held         bool // effects wait for a drain
	// scrubs counts the passes over its log that this life has begun, and scrubbed is how far the last
	// one has come. lostAt is how many there were when its disk last lost anything.
	scrubs, lostAt int
	scrubReading   int // how many reads there were
	scrubbed       raft.Index
	knowsLost      map[raft.Index]bool // what this life was told to be lost, when it was loaded or read
	unsure         bool                // when it found damage, it held messages back that may have been decided before
	mixed          bool                // the effects being drained are those of several events
	doomed         bool                // the server crashes during its next write
	nth            [numLucks]uint64
}

// A task is one thing that a server's state machine must do: apply entries, be captured, or be
// restored.
type task struct {
	entries       []raft.Entry
	take, restore *raft.SnapshotMeta
}

// lifeOps are the operations that were proposed in one life of a server, and the changes that were
// asked for in it, by their numbers in the core.
type lifeOps struct {
	start           uint64
	byNumber, calls []int32
}

// lifeOf returns the life with a start among those on a disk, or nil if there is none.
func lifeOf(lives []lifeOps, start uint64) *lifeOps {
	for i := len(lives) - 1; i >= 0; i-- {
		if lives[i].start == start {
			return &lives[i]
		}
	}
	return nil
}

type fetchedEntries struct {
	fetch   raft.Fetch
	entries []raft.Entry
	damage  *raft.DamagedError // nil if nothing was found to be lost
}

// A link carries messages from one server to another.
type link struct {
	cut      bool
	sent     uint64 // number of messages so far
	base     uint64 // number of the first message in bag, minus 1
	bag      []sentMessage
	reached  raft.Index    // the last entry that the leader has sent
	appends  int64         // number of appends that a leader has sent since an answer to it arrived
	asks     bool          // the last message was a round's heartbeat: an append without entries may follow
	lag      int64         // how much longer messages take for a while, in a timed run
	arriving int64         // when the last message arrives that isn't reordered
	envelope wire.Envelope // the last message that only a leader sends, without its content
}

type sentMessage struct {
	message   wire.Message
	number    uint64 // on its link
	label     uint32
	delivered bool
}

// NewWorld returns a World.
func NewWorld(options Options) *World {
	w := &World{options: options, patience: MaxEvents}
	for i := range w.servers {
		w.servers[i].id = raft.ServerID([]byte{'1' + byte(i)})
		w.servers[i].replica = replica{w: w, server: i}
	}
	return w
}

// serverOf returns the number of a server, from 0. It returns MaxServers for an ID that no server
// of a run has.
func serverOf(id raft.ServerID) int {
	if len(id) == 1 && id[0] >= '1' && id[0] < '1'+MaxServers {
		return int(id[0] - '1')
	}
	return MaxServers
}

// reset prepares the world for a run.
func (w *World) reset(p Params) {
	p.fill()
	w.closeStores()
	if w.options.Store != nil && p.Durable == 0 {
		p.Durable = 1000
	}
	w.params, w.luck, w.now, w.n = p, luck(p.Seed), 0, p.All()
	w.violation, w.timed, w.calm = nil, false, false
	w.beyond, w.hopeless, w.excused = false, false, ""
	w.stats = Stats{Servers: w.n, WALs: int(p.WAL)}
	w.asks, w.clients, w.faults, w.checks, w.macro, w.macros, w.passes, w.mending = 0, 0, 0, 0, 0, 0, 0, 0
	w.losses = 0
	w.biggest, w.waking, w.vacant, w.phaseBegun, w.freed = 0, false, 0, 0, 0
	clear(w.streams)
	w.streams, w.streamCount = w.streams[:0], 0
	w.feedings = [MaxServers][MaxServers]feeding{}
	w.ops, w.changes = w.ops[:0], w.changes[:0]
	w.history = w.history[:0]
	w.hash = uint64(p.Seed)
	w.queue.reset()
	w.slab.reset()
	w.ghost.reset(w.machine())
	w.resetSessions()
	for i := range w.servers {
		w.resetServer(i)
		for j := range w.links[i] {
			l := &w.links[i][j]
			*l = link{bag: l.bag[:0]}
		}
	}
	w.inherited = 0
	if h := w.heritage(); h != nil {
		w.inherit(h)
	}
}

func (w *World) resetServer(i int) {
	s := &w.servers[i]
	s.upgraded = false
	s.up, s.core, s.rotten, s.spared, s.life, s.start, s.frozen = false, nil, false, false, 0, 0, frozenNot
	s.disks, s.starts, s.backStarts, s.forgotten = s.disks[:0], s.starts[:0], nil, nil
	s.address, s.known = string(s.id), [MaxServers]string{}
	s.giveDisk()
	s.nth = [numLucks]uint64{}
	s.paused, s.stalled, s.lame, s.doomed = 0, 0, 0, false
	first := clock{base: 1 + below(w.luck.draw(luckClock, i, 0, 1), 1e9)}
	if w.params.Drift > 0 {
		first.rate = below(w.luck.draw(luckClock, i, 0, 0), 2*w.params.Drift) - w.params.Drift
	}
	s.clocks = append(s.clocks[:0], first)
	w.forget(s)
}

// giveDisk gives the server an empty disk.
func (s *server) giveDisk() {
	n := len(s.disks)
	if n == len(s.spare) {
		s.spare = append(s.spare, new(disk))
	}
	s.disk = s.spare[n]
	s.disk.reset()
	s.disks, s.starts = append(s.disks, s.disk), append(s.starts, nil)
	s.rotten, s.spared, s.kept, s.promised = false, false, kept{}, 0
	s.store, s.saves = nil, nil
	s.went = went{gave: s.gave[:0], heardOf: s.heardOf, backStarts: s.backStarts, forgotten: s.forgotten}
	s.proved = nil
}

// reachedNow returns the servers to which the server can send.
func (s *server) reachedNow() [MaxServers]bool {
	reached := s.reached
	for j := range s.known {
		reached[j] = reached[j] || s.known[j] != ""
	}
	return reached
}

// wiped reports whether the server has lost a disk.
func (s *server) wiped() bool { return len(s.disks) > 1 }

// forget clears what a process loses when it ends.
func (w *World) forget(s *server) {
	w.release(s)
	s.up, s.core, s.applier = false, nil, nil
	s.writes, s.lane = s.writes[:0], s.lane[:0]
	s.capture, s.partial, s.beside = nil, nil, nil
	s.storing = false
	s.fetches, s.fetched = s.fetches[:0], s.fetched[:0]
	s.view = s.view[:0]
	s.status, s.checked, s.ledHere, s.handedAt = status{}, 0, 0, 0
	s.proposals, s.reads, s.calls, s.transfers = s.proposals[:0], s.reads[:0], s.calls[:0], s.transfers[:0]
	s.configurations, s.wanted = s.configurations[:0], s.wanted[:0]
	s.tickAt, s.writing, s.applying, s.reading, s.held = 0, false, false, false, false
	s.unsure = false
	clear(s.knowsLost)
	s.scrubs, s.lostAt, s.scrubbed, s.scrubReading = 0, 0, 0, 0
	s.doomed, s.lastWrite, s.open, s.arrived = false, 0, 0, s.arrived[:0]
	s.known, s.reached = [MaxServers]string{}, [MaxServers]bool{}
	s.keys, s.refused = nil, 0
	s.offers = offers{behind: s.behind[:0]}
	s.heardOf, s.gave, s.forgetful, s.outdated, s.inquiry = [MaxServers]heardOf{}, s.gave[:0], false, false, inquiry{}
	s.termBegin, s.roomy = 0, roomy{}
	s.forgetTimes()
}

func (w *World) machine() raft.StateMachine {
	switch {
	case w.options.Store != nil:
		store := w.options.Store()
		w.stores = append(w.stores, store)
		machine, _, err := store.Open()
		if err != nil {
			w.fail(DurableState, -1, "an empty store can't be opened: %v", err)
			return new(chainMachine)
		}
		return machine
	case w.options.Machine != nil:
		return w.options.Machine()
	}
	return new(chainMachine)
}

// next draws the next decision of a kind at server s.
func (w *World) next(what, s int) uint64 {
	w.servers[s].nth[what]++
	return w.luck.draw(what, s+1, int(w.phase), w.servers[s].nth[what])
}

// fail reports that an invariant doesn't hold. Only the first report counts.
func (w *World) fail(name string, server int, format string, args ...any) {
	if w.violation == nil {
		w.failAtLast(name, server, format, args...)
		w.violation.macro = w.macro
	}
}

// failAtLast reports a failure that shows only when a checker looks once more after time has
// passed. In a schedule that time stays one macro event, and the checker looks again at its end.
func (w *World) failAtLast(name string, server int, format string, args ...any) {
	if w.violation == nil {
		w.violation = newViolation(name, server, w.now, format, args...)
		if w.excused = ""; !w.promised(name) {
			w.excused = name // the run ends here all the same
		}
	}
}

// index returns the number of a server, from 0.
func (w *World) index(s *server) int { return s.replica.server }
