package sim

import (
	"math/bits"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// checkMessage checks a message that leaves a server. Its claims must be durable on the server's
// disk, and must agree with what an observer knows.
func (w *World) checkMessage(i int, m *wire.Message) {
	s := &w.servers[i]
	durable := &s.disk.state
	if m.From != s.id || serverOf(m.To) >= w.n || m.To == s.id {
		w.fail(Gate, i, "%v from %q to %q", m.Kind(), m.From, m.To)
		return
	}
	if to := serverOf(m.To); m.Kind() != wire.KindIdentityRequest && s.known[to] == "" && !s.reached[to] && !s.mixed {
		w.fail(Gate, i, "sends %v to %s, whose address it hasn't told its transport", m.Kind(), m.To)
	}
	mayBe := m.Kind() == wire.KindPreVoteRequest || m.PreVoteResponse().Granted
	if !mayBe && m.Term > durable.Term {
		w.fail(Gate, i, "%v claims term %d, durable is %d", m.Kind(), m.Term, durable.Term)
	}
	if commit := max(m.AppendRequest().Commit, m.Heartbeat().Commit); commit > w.ghost.commit() {
		w.fail(CommitKnown, i, "%v names commit %d, but no leader has committed more than %d", m.Kind(), commit, w.ghost.commit())
	}
	if m.FromStart != 0 && m.FromStart != durable.Start {
		w.fail(Gate, i, "%v names start %#x, durable is %#x", m.Kind(), m.FromStart, durable.Start)
	}
	switch m.Kind() {
	case wire.KindPreVoteResponse:
		if m.PreVoteResponse().Granted {
			w.checkAsked(i, m)
		}
	case wire.KindVoteRequest:
		w.checkAsked(i, m)
		w.checkVote(i, m.Term, i)
	case wire.KindVoteResponse:
		if m.VoteResponse().Granted {
			w.checkAsked(i, m)
			w.checkVote(i, m.Term, serverOf(m.To))
		}
	case wire.KindAppendResponse:
		if answer := m.AppendResponse(); answer.Accepted {
			w.checkAsked(i, m)
			w.checkMatch(i, m, answer.Index)
			w.checkSound(i, answer.Index)
		}
	case wire.KindHeartbeatResponse:
		answer := m.HeartbeatResponse()
		w.checkAsked(i, m)
		w.checkMatch(i, m, answer.Durable)
		w.checkSound(i, answer.Durable)
		if lease := answer.Lease; lease > durable.MaxLease {
			w.fail(Gate, i, "promises a lease of %d, but %d is durable", lease, durable.MaxLease)
		} else if lease > 0 {
			w.promises(s, raft.Instant(lease))
		}
	case wire.KindTimeoutNow:
		w.checkHandOver(i, m)
	case wire.KindAppendRequest, wire.KindHeartbeat:
		w.checkBounds(i, m)
		if l := w.ghost.leader(m.Term); int(l.server) != i+1 {
			w.fail(ElectionSafety, i, "%v in term %d, which it doesn't lead", m.Kind(), m.Term)
		}
		w.roundLeaves(s, m.Heartbeat().Round)
	case wire.KindIdentityResponse:
		if m.FromIncarnation != 0 && m.FromIncarnation != durable.Incarnation {
			w.fail(Gate, i, "names its disk %d, but %d is durable", m.FromIncarnation, durable.Incarnation)
		}
	case wire.KindForwardRequest, wire.KindReadRequest, wire.KindCallRequest:
		w.forwarded(s, m.ForwardRequest().Commands)
		if start := max(m.ForwardRequest().Start, m.ReadRequest().Start, m.CallRequest().Start); start != durable.Start {
			w.fail(Gate, i, "%v of start %d, durable is %d", m.Kind(), start, durable.Start)
		}
	}
}

// checkBounds checks the limits on what is on its way to a peer: the number of appends without an
// answer, and the bytes of entries in one append. An append without entries, one with each round of
// heartbeats, isn't counted: it travels behind a large append, to find out whether that was lost.
func (w *World) checkBounds(i int, m *wire.Message) {
	l := &w.links[i][serverOf(m.To)]
	asks := l.asks
	l.asks = m.Heartbeat().Round != 0
	if m.Kind() != wire.KindAppendRequest || asks && len(m.Entries()) == 0 {
		return
	}
	w.checkSentOnce(i, l, m.Entries())
	if w.servers[i].mixed || l.envelope.ToIncarnation != m.ToIncarnation { // the peer has another disk now
		l.appends = 0 // an answer may have made room before some of them left; nobody can tell which
	} else if l.appends++; l.appends > w.params.WindowMessages {
		w.fail(BoundedMemory, i, "%d appends are on their way to %s, %d are allowed", l.appends, m.To, w.params.WindowMessages)
	}
	bytes := int64(0)
	for j, e := range m.Entries() {
		if j > 0 {
			bytes += int64(e.Size())
		}
	}
	if bytes > w.params.MaxAppend {
		w.fail(BoundedMemory, i, "an append has %d bytes beyond its first entry, %d are allowed", bytes, w.params.MaxAppend)
	}
}

// checkVote checks a vote that leaves a server: it is durable, and it is the only vote of this disk
// in its term.
func (w *World) checkVote(i int, term raft.Term, candidate int) {
	s := &w.servers[i]
	if s.disk.state.Term == term && serverOf(s.disk.state.Vote) != candidate {
		w.fail(Gate, i, "votes for server %d in term %d, but on disk is a vote for %q", candidate+1, term, s.disk.state.Vote)
	}
	vote := w.ghost.vote(i+MaxServers*(len(s.disks)-1), term)
	if others := *vote &^ (1 << candidate); others != 0 && !s.disk.back { // a disk that went back may have forgotten another vote
		w.fail(OneVote, i, "votes for servers %d and %d in term %d", bits.TrailingZeros8(others)+1, candidate+1, term)
	}
	*vote |= 1 << candidate
}

// checkMatch checks an acknowledgement. What it covers must be durable. As long as the leader that
// it goes to leads, it must also equal the log of that leader.
func (w *World) checkMatch(i int, m *wire.Message, upto raft.Index) {
	s := &w.servers[i]
	if upto == 0 {
		return
	}
	if upto > s.disk.last() {
		w.fail(Gate, i, "%v up to index %d, but %d entries are durable", m.Kind(), upto, s.disk.last())
		return
	}
	to := &w.servers[serverOf(m.To)]
	if to.status.role != leads || to.status.term != m.Term || upto > to.viewed() {
		return
	}
	if to.view[upto-1] != s.disk.slots[upto-1] {
		w.fail(Gate, i, "%v up to index %d, where the leader's log differs", m.Kind(), upto)
	}
}

// checkAnswer checks the answer that a caller gets.
func (w *World) checkAnswer(i int, a *raft.Answer) {
	s := &w.servers[i]
	if a.Call && (a.Number >= uint64(len(s.calls)) || s.calls[a.Number] == 0) {
		w.checkTransfer(i, a)
		return
	}
	numbers := s.proposals
	switch {
	case a.Read:
		numbers = s.reads
	case a.Call:
		numbers = s.calls
	}
	if a.Number >= uint64(len(numbers)) || numbers[a.Number] == 0 {
		w.fail(Answers, i, "answers call %d, which was never made", a.Number)
		return
	}
	o := &w.ops[numbers[a.Number]-1]
	if o.outcome != outcomeOpen && !(o.read && o.outcome == outcomeGone) {
		w.fail(Answers, i, "answers operation %d a second time", numbers[a.Number])
		return
	}
	switch {
	case a.Read:
		w.checkRead(i, o, a)
	case a.Call:
		s.open--
		w.checkChanged(i, o, a)
	default:
		s.open--
		w.checkOutcome(i, o, a)
		w.offerEnds(s, o)
	}
}

func (w *World) checkRead(i int, o *operation, a *raft.Answer) {
	s := &w.servers[i]
	if o.outcome == outcomeGone {
		return // the client gave up when the answer was already on its way
	}
	s.open--
	o.outcome = outcomeDone
	if a.Err != nil {
		w.stats.Refused++
		return
	}
	w.stats.Reads++
	w.checkInTime(i, o, a)
	w.checkFresh(i, o, a)
	if command := w.lastCommand(a.Index); s.replica.command < command {
		w.fail(FreshReads, i, "a read is answered at index %d, but the state machine is at %d", a.Index, s.replica.command)
	}
	if !o.stale {
		w.answer(a.Index)
	}
}

// checkFresh checks that a read sees what it must see. Most reads must see all that was
// acknowledged before they were called. A stale read must see all that was acknowledged before the
// instant that its answer names, and that instant must be recent.
func (w *World) checkFresh(i int, o *operation, a *raft.Answer) {
	s := &w.servers[i]
	if known := w.ghost.answeredBefore(s.at(a.Fresh)); a.Index < known {
		w.fail(FreshReads, i, "a read sees index %d as the newest of a time at which %d was acknowledged", a.Index, known)
	}
	if a.Index >= o.since {
		return
	}
	if !o.stale {
		w.fail(FreshReads, i, "a read sees index %d, but %d was acknowledged before it was called", a.Index, o.since)
	} else if age := w.local(s) - a.Fresh; !s.mixed && age > raft.Instant(w.params.ReadAge) {
		w.fail(FreshReads, i, "a read sees a state that is %d ns old, %d are allowed", age, w.params.ReadAge)
	}
}

// lastCommand returns the index of the last committed command up to index i, or 0 if there is none.
func (w *World) lastCommand(i raft.Index) raft.Index {
	if i == 0 || w.ghost.commit() == 0 {
		return 0
	}
	return w.ghost.commands[min(i, w.ghost.commit())-1]
}
