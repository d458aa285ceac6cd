package sim

import "github.com/e17579a5/raft"

// A fault is a kind of thing that goes wrong in a timed run.
type fault int

const (
	faultCrash       fault = iota // one server crashes
	faultCrashLeader              // the leader crashes
	faultPower                    // all servers crash at once
	faultTorn                     // a server crashes in the middle of its next write
	faultIsolate                  // one server is cut off
	faultIsolateLead              // the leader is cut off
	faultSplit                    // the cluster falls into two parts
	faultOneWay                   // some links are cut, in one direction
	faultBridge                   // the cluster falls into two parts that only one server connects
	faultFunnel                   // the leader can send to one other server only
	faultPause                    // a process stands still
	faultStall                    // a disk stands still
	faultStallLeader              // the leader's disk stands still
	faultTransfer                 // the leader asks another server to campaign
	faultCoup                     // the same, and then the leader hears nothing, or hears everything late
	faultLag                      // messages to a server come late
	faultBlink                    // likewise, while the server crashes and comes back: answers to its earlier life arrive
	faultProbe                    // a follower gets an append without entries, somewhere in the leader's log
	faultHint                     // one server, or all, believe that the leader's process is gone
	faultWipe                     // a disk is replaced by an empty one
	faultHandOver                 // the leader is asked to hand over its leadership
	faultResign                   // a server is told that it is about to stop, and stops when it may
	faultClock                    // a clock runs at another rate from now on
	faultMachine                  // a state machine stands still
	faultSnapshot                 // a server is asked for a snapshot
	faultSpoil                    // a snapshot is damaged
	faultRing                     // each server is connected to two others only, in a ring
	faultPutBack                  // an image of a disk is taken, or an older one is put back
	faultForget                   // a disk loses the write that it has just said to be durable
	faultSwallow                  // a server is cut off, and each of its links works again when its ends have noticed
	faultStranger                 // servers that don't belong to the cluster speak to one that does
	faultFill                     // a disk, or all of them, have hardly any room

	numFaults
)

// FaultNames are the names of the faults. The place of a name is the number of the fault's bit in
// Params.FaultKinds.
var FaultNames = []string{
	"crash", "crash-leader", "power", "torn", "isolate", "isolate-leader", "split", "one-way", "bridge", "funnel",
	"pause", "stall", "stall-leader", "transfer", "coup", "lag", "blink", "probe", "hint", "wipe",
	"hand-over", "resign", "clock", "machine", "snapshot", "spoil", "ring", "put-back", "forget", "swallow", "stranger", "fill",
	"fail-write", "fail-sync", "full", "rot", "cut-opening",
}

// swarmFaults chooses the kinds of faults of a run: about half of them. So, over many runs, they
// meet in all combinations.
func swarmFaults(h uint64) int64 {
	kinds := int64(mix(h+1)) & (1<<numFaults - 1)
	if mix(h+2)%8 != 0 {
		kinds &^= 1 << faultWipe
	}
	if mix(h+4)%4 != 0 {
		kinds &^= 1<<faultPutBack | 1<<faultForget
	}
	if mix(h+3)%4 != 0 {
		kinds |= 1 << faultCrashLeader
	}
	if kinds&(1<<faultCrash|1<<faultCrashLeader|1<<faultPower) == 0 {
		kinds |= 1 << (h % 3)
	}
	return kinds
}

// outsideHappens performs an item that doesn't come from a lane of a server.
func (w *World) outsideHappens(it *item, i int) {
	switch it.what {
	case itemClient:
		w.clientActs()
	case itemCancel:
		w.step(Event{Op: OpCancel, Server: it.a, N: it.n}, nil)
	case itemLost:
		w.step(Event{Op: OpLost, Server: it.a, Peer: it.b}, nil)
	case itemFault:
		w.faultHappens()
	case itemMend:
		if int64(w.mending) == it.n {
			w.step(Event{Op: OpHeal}, nil)
		}
	case itemRejoin:
		if int64(w.mending) == it.n && it.a != it.b {
			w.step(Event{Op: OpJoin, Server: it.a, Peer: it.b}, nil)
		}
	case itemRestart:
		if w.isRemoved(i) {
			return
		}
		w.step(Event{Op: OpStart, Server: it.a, N: it.n}, nil)
	case itemFree:
		w.step(Event{Op: OpFree, Server: it.a}, nil)
	case itemCrash:
		if it.life == w.servers[i].life {
			w.crashes(i)
		}
		if it.n != 0 {
			w.queue.push(item{at: w.now + w.params.DownTime/16, what: itemRestart, a: it.a})
		}
	case itemForget:
		if it.life == w.servers[i].life {
			w.forgets(i)
		}
	case itemProbe:
		w.probe(i)
	case itemChange:
		w.changeHappens()
	case itemLose:
		w.loseHappens()
	case itemResigned:
		w.stops(it, i)
	case itemWake:
		w.wakes(i)
	}
	if s := &w.servers[i]; s.up && w.violation == nil {
		w.planTick(i)
	}
}

// leading returns the server that leads in the highest term, or -1 if none leads.
func (w *World) leading() int {
	found, term := -1, raft.Term(0)
	for i := 0; i < w.n; i++ {
		if s := &w.servers[i]; s.up && s.status.role == leads && s.status.term > term {
			found, term = i, s.status.term
		}
	}
	return found
}

// faultHappens draws the next fault and lets it happen. It plans the one after that.
func (w *World) faultHappens() {
	w.faults++
	h := w.luck.draw(luckFault, 0, 0, w.faults)
	p := &w.params
	w.queue.push(item{at: w.now + spread(mix(h+1), p.FaultTime), what: itemFault})
	count := numFaults
	if p.WAL != 0 {
		count += numDiskFaults
	}
	kinds := p.FaultKinds & (1<<count - 1)
	if kinds == 0 {
		return
	}
	kind := fault(below(mix(h+2), int64(count)))
	for kinds&(1<<kind) == 0 {
		kind = (kind + 1) % count
	}
	victim := int(below(mix(h+3), int64(w.n)))
	leader := w.leading()
	span := spread(mix(h+4), p.FaultSpan)
	h = mix(h + 5)
	w.stats.Faults[kind]++
	if w.trace != nil {
		w.traceFault(kind, victim, leader, span)
	}
	switch kind {
	case faultCrashLeader, faultIsolateLead, faultStallLeader, faultFunnel, faultTransfer, faultCoup, faultProbe, faultHint, faultHandOver, faultResign:
		if leader < 0 {
			leader = victim
		}
		w.leaderSuffers(kind, leader, victim, span, h)
	default:
		w.victimSuffers(kind, victim, span, h)
	}
}

// victimSuffers lets a fault happen that is aimed at any server, or at all.
func (w *World) victimSuffers(kind fault, victim int, span int64, h uint64) {
	p := &w.params
	switch kind {
	case faultCrash:
		w.crashes(victim)
	case faultPower:
		for i := 0; i < w.n; i++ {
			w.crashes(i)
		}
	case faultTorn:
		w.servers[victim].doomed = true
	case faultLag:
		w.lags(victim, span)
	case faultBlink:
		w.lags(victim, span)
		w.queue.push(item{at: w.now + below(h, span/2+1), what: itemCrash, a: int8(victim), life: w.servers[victim].life, n: 1})
	case faultPause:
		w.servers[victim].paused = w.now + span
		w.queue.push(item{at: w.now + span, what: itemWake, a: int8(victim)})
	case faultSnapshot:
		w.step(Event{Op: OpSnapshot, Server: int8(victim)}, nil)
		w.planTick(victim)
	case faultSpoil:
		w.step(Event{Op: OpSpoil, Server: int8(victim)}, nil)
	case faultStall:
		w.stalls(victim, span, h)
	case faultPutBack:
		w.backHappens(victim, h)
	case faultForget:
		w.servers[victim].forgetful = p.WAL == 0 && (w.expendable(victim) || h%8 == 0)
	case faultStranger:
		for range 8 {
			h = mix(h)
			w.step(Event{Op: OpStranger, Server: int8(victim), N: below(h, 1<<40)}, nil)
		}
		w.planTick(victim)
	case faultWipe:
		if w.step(Event{Op: OpWipe, Server: int8(victim)}, nil) {
			n := int64(0)
			if w.params.WAL != 0 && h%2 == 0 {
				n = openingLuck(h)
			}
			w.queue.push(item{at: w.now + span, what: itemRestart, a: int8(victim), n: n})
		}
	case faultFill:
		w.fillsUp(victim, span, h)
	case faultClock:
		w.step(Event{Op: OpClock, Server: int8(victim), N: 1_000_000 - p.Drift + below(h, 2*p.Drift+1)}, nil)
		w.servers[victim].replan(w, victim)
	case faultMachine:
		w.servers[victim].lame = w.now + span
	case faultFailWrite, faultFailSync, faultFull, faultRot, faultCutOpening:
		w.diskFault(kind, victim, span, h)
	default:
		w.part(kind, victim, span, h)
	}
}

// traceFault adds a fault to the trace.
func (w *World) traceFault(kind fault, victim, leader int, span int64) {
	until := int64(0)
	switch kind {
	case faultPause, faultStall, faultStallLeader, faultMachine:
		until = w.now + span
	}
	switch kind {
	case faultCrashLeader, faultIsolateLead, faultStallLeader, faultFunnel, faultTransfer, faultCoup, faultHint, faultHandOver, faultResign:
		if leader >= 0 {
			victim = leader
		}
	case faultPower, faultSplit, faultOneWay, faultRing, faultFill:
		victim = -1
	}
	w.trace.fault(w, FaultNames[kind], victim, until)
}

// leaderSuffers lets a fault happen that is aimed at the leader.
func (w *World) leaderSuffers(kind fault, leader, other int, span int64, h uint64) {
	if other == leader {
		if other = (other + 1) % w.n; other == leader && kind != faultCrashLeader && kind != faultStallLeader {
			return // a cluster of one
		}
	}
	switch kind {
	case faultCrashLeader:
		if w.servers[leader].status.role == leads {
			w.vacant = w.now
		}
		w.crashes(leader)
	case faultIsolateLead:
		w.part(faultIsolate, leader, span, 0)
	case faultFunnel:
		for i := 0; i < w.n; i++ {
			if i != leader && i != other {
				w.step(Event{Op: OpCut, Server: int8(i), Peer: int8(leader)}, nil)
			}
		}
		w.mendAfter(span)
	case faultStallLeader:
		w.stalls(leader, span, h)
	case faultHandOver:
		target := int64(0)
		if h%4 != 0 {
			target = int64(other + 1)
		}
		if h%3 == 0 {
			leader = int(below(mix(h), w.params.Servers)) // this server passes the call on to the leader
		}
		w.step(Event{Op: OpHandOver, Server: int8(leader), N: target}, nil)
		w.planTick(leader)
	case faultResign:
		w.resigns(leader)
	case faultTransfer:
		w.toppled(leader, other)
	case faultCoup:
		w.toppled(leader, other)
		if h%2 == 0 {
			w.lags(leader, span)
			return
		}
		for i := 0; i < w.n; i++ {
			if i != leader {
				w.step(Event{Op: OpCut, Server: int8(leader), Peer: int8(i)}, nil)
			}
		}
		w.mendAfter(span)
	case faultProbe:
		for range 8 {
			h = mix(h)
			w.step(Event{Op: OpProbe, Server: int8(other), Peer: int8(leader), N: below(h, int64(len(w.servers[leader].view)+1))}, nil)
		}
		w.planTick(other)
	case faultHint:
		for i := 0; i < w.n; i++ {
			if i == other || i != leader && h%2 == 0 {
				w.step(Event{Op: OpLost, Server: int8(i), Peer: int8(leader)}, nil)
				w.planTick(i)
			}
		}
	}
}

// toppled makes another server campaign against the leader. If there are leases, the leader must
// know of it.
func (w *World) toppled(leader, other int) {
	if w.params.MaxLease > 0 {
		w.step(Event{Op: OpHandOver, Server: int8(leader), N: int64(other + 1)}, nil)
		w.planTick(leader)
		return
	}
	w.step(Event{Op: OpTransfer, Server: int8(other), Peer: int8(leader)}, nil)
	w.planTick(other)
}

// resigns tells a server that it is about to stop.
func (w *World) resigns(i int) {
	if s := &w.servers[i]; w.step(Event{Op: OpResign, Server: int8(i)}, nil) {
		w.queue.push(item{at: w.now + w.params.Heartbeat/4, what: itemResigned, a: int8(i), life: s.life})
		w.planTick(i)
	}
}

// stops ends a server that has resigned, as soon as it may stop.
func (w *World) stops(it *item, i int) {
	s := &w.servers[i]
	switch {
	case it.life != s.life || !s.up:
	case s.core.Resigned():
		w.crashes(i)
	default:
		w.queue.push(item{at: w.now + w.params.Heartbeat/4, what: itemResigned, a: it.a, life: it.life})
	}
}

// replan plans the next wake-up of a server again, because its clock has changed.
func (s *server) replan(w *World, i int) {
	s.tickAt, s.deadline = 0, 0
	w.planTick(i)
}

// stalls lets a disk stand still for a while: all of it, only its writes, or only its reads.
func (w *World) stalls(i int, span int64, h uint64) {
	s := &w.servers[i]
	if h%4 != 0 {
		s.stalled = w.now + span
	}
	if h%4 != 1 {
		s.stalledReads = w.now + span
	}
}

// ringPlace returns the place of a server in a ring of n. h decides the order of the ring.
func ringPlace(server, n int, h uint64) (place int) {
	for other := range n {
		if mix(h+uint64(other)) < mix(h+uint64(server)) {
			place++
		}
	}
	return place
}

// part cuts links for a while.
func (w *World) part(kind fault, victim int, span int64, h uint64) {
	for a := 0; a < w.n; a++ {
		for b := 0; b < w.n; b++ {
			sideA, sideB := h>>a&1, h>>b&1
			cut := false
			switch kind {
			case faultIsolate, faultSwallow:
				cut = a == victim || b == victim
			case faultSplit:
				cut = sideA != sideB
			case faultBridge:
				cut = sideA != sideB && a != victim && b != victim
			case faultRing:
				apart := ringPlace(a, w.n, h) - ringPlace(b, w.n, h)
				cut = apart*apart > 1 && apart*apart != (w.n-1)*(w.n-1)
			case faultOneWay:
				cut = mix(h+uint64(8*a+b))%3 == 0
			}
			if cut && a != b {
				w.step(Event{Op: OpCut, Server: int8(b), Peer: int8(a)}, nil)
			}
		}
	}
	if kind == faultSwallow {
		w.rejoinAfter(victim, span, h)
		return
	}
	w.mendAfter(span)
}

// rejoinAfter mends the links of a server after a while, each at a time of its own: the network
// carries everything again, and a connection that has lost its other end swallows what is sent
// until the side that sends has given it up. A later fault that cuts links mends all of them.
func (w *World) rejoinAfter(victim int, span int64, h uint64) {
	w.mending++
	for i := range w.n {
		for _, link := range [2][2]int{{victim, i}, {i, victim}} {
			noticed := below(mix(h+uint64(8*link[0]+link[1])), 2*w.params.Election)
			w.queue.push(item{at: w.now + span + noticed, what: itemRejoin, a: int8(link[1]), b: int8(link[0]), n: int64(w.mending)})
		}
	}
}

// lags delays everything that is sent to a server, for a while.
func (w *World) lags(victim int, span int64) {
	for i := 0; i < w.n; i++ {
		w.links[i][victim].lag = span / 2
	}
	w.mendAfter(span)
}

// mendAfter mends all links after a while, unless a later fault cuts others before that.
func (w *World) mendAfter(span int64) {
	w.mending++
	w.queue.push(item{at: w.now + span, what: itemMend, n: int64(w.mending)})
}

// crashes crashes a server and loses a part of what it was writing. It tells some of the other
// servers, and plans the restart.
func (w *World) crashes(i int) {
	s := &w.servers[i]
	if !s.up {
		return
	}
	if w.hosts != nil {
		w.groupFails(i)
		return
	}
	kept := int64(0)
	for kept < int64(len(s.writes)) && permille(w.next(luckKeep, i), w.params.Keep) {
		kept++
	}
	if w.params.WAL != 0 {
		kept = crashLuck(w.next(luckKeep, i)) << 8 // decides how many are kept, too
	}
	w.step(Event{Op: OpCrash, Server: int8(i), N: kept}, nil)
	if w.params.Older != 0 && w.luck.draw(luckLevel, i, 0, uint64(s.life))%8 == 0 {
		w.step(Event{Op: OpUpgrade, Server: int8(i)}, nil)
	}
	w.queue.push(item{at: w.now + spread(w.next(luckRestart, i), w.params.DownTime), what: itemRestart, a: int8(i)})
	for j := 0; j < w.n; j++ {
		if h := w.next(luckLost, i); j != i && h%2 == 0 {
			w.queue.push(item{at: w.now + w.params.Delay + below(mix(h), w.params.Heartbeat), what: itemLost, a: int8(j), b: int8(i)})
		}
	}
}

// clientActs lets a client perform an operation, and plans the next operation of any client.
func (w *World) clientActs() {
	w.clients++
	n := int64(w.clients)
	h := w.luck.draw(luckClient, 0, 0, w.clients)
	p := &w.params
	w.queue.push(item{at: w.now + spread(mix(h+1), p.ClientTime), what: itemClient})
	i := int(below(mix(h+2), int64(w.n)))
	s := &w.servers[i]
	if !s.up || s.paused > w.now || !w.counts(i) && mix(h+8)%8 != 0 {
		return
	}
	e := Event{Op: OpPropose, Server: int8(i), N: n}
	switch {
	case permille(mix(h+3), p.Reads):
		e.Op = OpQuery
		if kind := below(mix(h+6), 1000); kind < p.LeaseReads {
			e.Op = OpQueryLease
		} else if kind < p.LeaseReads+p.StaleReads {
			e.Op = OpQueryStale
		}
	case permille(mix(h+7), p.Fences):
		e.Op = OpProposeFenced
	}
	if p.Sessions > 0 && permille(mix(h+6), p.InSession) {
		w.sessionClientActs(&e, mix(h+7))
	}
	if permille(mix(h+4), p.Cancels) {
		w.queue.push(item{at: w.now + below(mix(h+5), p.ClientWait), what: itemCancel, a: int8(i), n: n})
	}
	w.stepHeld(e, nil)
	w.planTick(i)
}
