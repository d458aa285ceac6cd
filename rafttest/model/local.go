package model

import (
	"errors"
	"io"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A stepper lets an event happen to a node.
type stepper struct {
	tables *tables
	bounds *Bounds
	// patient makes followers loyal to their leader until a deadline passes. Singly makes servers with
	// damage ask one server after the other (see stepper.askAll).
	patient, singly bool

	effects raft.Effects
	buffer  []byte

	// The step that is going on: what becomes of the node, what else came of the event, and the
	// status before.
	node   node
	step   step
	before status
}

// A replica is the state machine of the node at which a step is going on.
type replica struct{ *stepper }

// Apply implements raft.StateMachine.
func (a replica) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		a.node.machine = a.node.machine.next(&entries[i])
		results[i] = a.node.machine.show()
	}
}

// Snapshot implements raft.StateMachine.
func (a replica) Snapshot() (io.WriterTo, error) { return nil, errors.ErrUnsupported }

// Restore implements raft.StateMachine.
func (a replica) Restore(io.Reader) error { return errors.ErrUnsupported }

// do returns what an event makes of a node. A panic of the core is a violation.
func (s *stepper) do(n *node, e event) (result *step) {
	s.node = *n
	s.node.hashes, s.node.armed = nil, nil
	s.step = step{}
	s.before = n.status
	defer func() {
		if r := recover(); r != nil {
			broken := violated(sim.Assertion, n.server, "%v", r)
			var invariant *raft.InvariantError
			if err, ok := r.(error); ok && errors.As(err, &invariant) {
				broken = violated(sim.Assertion, n.server, "%s", invariant.Name)
			}
			s.node.core = nil
			s.node.status = n.status
			result = &step{after: n, broken: broken}
		}
	}()
	s.happen(n, e)
	if s.step.broken == nil {
		s.settle()
		s.askAll()
		s.forsake()
	}
	return s.finish(n)
}

// asksAll says whether a server with damage asks all others at once, as often as it can before it asks
// them again and again.
func (b *Bounds) asksAll() bool { return b.Damages > 0 && b.Soup && b.Rounds == 0 && !b.Timeouts }

// maxRounds is the number of rounds of questions after which a server with damage goes on as before.
const maxRounds = 4

// askAll lets a server with damage ask all others, where messages stay on their way. A question that
// was asked may as well arrive later, or never, and bytes are taken whoever gives them. So nothing is
// missed if the time between the questions passes at once. How often the others were asked in vain
// decides only when a snapshot is needed instead, and there are none here.
func (s *stepper) askAll() {
	if !s.bounds.asksAll() || s.singly {
		return
	}
	for rounds := 0; rounds <= maxRounds && s.step.broken == nil; {
		if !s.node.core.Pass("repair") {
			return
		}
		s.settle()
		if s.node.core.Status().Questions == 0 {
			rounds++
		}
	}
}

// forsake ends a follower's loyalty at once, where messages stay on their way. A loyal follower has
// heard its leader and ignores requests for votes for some time. A request that is ignored is as
// good as one that arrives later. So nothing is missed if that time passes at once.
func (s *stepper) forsake() {
	if (s.bounds.Timeouts || s.bounds.Damages > 0) && s.bounds.Soup && !s.patient && s.node.core != nil {
		s.node.core.Pass("sticky")
	}
}

// happen hands an event to the core.
func (s *stepper) happen(n *node, e event) {
	if e.kind() == eventCrash || e.kind() == eventStart || e.kind() == eventDamage {
		if e.kind() == eventDamage {
			s.damage(raft.Index(e.number()))
		} else {
			s.restart(e.number())
		}
		if s.step.broken == nil {
			s.acquaint()
		}
		return
	}
	core := n.core.Clone()
	s.node.core = core
	switch {
	case e.arrival():
		core.Receive(0, answering(n.start, s.tables.message(uint32(e)).content))
		if now := core.Standing(); now.Refused > 0 {
			s.fail(sim.NoContradiction, "refuses a message of %s: %s", now.RefusedFrom, now.RefusedWhy)
		}
	case e == eventTransfer:
		core.Receive(0, s.timeoutNow(n))
	case e == eventOverdue:
		for n := 0; n < maxPatience && core.Status().Role == follows; n++ {
			core.Pass("elect")
		}
	case e == eventPropose:
		s.step.call = core.Propose(0, []byte("x"))
	case e == eventRead:
		s.step.call = core.Read(0)
	case e.kind() == eventRemove:
		s.step.call = core.Call(0, wire.Call{Kind: wire.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: idOf(e.number())}}}})
	case e.kind() == eventAdd:
		s.step.call = core.Call(0, wire.Call{Kind: wire.CallAdd,
			Members: []raft.Member{{Server: raft.Server{ID: idOf(e.number())}, Role: raft.Voter}}})
	case e.kind() == eventHandOver:
		_ = core.Transfer(0, idOf(e.number())) // it may refuse
	case e == eventPersist:
		s.persist(1)
	case e.kind() == eventPass:
		core.Pass(n.armed[e.number()])
	}
	s.observe()
}

// answering returns a message, with a vote as an answer to a start of the candidate. A candidacy of
// an earlier start was in an earlier term.
func answering(start uint64, m wire.Message) wire.Message {
	if m.Kind() != wire.KindVoteResponse {
		return m
	}
	vote := m.VoteResponse()
	vote.Start = start
	return vote.Message().In(m.Envelope)
}

// acquaint tells a server that begins the first starts of all others, and what they know of its disk:
// no disk goes back here, so that is nothing. Otherwise there would be a state for each set of servers
// that it has heard from.
func (s *stepper) acquaint() {
	for i := range s.bounds.Servers {
		if i == s.node.server {
			continue
		}
		m := wire.Started{}.Message()
		m.From, m.To, m.Cluster, m.Term = idOf(i), idOf(s.node.server), clusterID, foundingTerm
		m.FromIncarnation, m.ToIncarnation, m.FromStart = incarnation, incarnation, wire.NextStart(0, 0)
		s.node.core.Receive(0, m)
		known := wire.Known{Start: s.node.start}.Message().In(m.Envelope)
		s.node.core.Receive(0, known)
	}
}

// timeoutNow returns the message that tells a node to campaign. It comes from the node's leader if
// the node knows one.
func (s *stepper) timeoutNow(n *node) wire.Message {
	from := n.status.leader
	if from == "" {
		from = idOf((n.server + 1) % s.bounds.Servers)
	}
	m := wire.TimeoutNow{}.Message()
	m.From, m.To, m.Cluster, m.Term = from, idOf(n.server), clusterID, n.status.term
	m.FromIncarnation, m.ToIncarnation = incarnation, incarnation
	return m
}

// restart crashes the node and starts it again. The oldest n of its queued writes have reached the
// disk.
func (s *stepper) restart(n int) {
	for _, w := range s.node.writes[:n] {
		s.node.disk = s.node.disk.with(w)
	}
	s.node.writes, s.node.view, s.node.machine = nil, s.node.disk.slots, 0
	core, err := raft.NewCore(raft.CoreConfig{
		ID: idOf(s.node.server), Saved: s.node.disk.saved(), Seed: 1,
		MaxWrites: s.bounds.Writes, MaxAppendBytes: s.bounds.AppendBytes,
	})
	if err != nil {
		s.fail(sim.Assertion, "doesn't start: %v", err)
		return
	}
	s.node.core, s.node.start = core, core.Origin().Start
	if want := wire.NextStart(s.node.disk.state.Start, 0); s.node.start != want {
		s.fail(sim.WritesInOrder, "start %#x follows start %#x", s.node.start, s.node.disk.state.Start)
	}
	s.before = look(core)
	s.node.status = s.before
	if s.before.term < s.node.disk.state.Term {
		s.fail(sim.Cursors, "starts in term %d, durable is %d", s.before.term, s.node.disk.state.Term)
	}
}

// maxPatience is how many times a server with damage lets the deadline of its election pass at most.
const maxPatience = 16

// damage crashes the node when all of its writes are durable, and lets its disk lose the bytes of an
// entry.
func (s *stepper) damage(index raft.Index) {
	for _, w := range s.node.writes {
		s.node.disk = s.node.disk.with(w)
	}
	s.node.writes = nil
	s.node.disk.lost |= 1 << index
	s.restart(0)
}

// persist makes the oldest n writes durable.
func (s *stepper) persist(n int) {
	writes := s.node.writes
	for _, w := range writes[:n] {
		s.node.disk = s.node.disk.with(w)
	}
	s.node.writes = append([]*raft.Write(nil), writes[n:]...)
	s.node.core.Persisted(0, writes[n-1].Number)
}

// settle performs the core's effects, and the effects that follow from those, until there are none.
// The state machine applies at once, entries that have left memory are read at once, and writes
// take effect at once unless disks are asynchronous.
func (s *stepper) settle() {
	e := &s.effects
	for s.step.broken == nil {
		core := s.node.core
		core.Drain(e)
		s.observe()
		for i := range e.Messages {
			s.send(&e.Messages[i])
		}
		busy := false
		if e.Write.Number != 0 && s.step.broken == nil {
			write := e.Write
			s.write(&write)
			busy = !s.bounds.AsyncDisks
		}
		s.step.answers = append(s.step.answers, e.Answers...)
		busy = s.apply(e.Apply) || busy
		for _, f := range e.Fetches {
			core.Fetched(0, f, s.node.disk.read(f))
			busy = true
		}
		if s.step.broken != nil || !busy {
			return
		}
		if !s.bounds.AsyncDisks && len(s.node.writes) > 0 {
			s.persist(len(s.node.writes))
		}
		s.observe()
	}
}

// read returns what Storage.Entries would return.
func (d *disk) read(f raft.Fetch) []raft.Entry {
	last := min(f.Last, raft.Index(len(d.entries)))
	if f.After >= last {
		return nil
	}
	return d.entries[f.After:last:last]
}

// apply hands entries to the state machine and reports their results to the core. It reports
// whether there were any.
func (s *stepper) apply(batches [][]raft.Entry) bool {
	if len(batches) == 0 {
		return false
	}
	applier := raft.NewApplier(replica{s}, s.node.core.Origin())
	for _, entries := range batches {
		batch, err := applier.Apply(entries)
		if err != nil {
			s.fail(sim.Assertion, "%v", err)
			return true
		}
		s.step.applied = append(s.step.applied, entries...)
		s.node.core.Applied(0, batch)
	}
	return true
}

// finish makes a step from what has happened.
func (s *stepper) finish(n *node) *step {
	result := s.step
	if result.broken == nil {
		if err := s.node.core.Check(); err != nil {
			s.fail(sim.CoreCheck, "%v", err)
			result.broken = s.step.broken
		}
	}
	if result.broken != nil {
		broken := s.node
		result.after = &broken
		return &result
	}
	result.whole = result.whole || len(s.node.writes) < max(s.bounds.Writes, 1)
	result.after = s.tables.addNode(&s.node, &s.buffer)
	now := &result.after.status
	before := &n.status
	result.plain = len(result.applied) == 0 && len(result.answers) == 0 && result.call == 0 && now.commit == before.commit &&
		now.role == before.role && now.term == before.term && n.start == result.after.start && sameLog(n.view, result.after.view)
	for _, m := range result.sent {
		c := &m.content
		result.commit = max(result.commit, c.AppendRequest().Commit, c.Heartbeat().Commit)
		switch c.Kind() {
		case wire.KindAppendRequest, wire.KindHeartbeat, wire.KindAppendResponse, wire.KindHeartbeatResponse:
			result.claims = true
		}
	}
	return &result
}

// sameLog reports whether two logs are equal.
func sameLog(a, b []slot) bool {
	return len(a) == len(b) && (len(a) == 0 || a[len(a)-1] == b[len(b)-1])
}

// fail reports that an invariant doesn't hold. Only the first report counts.
func (s *stepper) fail(name, format string, args ...any) {
	if s.step.broken == nil {
		s.step.broken = violated(name, s.node.server, format, args...)
	}
}
