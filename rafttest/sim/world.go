package sim

import (
	"github.com/e17579a5/raft"
)

// Options are what a run is made of beside its Params.
type Options struct {
	// Machine makes the state machine of a server; nil for the simulator's own.
	Machine func() raft.StateMachine
	// Command makes the nth command; nil for the simulator's own. It depends on n only.
	Command func(n int64) []byte
	// Invariant, when not nil, is checked on every copy of the state machine after every batch.
	Invariant func(raft.StateMachine) error
	// Clone puts a clone in the place of a core before every event, and goes on to disturb the original: nothing of
	// that may show.
	Clone bool
}

// A World is a whole cluster and its surroundings, in one thread. It can be used for one run after the other.
type World struct {
	params    Params
	options   Options
	luck      luck
	now       int64 // nanoseconds since the start of the run
	n         int   // servers
	servers   [MaxServers]server
	links     [MaxServers][MaxServers]link
	ghost     ghost
	past      *heritage  // of the run, or one before
	inherited raft.Index // what of the log is of another run
	stats     Stats
	violation *Violation

	effects raft.Effects // reused by every drain

	// timed is true while time passes by itself: what waits is then in the queue. Otherwise it waits for an
	// event that names it.
	timed bool
	calm  bool // no more faults

	streams     []*stream
	streamCount uint64
	feedings    [MaxServers][MaxServers]feeding // by leader and peer
	queue       queue
	slab        slab

	// operations of clients, by number
	ops      []operation
	changes  []int32       // those of them that are changes of the members
	target   []raft.Member // eachSet: what one of them comes to
	asks     uint64        // for changes of the members that the timed run has made
	sessions [maxClients]sessionClient
	clients  uint64 // operations that the clients of the timed run have started
	faults   uint64 // that the timed run has started
	checks   uint64

	// patience is after how many events without faults it is said that there is no progress: MaxEvents, but for Shrink.
	patience int

	stamped  bool    // the run is a timed one: its events happen at the instants at which they do
	record   bool    // keep what happens in history
	waking   bool    // what happens is part of OpWake
	macros   int     // macro events so far
	macro    int     // the number of the one that is going on; 0 for none
	expandAt int     // the number of the one whose events are kept instead of itself
	history  []Event // so far
	trace    *recorder
	hash     uint64 // over everything that happened

	phase   uint64 // of a timed run, for its luck
	passes  uint64
	probes  [MaxServers]int64 // operations by which progress is proved
	biggest int               // command that was proposed, in bytes
	mending int               // counts the times that links were cut
	vacant  int64             // when the leader crashed, if none was elected since
}

// A server is one member of the cluster with all that belongs to it.
type server struct {
	id    raft.ServerID
	up    bool
	life  uint32 // counts starts, of whatever disk
	core  *raft.Core
	disk  *disk
	disks []*disk // all that it has had, the present one last
	spare []*disk // to be used again in the next run
	// address is where it listens, known where it believes that others do.
	address string
	known   [MaxServers]string
	// reached says who can be sent to all the same: who has connected by itself, or was known before.
	reached [MaxServers]bool
	rotten  bool // a byte of its disk has changed, and wasn't found yet
	frozen  frozenState
	start   uint64 // counter of the current life's start, from 1

	level    raft.Level // that the present life knows
	upgraded bool       // the next one knows the latest

	// The lanes: what the core has handed out and not got back.
	writes  []*raft.Write
	lane    []task // of the state machine
	fetches []raft.Fetch
	fetched []fetchedEntries

	applier *raft.Applier
	replica replica
	capture *capture // that is being written to the disk
	partial *partial // that was received
	kept    kept     // by a state machine with a durable state
	beside  []byte   // what that was given last to keep beside it

	lastWrite raft.WriteNumber // of this life

	open int // calls without an answer

	// What the checks of times know, on the server's clock.
	heard       raft.Instant // when a leader of the present term was heard last; 0 for not
	sticky      bool         // the message that is being delivered must not raise the term
	answered    [MaxServers]raft.Instant
	leaderSince raft.Instant
	writeSince  raft.Instant // when the oldest queued write began to wait, or one before it was done
	termBegin   raft.Index   // of the last term in the view

	status status
	view   []slot // the log with all writes that were issued
	// configurations are those of the view.
	configurations []placed
	checked        raft.Index // the commit up to which the view was compared with what is committed
	handedAt       raft.Index // the end of the log when it began to hand over
	ledHere        raft.Term  // the last term in which this life of the server led and has written an entry of that term

	// numbers maps the numbers of the core's proposals and reads to operations, plus 1.
	proposals, reads, calls []int32
	transfers               []transfer // by the numbers of the core's calls
	// life of each start on each disk, to find the operation behind an Origin.
	starts [][]lifeOps

	// clocks are the rates at which the clock has run, the last one now.
	clocks []clock

	// Timed runs.
	deadline     raft.Instant // for which the tick is planned
	tickAt       int64        // the earliest tick in the queue; 0 for none
	paused       int64        // until then nothing happens here
	waiting      []item       // what would have
	arrived      []arrived    // the messages among it
	stalled      int64        // until then the disk writes nothing
	stalledReads int64        // until then it reads nothing
	lame         int64        // until then the state machine does nothing
	writing      bool
	applying     bool
	reading      bool
	storing      bool
	held         bool // effects wait for a drain
	mixed        bool // the effects being drained are those of several events
	doomed       bool // to crash at the next write
	nth          [numLucks]uint64
}

// A task is what a server's state machine is to do: to apply entries, to be captured, or to be restored.
type task struct {
	entries       []raft.Entry
	take, restore *raft.SnapshotMeta
}

// lifeOps are the operations proposed in one life of a server, and the changes asked for, by their number in the core.
type lifeOps struct{ byNumber, calls []int32 }

type fetchedEntries struct {
	fetch   raft.Fetch
	entries []raft.Entry
}

// A link carries messages from one server to another.
type link struct {
	cut      bool
	sent     uint64 // messages, so far
	base     uint64 // number of the first message in bag, minus 1
	bag      []sentMessage
	appends  int64        // that a leader has sent since an answer to it arrived
	lag      int64        // by which a timed run's messages take longer for a while
	arriving int64        // when the last message in order arrives
	envelope raft.Message // of the last message that only a leader sends, without its content
}

type sentMessage struct {
	message   raft.Message
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

// serverOf returns the number of a server, from 0; MaxServers for a name that isn't one of ours.
func serverOf(id raft.ServerID) int {
	if len(id) == 1 && id[0] >= '1' && id[0] < '1'+MaxServers {
		return int(id[0] - '1')
	}
	return MaxServers
}

// reset prepares the world for a run.
func (w *World) reset(p Params) {
	p.fill()
	w.params, w.luck, w.now, w.n = p, luck(p.Seed), 0, p.All()
	w.violation, w.timed, w.calm = nil, false, false
	w.stats = Stats{Servers: w.n, WALs: int(p.WAL)}
	w.asks, w.clients, w.faults, w.checks, w.macro, w.macros, w.passes, w.mending = 0, 0, 0, 0, 0, 0, 0, 0
	w.biggest, w.waking, w.vacant = 0, false, 0
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
	s.up, s.core, s.rotten, s.life, s.start, s.frozen = false, nil, false, 0, 0, frozenNot
	s.disks, s.starts = s.disks[:0], s.starts[:0]
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
	s.rotten, s.kept = false, kept{}
}

// reachedNow returns who can be sent to.
func (s *server) reachedNow() [MaxServers]bool {
	reached := s.reached
	for j := range s.known {
		reached[j] = reached[j] || s.known[j] != ""
	}
	return reached
}

// wiped says whether the server has lost a disk.
func (s *server) wiped() bool { return len(s.disks) > 1 }

// forget clears what a process loses when it ends.
func (w *World) forget(s *server) {
	s.up, s.core, s.applier = false, nil, nil
	s.writes, s.lane = s.writes[:0], s.lane[:0]
	s.capture, s.partial, s.beside = nil, nil, nil
	s.storing = false
	s.fetches, s.fetched = s.fetches[:0], s.fetched[:0]
	s.view = s.view[:0]
	s.status, s.checked, s.ledHere, s.handedAt = status{}, 0, 0, 0
	s.proposals, s.reads, s.calls, s.transfers = s.proposals[:0], s.reads[:0], s.calls[:0], s.transfers[:0]
	s.configurations = s.configurations[:0]
	s.tickAt, s.writing, s.applying, s.reading, s.held = 0, false, false, false, false
	s.doomed, s.lastWrite, s.open, s.arrived = false, 0, 0, s.arrived[:0]
	s.known, s.reached = [MaxServers]string{}, [MaxServers]bool{}
	s.heard, s.sticky, s.termBegin, s.answered = 0, false, 0, [MaxServers]raft.Instant{}
}

func (w *World) machine() raft.StateMachine {
	if w.options.Machine != nil {
		return w.options.Machine()
	}
	return new(chainMachine)
}

// next draws the luck of what at server s for another time.
func (w *World) next(what, s int) uint64 {
	w.servers[s].nth[what]++
	return w.luck.draw(what, s+1, int(w.phase), w.servers[s].nth[what])
}

// fail reports that an invariant doesn't hold. The first report counts.
func (w *World) fail(name string, server int, format string, args ...any) {
	if w.violation == nil {
		w.violation = newViolation(name, server, w.now, format, args...)
		w.violation.macro = w.macro
	}
}

// failAtLast notes what shows in a last look, when time has passed: in a schedule that stays one event, at whose end it is looked
// at once more.
func (w *World) failAtLast(name string, server int, format string, args ...any) {
	if w.violation == nil {
		w.violation = newViolation(name, server, w.now, format, args...)
	}
}
