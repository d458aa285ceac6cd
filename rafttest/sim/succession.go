package sim

import "github.com/e17579a5/raft"

// SuccessionElections is a number of election timeouts. Within it, once all else is done after the
// last fault, a server of the highest priority among the healthy ones must lead. It is large
// because a leader that has tried in vain to hand over, again and again, waits for up to 64
// election timeouts before the next attempt.
const SuccessionElections = 200

// priority returns the priority of a server.
func (p *Params) priority(server int) int64 { return p.Priorities >> (2 * server) & 3 }

// rightful reports whether a healthy server leads and no healthy voter has a higher priority. One
// whose disk is full has the lowest.
func (w *World) rightful() bool {
	leader := w.leading()
	if leader < 0 || !w.healthy(leader) {
		return false
	}
	last := w.ghost.configurations[len(w.ghost.configurations)-1].configuration
	for i := 0; i < w.n; i++ {
		m := memberOf(last, w.servers[i].id)
		if m != nil && m.Role == raft.Voter && w.healthy(i) && !w.servers[i].full &&
			(w.servers[leader].full || w.params.priority(i) > w.params.priority(leader)) {
			return false
		}
	}
	return true
}

// settleSuccession demands that a rightful server leads in the end.
func (w *World) settleSuccession(slowest int64) {
	if w.params.Priorities == 0 {
		return
	}
	if leader := w.leading(); leader >= 0 && !w.healthy(leader) {
		w.probeAgain() // that a disk or a state machine stands still shows only when it has something to do
	}
	begun, limit := w.now, w.stats.Events+w.patience
	w.loop(begun+SuccessionElections*slowest, func() bool { return w.rightful() || w.stats.Events > limit })
	w.stats.Succeeded = (w.now - begun) * 10 / slowest
	if w.violation == nil && !w.rightful() {
		w.failAtLast(Succession, w.leading(), "leads, though a healthy voter has a higher priority, %d election timeouts after all was done",
			w.stats.Succeeded/10)
	}
}
