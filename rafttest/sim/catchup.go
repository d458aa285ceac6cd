package sim

import (
	"slices"

	"github.com/e17579a5/raft"
)

// A feeding is what a server has written of a snapshot to another one, in one term that it leads.
type feeding struct {
	term      raft.Term
	life      uint32
	snapshot  uint64 // by its number
	snapshots int    // for which streams were opened
	offset    uint64 // up to where bytes were written, ever
	at        raft.Instant
	last      raft.Index // up to where the server's log reached then
}

// feeds returns what is noted of a stream, whose snapshot counts from when it is opened.
func (w *World) feeds(st *stream) *feeding {
	f := &w.feedings[st.from][st.to]
	if f.term != st.header.Term || f.life != st.fromLife {
		*f = feeding{term: st.header.Term, life: st.fromLife}
	}
	if f.snapshots == 0 || f.snapshot < st.header.Number {
		f.snapshot, f.offset = st.header.Number, 0
		f.snapshots++
	}
	return f
}

// fed takes note of bytes that were written to a stream. Those that are written while effects are held back may belong to
// a stream that the core has given up, or it may count them: so they are no sign that it sees something move, nor are they when they
// are written again.
func (w *World) fed(st *stream, now raft.Instant) {
	f := w.feeds(st)
	offset := st.header.Offset + uint64(st.written)
	if f.snapshot != st.header.Number || offset <= f.offset {
		return
	}
	s := &w.servers[st.from]
	if f.offset = offset; !s.held {
		f.at, f.last = now, s.status.last
	}
}

// How many election timeouts bytes may fail to come, and how many snapshots may take each other's place, in a change that must not be given up yet. Of both there must
// be more, by one at least.
const stillFed, manySnapshots = 9, 8

// votesIn says whether a member's disk votes in a configuration already.
func votesIn(c *raft.Configuration, m *raft.Member) bool {
	is := func(n raft.Member) bool {
		return n.ID == m.ID && n.Role == raft.Voter && n.Incarnation == m.Incarnation
	}
	return slices.ContainsFunc(c.Members, is) || slices.ContainsFunc(c.Old, is)
}

// checkGivenUp checks that a leader doesn't give up a change, for want of progress, whose first round moves on: a server that is to vote,
// and doesn't yet, hasn't got its first snapshot, and bytes of that have come lately (§4.2.1).
func (w *World) checkGivenUp(i int, before *placed, now placed) {
	s := &w.servers[i]
	if s.status.role != leads || before.configuration.Next == nil || now.configuration.Refusal != raft.RefusedNotCaughtUp {
		return
	}
	snapshots, moves := 0, -1
	for k := range before.configuration.Next {
		m := &before.configuration.Next[k]
		j := serverOf(m.ID)
		if f := &w.feedings[i][j]; f.term == s.status.term && f.life == s.life && j != i {
			snapshots += f.snapshots
			to := &w.servers[j]
			behind := m.Role == raft.Voter && !votesIn(before.configuration, m)
			first := behind && w.diskOf(m) == to.disk && to.status.last < before.index && to.disk.last() < before.index
			sooner := f.last < now.index // what came later says nothing: that it is given up may be seen late, when it is written
			if first && sooner && w.local(s)-f.at < raft.Instant(stillFed*w.params.Election) {
				moves = j
			}
		}
	}
	if moves >= 0 && snapshots <= manySnapshots {
		w.fail(CatchingUp, i, "gives the change at index %d up as one that doesn't catch up, though server %d has got %d bytes of its first snapshot, the last of them %d ms ago",
			before.index, moves+1, w.feedings[i][moves].offset, (w.local(s)-w.feedings[i][moves].at)/raft.Instant(raft.Millisecond))
	}
}
