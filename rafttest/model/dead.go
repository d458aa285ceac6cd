package model

import "github.com/e17579a5/raft"

// A standing is what is durable about a server's place in elections: what no crash takes back.
type standing struct {
	term raft.Term
	vote raft.ServerID
	// role is the one in this term. It is "candidate" when a later term isn't durable yet: then a crash may
	// lead back to this one, and everything is still possible.
	role string
}

func stand(s *status, d *raft.DurableState) standing {
	st := standing{d.Term, d.Vote, s.role}
	if s.term != d.Term {
		st.role = candidates
	}
	return st
}

// outlived says whether a message can't make a difference to its receiver any more, now or later. It is then
// as good as lost, and taken from its link at once: otherwise each such message would double the states that
// come after. The reasons are these.
//
// Durable terms never fall. Of the messages of an earlier term, a server answers requests for votes, appends
// and heartbeats with a round; the others it ignores (Core.Receive). A granted pre-vote counts in the term
// before its own only.
//
// A server becomes a candidate by entering a new term, and a leader only in a term in which it was a
// candidate. So who follows in a term has no use for answers in it, except for pre-votes; nor has anybody for
// a vote when it is no candidate in its term, nor for a vote that is refused in a term that it is in.
func outlived(m *raft.Message, to *standing) bool {
	switch m.Kind {
	case raft.PreVoteRequest, raft.VoteRequest, raft.AppendRequest:
		return false
	case raft.PreVoteResponse:
		return m.Term <= to.term // who granted names the term that was asked about; a refusal isn't counted
	case raft.Heartbeat:
		return m.Term < to.term && m.Round == 0
	case raft.VoteResponse:
		return m.Term < to.term || m.Term == to.term && (!m.Granted || to.role != candidates)
	case raft.AppendResponse, raft.HeartbeatResponse:
		return m.Term < to.term || m.Term == to.term && (to.role == follows || to.role == preCandidates)
	}
	return m.Term < to.term
}

// refused says whether a message can only be refused, now and later, and its sender is in the last term that
// the bounds allow, in which it has no use for a refusal. A request of an earlier term tells its sender of
// the later one, which can't be later than the last. Who has given its vote away refuses it to everybody else
// in that term; and so it makes no difference either whether it grants it to its own candidate once more,
// when that is none any more.
func (b *Bounds) refused(m *raft.Message, from, to *standing) bool {
	if from.term != b.lastTerm() {
		return false
	}
	switch m.Kind {
	case raft.PreVoteRequest:
		return true // it asks about a term beyond the last, or one that is over
	case raft.VoteRequest:
		return m.Term < to.term || m.Term == to.term && to.vote != "" &&
			(to.vote != m.From || !b.Timeouts && (m.Term < from.term || from.role != candidates))
	case raft.AppendRequest, raft.Heartbeat:
		return m.Term < to.term && (from.role == follows || from.role == preCandidates)
	}
	return false
}

// dead says whether a message can't make a difference any more. That it makes none now is looked up rather
// than believed, so that a core which wrongly listens to it is caught doing so.
func (w *worker) dead(m *message, from, to *node) bool {
	if c := &m.content; c.Kind == raft.PreVoteResponse && c.Granted && c.Term > w.bounds.lastTerm() {
		return true // it can only help into a term beyond the last
	}
	if outlived(&m.content, &to.standing) {
		st := w.tables.step(&w.stepper, to, event(m.id))
		return st.after == to && len(st.sent) == 0 && st.broken == nil
	}
	if w.bounds.refused(&m.content, &from.standing, &to.standing) {
		st := w.tables.step(&w.stepper, to, event(m.id))
		if st.after != to || st.broken != nil {
			return false
		}
		for _, answer := range st.sent {
			if !w.dead(answer, to, from) {
				return false
			}
		}
		return true
	}
	return false
}

// bury takes dead messages from a list, with their hashes, after server i has changed from one node to
// another and sent messages.
func (w *worker) bury(list []uint32, sums []sum, i int, before, after *node) []uint32 {
	moved := before.standing != after.standing
	kept := list[:0]
	for _, id := range list {
		m := w.tables.message(id)
		from, to := w.nodes[m.from], w.nodes[m.to]
		switch i {
		case m.from:
			from = after
		case m.to:
			to = after
			if !moved {
				kept = append(kept, id)
				continue
			}
		default:
			kept = append(kept, id)
			continue
		}
		if !w.dead(m, from, to) {
			kept = append(kept, id)
			continue
		}
		for k := range sums {
			sums[k] = sums[k].minus(w.hash(m, k))
		}
	}
	return kept
}
