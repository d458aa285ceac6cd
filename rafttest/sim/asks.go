package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A server that starts takes part in nothing before the other members have told it what they know of
// its disk (AskedFirst):
//
//   - It speaks when all of them have answered. After an election timeout a quorum is enough, and after another one
//     the word of a leader, or of a candidate with a longer log.
//   - The others are the members by the last configuration that it knows while it asks. A snapshot for which it has
//     asked may bring a later one: it has a member's word for that one, whatever its own disk had. An append may not:
//     a server that asks takes none.
//   - If one of them has heard in its present life that the disk promised more than it held at the start, then the
//     server says from the answer on that its disk went back.

// An inquiry holds what the simulator notes of a server's question, in the present life.
type inquiry struct {
	members, old []raft.Member // by the configuration that it knows while it asks; nobody is asked if there are none
	begun        raft.Instant
	loaded       wire.Place // what the disk had promised then
	answers      [MaxServers]bool
	taken        [MaxServers]bool // those of them that are not of a start which the server knew to be over
	led          bool             // a leader has spoken to it, or a candidate with a longer log
	enough       bool             // it has been told enough
}

// asksFrom notes that a server has started.
func (w *World) asksFrom(i int) {
	s := &w.servers[i]
	s.inquiry = inquiry{begun: w.local(s), loaded: wire.Place{Term: s.disk.state.Term, Index: s.disk.last()}}
	if s.disk.state.RolledBack && !s.noticed() {
		w.fail(AskedFirst, i, "its disk says that it went back, and it takes part")
	}
	if configuration := s.core.Status().Configuration; configuration != nil {
		s.members, s.old = configuration.Members, configuration.Old
	}
}

// drainAsking drains a core. Before that it notes whether the server has been told enough, and after it
// whom the server asks if it hasn't: a snapshot that has come is installed when the core is drained, and
// an entry isn't.
func (w *World) drainAsking(s *server, e *raft.Effects) {
	if w.mayTakePart(s) {
		s.core.Drain(e)
		return
	}
	before := s.core.Status().Configuration
	s.core.Drain(e)
	if now := s.core.Status().Configuration; now != before {
		s.members, s.old = now.Members, now.Old
	}
}

// mayTakePart reports whether a server has been told enough, by now or before.
func (w *World) mayTakePart(s *server) bool {
	if s.enough || s.members == nil {
		return true
	}
	waited := w.local(s) - s.begun
	all, quorum := s.answeredBy(&s.answers)
	election := raft.Instant(w.params.Election)
	s.enough = all || quorum && waited >= election || s.led && waited >= 2*election
	return s.enough
}

// answeredBy reports whether all members have answered a server that asks, and whether a quorum has.
func (s *server) answeredBy(answers *[MaxServers]bool) (all, quorum bool) {
	told := func(m *raft.Member) bool { return m.ID == s.id || answers[serverOf(m.ID)] }
	all = true
	for _, half := range [2][]raft.Member{s.members, s.old} {
		for k := range half {
			all = all && told(&half[k])
		}
	}
	return all, majority(s.members, told) && (s.old == nil || majority(s.old, told))
}

// mayAsk reports whether a server may still be asking, though it may take part. The word of a leader or a
// candidate ends that only if it comes late enough. And that a quorum has answered by now shows when the
// server asks again, half of an election timeout later at most.
func (w *World) mayAsk(s *server) bool {
	if s.members == nil {
		return false
	}
	all, quorum := s.answeredBy(&s.taken)
	election := raft.Instant(w.params.Election)
	return !all && !(quorum && w.local(s)-s.begun >= election+election/2)
}

// checkAsked checks that a server which takes part has asked the others first.
func (w *World) checkAsked(i int, m *wire.Message) {
	s := &w.servers[i]
	if !w.mayTakePart(s) {
		w.fail(AskedFirst, i, "sends %v, and hasn't been told by %v of %v what they know of its disk", m.Kind(), s.answers[:w.n], len(s.members))
	}
}

// answered notes what a message says to a server that has started, and checks that it draws the
// conclusion.
func (w *World) answered(i int, m *wire.Message) {
	s, from := &w.servers[i], serverOf(m.From)
	if !s.up || m.ToIncarnation != s.disk.state.Incarnation {
		return
	}
	switch m.Kind() {
	case wire.KindHeartbeat, wire.KindAppendRequest:
		s.led = true
	case wire.KindPreVoteRequest:
		d := s.disk
		s.led = s.led || exceeds(m.PreVoteRequest().Last, wire.Place{Term: d.term(d.last()), Index: d.last()})
	case wire.KindKnown:
		if m.Known().Start != s.core.Origin().Start {
			return
		}
		s.answers[from] = true
		s.taken[from] = s.taken[from] || !s.outdated
		if before := w.servers[from].heardOf[i].before; exceeds(before, s.loaded) && !s.noticed() {
			w.fail(AskedFirst, i, "server %d knows that its disk had promised index %d in term %d; it held index %d in term %d, and takes part",
				from+1, before.Index, before.Term, s.loaded.Index, s.loaded.Term)
		}
	}
}

// exceeds reports whether one promise is more than another one.
func exceeds(a, b wire.Place) bool { return a.Term > b.Term || a.Term == b.Term && a.Index > b.Index }

// promises notes what a message says of the disk of its sender.
func (h *heardOf) promises(m *wire.Message) {
	said := wire.Place{Term: m.Term}
	switch m.Kind() {
	case wire.KindPreVoteRequest, wire.KindPreVoteResponse:
		return
	case wire.KindAppendResponse:
		if answer := m.AppendResponse(); answer.Accepted {
			said.Index = answer.Index
		}
	case wire.KindHeartbeatResponse:
		said.Index = m.HeartbeatResponse().Durable
	case wire.KindHeartbeat:
		said.Index = m.Heartbeat().Stable
	}
	if exceeds(said, h.promised) {
		h.promised = said
	}
}
