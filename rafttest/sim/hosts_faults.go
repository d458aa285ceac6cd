package sim

import "slices"

// A hostFault is a kind of thing that happens to processes in a run.
type hostFault int

const (
	hostCrash       hostFault = iota // a process crashes
	hostCrashLeader                  // one that leads a group does
	hostPower                        // all processes crash at once
	hostTorn                         // a process crashes in the middle of its next write
	hostIsolate                      // a process is cut off
	hostIsolateLead                  // one that leads a group is
	hostSplit                        // the processes fall into two parts
	hostOneWay                       // some links are cut, in one direction
	hostBridge                       // two parts that only one process connects
	hostRing                         // each process is connected to two others only
	hostSwallow                      // a process is cut off, and its links work again one after the other
	hostPause                        // a process stands still, and what arrives waits
	hostJam                          // one of its shards does
	hostStall                        // a disk stands still
	hostLag                          // what is sent to a process comes late
	hostHint                         // a transport believes that a process is gone
	hostClock                        // a clock runs at another rate
	hostPutBack                      // an image of a disk is taken, or an older one is put back
	hostForget                       // a disk loses the write that it has just said to be durable
	hostFail                         // a group fails in a process that goes on
	hostRemove                       // a group is removed from a process, and made anew later
	hostClose                        // a process is asked to close, and hands over what it leads
	hostFill                         // disks are full for a while

	numHostFaults
)

// The faults of the real log of a process (Params.WAL)
const (
	hostFailWrite  = numHostFaults + iota // a write to a file fails
	hostFailSync                          // a sync fails and forgets what it should have written
	hostFull                              // the disk has hardly any room
	hostRot                               // some bytes change
	hostCutOpening                        // the power fails again while the log is opened

	numHostDiskFaults = iota
)

// HostFaultNames are the names of the faults of processes. The place of a name is the number of the
// fault's bit in Params.HostKinds; those of a real log follow.
var HostFaultNames = []string{
	"crash", "crash-leader", "power", "torn", "isolate", "isolate-leader", "split", "one-way", "bridge", "ring", "swallow",
	"pause", "jam", "stall", "lag", "hint", "clock", "put-back", "forget", "fail", "remove", "close", "fill",
	"fail-write", "fail-sync", "full", "rot", "cut-opening",
}

// AddHostFault adds a kind of fault of processes, by its name.
func (p *Params) AddHostFault(name string) {
	switch i := slices.Index(HostFaultNames, name); {
	case i >= int(numHostFaults):
		p.FaultKinds |= 1 << (int(numFaults) + i - int(numHostFaults))
	case i >= 0:
		p.HostKinds |= 1 << i
	}
}

// groupFaults are those of the faults of Params.FaultKinds that happen to one group alone.
const groupFaults = 1<<faultTransfer | 1<<faultProbe | 1<<faultHandOver | 1<<faultMachine | 1<<faultSnapshot | 1<<faultSpoil | 1<<faultStranger

// hostKinds draws the kinds of faults that happen to processes in a run: about half of them.
func hostKinds(l luck) int64 {
	luck := l.draw(luckParams, 2, 0xff, 0)
	kinds := int64(luck) & (1<<numHostFaults - 1)
	if mix(luck+1)%4 != 0 {
		kinds &^= 1<<hostPutBack | 1<<hostForget
	}
	if kinds == 0 {
		kinds = 1 << hostCrash
	}
	return kinds
}

// faultHappens lets the next fault happen, and plans the one after that.
func (h *Hosts) faultHappens() {
	h.faults++
	luck := h.luck.draw(luckFault, 0xff, 0, h.faults)
	p := &h.params
	h.queue.push(item{at: h.now + spread(mix(luck+1), p.FaultTime), what: itemFault})
	kinds, count := p.HostKinds&(1<<numHostFaults-1), numHostFaults
	if p.WAL != 0 {
		kinds |= p.FaultKinds >> numFaults & (1<<numHostDiskFaults - 1) << numHostFaults
		count += numHostDiskFaults
	}
	if kinds == 0 {
		return
	}
	kind := hostFault(below(mix(luck+2), int64(count)))
	for kinds&(1<<kind) == 0 {
		kind = (kind + 1) % count
	}
	victim, span := int(below(mix(luck+3), int64(h.n))), spread(mix(luck+4), p.FaultSpan)
	luck = mix(luck + 5)
	w := h.worlds[below(mix(luck+6), int64(len(h.worlds)))]
	h.stats.Faults[kind]++
	h.tells(victim, "suffers %s", HostFaultNames[kind])
	if kind == hostCrashLeader || kind == hostIsolateLead || (kind == hostFail || kind == hostJam || kind == hostPause) && luck%2 == 0 {
		if leader := w.leading(); leader >= 0 {
			victim = leader
		}
	}
	h.suffers(kind, victim, w, span, luck)
}

// suffers lets a fault happen to a process, or to one group at it.
func (h *Hosts) suffers(kind hostFault, i int, w *World, span int64, luck uint64) {
	p := &h.processes[i]
	switch kind {
	case hostCrash, hostCrashLeader:
		h.crashes(i)
	case hostPower:
		for j := range h.n {
			h.crashes(j)
		}
	case hostTorn:
		p.doomed = true
	case hostPause:
		h.pauses(i, span)
	case hostJam:
		h.jams(i, int(luck%hostShards), span)
	case hostStall:
		h.all(func(w *World) { w.stalls(i, span, luck) })
	case hostLag:
		h.all(func(w *World) { w.lags(i, span) })
	case hostHint:
		h.queue.push(item{at: h.now, what: itemLost, a: int8(i), b: int8(luck % uint64(h.n))})
	case hostClock:
		rate := 1_000_000 - h.params.Drift + below(luck, 2*h.params.Drift+1)
		h.all(func(w *World) {
			w.step(Event{Op: OpClock, Server: int8(i), N: rate}, nil)
			w.servers[i].replan(w, i)
		})
		p.beatAt = 0
		h.setTimer(i)
	case hostPutBack:
		h.goesBack(i, span, luck)
	case hostForget:
		p.forgetful = p.real == nil && (h.expendable(i) || luck%8 == 0)
	case hostFail:
		w.groupFails(i)
	case hostRemove:
		h.removes(w, i, span)
	case hostClose:
		h.closes(i)
	case hostFill:
		h.fillsUp(i, span, luck)
	case hostFailWrite, hostFailSync, hostFull, hostRot, hostCutOpening:
		h.logSuffers(kind, i, span, luck)
	default:
		kinds := map[hostFault]fault{
			hostIsolate: faultIsolate, hostIsolateLead: faultIsolate, hostSplit: faultSplit, hostOneWay: faultOneWay,
			hostBridge: faultBridge, hostRing: faultRing, hostSwallow: faultSwallow,
		}
		h.all(func(w *World) { w.part(kinds[kind], i, span, luck) })
	}
}

// groupFails ends a group's core in a process that goes on. It is started again after a while.
func (w *World) groupFails(i int) {
	h := w.hosts
	if !w.servers[i].up {
		return
	}
	h.stats.Failed++
	w.step(Event{Op: OpCrash, Server: int8(i)}, nil)
	w.queue.push(item{at: w.now + spread(h.draw(luckRestart, i), w.params.DownTime), what: itemRestart, a: int8(i)})
}

// removes removes a group from a process, with what is stored of it, if the group can do without. It
// is made anew after a while, on a disk that knows nothing of it.
func (h *Hosts) removes(w *World, i int, span int64) {
	if w.step(Event{Op: OpWipe, Server: int8(i)}, nil) {
		h.stats.Removed++
		h.processes[i].removed[w.group] = h.now + span
		w.queue.push(item{at: h.now + span, what: itemRestart, a: int8(i)})
	}
}

// isRemoved reports whether the group is removed from a process, which may start anew meanwhile.
func (w *World) isRemoved(i int) bool {
	return w.hosts != nil && w.hosts.processes[i].removed[w.group] > w.now
}

// closes tells a process that it is about to stop.
func (h *Hosts) closes(i int) {
	if !h.processes[i].up {
		return
	}
	h.all(func(w *World) {
		if w.step(Event{Op: OpResign, Server: int8(i)}, nil) {
			w.planTick(i)
		}
	})
	h.queue.push(item{at: h.now + h.params.Heartbeat/4, what: itemResigned, a: int8(i), life: h.processes[i].life})
}

// stops ends a process that is about to stop, as soon as all of its groups may stop.
func (h *Hosts) stops(it *item, i int) {
	p := &h.processes[i]
	if it.life != p.life || !p.up {
		return
	}
	for _, w := range h.worlds {
		if s := &w.servers[i]; s.up && !s.core.Resigned() {
			h.queue.push(item{at: h.now + h.params.Heartbeat/4, what: itemResigned, a: it.a, life: it.life})
			return
		}
	}
	h.crashes(i)
}
