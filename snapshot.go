package raft

import (
	"errors"
	"fmt"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A snapshot stands for the log up to its index (§5.1). The core decides when a snapshot is taken,
// and when it becomes the current one. The core never sees its bytes.
//
//	effect                     what is done                                          report
//	────────────────────────   ───────────────────────────────────────────────────   ─────────────
//	TakeSnapshot               the machine lane captures the state after all
//	                           batches so far; another goroutine writes it, while
//	                           the machine applies more                              SnapshotTaken
//	Write{Snapshot, Compact}   once its index ≤ stable: the snapshot becomes the
//	                           current one, and the log before it may go             Persisted
//	RestoreSnapshot            the machine lane restores the current snapshot,
//	                           after a start or an install                           Restored
//
// The log is forgotten up to the snapshot before the current one. That way the older snapshot can
// take the place of a current one that is found damaged, and a peer that lags a little is served
// from the log.

// snapshots is what a server knows of its snapshots.
type snapshots struct {
	// current is the current snapshot. It is durable, and it is the one that peers are sent. It is
	// nil when there is none.
	current *storedSnapshot
	// named is the snapshot that the next write, or one in flight, makes the current one. It
	// becomes current when that write is durable. It is nil when there is none.
	named *storedSnapshot
	// taking is a snapshot that is being captured and written. taken is a snapshot that was written
	// and waits for its index to be stable. Each is nil when there is none.
	taking      *storedSnapshot
	taken       *storedSnapshot
	restore     restoreState
	freeing     freeing
	turn        bool   // it is this group's turn to take one; for the next Drain
	damaged     bool   // the current one was found damaged, and another one is to take its place
	serial      uint64 // of the last one taken or installed since the start
	handedBytes uint64 // how many bytes the state machine was handed since the start

	// past are the snapshots that were current since the start, beginning with the last one at or
	// before the log's base.
	past   []*storedSnapshot
	verify verification
	// damage is what the storage has said of the damage at the start. failure is why no snapshot
	// could be taken; nil since one was.
	damage, failure error `state:"luck"`
	// fitted is how many bytes were stored of the last snapshot of another server that couldn't be
	// stored as a whole.
	fitted uint64
	// wanted is the least index of a snapshot that a peer needs, because it has lost its own, or that
	// this server needs in the place of entries that it has lost.
	wanted Index
	// lastDemand is the number of the last call of Core.Snapshot.
	lastDemand uint64
}

// encode writes what is known of this server's own snapshots.
func (s *snapshots) encode(e *stateEncoder) {
	for _, snapshot := range []*storedSnapshot{s.current, s.named, s.taking, s.taken} {
		snapshot.encode(e)
	}
	e.numbers(uint64(s.restore), uint64(s.freeing), flag(s.turn), s.serial, s.handedBytes, flag(s.damaged), s.fitted, uint64(s.wanted), s.lastDemand, uint64(len(s.past)))
	for _, past := range s.past {
		past.encode(e)
	}
	s.verify.encode(e)
}

func (s *snapshots) clone() snapshots {
	n := *s
	n.past = append([]*storedSnapshot(nil), s.past...)
	return n
}

// check: the log goes on from the current snapshot, or from the one that takes its place with the
// next write.
func (s *snapshots) check(l *entryLog) error {
	if covered := max(s.current.index(), s.named.index()); l.base.Index > covered || covered > l.commit {
		return broken("Compacted Is Covered", "base %d, snapshot %d, commit %d", l.base.Index, covered, l.commit)
	}
	if (s.restore == restoreWaiting) != (s.named != nil && s.named.installed) {
		return broken("Installed Is Restored", "restore %d", s.restore)
	}
	if s.restore == restoreNot && l.applied < l.base.Index {
		return broken("Compacted Is Covered", "base %d, applied %d", l.base.Index, l.applied)
	}
	founded := Index(0) // up to here another cluster has committed
	for _, snapshot := range []*storedSnapshot{s.current, s.named} {
		if snapshot != nil && snapshot.meta.founding() {
			founded = snapshot.meta.Index
		}
	}
	if n := len(l.configurations); l.commit > founded && (n == 0 || l.configurations[0].index > l.commit) {
		return broken("Configurations Known", "%d of them, commit %d", n, l.commit)
	}
	return nil
}

// A storedSnapshot is a snapshot that was captured or received. It is never changed any more.
type storedSnapshot struct {
	meta  SnapshotMeta
	bytes uint64
	// serial tells the snapshot from the others of this start. The snapshot that was there at the
	// start has 0.
	serial uint64
	// handed is how many bytes the state machine had been handed when the snapshot was captured.
	handed uint64
	// before is how many bytes of the log before the snapshot were kept when the server started with it.
	before uint64
	// compact is the index up to which the log may be forgotten with this snapshot.
	compact   Index
	installed bool // it came from another server, so the state machine is to be restored from it
}

// encode writes a snapshot, which may be nil.
func (s *storedSnapshot) encode(e *stateEncoder) {
	e.numbers(flag(s != nil))
	if s == nil {
		return
	}
	e.meta(&s.meta)
	e.numbers(s.bytes, s.serial, s.handed, s.before, uint64(s.compact), flag(s.installed))
}

func (s *storedSnapshot) place() wire.Place {
	return wire.Place{Index: s.meta.Index, Term: s.meta.Term}
}

// index returns the index of a snapshot, and 0 for nil.
func (s *storedSnapshot) index() Index {
	if s == nil {
		return 0
	}
	return s.meta.Index
}

// A restoreState says how far the restoring of the state machine has got. Until that is done, the
// state machine is handed nothing.
type restoreState uint8

const (
	restoreNot     restoreState = iota
	restoreLost                 // the current snapshot is damaged, and another one has to come
	restoreWaiting              // for the write that makes the snapshot the current one
	restoreDue                  // to be handed out
	restoreRunning              // handed out
)

// snapshotCalls are the calls of Core.Snapshot: those that wait, and the answers to the others.
type snapshotCalls struct {
	demands         []demand
	snapshotAnswers []SnapshotAnswer `state:"transient"`
}

func (s *snapshotCalls) encode(e *stateEncoder) { encodeList(e, s.demands, (*demand).encode) }

func (s *snapshotCalls) clone() snapshotCalls {
	return snapshotCalls{slices.Clone(s.demands), slices.Clone(s.snapshotAnswers)}
}

// A demand is a call of Core.Snapshot that waits.
type demand struct {
	number uint64
	index  Index // that a snapshot must cover to answer it
}

func (d *demand) encode(s *stateEncoder) { s.numbers(d.number, uint64(d.index)) }

// A SnapshotAnswer ends a call of Core.Snapshot.
type SnapshotAnswer struct {
	Number uint64
	Index  Index // that the current snapshot covers
	Err    error
}

// maxDemands bounds the calls of Core.Snapshot that wait.
const maxDemands = 1 << 10

// newSnapshots returns the snapshots of a storage. The state machine is to be restored from the
// current one.
func newSnapshots(saved *Saved) snapshots {
	if saved.Snapshot.Index == 0 {
		return snapshots{}
	}
	current := &storedSnapshot{meta: saved.Snapshot, bytes: saved.SnapshotBytes, before: saved.KeptBytes}
	s := snapshots{current: current, past: []*storedSnapshot{current}, restore: restoreDue}
	if saved.SnapshotDamage != nil {
		s.restore, s.damaged, s.damage = restoreLost, true, saved.SnapshotDamage
	}
	return s
}

// resume begins where the state machine is. That is behind what the state machine has applied in an
// earlier life, if the log goes on from there. Otherwise it is the current snapshot. If that
// snapshot is damaged, the server waits for one of another server. It is an error if there is none.
func (c *Core) resume(config *CoreConfig) error {
	s, applied := &c.snapshots, config.MachineApplied
	if config.DurableMachine {
		if err := c.machineBelongs(config); err != nil {
			return err
		}
		if applied >= c.log.base.Index && (applied > 0 || s.restore == restoreLost) {
			c.log.resume(applied)
			s.restore = restoreNot
			s.handedBytes = config.Saved.LogBytes // in other lives
		}
	}
	if s.restore == restoreLost && c.log.base.Index == 0 {
		s.restore = restoreNot // the whole log is there
		c.log.handed = 0
	}
	if s.restore == restoreLost && c.alone() && len(c.otherServers()) == 0 {
		return fmt.Errorf("%w: the snapshot of index %d is damaged, and there is no other server to get one from",
			ErrCorrupt, s.current.meta.Index)
	}
	return nil
}

// machineBelongs says why a state machine with a durable state can't go on with this log: it has
// applied what the log doesn't hold. Two logs with the same term at an index are the same up to it
// (Log Matching, §3.5). So the term of the last entry tells, unless that entry is before the log.
// Then the state machine is restored from the snapshot.
func (c *Core) machineBelongs(config *CoreConfig) error {
	applied := config.MachineApplied
	term, _, err := splitBeside(config.MachineBeside)
	if err != nil {
		return because(errBeside, err)
	}
	held, known := c.log.term(applied)
	switch {
	case applied > c.log.last:
		return fmt.Errorf("%w: the state machine has applied index %d, but the log ends at %d: they don't belong together",
			ErrConfig, applied, c.log.last)
	case known && term != 0 && term != held:
		return fmt.Errorf("%w: the state machine has applied index %d of term %d, but the log holds one of term %d there: they don't belong together",
			ErrConfig, applied, term, held)
	}
	return nil
}

// lost returns the index that a snapshot must cover to take the place of what this server has lost:
// a snapshot, or committed entries whose bytes no other server has given. It is 0 if nothing is lost
// that the state machine needs.
func (c *Core) lost() Index {
	if c.snapshots.restore == restoreLost {
		return c.snapshots.current.meta.Index
	}
	if first := c.log.obstacle(); first == 0 || first > c.log.commit || c.repairs.rounds == 0 {
		return 0
	}
	return max(c.log.lost.upTo(c.log.commit), c.snapshots.current.index())
}

// These say what is wrong with the current snapshot.
var (
	errSnapshotLost    = errors.New("raft: the snapshot is damaged, and the state machine waits for another server's")
	errSnapshotDamaged = errors.New("raft: the snapshot was found damaged, and another one is to be taken")
	errSnapshotFailed  = errors.New("raft: no snapshot could be taken")
)

// trouble says why there is no snapshot to restore or to send, or why none could be taken last; nil
// if nothing is wrong.
func (s *snapshots) trouble() error {
	switch {
	case s.restore == restoreLost:
		return because(errSnapshotLost, s.damage)
	case s.damaged:
		return errSnapshotDamaged
	case s.failure != nil:
		return because(errSnapshotFailed, s.failure)
	}
	return nil
}

// Snapshot asks for a snapshot of everything that was applied before the call. It returns the
// number by which a SnapshotAnswer will name the call. If the current snapshot covers that much, it
// is the answer.
func (c *Core) Snapshot(now Instant) uint64 {
	c.advance(now)
	s := &c.snapshots
	s.lastDemand++
	number := s.lastDemand
	switch {
	case s.current.index() >= c.log.applied && c.log.applied > 0:
		c.snapshotAnswers = append(c.snapshotAnswers, SnapshotAnswer{Number: number, Index: s.current.index()})
	case c.log.applied == 0:
		c.snapshotAnswers = append(c.snapshotAnswers, SnapshotAnswer{Number: number, Err: ErrNoSnapshot})
	case len(c.demands) >= maxDemands:
		c.snapshotAnswers = append(c.snapshotAnswers, SnapshotAnswer{Number: number, Err: ErrOverloaded})
	default:
		c.demands = append(c.demands, demand{number, c.log.applied})
	}
	return number
}

// CancelSnapshot ends a call of Snapshot. The call is not answered. The snapshot may be taken all
// the same.
func (c *Core) CancelSnapshot(number uint64) {
	c.wake()
	for i := range c.demands {
		if c.demands[i].number == number {
			c.demands = append(c.demands[:i], c.demands[i+1:]...)
			return
		}
	}
}

// grown returns how many bytes the state machine was handed since the current snapshot was
// captured.
func (s *snapshots) grown() uint64 {
	if s.current == nil {
		return s.handedBytes
	}
	return s.handedBytes - s.current.handed
}

// needed says whether another snapshot than the current one is needed: the current one is damaged,
// or it doesn't reach as far as the one that a peer has lost, or
// as this server's lost entries do.
func (s *snapshots) needed() bool { return s.damaged || s.current.index() < s.wanted }

// dueSnapshot says whether a snapshot is to be taken. That is so when one was asked for, or is
// needed. It is also so when the log since the last one has outgrown a floor, and a multiple of the
// size of the last one (§5.1.2): so what is written for snapshots stays in proportion to what is
// written for the log.
//
// While a peer is being sent the current snapshot, it stays, so that the transfer needn't begin
// anew whenever it breaks. But it doesn't stay for ever.
func (c *Core) dueSnapshot() bool {
	s := &c.snapshots
	rests := c.states[snapshotDeadline] != deadlineOff
	if len(c.demands) > 0 || (s.needed() || c.reclaims()) && !rests || s.freeing == freeBySnapshot {
		return true
	}
	limit := uint64(c.config.SnapshotMinBytes)
	if s.current != nil {
		limit = max(limit, uint64(c.config.SnapshotFactor)*s.current.bytes)
	}
	if s.grown() <= limit || rests {
		return false
	}
	return !c.sendingSnapshots() || s.grown() > uint64(c.config.SnapshotRetainBytes)
}

// drainSnapshot asks for a snapshot when one is due. Only one at a time is on its way from the
// state machine to being the current one.
func (c *Core) drainSnapshot(e *Effects) {
	s, l := &c.snapshots, &c.log
	turn := s.turn
	s.turn = false
	idle := s.taking == nil && s.taken == nil && s.named == nil && s.restore == restoreNot && c.incoming.state != incomingStored
	if !idle || l.handed < s.current.index() || l.handed == s.current.index() && !s.damaged || !c.dueSnapshot() {
		return
	}
	if founded := l.configurations; len(founded) == 0 || founded[0].index > l.handed {
		return // it would hold nothing but the state of another cluster
	}
	if c.config.SnapshotTurns && !turn {
		e.SnapshotDue = true
		return
	}
	term, ok := l.term(l.handed)
	assert(ok, "Handed Within Log")
	configuration := l.configurationAt(l.handed)
	s.serial++
	s.taking = &storedSnapshot{
		meta: SnapshotMeta{
			Index: l.handed, Term: term,
			Configuration: *configuration.configuration, ConfigurationIndex: configuration.index,
		},
		handed: s.handedBytes, serial: s.serial,
	}
	e.TakeSnapshot, c.space.captured, s.freeing = &s.taking.meta, c.space.full, freeNot
}

// SnapshotTaken reports that the snapshot that was asked for was captured, and that its bytes are
// durable. bytes is how many there are.
func (c *Core) SnapshotTaken(now Instant, bytes uint64) {
	c.advance(now)
	s := &c.snapshots
	assert(s.taking != nil, "Snapshots Taken Once")
	taken := *s.taking
	taken.bytes = bytes
	s.taking, s.taken, s.failure = nil, &taken, nil
	c.tellFingerprints()
}

// SnapshotFailed reports that the snapshot that was asked for couldn't be captured or written. The
// log stays as it is. The callers that have asked for the snapshot get the error. The core tries
// again after a while.
func (c *Core) SnapshotFailed(now Instant, err error) {
	c.advance(now)
	s := &c.snapshots
	assert(s.taking != nil, "Snapshots Taken Once")
	s.taking, s.failure, c.space.captured, c.space.tried = nil, err, false, c.space.room
	for _, d := range c.demands {
		c.snapshotAnswers = append(c.snapshotAnswers, SnapshotAnswer{Number: d.number, Err: err})
	}
	c.demands = nil
	c.arm(snapshotDeadline, snapshotRetry*c.config.ElectionTimeout)
}

// snapshotRetry is the number of election timeouts after which a snapshot that failed is tried
// again.
const snapshotRetry = 10

// nameSnapshot lets a snapshot that was taken become the current one with the next write, once this
// server's disk holds the log up to it. The storage drops a log that ends before its snapshot: what
// this server has acknowledged would be lost with it.
func (c *Core) nameSnapshot() {
	s := &c.snapshots
	if s.taken == nil || s.named != nil || s.taken.meta.Index > c.log.stable {
		return
	}
	taken := s.taken
	s.taken = nil
	if taken.meta.Index < s.current.index() || taken.meta.Index == s.current.index() && !s.damaged {
		return // a snapshot that was installed meanwhile covers as much
	}
	if !s.damaged {
		taken.compact = c.compactTo()
	}
	s.named, c.out.snapshot = taken, taken
}

// snapshotCurrent notes that a snapshot is the current one: the write that carries it is durable.
func (c *Core) snapshotCurrent(snapshot *storedSnapshot) {
	s := &c.snapshots
	assert(snapshot.meta.Index >= s.current.index(), "Snapshots Rise")
	s.current, s.damaged, s.verify.sound = snapshot, false, false
	if s.named == snapshot {
		s.named = nil
		if snapshot.installed {
			assert(s.restore == restoreWaiting, "Installed Is Restored")
			s.restore = restoreDue
		}
	}
	s.past = append(s.past, snapshot)
	s.forgetPast(c.log.base.Index)
	waiting := c.demands[:0]
	for _, d := range c.demands {
		if d.index <= snapshot.meta.Index {
			c.snapshotAnswers = append(c.snapshotAnswers, SnapshotAnswer{Number: d.number, Index: snapshot.meta.Index})
		} else {
			waiting = append(waiting, d)
		}
	}
	c.demands = waiting
}

// drainRestore hands out the restoring of the state machine from the current snapshot, when it is
// due.
func (c *Core) drainRestore(e *Effects) {
	if c.snapshots.restore == restoreDue {
		c.snapshots.restore = restoreRunning
		e.RestoreSnapshot = &c.snapshots.current.meta
	}
}

// Restored reports that the state machine was restored from the current snapshot. The snapshot may
// hold commands of callers of this server. Nobody saw them applied here, so their outcome is
// unknown.
func (c *Core) Restored(now Instant) {
	c.advance(now)
	s, l := &c.snapshots, &c.log
	assert(s.restore == restoreRunning && len(c.applying) == 0, "Restored Once")
	s.restore = restoreNot
	before := l.applied
	l.applied = max(l.applied, s.current.meta.Index)
	assert(l.applied == l.handed, "Cursors Ordered")
	c.callsMet(before)
	c.commandsJumped(s.current.place())
	c.noticeRemoval()
	if r, leads := c.role.(*leader); leads {
		r.releaseQuota(l)
	}
}
