package raft

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A server that has lost the bytes of entries asks the other members for them (questions.go): learners
// too, in any term, with a leader or without one. Two logs that hold an entry of one index
// and term hold the same entry there (Log Matching, §3.5), committed or not. So whoever has it may
// give it, and it is taken only if the log still holds that index and term.
//
//	the server that has lost bytes               a member
//	  │ ── RepairRequest: (5, term 2) to 9 ──────▶ │
//	  │ ◀── RepairResponse: entries 5 to 7 ─────── │  as many as go into an append
//	  │ ── RepairRequest: (8, term 2) to 9 ──────▶ │  while the first ones are being written
//	  │ ◀── RepairResponse: nothing ────────────── │  it has lost 8 too, or forgotten it behind a snapshot
//	  │ ── RepairRequest: (8, term 2) to 9 ──────▶ │ the next member
//
// A member answers whoever is a member, as far as it knows. The one that asks may know an old
// configuration: so the request names no disk of the receiver. The latest configuration may be one
// that is never committed, so the members of the last one that is known to be committed count too.

// repairs is what a server does about its lost entries, and about those of other servers.
type repairs struct {
	// got are entries whose bytes have come and wait for a write. hand are the lost entries that
	// need no bytes any more: those in got, and those in writes that aren't durable.
	got      []Entry
	gotBytes int `state:"derived"`
	hand     lostEntries

	// questions are what the other members are asked (questions.go).
	questions []question
	questioning

	// waited is how many times this server hasn't campaigned though it might have. turns is how
	// many times it was elected and gained nothing. gained says that bytes have come since the last
	// look (recovering.go).
	waited, turns int
	gained        bool

	// pullFrom is the last member that has a snapshot in the place of what was asked for, "" for
	// none. pulls are the members to which this server sends its snapshot, because they have asked
	// (pull.go).
	pullFrom ServerID
	pulls    []pull

	// changes counts how often something was found to be lost, or was repaired, while entries were
	// read.
	changes uint64
	// reading are the requests of other servers for which the disk is read.
	reading []repairFor

	// since is when the first of the present damage was found, and damage what the storage has said
	// of it.
	since  Instant `state:"luck"`
	damage error   `state:"luck"`
}

func (r *repairs) encode(s *stateEncoder) {
	s.entries(r.got)
	r.hand.encode(s)
	encodeSet(s, r.questions, (*question).encode)
	r.questioning.encode(s)
	s.numbers(uint64(r.waited), uint64(r.turns), flag(r.gained), r.changes)
	s.server(r.pullFrom)
	encodeSet(s, r.reading, (*repairFor).encode)
	encodeSet(s, r.pulls, (*pull).encode)
}

func (r *repairs) clone() repairs {
	n := *r
	n.got = slices.Clone(r.got)
	n.pulls = slices.Clone(r.pulls)
	n.hand, n.reading, n.tried = slices.Clone(r.hand), slices.Clone(r.reading), slices.Clone(r.tried)
	n.questions = slices.Clone(r.questions)
	return n
}

// A repairFor is a server that has asked for an entry, and that entry. Read is what lies behind the
// index after: the first of the entries that aren't lost here.
type repairFor struct {
	server ServerID
	disk   Incarnation
	first  wire.Place
	after  Index
}

func (r *repairFor) encode(s *stateEncoder) {
	s.server(r.server)
	s.numbers(uint64(r.disk), uint64(r.after))
	s.place(r.first)
}

// take keeps the bytes of a lost entry for the next write.
func (r *repairs) take(e *Entry) {
	at, _ := slices.BinarySearchFunc(r.got, e.Index, func(have Entry, index Index) int { return cmp.Compare(have.Index, index) })
	r.got = slices.Insert(r.got, at, *e)
	r.gotBytes += e.Size()
	r.hand = r.hand.with(wire.Range{First: e.Index, Last: e.Index})
}

// keep forgets the bytes for entries that aren't lost any more: they have left the log.
func (r *repairs) keep(lost lostEntries) {
	r.got = slices.DeleteFunc(r.got, func(e Entry) bool {
		if lost.has(e.Index) {
			return false
		}
		r.gotBytes -= e.Size()
		return true
	})
	if len(r.got) == 0 {
		r.got = nil
	}
	var hand lostEntries
	for _, h := range r.hand {
		for at := lost.after(h.First - 1); at != 0 && at <= h.Last; at = lost.after(at) {
			hand = hand.with(wire.Range{First: at, Last: at})
		}
	}
	r.hand = hand
}

// repairWrite takes what is to be stored with the next write: as many entries as fit into so many
// bytes, or else one if that is allowed. The disk has room for no more than room. One that is larger
// than that alone is tried when it has waited for long enough.
func (c *Core) repairWrite(room uint64, bytes int, one bool) []Entry {
	r := &c.repairs
	n := 0
	switch large := one && len(r.got) > 0 && room < uint64(r.got[0].Size()); {
	case !large:
		c.disarm(outsizedDeadline)
	case c.outsized(outsizedDeadline):
		room, bytes = endless, 0
	case c.states[outsizedDeadline] == deadlineOff:
		c.arm(outsizedDeadline, c.config.ElectionTimeout)
	}
	for n < len(r.got) && (bytes >= r.got[n].Size() || one && n == 0) && room >= uint64(r.got[n].Size()) {
		bytes -= r.got[n].Size()
		room = less(room, uint64(r.got[n].Size()))
		r.gotBytes -= r.got[n].Size()
		n++
	}
	taken := r.got[:n:n]
	if r.got = r.got[n:]; len(r.got) == 0 {
		r.got = nil
	}
	return taken
}

// repaired notes that repairs of entries are durable.
func (c *Core) repaired(entries lostEntries) {
	c.damageChanged()
	for _, r := range entries {
		c.log.lost, c.repairs.hand = c.log.lost.without(r), c.repairs.hand.without(r)
	}
	c.serversChanged = c.serversChanged || len(c.log.lost) == 0
	if r, recovers := c.role.(*recovering); recovers {
		c.tryToLead(r)
	}
}

// namesForRepair says whether a server, with this disk, is a member by the latest configuration, or by
// the last one that is known to be committed.
func (c *Core) namesForRepair(id ServerID, incarnation Incarnation) bool {
	latest, final := c.log.configuration(), c.log.finalConfiguration()
	return latest != nil && latest.Names(id, incarnation) || final != nil && final.Names(id, incarnation)
}

// answerRepair gives another server the bytes that it has lost, as far as they are here. One whose log
// is empty doesn't know the members. It says that it holds nothing.
func (c *Core) answerRepair(m *wire.Message) {
	if c.inquiry != nil || c.log.configuration() != nil && !c.namesForRepair(m.From, m.FromIncarnation) {
		return
	}
	l, request := &c.log, m.RepairRequest()
	first := max(request.First, l.base.Index+1)
	answer := wire.RepairResponse{First: request.First}
	if s := &c.snapshots; !s.damaged && s.restore != restoreLost && s.current.index() >= request.First {
		answer.Snapshot = s.current.index()
	}
	switch {
	case first > request.Last:
	case !l.matches(first, request.Term):
		c.lacksEntry(m, answer, wire.Place{Index: first, Term: request.Term})
		return
	default:
		c.readRepair(m, answer, first, min(request.Last, l.endOfTerm(first)))
		return
	}
	c.reply(m, answer.Message())
}

// lacksEntry says that the log here doesn't hold an entry. That counts for the leader of this very
// term, before it has sent anything of its log: until it does, the log here can't come to hold that
// entry. It leaves when the log without the entry is durable.
func (c *Core) lacksEntry(m *wire.Message, answer wire.RepairResponse, entry wire.Place) {
	if m.Term != c.state.Term {
		c.reply(m, answer.Message())
		return
	}
	answer.Lacks = entry
	response := answer.Message()
	response.To, response.ToIncarnation, response.Term = m.From, m.FromIncarnation, c.state.Term
	c.stamp(&response)
	c.out.send(response, c.everything())
}

// readRepair answers with entries of [first, last], all of which the log holds: the first ones whose
// bytes are here. They come from memory, or from the disk.
func (c *Core) readRepair(m *wire.Message, answer wire.RepairResponse, first, last Index) {
	l := &c.log
	for first <= last && l.lost.has(first) {
		first++
	}
	if first > last {
		c.reply(m, answer.Message())
		return
	}
	if next := l.lost.after(first); next != 0 {
		last = min(last, next-1)
	}
	if answer.Entries = l.tail.entries(first-1, last, c.config.MaxAppendBytes); answer.Entries != nil {
		c.reply(m, answer.Message())
		return
	}
	r, reads := &c.repairs, 0
	for i := range r.reading {
		if f := &r.reading[i]; f.server == m.From {
			reads++
			if f.after == first-1 {
				return // that is being read
			}
		}
	}
	if reads >= maxQuestions {
		return
	}
	term, _ := l.term(first)
	r.reading = append(r.reading, repairFor{m.From, m.FromIncarnation, wire.Place{Index: answer.First, Term: term}, first - 1})
	c.fetch(Fetch{For: m.From, Repair: true, After: first - 1, Last: last, MaxBytes: c.config.MaxAppendBytes})
}

// repairRead answers a server for which entries were read. There are none if they are lost here
// too.
func (c *Core) repairRead(f Fetch, entries []Entry, changed bool) {
	r := &c.repairs
	if f.For == c.id {
		c.notLost(f, entries, changed)
		return
	}
	at := slices.IndexFunc(r.reading, func(f2 repairFor) bool { return f2.server == f.For && f2.after == f.After })
	if at < 0 {
		return
	}
	asked := r.reading[at]
	r.reading = slices.Delete(r.reading, at, at+1)
	n := 0
	for n < len(entries) && entries[n].Term == asked.first.Term {
		n++
	}
	answer := wire.RepairResponse{First: asked.first.Index, Entries: entries[:n]}
	c.sendTo(asked.server, asked.disk, answer.Message())
}

// repairAnswered takes the bytes of lost entries, from any member at any time.
func (c *Core) repairAnswered(m *wire.Message) {
	r, answer := &c.repairs, m.RepairResponse()
	if len(c.log.lost) == 0 || !slices.ContainsFunc(c.otherServers(), func(s Server) bool { return s.ID == m.From }) {
		return
	}
	gained := 0
	for i := range answer.Entries {
		if e := &answer.Entries[i]; c.repairs.gotBytes < 2*maxRepairBytes && c.takesRepair(m, e) {
			r.take(e)
			gained += e.Size()
		}
	}
	if gained > 0 {
		r.gained, r.turns = true, 0
	}
	c.questionAnswered(m, gained)
	if recovers, ok := c.role.(*recovering); ok {
		c.lackTold(recovers, m)
	}
}

// takesRepair says whether the bytes of an entry are of use here, and can be the right ones.
func (c *Core) takesRepair(m *wire.Message, e *Entry) bool {
	l := &c.log
	if !l.lost.has(e.Index) || c.repairs.hand.has(e.Index) || !l.matches(e.Index, e.Term) {
		return false
	}
	placed := slices.IndexFunc(l.configurations, func(p placedConfiguration) bool { return p.index == e.Index })
	covered := len(l.configurations) > 0 && e.Index < l.configurations[0].index // of an earlier one nothing is known
	if !e.Kind.Known() || (e.Kind == wire.EntryConfiguration) != (placed >= 0) && !covered {
		c.refuse(m, "it brings an entry that can't be the one that was lost")
		return false
	}
	return true
}

// sendInstead sends a peer a snapshot that covers the next entry, if the bytes of that are lost and
// no other server has given them.
func (c *Core) sendInstead(l *leader, p *progress) {
	switch {
	case c.repairs.rounds == 0 || p.sending.state != sendingNot:
	case p.next <= c.snapshots.current.index():
		c.beginSending(l, p)
	case p.next <= c.log.handed:
		c.snapshots.wanted = max(c.snapshots.wanted, p.next)
	}
}
