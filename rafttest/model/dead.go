package model

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A standing is the durable part of a server's position in elections: what no crash takes back.
type standing struct {
	term raft.Term
	vote raft.ServerID
	// role is the role in this term. It is "candidate" if the server is in a later term that isn't
	// durable yet: then a crash may lead back to this term, and every role in it is still possible.
	role string
}

func stand(s *status, d *raft.DurableState) standing {
	st := standing{d.Term, d.Vote, s.role}
	if s.term != d.Term {
		st.role = candidates
	}
	return st
}

// outlived reports whether a message can't make a difference to its receiver any more, now or
// later. Such a message is as good as lost, and it is taken from its link at once: otherwise each
// such message would double the number of states that follow. The reasons are these.
//
// Durable terms never fall. Of the messages of an earlier term, a server answers requests for
// votes, appends, and heartbeats with a round; it ignores all others (Core.Receive). A granted
// pre-vote counts only in the term before its own.
//
// A server becomes a candidate by entering a new term, and a leader only in a term in which it was
// a candidate. So a server that follows in a term has no use for answers in that term, except for
// pre-votes. A server that is no candidate in its term has no use for a vote in it. And no server
// has a use for a refused vote in the term that it is in.
func outlived(m *wire.Message, to *standing) bool {
	switch m.Kind() {
	case wire.KindPreVoteRequest, wire.KindVoteRequest, wire.KindAppendRequest:
		return false
	case wire.KindRepairRequest, wire.KindRepairResponse, wire.KindSnapshotPull:
		return false // they count in any term
	case wire.KindPreVoteResponse:
		return m.Term <= to.term // a grant names the term that was asked about; a refusal isn't counted
	case wire.KindHeartbeat:
		return m.Term < to.term && m.Heartbeat().Round == 0
	case wire.KindVoteResponse:
		return m.Term < to.term || m.Term == to.term && (!m.VoteResponse().Granted || to.role != candidates)
	case wire.KindAppendResponse, wire.KindHeartbeatResponse:
		return m.Term < to.term || m.Term == to.term && (to.role == follows || to.role == preCandidates)
	}
	return m.Term < to.term
}

// refused reports whether a message can only be refused, now and later, while its sender has no use
// for a refusal because it is in the last term that the bounds allow. The refusal of a request of
// an earlier term names a later one, but that can't be later than the last term. A server that has
// given its vote in a term refuses it to all others in that term. It may grant it once more to its
// own candidate, but if that is no candidate any more, this makes no difference either.
func (b *Bounds) refused(m *wire.Message, from, to *standing) bool {
	if from.term != b.lastTerm() {
		return false
	}
	switch m.Kind() {
	case wire.KindPreVoteRequest:
		return true // it asks about a term beyond the last one, or about a term that is over
	case wire.KindVoteRequest:
		return m.Term < to.term || m.Term == to.term && to.vote != "" &&
			(to.vote != m.From || !b.Timeouts && (m.Term < from.term || from.role != candidates))
	case wire.KindAppendRequest, wire.KindHeartbeat:
		return m.Term < to.term && (from.role == follows || from.role == preCandidates)
	}
	return false
}

// dead reports whether a message can't make a difference any more. It doesn't trust the rules above
// for the present: it looks up what the message does now. So a core that wrongly listens to the
// message is caught.
func (w *worker) dead(m *message, from, to *node) bool {
	if c := &m.content; c.PreVoteResponse().Granted && c.Term > w.bounds.lastTerm() {
		return true // it can only help to enter a term beyond the last one
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

// bury takes dead messages from a list, and their hashes from sums. It is called after server i has
// changed from one node to another and has sent messages.
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
