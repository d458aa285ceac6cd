package sim

// found starts all processes with empty disks and lets time pass, without any fault, until every group
// has a leader.
func (h *Hosts) found() {
	h.calm = true
	h.begin(phaseFound)
	h.all(func(w *World) { w.calm = true })
	for i := range h.n {
		h.startAll(i)
	}
	limit := h.events() + MaxEvents
	founded := func() bool {
		for _, w := range h.worlds {
			if !w.isFounded() {
				return false
			}
		}
		return true
	}
	h.loop(h.now+FoundElections*h.params.Election, func() bool { return founded() || h.events() > limit })
	for _, w := range h.worlds {
		if !h.over() && !w.isFounded() {
			w.failAtLast(Convergence, -1, "the cluster isn't founded after %d election timeouts", FoundElections)
		}
	}
	h.end()
}

// startAll starts a process with all of its groups at once.
func (h *Hosts) startAll(i int) {
	h.starts(i)
	h.all(func(w *World) {
		w.step(Event{Op: OpStart, Server: int8(i)}, nil)
		w.planTick(i)
	})
}

// begin lets time pass by itself from now on. What was on its way between processes is lost.
func (h *Hosts) begin(phase uint64) {
	h.queue.reset()
	clear(h.mail)
	h.mail, h.free = h.mail[:0], h.free[:0]
	for i := range h.links {
		for j := range h.links[i] {
			h.links[i][j].arriving = 0
		}
	}
	for i := range h.n {
		p := &h.processes[i]
		p.paused, p.waiting, p.batch, p.doomed, p.forgetful = 0, p.waiting[:0], nil, false, false
		p.stuck, p.landed, p.beatAt = [hostShards]int64{}, [MaxGroups]int{}, 0
		p.woken, p.removed = h.now, [MaxGroups]int64{}
		h.all(func(w *World) { w.spokenTo(i) })
	}
	h.all(func(w *World) { w.beginTimed(phase) })
	for i := range h.n {
		if h.processes[i].up {
			h.planScrub(i)
		}
		h.setTimer(i)
	}
}

// end stops time.
func (h *Hosts) end() {
	h.calm = false
	h.all(func(w *World) { w.endTimed() })
}

// phaseElections bounds how long the faults last, in election timeouts: in groups in which nothing
// happens, few events take a long time.
const phaseElections = 120

// faultPhase lets clients work and faults happen.
func (h *Hosts) faultPhase() {
	h.begin(phaseFaults)
	h.all(func(w *World) { w.beginFaults() })
	for i := range h.n {
		h.wakeAll(i, false)
		if !h.processes[i].up {
			h.queue.push(item{at: h.now + below(h.draw(luckRestart, i), h.params.Election), what: itemRestart, a: int8(i)})
		}
	}
	h.queue.push(item{at: h.now + h.params.FaultTime, what: itemFault})
	end := h.events() + int(h.params.Events)
	h.loop(h.now+phaseElections*h.params.Election, func() bool { return h.events() >= end })
	h.end()
}

// settle ends all faults. It then demands of each group what World.settle demands of a cluster, and
// that the groups cost nothing once nothing happens in them any more.
func (h *Hosts) settle() {
	if h.over() {
		return
	}
	h.calm = true
	h.begin(phaseSettle)
	for i := range h.n {
		if !h.processes[i].up {
			h.starts(i)
		}
	}
	settlings := make([]settling, len(h.worlds))
	for g, w := range h.worlds {
		settlings[g] = w.beginSettling()
	}
	h.freeze()
	for i := range h.n {
		h.wakeAll(i, true)
	}
	gaveUp := false
	h.loop(never, func() bool {
		all := true
		for g, w := range h.worlds {
			c := &settlings[g]
			done := w.settling(c)
			all = all && done && w.settled()
			gaveUp = gaveUp || done && !w.settled()
		}
		return all || gaveUp
	})
	for g, w := range h.worlds {
		if h.over() || !w.settles(&settlings[g]) {
			return
		}
	}
	h.settleSuccession()
	h.settleIdle()
	h.end()
}

// wakeAll has all that a process has to do planned anew, after what was planned is lost.
func (h *Hosts) wakeAll(i int, start bool) {
	if !h.processes[i].up {
		return
	}
	h.planWrite(i)
	h.all(func(w *World) {
		if w.servers[i].up {
			w.queue.push(item{at: h.now, what: itemTurn, a: int8(i), life: w.servers[i].life})
		} else if start {
			w.step(Event{Op: OpStart, Server: int8(i)}, nil)
			w.planTick(i)
		}
	})
	h.setTimer(i)
}

// settleSuccession demands that rightful servers lead in the end (World.settleSuccession).
func (h *Hosts) settleSuccession() {
	if h.params.Priorities == 0 {
		return
	}
	slowest := h.worlds[0].slowest()
	rightful := func() bool {
		for _, w := range h.worlds {
			if !w.rightful() {
				return false
			}
		}
		return true
	}
	for _, w := range h.worlds {
		if leader := w.leading(); leader >= 0 && !w.healthy(leader) {
			w.probeAgain()
		}
	}
	begun := h.now
	h.loop(begun+SuccessionElections*slowest, rightful)
	for _, w := range h.worlds {
		if !h.over() && !w.rightful() {
			w.failAtLast(Succession, w.leading(), "leads, though a healthy voter has a higher priority, %d election timeouts after all was done",
				(h.now-begun)/slowest)
		}
	}
}

// idleElections is the number of election timeouts within which a group in which nothing happens costs
// nothing.
const idleElections = 30

// settleIdle demands that every group is left to the Books in the end. No group begins to read its log any
// more, which is work.
func (h *Hosts) settleIdle() {
	if !h.params.restful() {
		return
	}
	begun := h.now
	h.unread = true
	busy := ""
	h.loop(begun+idleElections*h.worlds[0].slowest(), func() bool { busy = h.busy(); return busy == "" })
	if busy != "" && !h.over() {
		h.fail(IdleIsFree, nil, -1, "%d election timeouts after all was done, %s", (h.now-begun)/h.worlds[0].slowest(), busy)
	}
}
