package model

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// This file has the checks that can convict one server by itself, whatever the others do. They run
// once for each step of a node, however many states of the cluster the node is part of.

// observe compares the status of the core after an event to the status before it.
func (s *stepper) observe() {
	if s.step.broken != nil {
		return
	}
	now, before := look(s.node.core), s.before
	s.before, s.node.status = now, now
	if now.applied > now.commit || now.commit > now.last || now.stable > now.last {
		s.fail(sim.Cursors, "applied %d, commit %d, stable %d, last %d", now.applied, now.commit, now.stable, now.last)
	}
	if now.term < before.term || now.commit < before.commit || now.applied < before.applied {
		s.fail(sim.Cursors, "term %d, commit %d, applied %d fall to %d, %d, %d",
			before.term, before.commit, before.applied, now.term, now.commit, now.applied)
	}
	if now.role == leads && before.role == leads && now.term == before.term && now.last < before.last {
		s.fail(sim.LeaderAppendOnly, "the log falls from %d to %d in term %d", before.last, now.last, now.term)
	}
	if stable := now.stable; stable > 0 && (stable > raft.Index(len(s.node.disk.entries)) ||
		at(s.node.disk.slots, stable) != at(s.node.view, stable)) {
		s.fail(sim.StableIsDurable, "stable is %d, but the disk holds %d entries, or other ones", stable, len(s.node.disk.entries))
	}
}

// write checks a write that the core hands out, and queues it.
func (s *stepper) write(w *raft.Write) {
	n := &s.node
	before := &n.disk.state
	if len(n.writes) > 0 {
		last := n.writes[len(n.writes)-1]
		before = &last.State
		if w.Number != last.Number+1 {
			s.fail(sim.WritesInOrder, "write %d follows write %d", w.Number, last.Number)
		}
	}
	s.step.whole = true
	now := &w.State
	switch {
	case now.Term < before.Term || now.Term == before.Term && before.Vote != "" && now.Vote != before.Vote:
		s.fail(sim.WritesInOrder, "term %d and vote %q replace term %d and vote %q", now.Term, now.Vote, before.Term, before.Vote)
	case now.Start < before.Start || now.Incarnation != before.Incarnation || now.Cluster != before.Cluster:
		s.fail(sim.WritesInOrder, "the identity of the disk changes")
	}
	s.checkRepairs(w)
	s.extendView(w)
	if s.step.broken == nil {
		s.node.writes = append(s.node.writes[:len(s.node.writes):len(s.node.writes)], w)
	}
	if limit := max(s.bounds.Writes, 1); len(s.node.writes) > limit {
		s.fail(sim.BoundedMemory, "%d writes are handed out at once", len(s.node.writes))
	}
}

// checkRepairs checks that the repairs in a write are the entries that the log holds.
func (s *stepper) checkRepairs(w *raft.Write) {
	for i := range w.Repairs {
		e := &w.Repairs[i]
		held, before := at(s.node.view, e.Index), at(s.node.view, e.Index-1)
		if e.Index == 0 || held != (slot{e.Term, chainEntry(before.chain, e)}) {
			s.fail(sim.BytesKept, "a write repairs index %d in term %d with another entry than the log holds", e.Index, e.Term)
		}
	}
}

// extendView adds the entries of a write to the view of the log.
func (s *stepper) extendView(w *raft.Write) {
	if len(w.Entries) == 0 {
		return
	}
	n := &s.node
	first, last := w.Entries[0].Index, raft.Index(len(n.view))
	if first == 0 || first > last+1 {
		s.fail(sim.WritesInOrder, "a write of index %d follows a log of %d entries", first, last)
		return
	}
	if first <= last && n.status.role == leads && at(n.view, last).term == n.status.term {
		s.fail(sim.LeaderAppendOnly, "the leader of term %d replaces index %d", n.status.term, first)
	}
	term := at(n.view, first-1).term
	for i := range w.Entries {
		e := &w.Entries[i]
		if e.Index != first+raft.Index(i) || e.Term < term || e.Term > n.status.term {
			s.fail(sim.WritesInOrder, "index %d in term %d follows term %d", e.Index, e.Term, term)
			return
		}
		term = e.Term
	}
	n.view = extend(n.view, w.Entries)
}

// send checks the claims of a message that leaves against the disk as it is, and puts the message
// on its way.
func (s *stepper) send(m *wire.Message) {
	durable := &s.node.disk.state
	if m.From != idOf(s.node.server) || serverOf(m.To) >= s.bounds.Servers || m.To == m.From {
		s.fail(sim.Gate, "%v from %q to %q", m.Kind(), m.From, m.To)
		return
	}
	if m.Kind() == wire.KindStarted || m.Kind() == wire.KindKnown {
		return // see the package documentation
	}
	mayBe := m.Kind() == wire.KindPreVoteRequest || m.PreVoteResponse().Granted
	if !mayBe && m.Term > durable.Term {
		s.fail(sim.Gate, "%v claims term %d, durable is %d", m.Kind(), m.Term, durable.Term)
	}
	if m.FromStart != 0 && m.FromStart != durable.Start {
		s.fail(sim.Gate, "%v names start %#x, durable is %#x", m.Kind(), m.FromStart, durable.Start)
	}
	switch m.Kind() {
	case wire.KindVoteRequest:
		s.checkVote(m.Term, m.From)
	case wire.KindVoteResponse:
		if m.VoteResponse().Granted {
			s.checkVote(m.Term, m.To)
		}
	case wire.KindAppendResponse:
		if answer := m.AppendResponse(); answer.Accepted {
			s.checkMatch(m, answer.Index)
		}
	case wire.KindHeartbeatResponse:
		s.checkMatch(m, m.HeartbeatResponse().Durable)
	case wire.KindForwardRequest, wire.KindReadRequest:
		if start := max(m.ForwardRequest().Start, m.ReadRequest().Start); start != durable.Start {
			s.fail(sim.Gate, "%v of start %d, durable is %d", m.Kind(), start, durable.Start)
		}
	}
	m.FromStart = 0 // see the package documentation
	if m.Heartbeat().Round > uint64(s.bounds.Rounds) {
		s.step.silent = true
		return
	}
	s.step.sent = append(s.step.sent, s.tables.addMessage(m, &s.buffer))
}

// checkMatch checks an acknowledgement that leaves: what it covers is durable.
func (s *stepper) checkMatch(m *wire.Message, upto raft.Index) {
	if upto > raft.Index(len(s.node.disk.entries)) {
		s.fail(sim.Gate, "%v up to index %d, but %d entries are durable", m.Kind(), upto, len(s.node.disk.entries))
		return
	}
	for index := s.node.status.commit + 1; index <= upto; index++ {
		if s.node.disk.lost.has(index) {
			s.fail(sim.SoundAcknowledged, "acknowledges index %d, knows to be committed %d, and has lost index %d",
				upto, s.node.status.commit, index)
		}
	}
}

// checkVote checks that a vote that leaves is the one on the disk. No write replaces a vote within
// its term, so there is only one.
func (s *stepper) checkVote(term raft.Term, candidate raft.ServerID) {
	if d := &s.node.disk.state; d.Term == term && d.Vote != candidate {
		s.fail(sim.Gate, "votes for server %s in term %d, but on disk is a vote for %q", candidate, term, d.Vote)
	}
}
