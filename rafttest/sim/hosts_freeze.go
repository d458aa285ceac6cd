package sim

import "github.com/e17579a5/raft"

// freeze chooses processes that stay as they are when all other faults end (Params.Freeze), and what
// stays wrong with each of them. A quorum of every group stays healthy.
func (h *Hosts) freeze() {
	if h.params.Freeze == 0 {
		return
	}
	for _, w := range h.worlds {
		if len(w.ghost.configurations) == 0 || !w.quiet() {
			return
		}
	}
	most := below(h.luck.draw(luckFreeze, 0, 0xff, 0), int64(h.n+1)/2)
	for n := uint64(1); most > 0 && n < 20; n++ {
		luck := h.luck.draw(luckFreeze, 0, 0xff, n)
		i := int(below(luck, int64(h.n)))
		if w := h.worlds[0]; w.leading() >= 0 && mix(luck)%4 == 0 {
			i = w.leading()
		}
		if h.spares(i) {
			h.freezeProcess(i, frozenState(1+below(mix(luck+1), int64(numFrozen)-1)), luck)
			most--
		}
	}
}

// spares reports whether every group has a quorum of healthy voters without a process. One whose disk went
// back is none, though it may not know that yet.
func (h *Hosts) spares(i int) bool {
	for _, w := range h.worlds {
		healthy := func(m *raft.Member) bool {
			j := serverOf(m.ID)
			return j != i && !w.lost(m) && w.diskOf(m) == w.servers[j].disk && w.healthy(j)
		}
		if w.servers[i].frozen != frozenNot || w.bears(i) || !quorum(w.ghost.settled, healthy) {
			return false
		}
	}
	return true
}

// freezeProcess makes something wrong with a process that isn't mended any more. A state machine is that
// of one group alone.
func (h *Hosts) freezeProcess(i int, state frozenState, luck uint64) {
	p := &h.processes[i]
	h.stats.Frozen++
	h.tells(i, "stays so: %s", frozenNames[state])
	switch state {
	case frozenMachine:
		h.worlds[mix(luck)%uint64(len(h.worlds))].freezeServer(i, state)
		return
	case frozenDown:
		h.crashes(i)
	case frozenPause:
		p.paused = never
	}
	h.all(func(w *World) { w.freezeServer(i, state) })
}

// silentForGood reports whether a process is one that the others don't hear any more, and that doesn't ask
// them anything. A quiet group stays so without it.
func (s *server) silentForGood() bool {
	switch s.frozen {
	case frozenDown, frozenOff, frozenDumb, frozenPause:
		return true
	}
	return false
}
