package model

import "github.com/e17579a5/raft"

// outlived says whether a message can't make a difference to its receiver any more, now or later, given its
// receiver's status. It is then as good as lost, and taken from its link at once: otherwise each such message would
// double the states that come after. The reasons are these.
//
// Terms never fall. Of the messages of an earlier term, a server answers requests for votes, appends and heartbeats with a
// round; the others it ignores (Core.Receive). A granted pre-vote counts in the term before its own only.
//
// A server becomes a candidate by entering a new term, and a leader only in a term in which it was a candidate. So who
// follows in a term has no use for answers in it, except for pre-votes; nor has anybody for a vote when
// it is no candidate in its term, nor for a vote that is refused in a term that it is in.
func outlived(m *raft.Message, s *status) bool {
	switch m.Kind {
	case raft.PreVoteRequest:
		return false
	case raft.PreVoteResponse:
		return m.Term < s.term || m.Granted && m.Term == s.term
	case raft.VoteRequest, raft.AppendRequest:
		return false
	case raft.Heartbeat:
		return m.Term < s.term && m.Round == 0
	case raft.VoteResponse:
		return m.Term < s.term || m.Term == s.term && (!m.Granted || s.role != candidates)
	case raft.AppendResponse, raft.HeartbeatResponse:
		return m.Term < s.term || m.Term == s.term && (s.role == follows || s.role == preCandidates)
	}
	return m.Term < s.term
}

// dead says whether a message is outlived by a node. That it makes no difference now is looked up rather than
// believed, so that a core which wrongly listens to it is caught doing so.
func (w *worker) dead(m *message, n *node) bool {
	if !outlived(&m.content, &n.status) {
		return false
	}
	st := w.tables.step(&w.stepper, n, event(m.id))
	return st.after == n && len(st.sent) == 0 && st.broken == nil
}

// bury takes dead messages from a list, with their hashes, after server i has changed from one node to another and sent
// messages.
func (w *worker) bury(list []uint32, sums []sum, i int, before, after *node) []uint32 {
	moved := before.status.term != after.status.term || before.status.role != after.status.role
	kept := list[:0]
	for _, id := range list {
		m := w.tables.message(id)
		n := after
		if m.to != i {
			n = w.nodes[m.to]
		}
		if (m.to != i && m.from != i || m.to == i && !moved) || !w.dead(m, n) {
			kept = append(kept, id)
			continue
		}
		for k := range sums {
			sums[k] = sums[k].minus(m.hashes[k])
		}
	}
	return kept
}
