package sim

import "github.com/e17579a5/raft"

// SuccessionElections is the number of election timeouts within which, once all is done after the last fault, a server of the
// highest priority among the healthy ones leads. It is as long as it is because a leader that has handed over in vain again
// and again rests for up to 64 of them.
const SuccessionElections = 200

// priority returns what a server was told of its priority.
func (p *Params) priority(server int) int64 { return p.Priorities >> (2 * server) & 3 }

// rightful says whether who leads is healthy, and no healthy voter has a higher priority.
func (w *World) rightful() bool {
	leader := w.leading()
	if leader < 0 || !w.healthy(leader) {
		return false
	}
	last := w.ghost.configurations[len(w.ghost.configurations)-1].configuration
	for i := 0; i < w.n; i++ {
		m := memberOf(last, w.servers[i].id)
		if m != nil && m.Role == raft.Voter && w.healthy(i) && w.params.priority(i) > w.params.priority(leader) {
			return false
		}
	}
	return true
}

// settleSuccession demands that in the end a server leads that should rather than others.
func (w *World) settleSuccession(slowest int64) {
	if w.params.Priorities == 0 {
		return
	}
	begun, limit := w.now, w.stats.Events+w.patience
	w.loop(begun+SuccessionElections*slowest, func() bool { return w.rightful() || w.stats.Events > limit })
	w.stats.Succeeded = (w.now - begun) * 10 / slowest
	if w.violation == nil && !w.rightful() {
		w.failAtLast(Succession, w.leading(), "leads, though a healthy voter has a higher priority, %d election timeouts after all was done",
			w.stats.Succeeded/10)
	}
}
