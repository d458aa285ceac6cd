package sim

import (
	"slices"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A feeding notes what a server has written to streams with snapshots for another server, in one
// term that it leads.
type feeding struct {
	term      raft.Term
	life      uint32
	snapshot  uint64 // the number of the newest snapshot
	snapshots int    // how many different snapshots there were
	offset    uint64 // of the newest snapshot, the highest offset up to which bytes were written
	at        raft.Instant
	last      raft.Index // the last index of the writing server's log at that time
}

// feeds returns the note that a stream belongs to. A snapshot counts from the moment when a stream
// for it is opened.
func (w *World) feeds(st *stream) *feeding {
	f := &w.feedings[st.from][st.to]
	if f.term != st.header.Term || f.life != st.fromLife {
		*f = feeding{term: st.header.Term, life: st.fromLife}
	}
	if serial := st.header.SnapshotStream().Serial; f.snapshots == 0 || f.snapshot < serial {
		f.snapshot, f.offset = serial, 0
		f.snapshots++
	}
	return f
}

// fed notes that bytes were written to a stream. While effects are held back, it notes only the
// offset: the core may have given the stream up already, or it may count the bytes, so they don't
// prove that the core sees progress. Bytes that are written a second time don't prove it either.
func (w *World) fed(st *stream, now raft.Instant) {
	f := w.feeds(st)
	head := st.header.SnapshotStream()
	offset := head.Offset + uint64(st.written)
	if f.snapshot != head.Serial || offset <= f.offset {
		return
	}
	s := &w.servers[st.from]
	if f.offset = offset; !s.held {
		f.at, f.last = now, s.status.last
	}
}

// A change must not be given up while new bytes have come within the last stillFed election
// timeouts and no more than manySnapshots snapshots have replaced each other. The limits of the
// core are higher than these, by one at least.
const stillFed, manySnapshots = 9, 8

// votesIn reports whether a member votes in a configuration already, with the disk that it has.
func votesIn(c *raft.Configuration, m *raft.Member) bool {
	is := func(n raft.Member) bool {
		return n.ID == m.ID && n.Role == raft.Voter && n.Incarnation == m.Incarnation
	}
	return slices.ContainsFunc(c.Members, is) || slices.ContainsFunc(c.Old, is)
}

// checkGivenUp checks that a leader doesn't give up a change for want of progress while its first
// round moves on (§4.2.1). The first round moves on if there is a server that is to vote, doesn't
// vote yet, hasn't got its first snapshot, and has got bytes of that snapshot lately.
func (w *World) checkGivenUp(i int, before *placed, now placed) {
	s := &w.servers[i]
	if s.status.role != leads || before.configuration.Next == nil || now.configuration.Refusal != wire.RefusedNotCaughtUp {
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
			// Later bytes prove nothing: the decision may be older than the write that shows it.
			sooner := f.last < now.index
			if first && sooner && w.local(s)-f.at < raft.Instant(stillFed*w.params.Election) {
				moves = j
			}
		}
	}
	if moves >= 0 && snapshots <= manySnapshots {
		w.fail(CatchingUp, i, "gives up the change at index %d because a server doesn't catch up, though server %d has got %d bytes of its first snapshot, the last of them %d ms ago",
			before.index, moves+1, w.feedings[i][moves].offset, (w.local(s)-w.feedings[i][moves].at)/raft.Instant(time.Millisecond))
	}
}
