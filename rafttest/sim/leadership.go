package sim

import "github.com/e17579a5/raft"

// checkLeases checks, when a server is elected, that no other one holds a lease by its own clock: it would go on to serve reads.
func (w *World) checkLeases(i int) {
	for j := 0; j < w.n; j++ {
		s := &w.servers[j]
		if j != i && s.up && s.status.role == leads && s.status.term < w.servers[i].status.term && s.status.leaseUntil > w.local(s) {
			w.fail(Leases, i, "leads term %d while server %d, of term %d, holds a lease for another %d ns",
				w.servers[i].status.term, j+1, s.status.term, s.status.leaseUntil-w.local(s))
		}
	}
}

// checkLease checks, when a leader takes a lease, that no later one was elected.
func (w *World) checkLease(i int) {
	s := &w.servers[i]
	for t := int(s.status.term) + 1; t < len(w.ghost.leaders); t++ {
		if w.ghost.leaders[t].server != 0 {
			w.fail(Leases, i, "takes a lease in term %d, but server %d was elected in term %d", s.status.term, w.ghost.leaders[t].server, t)
		}
	}
}

// checkHandOver checks a TimeoutNow that leaves: its sender has no lease, and its target's disk holds the whole log of a leader,
// or, of one that has just given up because its disk stands still, all that it has committed.
func (w *World) checkHandOver(i int, m *raft.Message) {
	s, d := &w.servers[i], w.servers[serverOf(m.To)].member
	if s.status.leaseUntil != 0 {
		w.fail(Leases, i, "lets %s campaign while it holds a lease", m.To)
	}
	last := s.status.last
	if s.status.role != leads {
		last = s.status.commit
	}
	if last > raft.Index(len(s.view)) {
		return // it has entries that were not even handed to its own disk
	}
	if d.last() < last || last > 0 && d.slots[last-1] != s.view[last-1] {
		w.fail(HandingOver, i, "lets %s campaign, whose disk doesn't hold its log up to %d", m.To, last)
	}
}
