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
	moved, place := h.now, h.inherited()
	h.loop(never, func() bool {
		if now := h.inherited(); now != place {
			moved, place = h.now, now // progress: the snapshot with which a group is founded is on its way
		}
		return founded() || h.now-moved > FoundElections*h.params.Election || h.events() > limit
	})
	for _, w := range h.worlds {
		if !h.over() && !w.isFounded() {
			w.failAtLast(Convergence, -1, "the cluster isn't founded after %d election timeouts", FoundElections)
		}
	}
	h.end()
}

// inherited returns a number that changes when any group makes progress that began with what another
// cluster has left.
func (h *Hosts) inherited() (sum uint64) {
	for _, w := range h.worlds {
		if w.inherited > 0 {
			sum += w.place()
		}
	}
	return sum
}

// startAll starts a process with all of its groups at once.
func (h *Hosts) startAll(i int) {
	if !h.starts(i, 0) {
		return
	}
	h.all(func(w *World) {
		w.step(Event{Op: OpStart, Server: int8(i)}, nil)
		w.planTick(i)
	})
}

// begin lets time pass by itself from now on. What was on its way between processes is lost.
func (h *Hosts) begin(phase uint64) {
	for i := range h.n {
		h.endsBatch(i)
	}
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
		p.stuck, p.beatAt = [hostShards]int64{}, 0
		if p.real == nil {
			p.landed = [MaxGroups]int{}
		}
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
		p := &h.processes[i]
		if p.real != nil {
			p.real.free()
		}
		if !p.up {
			h.starts(i, 0)
		}
	}
	h.brim()
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
			well := w.settled() || w.params.Brim != 0 && w.worn()
			all = all && done && well
			gaveUp = gaveUp || done && !well
		}
		return all || gaveUp
	})
	well := true
	for g, w := range h.worlds {
		if h.over() {
			return
		}
		well = w.settles(&settlings[g]) && well
	}
	if h.over() || !well {
		return
	}
	h.settleSuccession()
	h.settleIdle()
	h.end()
	h.reopen()
}

// reopen lets the cleaners of all real logs do what they owe. Then it cuts the power of every process, and
// starts it once more, for a last look at what its log holds.
func (h *Hosts) reopen() {
	if h.params.WAL == 0 {
		return
	}
	for i := range h.n {
		if p := &h.processes[i]; p.up && p.failed == nil {
			h.endsBatch(i)
			h.cleansUp(i)
		}
		h.crashes(i)
		h.startAll(i)
	}
}

// wakeAll has all that a process has to do planned anew, after what was planned is lost.
func (h *Hosts) wakeAll(i int, start bool) {
	if !h.processes[i].up {
		return
	}
	h.reports(i)
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

// works reports whether any server that isn't frozen is taking a snapshot, or reading its log.
func (h *Hosts) works() bool {
	for _, w := range h.worlds {
		for i := range h.n {
			if s := &w.servers[i]; w.captures() || s.up && s.frozen == frozenNot && s.core.Scrubs() {
				return true
			}
		}
	}
	return false
}

// settleIdle demands that every group is left to the Books in the end. No group begins to read its log any
// more, which is work.
func (h *Hosts) settleIdle() {
	if !h.params.restful() {
		return
	}
	begun := h.now
	h.unread = true
	busy := ""
	limit := idleElections * h.worlds[0].slowest()
	h.loop(never, func() bool {
		if h.works() {
			begun = h.now // how long that takes is a question of the disk, and of the rate
		}
		busy = h.busy()
		return busy == "" || h.now-begun > limit
	})
	if busy != "" && !h.over() {
		h.fail(IdleIsFree, nil, -1, "%d election timeouts after all was done, %s", (h.now-begun)/h.worlds[0].slowest(), busy)
	}
}
