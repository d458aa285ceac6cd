package sim

import (
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A Trace is all that happened in a run, in order. Everything that shows a run to people is made
// from it: a transcript, or a diagram (package rafttest/diagram).
type Trace struct {
	Result Result
	Steps  []Step
}

// A StepKind is the kind of a Step.
type StepKind uint8

// The kinds of steps
const (
	// StepEvent is an event together with all that it caused.
	StepEvent StepKind = iota
	// StepBegin and StepEnd enclose the steps of an event in which time passes by itself.
	StepBegin
	StepEnd
	// StepFault is a fault of a timed run. If it consists of events, these follow as steps of their
	// own.
	StepFault
	// StepMiss is the arrival of a message at a server that is down.
	StepMiss
	// StepBroken is an event in which the core or the state machine panicked.
	StepBroken
)

// A Step is one thing that happened.
type Step struct {
	Kind   StepKind
	Inside bool // inside of an event in which time passes by itself
	At     int64
	Event  Event
	Text   string // what happened, in words
	Server int    // the server to which it happened, from 0; -1 for none in particular
	Until  int64  // for StepFault, the end of a pause or a stall; 0 otherwise

	Delivered int // the message that arrived, by its number; 0 for none
	Sent      []Sent
	Lost      []Fate // messages that the network lost in this step
	Answers   []Told
	Effects   []string // what was sent, then what was written and answered, in words

	Servers   []ServerState // after the step
	Logs      []LogChange
	Damage    []DamageChange
	Committed []raft.Entry // entries that a leader was the first to commit in this step
}

// A Sent is a message that left a core.
type Sent struct {
	Message int // from 1, in the order of sending
	Content wire.Message
}

// A Fate says why a message isn't delivered: its link is cut, or chance has lost it.
type Fate struct {
	Message int
	Cut     bool
}

// A Told is the answer to a call.
type Told struct {
	Operation int64
	Read      bool
	Call      bool // the answer to a call for a change of the members
	Index     raft.Index
	Err       error
}

// A ServerState is what an observer sees of a server.
type ServerState struct {
	Up                            bool
	Role                          string
	Term                          raft.Term
	Vote                          raft.ServerID
	Applied, Commit, Stable, Last raft.Index
	Writes                        int // handed to the disk and not done yet
	Wiped                         bool
	Lost                          int // entries whose bytes the disk has lost
	// LostRanges are these entries, in order.
	LostRanges []wire.Range
	Full       bool // it says that its disk is full
	Disk       DiskState
}

// A DiskState is what a disk holds, whether its server runs or not.
type DiskState struct {
	Term          raft.Term
	Vote          raft.ServerID
	Base, Last    raft.Index // the entries after Base, up to Last
	Snapshot      wire.Place // what the current snapshot covers; its zero value if there is none
	SnapshotBytes int
}

// A DamageChange says that the disk of a server has lost the bytes of entries, or that this is over.
type DamageChange struct {
	Server  int
	Entries wire.Range
	What    DamageKind
}

// A DamageKind says what has become of entries.
type DamageKind string

// What may become of the bytes of entries
const (
	DamageLost     DamageKind = "lost"
	DamageRepaired DamageKind = "repaired" // the disk has the bytes again
	DamageGone     DamageKind = "gone"     // the entries have left the log
)

// A LogChange says that the log of a server now ends with Entries after index After. The log
// includes all writes that were handed out. After a crash it is what the disk holds.
type LogChange struct {
	Server  int
	After   raft.Index
	Entries []raft.Entry
}

// Trace performs a run and returns all that happened in it.
func (w *World) Trace(run func(*World) Result) Trace {
	var t Trace
	t.Result = w.observed(func(s *Step) { t.Steps = append(t.Steps, *s) }, run)
	return t
}

// Watch performs a run and calls see with each step, which see may keep. When see returns false, the
// run ends there, and see isn't called again: cut is true then, and the result tells of no
// violation.
func (w *World) Watch(see func(*Step) bool, run func(*World) Result) (result Result, cut bool) {
	enough := newViolation("", -1, 0, "the watcher has seen enough")
	r := w.observed(func(s *Step) {
		if cut = cut || !see(s); cut {
			w.violation, w.excused = enough, "" // it ends the run as a violation does
		}
	}, run)
	if cut {
		r.Violation = nil
	}
	return r, cut
}

// observed performs a run and calls see with each step.
func (w *World) observed(see func(*Step), run func(*World) Result) Result {
	w.trace = &recorder{see: see, messages: map[flight]int{}}
	defer func() { w.trace = nil }()
	r := run(w)
	w.trace.broken(w)
	return r
}

// A recorder makes steps of what the world tells it.
type recorder struct {
	see      func(*Step)
	open     []*Step // events that have begun: one in which time passes, and one inside of it
	messages map[flight]int
	sent     int
	logs     [MaxServers][]raft.Entry
	commit   raft.Index
	lost     [MaxServers][]wire.Range
}

// A flight names a message by its link and its number on that link.
type flight struct {
	from, to int
	number   uint64
}

// begin notes that an event is about to happen.
func (t *recorder) begin(w *World, e *Event, m *wire.Message) {
	s := &Step{Event: *e, At: w.now, Text: describe(e, m), Server: int(e.Server), Inside: len(t.open) > 0}
	if e.Op.alone() {
		s.Server = -1
	}
	if e.Op == OpFound || e.Op == OpPass || e.Op == OpSettle {
		begun := *s
		begun.Kind = StepBegin
		t.show(w, &begun)
		s.Kind = StepEnd
	}
	t.open = append(t.open, s)
}

// end notes that the current event has happened, or that it couldn't.
func (t *recorder) end(w *World, e *Event, happened bool) {
	s := t.current()
	t.open = t.open[:len(t.open)-1]
	if !happened && s.Kind != StepEnd {
		return
	}
	s.At, s.Event = w.now, *e
	if !e.Op.alone() && !w.servers[e.Server].up {
		t.reload(w, s)
	}
	t.show(w, s)
}

// broken shows the events that a panic has ended.
func (t *recorder) broken(w *World) {
	for i := len(t.open) - 1; i >= 0; i-- {
		s := t.open[i]
		s.Kind, s.At = StepBroken, w.now
		s.Text += " !"
		t.show(w, s)
	}
	t.open = nil
}

// show completes a step with the state after it, and hands it out.
func (t *recorder) show(w *World, s *Step) {
	s.Servers = make([]ServerState, w.n)
	for i := range s.Servers {
		s.Servers[i] = w.servers[i].seen()
		t.damage(w, s, i)
	}
	for t.commit < w.ghost.commit() {
		t.commit++
		if e := w.committedEntry(t.commit); e != nil {
			s.Committed = append(s.Committed, *e)
		}
	}
	t.see(s)
}

// damage notes what has become of the bytes of entries on a server's disk.
func (t *recorder) damage(w *World, s *Step, i int) {
	was, now, d := t.lost[i], s.Servers[i].LostRanges, w.servers[i].disk
	if len(was)+len(now) == 0 {
		return
	}
	t.lost[i] = now
	add := func(index raft.Index, what DamageKind) {
		if n := len(s.Damage); n > 0 && s.Damage[n-1].Server == i && s.Damage[n-1].What == what && s.Damage[n-1].Entries.Last+1 == index {
			s.Damage[n-1].Entries.Last = index
			return
		}
		s.Damage = append(s.Damage, DamageChange{i, wire.Range{First: index, Last: index}, what})
	}
	for _, r := range was {
		for index := r.First; index <= r.Last; index++ {
			switch {
			case within(now, index):
			case index > d.base && index <= d.last():
				add(index, DamageRepaired)
			default:
				add(index, DamageGone)
			}
		}
	}
	for _, r := range now {
		for index := r.First; index <= r.Last; index++ {
			if !within(was, index) {
				add(index, DamageLost)
			}
		}
	}
}

// within says whether an index is in one of some ranges.
func within(ranges []wire.Range, index raft.Index) bool {
	return slices.ContainsFunc(ranges, func(r wire.Range) bool { return r.First <= index && index <= r.Last })
}

// current returns the event that is going on, or nil if there is none.
func (t *recorder) current() *Step {
	if len(t.open) == 0 {
		return nil
	}
	return t.open[len(t.open)-1]
}

// delivered notes which message the current event delivers.
func (t *recorder) delivered(m *wire.Message, number uint64) {
	s := t.current()
	s.Text = deliverText(m)
	s.Delivered = t.messages[flight{serverOf(m.From), serverOf(m.To), number}]
}

// arrives notes which message has arrived at a process that stands still.
func (t *recorder) arrives(m *wire.Message) {
	s := t.current()
	s.Text, s.Delivered = fmt.Sprintf("arrives %s>%s %s", m.From, m.To, MessageText(m)), 0
}

// sends notes a message that leaves a core. number counts the messages of its link.
func (t *recorder) sends(m *wire.Message, number uint64) {
	s := t.current()
	t.sent++
	t.messages[flight{serverOf(m.From), serverOf(m.To), number}] = t.sent
	s.Sent = append(s.Sent, Sent{t.sent, *m})
	s.Effects = slices.Insert(s.Effects, len(s.Sent)-1, "→"+string(m.To)+" "+MessageText(m))
}

// loses notes that the network loses a message.
func (t *recorder) loses(from, to int, number uint64, cut bool) {
	if s := t.current(); s != nil {
		s.Lost = append(s.Lost, Fate{t.messages[flight{from, to, number}], cut})
	}
}

// misses notes that a message arrives at a server that is down.
func (t *recorder) misses(w *World, m *wire.Message, number uint64) {
	from, to := serverOf(m.From), serverOf(m.To)
	t.show(w, &Step{Kind: StepMiss, Inside: len(t.open) > 0, At: w.now, Server: to, Delivered: t.messages[flight{from, to, number}],
		Event: Event{Op: OpDeliver, Server: int8(to), Peer: int8(from), Kind: m.Kind()},
		Text:  deliverText(m) + ", which is down"})
}

// fault notes a fault of a timed run. until is when it ends by itself, or 0 if an event ends it.
func (t *recorder) fault(w *World, name string, server int, until int64) {
	t.show(w, &Step{Kind: StepFault, Inside: len(t.open) > 0, At: w.now, Server: server, Until: until,
		Event: Event{Server: int8(server)}, Text: name})
}

// applies notes the commands that a user's state machine has applied in one batch, with their
// results.
func (t *recorder) applies(batch []raft.Entry, results [][]byte) {
	s := t.current()
	if s == nil {
		return
	}
	for i := range batch {
		s.Effects = append(s.Effects, fmt.Sprintf("applies %d %s → %s", batch[i].Index, Show(batch[i].Data), Show(results[i])))
	}
}

// writes notes a write that is handed out.
func (t *recorder) writes(w *World, i int, write *raft.Write) {
	s := t.current()
	s.Effects = append(s.Effects, writeText(write))
	if meta := write.Snapshot; meta != nil && meta.Index <= w.ghost.commit() {
		log, index := t.logs[i], meta.Index
		if raft.Index(len(log)) < index || log[index-1].Term != meta.Term {
			t.logs[i] = slices.Clone(w.ghost.entries[:index])
			s.Logs = append(s.Logs, LogChange{i, 0, t.logs[i]})
		}
	}
	if len(write.Entries) == 0 {
		return
	}
	after := min(write.Entries[0].Index-1, raft.Index(len(t.logs[i])))
	t.logs[i] = append(t.logs[i][:after:after], write.Entries...)
	s.Logs = append(s.Logs, LogChange{i, after, write.Entries})
}

// reload replaces the log of a server by what its disk holds.
func (t *recorder) reload(w *World, s *Step) {
	i := s.Server
	now, same := w.servers[i].disk, 0
	for same < len(t.logs[i]) && same < len(now.entries) && equalEntries(&t.logs[i][same], &now.entries[same]) {
		same++
	}
	if same == len(t.logs[i]) && same == len(now.entries) {
		return
	}
	t.logs[i] = slices.Clone(now.entries)
	s.Logs = append(s.Logs, LogChange{i, raft.Index(same), t.logs[i][same:]})
}

func equalEntries(a, b *raft.Entry) bool {
	return a.Term == b.Term && chainEntry(0, a) == chainEntry(0, b)
}

// answers notes the answer that a caller gets.
func (t *recorder) answers(w *World, i int, a *raft.Answer) {
	numbers := w.servers[i].proposals
	switch {
	case a.Read:
		numbers = w.servers[i].reads
	case a.Call:
		numbers = w.servers[i].calls
	}
	told := Told{Operation: -1, Read: a.Read, Call: a.Call, Index: a.Index, Err: a.Err}
	if a.Number < uint64(len(numbers)) {
		told.Operation = int64(numbers[a.Number]) - 1
	}
	s := t.current()
	s.Answers = append(s.Answers, told)
	s.Effects = append(s.Effects, answerText(a))
}

// seen returns what an observer sees of a server. Of a server that is down, it is what the disk
// holds.
func (s *server) seen() ServerState {
	if !s.up {
		last := s.disk.last()
		return ServerState{Term: s.disk.state.Term, Vote: s.disk.state.Vote, Stable: last, Last: last, Wiped: s.wiped(),
			Lost: len(s.disk.gone), LostRanges: s.disk.lostRanges(), Disk: s.disk.seen()}
	}
	now := &s.status
	return ServerState{
		Up: true, Role: now.role, Term: now.term, Vote: s.core.Status().Vote,
		Applied: now.applied, Commit: now.commit, Stable: now.stable, Last: now.last,
		Writes: len(s.writes), Wiped: s.wiped(), Full: s.full,
		Lost: len(s.disk.gone), LostRanges: s.disk.lostRanges(), Disk: s.disk.seen(),
	}
}

// seen returns what an observer sees of a disk.
func (d *disk) seen() DiskState {
	now := DiskState{Term: d.state.Term, Vote: d.state.Vote, Base: d.base, Last: d.last()}
	if d.current != nil {
		now.Snapshot = wire.Place{Index: d.current.meta.Index, Term: d.current.meta.Term}
		now.SnapshotBytes = len(d.current.bytes)
	}
	return now
}

// committedEntry returns the entry that is committed at an index, from any disk that holds it. It
// returns nil if none does.
func (w *World) committedEntry(i raft.Index) *raft.Entry {
	for j := 0; j < w.n; j++ {
		for _, d := range w.servers[j].disks {
			if i <= d.last() && d.slots[i-1] == w.ghost.committed[i-1] {
				return &d.entries[i-1]
			}
		}
	}
	return nil
}
