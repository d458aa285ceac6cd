package sim

import (
	"errors"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A disk may go back in time: an image of it, taken at an earlier moment, is put back while the
// server is down. It is the same disk by its incarnation, and its server doesn't know. What is
// promised then:
//
//   - An answer is never another command's (OwnAnswers). That holds always, whatever went back.
//   - A server takes no part because of that only if its disk went back (NoFalseAlarm). That holds always, too.
//   - The cluster makes progress, and the server that went back catches up or says that it takes no part, as
//     long as a majority of the disks didn't go back, and none to when its server was alone (Convergence).
//   - A durable state machine that has applied what the log doesn't hold is refused by name, at the start (Belongs). So
//     is no other one: a log and a state machine that went back together, or the state machine alone, go on.
//   - All other invariants hold as long as a server that went back, and hasn't noticed, speaks only to servers that
//     know better: they have heard of a start of its disk that the disk has forgotten; or they lead the last term that
//     it knew, and it has acknowledged more to them than it holds. From the first message on that reaches another
//     server, the run is beyond what is promised.

// An image is what a disk held at one moment.
type image struct {
	disk *disk
	kept kept
}

// maxImages bounds the images of a disk. The oldest goes first.
const maxImages = 4

// takeImage takes an image of a server's disk. A real log is copied only while its server is down,
// as one has to do it. What a user's durable state machine holds can't be copied, but it can be
// made again (remake).
func (w *World) takeImage(i int) bool {
	s := &w.servers[i]
	if s.disk.state.Server == "" || s.rotten || s.disk.spoiled || s.disk.wal != nil && s.up {
		return false
	}
	if len(s.images) == maxImages {
		s.images = append(s.images[:0], s.images[1:]...)
	}
	s.images = append(s.images, image{s.disk.imaged(), s.keeps()})
	return true
}

// imaged returns an independent copy of a disk, with its real log if there is one.
func (d *disk) imaged() *disk {
	n := d.clone()
	if d.wal != nil {
		n.wal = d.wal.imaged()
	}
	return n
}

// putBack puts an image back on the disk of a server that is down. It reports whether the disk has
// forgotten anything by that.
func (w *World) putBack(i, n int) bool {
	return w.goesBack(i, n) && w.keepAgain(i, &w.servers[i].images[n].kept) && w.logBack(i, n)
}

// machineBack puts an image of what a durable state machine keeps back, while the server is down.
// The log stays as it is: the server has forgotten no promise. It reports whether the state machine
// has forgotten anything.
func (w *World) machineBack(i, n int) bool {
	s := &w.servers[i]
	if s.up || n >= len(s.images) || w.params.Durable == 0 || s.images[n].kept.index >= s.keeps().index || !w.keepAgain(i, &s.images[n].kept) {
		return false
	}
	w.stats.MachineBacks++
	return true
}

// logBack is putBack of the log alone. What a durable state machine keeps stays, and may then be
// ahead of the log, or have applied entries that the log has others for.
func (w *World) logBack(i, n int) bool {
	if !w.goesBack(i, n) {
		return false
	}
	s := &w.servers[i]
	was := s.images[n]
	if !w.expendable(i) {
		// A majority went back, or the rest can't lead: nothing is promised but OwnAnswers and
		// NoFalseAlarm.
		w.beyond, w.hopeless = true, true
	}
	if n := len(was.disk.configurations); n == 0 || was.disk.configurations[n-1].configuration.SoleVoter(s.id) {
		// It was alone then, and needs nobody to lead.
		w.beyond, w.hopeless = true, true
	}
	gone := s.disk.clone()
	gone.wal = nil
	s.forgotten = append(s.forgotten, gone)
	present := s.disk.room // the disk is as full as it was
	if forgotten := gone.weight() - was.disk.weight(); forgotten > 0 {
		present.untold = append(present.untold, untold{at: w.now, bytes: forgotten, back: true, from: len(s.backStarts)})
	}
	*s.disk = *was.disk.imaged()
	s.disk.back, s.disk.room = true, present
	w.stats.Backs++
	return true
}

// goesBack reports whether an image can be put back on the disk of a server, and is another state
// of it.
func (w *World) goesBack(i, n int) bool {
	s := &w.servers[i]
	if s.up || s.rotten || s.disk.spoiled || n >= len(s.images) || len(w.ghost.configurations) == 0 {
		return false
	}
	was := s.images[n].disk
	return was.state != s.disk.state || was.last() != s.disk.last()
}

// went holds what the simulator notes of a server whose disk may have gone back.
type went struct {
	images []image
	// forgotten is what the disks of the server held before they went back, each time.
	forgotten []*disk
	// backStarts are the starts of all disks that went back, since they did.
	backStarts []uint64
	heardOf    [MaxServers]heardOf // by the present life
	outdated   bool                // the message that is being delivered is of a start that was known to be over
	gave       []gave              // by the present life
	forgetful  bool                // in a timed run, the disk loses the next write after it has said that it is durable

	inquiry
}

// A heardOf is the latest start that a server has heard of from another one.
type heardOf struct {
	incarnation raft.Incarnation
	start       uint64
	back        bool // the disk is known to have gone back
	// acked is the highest index that the server, as the leader of a term, was told to be durable
	// there.
	term  raft.Term
	acked raft.Index
	// promised is the most that the disk has promised in a message, and before that of the starts
	// before the latest one.
	promised, before wire.Place
	// roomBy is the start that has answered a heartbeat of this leader last, and so has told how much
	// room its disk has.
	roomBy uint64
}

// speaks notes that a message reaches a server. A server that went back and speaks to one that
// doesn't know better takes the run beyond what is promised.
func (w *World) speaks(i int, m *wire.Message) {
	s, sender := &w.servers[i], &w.servers[serverOf(m.From)]
	h := &s.heardOf[serverOf(m.From)]
	s.outdated = false
	if m.ToIncarnation != 0 && m.ToIncarnation != s.disk.state.Incarnation {
		return // it is for another disk, and isn't taken
	}
	configuration := s.core.Status().Configuration
	if configuration == nil || !configuration.Names(m.From, h.incarnation) {
		*h = heardOf{}
	}
	if configuration == nil || !configuration.Names(m.From, m.FromIncarnation) {
		h = new(heardOf) // it says nothing of the disk that the configuration names
	} else if m.FromStart != 0 {
		if h.incarnation != m.FromIncarnation {
			*h = heardOf{incarnation: m.FromIncarnation}
		}
		if wire.StartCount(m.FromStart) > wire.StartCount(h.start) {
			h.start, h.before = m.FromStart, h.promised
		}
		// Two starts of one count are proof: nothing more is heard of that disk.
		other := m.FromStart != h.start
		h.back = h.back || m.Kind() == wire.KindRolledBack || other && wire.StartCount(m.FromStart) == wire.StartCount(h.start)
		s.outdated = h.back || other
	}
	switch m.Kind() {
	case wire.KindStarted, wire.KindKnown, wire.KindRolledBack, wire.KindIdentityRequest, wire.KindIdentityResponse:
		return // these claim nothing that the disk may have forgotten
	}
	if s.outdated {
		return
	}
	if h.start != 0 && m.FromStart != 0 && !s.status.noticed {
		h.promises(m)
	}
	if slices.Contains(sender.backStarts, m.FromStart) && !w.knowsByLog(s, sender, h, m) {
		w.beyond = true
	}
	if s.status.role != leads || m.Term != s.status.term {
		return
	}
	if h.term != m.Term {
		h.term, h.acked = m.Term, 0
	}
	if m.Kind() == wire.KindHeartbeatResponse {
		h.roomBy = m.FromStart
	}
	answer := m.AppendResponse()
	if !answer.Accepted {
		answer.Index = 0
	}
	h.acked = max(h.acked, answer.Index, m.HeartbeatResponse().Durable)
}

// knowsByLog reports whether the leader of a term knows by its log that the sender's disk went
// back: the disk has acknowledged to it more than it holds, and has forgotten no later term.
func (w *World) knowsByLog(s, sender *server, h *heardOf, m *wire.Message) bool {
	if s.status.role != leads || m.Term != s.status.term || h.term != m.Term || h.acked == 0 || h.acked > raft.Index(len(s.view)) {
		return false
	}
	d := sender.disk
	for _, f := range sender.forgotten {
		if f.state.Incarnation == d.state.Incarnation && f.state.Term > m.Term {
			return false
		}
	}
	return d.back && (d.last() < h.acked || d.slots[h.acked-1] != s.view[h.acked-1])
}

// noticed reports whether a server knows that its disk went back.
func (s *server) noticed() bool {
	return s.up && errors.Is(s.core.Status().Trouble, raft.ErrRolledBack)
}

// checkAlarm checks that a server doesn't say that its disk went back if it didn't.
func (w *World) checkAlarm(i int) {
	s := &w.servers[i]
	if s.status.noticed && !s.disk.back {
		w.fail(NoFalseAlarm, i, "its disk never went back")
	}
}

// always are the invariants that hold whatever went back. hopeful is among them as long as a
// majority of the disks didn't go back.
var always = map[string]bool{
	OwnAnswers: true, NoFalseAlarm: true, Answers: true, DeadlinesMove: true, StalledDisk: true, Recovery: true,
}

// promised reports whether an invariant is promised in this run.
func (w *World) promised(name string) bool {
	if (name == Convergence || name == Starts) && w.missing() {
		return false
	}
	return !w.beyond || always[name] || name == Convergence && !w.hopeless
}

// A gave is a command of a server's own callers that its state machine has applied.
type gave struct {
	index        raft.Index
	data, result uint64 // hashes
}

// giveResults notes what the state machine of a server gives for the commands of its own callers.
func (s *server) giveResults(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		if e := &entries[i]; e.Origin.Server == s.id && e.Kind == wire.EntryCommand {
			s.gave = append(s.gave, gave{e.Index, hashBytes(e.Data), hashBytes(results[i])})
		}
	}
}

// checkOwn checks that a command without a session is answered with what the state machine of its
// server gave for this very command.
func (w *World) checkOwn(i int, o *operation, a *raft.Answer) {
	if o.op != OpPropose && o.op != OpProposeFenced {
		return
	}
	s := &w.servers[i]
	for j := len(s.gave) - 1; j >= 0; j-- {
		if g := &s.gave[j]; g.index == a.Index && g.data == o.data && g.result == hashBytes(a.Result) {
			return
		}
	}
	w.fail(OwnAnswers, i, "command %d is answered with %x at index %d, where this server's state machine applied another one, or gave another result",
		a.Number, a.Result, a.Index)
}

// holdsOrDid reports whether the disk that a member names holds an entry of a term at an index, or
// held it before it went back. It returns the disk as it was then.
func (w *World) holdsOrDid(m *raft.Member, index raft.Index, term raft.Term) *disk {
	d := w.diskOf(m)
	if d == nil || d.term(index) == term {
		return d
	}
	for _, f := range w.servers[serverOf(m.ID)].forgotten {
		if f.state.Incarnation == m.Incarnation && f.term(index) == term {
			return f
		}
	}
	return nil
}

// backHappens lets the disk of a server go back to an image, if there is one. Then, or before, an
// image is taken.
func (w *World) backHappens(i int, h uint64) {
	s := &w.servers[i]
	n := len(s.images)
	if n > 0 && mix(h)%4 != 0 && (w.expendable(i) || mix(h+1)%8 == 0) {
		w.crashes(i)
		if !s.up {
			w.step(Event{Op: w.partBack(h), Server: int8(i), N: below(mix(h+2), int64(n))}, nil)
			return
		}
	}
	if s.disk.wal != nil || w.params.WAL != 0 {
		w.crashes(i)
	}
	w.step(Event{Op: OpImage, Server: int8(i)}, nil)
}

// partBack returns what goes back: with a durable state machine it may be a part.
func (w *World) partBack(h uint64) Op {
	if w.params.Durable == 0 {
		return OpPutBack
	}
	switch mix(h+3) % 4 {
	case 0:
		return OpLogBack
	case 1:
		return OpMachineBack
	}
	return OpPutBack
}

// belongs reports whether what a durable state machine has kept may go on with the log: it has
// applied what the log holds, or is to be restored from the snapshot before the log.
func (d *disk) belongs(k *kept) bool {
	return k.index == 0 || k.index < d.base || k.index <= d.last() && d.slots[k.index-1] == k.slot
}

// newCore makes the core of a server that starts. If the state machine doesn't belong to the log,
// the user puts its state away, and starts again.
func (w *World) newCore(i int, config *raft.CoreConfig) *raft.Core {
	s := &w.servers[i]
	config.DurableMachine, config.MachineApplied, config.MachineBeside = w.params.Durable != 0, s.kept.index, s.kept.beside
	core, err := raft.NewCore(*config)
	if w.judgeStart(i, err) {
		s.kept = kept{}
		if w.options.Store != nil {
			w.closeStore(s)
			s.store = nil
			w.openMachine(i)
		}
		config.MachineApplied, config.MachineBeside = 0, nil
		core, err = raft.NewCore(*config)
		w.judgeStart(i, err)
	}
	return core
}

// judgeStart checks that a start is refused if the state machine doesn't belong to the log, and
// only then. It reports whether the user puts the state of the machine away and starts again.
func (w *World) judgeStart(i int, err error) (again bool) {
	s := &w.servers[i]
	switch belongs := s.disk.belongs(&s.kept); {
	case err == nil && !belongs:
		w.fail(Belongs, i, "its state machine has applied index %d, and the log, which ends at %d, doesn't hold what it has applied", s.kept.index, s.disk.last())
	case err == nil:
	case belongs || !errors.Is(err, raft.ErrConfig):
		w.fail(Starts, i, "%v", err)
	default:
		w.notes("is refused: %v; the state of the machine is put away", err)
		w.stats.Refusals++
		return true
	}
	return false
}

// forgets lets the disk of a server lose the write that it has just said to be durable.
func (w *World) forgets(i int) {
	s := &w.servers[i]
	s.forgetful = false
	if n := len(s.images); n > 0 && s.up && w.violation == nil {
		w.crashes(i)
		w.step(Event{Op: OpPutBack, Server: int8(i), N: int64(n) - 1}, nil)
	}
}
