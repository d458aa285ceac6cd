package raft

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// CoreStatus is what a core shows of itself.
type CoreStatus struct {
	ID          ServerID
	Role        string // "follower", "pre-candidate", "candidate" or "leader"
	Term        Term
	Vote        ServerID
	Leader      ServerID // of this term; "" while unknown
	Incarnation Incarnation
	Start       uint64
	Cluster     ClusterID

	// Applied ≤ Commit ≤ Last, Snapshot ≤ Commit and Stable ≤ Last. Applied is behind Snapshot while the state machine is
	// being restored.
	Snapshot, Applied, Commit, Stable, Last Index
	LastTerm                                Term

	// Configuration is the latest one in the log, committed or not; nil while there is none. It is shared
	// and not to be changed. ConfigurationIndex is its place.
	Configuration      *Configuration
	ConfigurationIndex Index
	// PendingProposals, PendingReads and PendingCalls count the callers who wait.
	PendingProposals, PendingReads, PendingCalls int
	// Diverged says that another server's state machine gives other results than the one here, if that was found
	// (CoreConfig.CompareResults).
	Diverged *Divergence
	// Changing says that this server leads and a change of the members is under way, or about to begin.
	Changing bool
	// Held counts the messages that wait for the disk.
	Held int
	// Leads says that this server leads and its state machine has applied the entry that began the term.
	// LeaseUntil is when a leader's lease ends unless it is renewed, 0 while it has none; QuietUntil when what this
	// server has promised ends, 0 while it has promised nothing. HandingOver is the server that is to lead next.
	Leads                  bool
	LeaseUntil, QuietUntil Instant
	HandingOver            ServerID
	// Trouble says why this server takes no part in its cluster, if it has a reason to think that it
	// doesn't: ErrBootstrapMismatch, ErrOtherIncarnation or ErrOtherCluster.
	Trouble error
}

// Status returns what the core is and knows.
func (c *Core) Status() CoreStatus {
	s := CoreStatus{
		ID: c.id, Role: c.roleName(), Term: c.state.Term, Vote: c.state.Vote, Leader: c.leaderID(),
		Incarnation: c.state.Incarnation, Start: c.state.Start, Cluster: c.state.Cluster,
		Snapshot: c.snapshots.current.index(), Applied: c.log.applied, Commit: c.log.commit,
		Stable: c.log.stable, Last: c.log.last, LastTerm: c.log.lastTerm(),
		PendingProposals: c.proposals.count(), PendingReads: c.waitingReads(),
		PendingCalls: len(c.calls.items), Held: len(c.out.held),
		Trouble: c.trouble, Diverged: c.fingerprints.differ, Leads: c.Leads(),
		LeaseUntil: c.pending(leaseDeadline), QuietUntil: c.pending(promiseDeadline),
	}
	if placed := c.log.placed(); placed != nil {
		s.Configuration, s.ConfigurationIndex = placed.configuration, placed.index
	}
	if l, leads := c.role.(*leader); leads {
		s.HandingOver = l.handover.to
		s.Changing = !c.mayChange(l)
	}
	return s
}

// Leads says whether this server leads and its state machine has applied the entry that began the term: what earlier
// leaders have committed shows in it.
func (c *Core) Leads() bool {
	l, leads := c.role.(*leader)
	return leads && c.log.applied >= l.begin
}

// leaderRole is the name of the role of who leads.
const leaderRole = "leader"

func (c *Core) roleName() string {
	switch r := c.role.(type) {
	case *leader:
		return leaderRole
	case *candidate:
		if r.pre {
			return "pre-candidate"
		}
		return "candidate"
	}
	return "follower"
}

// AppendState appends an encoding of everything that decides the core's further behaviour, except the luck
// of its timeouts: deadlines show only as off, armed or passed, and the numbers of writes only relative to
// the last durable one. Two cores with equal encodings behave alike, but for the order in which messages leave
// that waited for the same write, and for what their tails let go of when they are full, which only decides what
// is read from the disk. name gives each server's name in the encoding, so that servers can be permuted; "" has
// the name 0.
func (c *Core) AppendState(b []byte, name func(ServerID) byte) []byte {
	b = c.AppendStateButHeld(b, name)
	held := make([][]byte, 0, len(c.out.held))
	c.Held(func(m *Message, writes int) {
		held = append(held, AppendMessageState(binary.AppendUvarint(nil, uint64(writes)), m, name))
	})
	slices.SortFunc(held, bytes.Compare)
	return append(binary.AppendUvarint(b, uint64(len(held))), bytes.Join(held, nil)...)
}

// AppendStateButHeld appends what AppendState does, without the messages that wait for the disk. They decide
// nothing but what leaves.
func (c *Core) AppendStateButHeld(b []byte, name func(ServerID) byte) []byte {
	s := &stateEncoder{b: b, name: name}
	s.durableState(&c.state)
	s.log(&c.log)
	s.outbox(&c.out)
	for i, d := range c.deadlines {
		switch deadlineName(i) {
		case stickyDeadline, leaseDeadline, promiseDeadline:
			if d.state == deadlinePassed {
				d.state = deadlineOff // it is only asked whether they are armed
			}
		}
		s.b = append(s.b, byte(d.state))
	}
	switch r := c.role.(type) {
	case *follower:
		s.b = append(s.b, 'f', s.name(r.leader))
		s.numbers(uint64(r.matched), uint64(r.acked), flag(r.owes), uint64(r.hurry), flag(r.member), uint64(r.disk))
	case *candidate:
		s.candidate(r, c.out.durable)
	case *leader:
		s.leader(r)
	}
	s.callers(c)
	s.snapshots(&c.snapshots)
	s.incoming(c)
	if c.config.CompareResults {
		s.fingerprints(&c.fingerprints)
	}
	return s.b
}

// Held calls f with each message that waits for the disk, and with how many of the writes that are not known to be
// durable, the next one among them, must become so before it leaves. The messages are not to be changed.
func (c *Core) Held(f func(m *Message, writes int)) {
	for i := range c.out.held {
		h := &c.out.held[i]
		f(&h.message, int(h.after-c.out.durable))
	}
}

// stateEncoder writes a core's state.
type stateEncoder struct {
	b    []byte
	name func(ServerID) byte
}

func (s *stateEncoder) numbers(values ...uint64) {
	for _, v := range values {
		s.b = binary.AppendUvarint(s.b, v)
	}
}

func flag(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func (s *stateEncoder) durableState(d *DurableState) {
	s.b = append(s.b, s.name(d.Server), s.name(d.Vote))
	s.b = append(s.b, d.Cluster[:]...)
	s.numbers(uint64(d.Term), uint64(d.Incarnation), d.Start, uint64(d.MaxLease))
}

func (s *stateEncoder) log(l *entryLog) {
	s.numbers(uint64(l.base.index), uint64(l.base.term), uint64(l.last), uint64(l.commit), uint64(l.handed),
		uint64(l.applied), uint64(l.written), uint64(l.stable), uint64(len(l.runs)))
	for _, run := range l.runs {
		s.numbers(uint64(run.First), uint64(run.Term))
	}
	s.numbers(uint64(len(l.configurations)))
	for _, p := range l.configurations {
		s.numbers(uint64(p.index))
		s.configuration(p.configuration)
	}
	s.numbers(uint64(l.tail.count()))
	for _, chunk := range l.tail.chunks {
		for i := range chunk.entries {
			s.entry(&chunk.entries[i]) // where chunks meet shows in nothing
		}
	}
}

func (s *stateEncoder) entries(entries []Entry) {
	s.numbers(uint64(len(entries)))
	for i := range entries {
		s.entry(&entries[i])
	}
}

func (s *stateEncoder) entry(e *Entry) {
	s.b = append(s.b, byte(e.Kind), s.name(e.Origin.Server))
	s.numbers(uint64(e.Index), uint64(e.Term), e.Origin.Start, e.Number)
	if e.Kind == EntryConfiguration {
		if configuration, err := DecodeConfiguration(e.Data); err == nil {
			s.configuration(&configuration)
			return
		}
	}
	s.numbers(uint64(len(e.Data)))
	s.b = append(s.b, e.Data...)
}

func (s *stateEncoder) configuration(c *Configuration) {
	s.b = append(s.b, c.Cluster[:]...)
	s.members(c.Members)
	s.numbers(flag(c.Old != nil), flag(c.Next != nil))
	s.members(c.Old)
	s.members(c.Next)
	s.b = append(s.b, s.name(c.Origin.Server), s.name(c.About))
	s.numbers(c.Origin.Start, c.Number, flag(c.Begun), uint64(c.Refusal))
}

func (s *stateEncoder) outbox(o *outbox) {
	// What waits for a write that is durable already doesn't wait.
	s.numbers(uint64(o.issued-o.durable), flag(o.dirty), uint64(max(o.termWrite, o.durable)-o.durable),
		uint64(max(o.leaseWrite, o.durable)-o.durable))
	for _, f := range o.flights {
		s.numbers(uint64(f.last))
		s.stored(f.snapshot)
	}
	s.stored(o.snapshot)
	s.numbers(uint64(len(o.ready)))
	for i := range o.ready {
		s.Message(&o.ready[i])
	}
}

// Message writes a message, with its servers by their names.
func (s *stateEncoder) Message(m *Message) { s.b = AppendMessageState(s.b, m, s.name) }

// AppendMessageState appends an encoding of a message in which servers have the names that name gives them,
// as in Core.AppendState: equal encodings are equal messages, up to the names.
func AppendMessageState(b []byte, m *Message, name func(ServerID) byte) []byte {
	s := &stateEncoder{b: b, name: name}
	s.b = append(s.b, byte(m.Kind), name(m.From), name(m.To))
	s.b = append(s.b, m.Cluster[:]...)
	s.numbers(uint64(m.FromIncarnation), uint64(m.ToIncarnation), uint64(m.Term), uint64(m.Index), uint64(m.LogTerm),
		uint64(m.Hint), uint64(m.Commit), m.Round, m.Start, m.Number, uint64(m.Lease), m.Fitness, uint64(m.Level),
		flag(m.Granted), flag(m.Transfer), flag(m.Mismatch), flag(m.ByLease), uint64(len(m.Numbers)), uint64(len(m.Servers)))
	s.numbers(m.Numbers...)
	for _, server := range m.Servers {
		s.b = append(s.b, s.name(server.ID))
		s.numbers(uint64(len(server.Address)))
		s.b = append(s.b, server.Address...)
	}
	s.numbers(m.Size, m.Offset)
	s.entries(m.Entries)
	s.numbers(uint64(m.Refusal), flag(m.Call != nil))
	if m.Call != nil {
		s.call(m.Call)
	}
	return s.b
}

func (s *stateEncoder) call(call *Call) {
	s.numbers(uint64(call.Kind), uint64(call.Expected))
	s.members(call.Members)
}

// members writes a list of members in the order of their names: their own order is that of their IDs.
func (s *stateEncoder) members(members []Member) {
	encoded := make([][]byte, 0, len(members))
	for i := range members {
		m := &members[i]
		b := binary.AppendUvarint([]byte{s.name(m.ID), byte(m.Role)}, uint64(m.Incarnation))
		encoded = append(encoded, append(binary.AppendUvarint(b, uint64(len(m.Address))), m.Address...))
	}
	slices.SortFunc(encoded, bytes.Compare)
	s.numbers(uint64(len(members)))
	s.b = append(s.b, bytes.Join(encoded, nil)...)
}

func (s *stateEncoder) candidate(r *candidate, durable WriteNumber) {
	s.b = append(s.b, 'c')
	s.numbers(flag(r.pre), flag(r.transfer), uint64(r.hurry), uint64(max(r.ownVote, durable)-durable))
	ballots := slices.Clone(r.ballots)
	slices.SortFunc(ballots, func(a, b ballot) int { return int(s.name(a.from)) - int(s.name(b.from)) })
	s.numbers(uint64(len(ballots)))
	for _, b := range ballots {
		s.b = append(s.b, s.name(b.from))
		s.numbers(uint64(b.incarnation), uint64(b.level))
	}
}

func (s *stateEncoder) leader(l *leader) {
	s.b = append(s.b, 'l')
	// Rounds are not made relative to the last one: messages that are on their way name them.
	s.numbers(uint64(l.begin), l.round, l.confirmed, l.tracked, l.attempts, uint64(len(l.charges)-l.released), uint64(l.counted-l.released))
	for _, q := range l.charges[l.released:] {
		s.numbers(uint64(q.index), uint64(q.bytes))
	}
	h := &l.handover
	s.b = append(s.b, s.name(h.to))
	s.numbers(flag(h.told), flag(h.given), l.asking.round,
		h.ticks[0].round, uint64(h.ticks[0].commit), h.ticks[1].round, uint64(h.ticks[1].commit), uint64(len(h.asked)))
	for _, t := range h.asked {
		s.b = append(s.b, s.name(t.origin.Server))
		s.numbers(t.origin.Start, t.number)
	}
	peers := make([][]byte, 0, len(l.peers))
	for i := range l.peers {
		peers = append(peers, s.progress(&l.peers[i]))
	}
	slices.SortFunc(peers, bytes.Compare)
	s.b = append(s.b, bytes.Join(peers, nil)...)
	for _, list := range [][]askedRead{l.reads.idle, l.reads.asked} {
		s.numbers(uint64(len(list)))
		for _, r := range list {
			s.b = append(s.b, s.name(r.from))
			s.numbers(uint64(r.disk), r.start, r.number, r.round, uint64(r.index), flag(r.byLease))
		}
	}
	forwards := make([][]byte, 0, len(l.forwards))
	for i := range l.forwards {
		f := &l.forwards[i]
		n := stateEncoder{name: s.name, b: []byte{s.name(f.origin.Server)}}
		n.numbers(f.origin.Start, uint64(f.incarnation), f.lowest, uint64(len(f.seen)))
		for _, state := range f.seen {
			n.b = append(n.b, byte(state))
		}
		forwards = append(forwards, n.b)
	}
	slices.SortFunc(forwards, bytes.Compare)
	s.numbers(uint64(len(forwards)))
	s.b = append(s.b, bytes.Join(forwards, nil)...)
	callers := make([][]byte, 0, len(l.callers))
	for i := range l.callers {
		r := &l.callers[i]
		n := stateEncoder{name: s.name, b: []byte{s.name(r.origin.Server)}}
		n.numbers(r.origin.Start, uint64(r.incarnation), r.lowest, uint64(len(r.calls)))
		for _, taken := range r.calls {
			n.numbers(taken.number, flag(taken.ended), uint64(taken.outcome.index), uint64(taken.outcome.refusal))
			n.b = append(n.b, s.name(taken.outcome.about))
		}
		callers = append(callers, n.b)
	}
	slices.SortFunc(callers, bytes.Compare)
	s.numbers(uint64(len(callers)))
	s.b = append(s.b, bytes.Join(callers, nil)...)
	s.change(l)
}

// change writes what a leader has in mind about the members.
func (s *stateEncoder) change(l *leader) {
	u := &l.catchUp
	s.numbers(l.nonce, uint64(l.settled), uint64(l.parted), uint64(u.since), uint64(u.goal), uint64(u.rounds), flag(u.slow), uint64(u.stalls),
		uint64(u.held), flag(l.change != nil))
	s.stored(u.snapshot)
	if x := l.change; x != nil {
		s.b = append(s.b, s.name(x.origin.Server))
		s.numbers(x.origin.Start, x.number, x.nonce, uint64(x.waits), flag(x.replaces))
		s.members(x.target)
		s.members(x.asked)
	}
}

func (s *stateEncoder) progress(p *progress) []byte {
	n := stateEncoder{name: s.name}
	n.b = append(n.b, n.name(p.id))
	n.numbers(uint64(p.incarnation), uint64(p.match), uint64(p.next), flag(p.replicating), flag(p.waiting),
		flag(p.fetching), uint64(p.leaving), flag(p.replaced), p.round, p.checked, uint64(p.told), uint64(p.owed), uint64(len(p.window)), p.promised, p.fitness, uint64(p.level))
	if p.checked != 0 {
		n.numbers(uint64(p.checkedNext))
	}
	if p.waiting {
		n.numbers(uint64(p.probed))
	}
	if p.leaving != 0 {
		n.numbers(uint64(p.farewell))
	}
	for _, w := range p.window {
		n.numbers(uint64(w.last), uint64(w.bytes))
	}
	n.sending(p)
	return n.b
}

// fingerprints writes what is known of the results here and elsewhere.
func (s *stateEncoder) fingerprints(f *fingerprints) {
	s.numbers(uint64(len(f.own)), uint64(len(f.ahead)), flag(f.differ != nil))
	for _, own := range f.own {
		s.numbers(uint64(own.Index), uint64(own.Sum))
	}
	for i := range f.ahead {
		s.Message(&f.ahead[i])
	}
	if f.differ != nil {
		s.b = append(s.b, s.name(f.differ.With))
		s.numbers(uint64(f.differ.After), uint64(f.differ.Upto))
	}
}

// callers writes what callers at this server wait for, and what its state machine does.
func (s *stateEncoder) callers(c *Core) {
	p := &c.proposals
	s.numbers(p.next, p.nextFree, uint64(p.proven), uint64(p.count()))
	for i := range p.items {
		if item := &p.items[i]; item.state != pendingDone {
			s.numbers(item.number, uint64(item.kind), flag(item.only), uint64(item.state), uint64(item.term), uint64(item.fence), uint64(item.index), uint64(len(item.data)))
			s.b = append(s.b, item.data...)
		}
	}
	s.numbers(c.lastRead)
	for i := range c.reads {
		s.numbers(c.reads[i].asked, uint64(c.reads[i].count()))
		for _, r := range c.reads[i].waiting {
			if !r.canceled {
				s.numbers(r.number, flag(r.known), uint64(r.index))
			}
		}
	}
	s.numbers(uint64(c.named), uint64(c.removed), c.calls.next, uint64(len(c.calls.items)))
	for i := range c.calls.items {
		item := &c.calls.items[i]
		s.numbers(item.number, uint64(item.state), uint64(item.term), uint64(item.since))
		s.call(item.call)
	}
	s.b = append(s.b, s.name(c.courtesy.to))
	s.numbers(uint64(c.courtesy.rest), uint64(c.courtesy.times), uint64(c.behind))
	s.numbers(flag(c.fetching), uint64(len(c.fetched)), uint64(c.reading), uint64(len(c.applying)))
	for _, last := range c.applying {
		s.numbers(uint64(last))
	}
}

// stored writes a snapshot that may be none. Its configuration is that of its index.
func (s *stateEncoder) stored(p *storedSnapshot) {
	if p == nil {
		s.numbers(0)
		return
	}
	s.numbers(uint64(p.meta.Index), uint64(p.meta.Term), uint64(p.meta.ConfigurationIndex), p.bytes, p.serial, p.handed,
		uint64(p.compact), flag(p.installed))
}

// snapshots writes what is known of this server's own snapshots.
func (s *stateEncoder) snapshots(p *snapshots) {
	for _, snapshot := range []*storedSnapshot{p.current, p.named, p.taking, p.taken} {
		s.stored(snapshot)
	}
	s.numbers(uint64(p.restore), p.serial, p.handedBytes, flag(p.damaged), uint64(p.wanted), uint64(len(p.past)), uint64(len(p.demands)), p.lastDemand)
	for _, past := range p.past {
		s.stored(past)
	}
	for _, d := range p.demands {
		s.numbers(d.number, uint64(d.index))
	}
}

// incoming writes what is being received.
func (s *stateEncoder) incoming(c *Core) {
	in := &c.incoming
	s.numbers(uint64(in.state), c.streams)
	if in.state == incomingNot {
		return
	}
	n := &in.name
	s.b = append(s.b, s.name(n.from))
	s.numbers(uint64(n.incarnation), n.start, n.serial, uint64(n.place.index), uint64(n.place.term), n.size,
		uint64(in.term), in.attempt, in.held, in.stream, uint64(in.meta.ConfigurationIndex))
}

// sending writes what a peer is sent.
func (s *stateEncoder) sending(p *progress) {
	t := &p.sending
	s.numbers(uint64(t.state), flag(p.lagging), uint64(p.silent), uint64(p.wants), p.carried.bytes, flag(p.carried.moved))
	s.stored(p.carried.snapshot)
	if t.state == sendingNot {
		return
	}
	s.stored(t.snapshot)
	s.numbers(t.attempt, flag(t.asked), t.round, t.stream, t.sent, t.seen, uint64(t.idle))
}
