package model

import (
	"slices"

	"github.com/e17579a5/raft"
)

// A hostExpansion takes every step that is possible in a state.
type hostExpansion struct {
	*HostSearch
	one   *hostState
	nodes []*hostNode
	found func(hostMove, *hostState)
}

// expand hands over all states that may follow.
func (s *HostSearch) expand(one *hostState, found func(hostMove, *hostState)) {
	x := hostExpansion{HostSearch: s, one: one, found: found}
	for _, id := range one.nodes[:s.bounds.Processes] {
		x.nodes = append(x.nodes, s.nodes[id])
	}
	if b, ok := x.spend(ofTicks); ok {
		after := *one
		after.budget, after.now, after.depth = b, one.now+raft.Instant(tick), one.depth+1
		s.result.Steps++
		found(hostMove{clock: true}, &after)
	}
	for i := range x.nodes {
		x.deliver(i)
		x.process(i)
		for g := range x.nodes[i].host.members {
			x.group(i, g)
		}
	}
}

// spend returns what may still happen after one more of a kind.
func (x *hostExpansion) spend(of budgetOf) (hostBudget, bool) {
	b := x.one.budget
	if b[of] == 0 {
		return b, false
	}
	b[of]--
	return b, true
}

// deliver lets each message to a process arrive. A shard that stands still reads none, and a group
// reads none in the middle of its turn.
func (x *hostExpansion) deliver(i int) {
	h := x.nodes[i].host
	for j, id := range x.one.messages {
		m := &x.messages[id]
		if m.to != i || j > 0 && x.one.messages[j-1] == id || m.group >= 0 && (h.hangs || h.members[m.group].turning) {
			continue
		}
		e := hostEvent{kind: hostArrival, message: id}
		x.take(i, e, x.one.budget, false)
		if b, ok := x.spend(ofDuplicates); ok {
			x.take(i, e, b, true)
		}
	}
}

// process lets all happen that may happen to a process.
func (x *hostExpansion) process(i int) {
	h := x.nodes[i].host
	if raft.Instant(h.book.Deadline()) <= x.one.now {
		x.take(i, hostEvent{kind: hostBeat}, x.one.budget, false)
	}
	for k := range x.nodes {
		if b, ok := x.spend(ofLosses); ok && k != i {
			x.take(i, hostEvent{kind: hostLoses, other: uint8(k)}, b, false)
		}
	}
	if b, ok := x.spend(ofCrashes); ok {
		x.take(i, hostEvent{kind: hostCrash}, b, false)
	}
	if b, ok := x.spend(ofHangs); ok && !h.hangs {
		x.take(i, hostEvent{kind: hostHangs}, b, false)
	}
	if h.hangs {
		x.take(i, hostEvent{kind: hostGoesOn}, x.one.budget, false)
	}
}

// group lets all happen that may happen to a group at a process.
func (x *hostExpansion) group(i, g int) {
	h := x.nodes[i].host
	m, role := &h.members[g], x.nodes[i].members[g].status.role
	event := func(kind hostKind, other int) hostEvent {
		return hostEvent{kind: kind, group: uint8(g), other: uint8(other)}
	}
	if m.core == nil {
		x.take(i, event(hostRevives, 0), x.one.budget, false)
		return
	}
	if b, ok := x.spend(ofFailures); ok {
		x.take(i, event(hostFails, 0), b, false)
	}
	if h.hangs {
		return
	}
	if m.turning {
		x.take(i, event(hostEndOfTurn, 0), x.one.budget, false)
		return
	}
	due := m.coalesced.Deadline()
	switch {
	case due <= x.one.now:
		x.take(i, event(hostTick, 0), x.one.budget, false)
	case h.asked>>g&1 != 0:
		x.take(i, event(hostTurn, 0), x.one.budget, false)
	}
	if len(m.writes) > 0 {
		x.take(i, event(hostPersist, 0), x.one.budget, false)
	}
	if b, ok := x.spend(ofElections); ok && due != never && role != leads {
		x.take(i, event(hostElect, 0), b, false)
	}
	if b, ok := x.spend(ofTurns); ok {
		x.take(i, event(hostTurn, 0), b, false)
	}
	if b, ok := x.spend(ofReads); ok {
		x.take(i, event(hostReads, 0), b, false)
	}
	if b, ok := x.spend(ofLeaseReads); ok {
		x.take(i, event(hostReadsByLease, 0), b, false)
	}
	if role == leads {
		x.administer(i, event)
	}
}

// administer asks a leader for all that it may be asked for.
func (x *hostExpansion) administer(i int, event func(kind hostKind, other int) hostEvent) {
	if b, ok := x.spend(ofCommands); ok {
		x.take(i, event(hostPropose, 0), b, false)
	}
	for k := range x.nodes {
		if b, ok := x.spend(ofTransfers); ok && k != i {
			x.take(i, event(hostTransfer, k), b, false)
		}
	}
	for k := range x.bounds.Targets {
		if b, ok := x.spend(ofChanges); ok {
			x.take(i, event(hostChange, k), b, false)
		}
	}
}

// take takes a step of a process.
func (x *hostExpansion) take(i int, e hostEvent, b hostBudget, stays bool) {
	if x.result.Violation != nil {
		return
	}
	move := hostMove{at: uint8(i), event: e}
	before := x.nodes[i]
	r := x.step(before, x.one.now, e)
	if r.broken != nil {
		x.broken(x.one, &move, r.broken)
		return
	}
	for g := range r.after.members {
		if r.after.members[g].status.term >= maxHostTerm {
			x.result.Beyond++
			return
		}
	}
	arrives := e.kind == hostArrival && !stays
	if r.after == before && len(r.sent) == 0 && !arrives {
		return // nothing has happened
	}
	after := &hostState{depth: x.one.depth + 1, now: x.one.now, budget: b, nodes: x.one.nodes}
	after.nodes[i] = r.after.id
	j := hostJudge{now: x.one.now, nodes: slices.Clone(x.nodes), before: before, at: i, reads: x.bounds.reads(), ghost: x.ghosts[x.one.ghost].clone()}
	j.nodes[i] = r.after
	j.check(r)
	if j.broken != nil {
		x.broken(x.one, &move, j.broken)
		return
	}
	after.ghost = x.addGhost(j.ghost)
	list := slices.Clone(x.one.messages)
	if arrives {
		at, _ := slices.BinarySearch(list, e.message)
		list = slices.Delete(list, at, at+1)
	}
	for _, id := range r.sent {
		if to := x.messages[id].to; to < len(x.nodes) {
			at, _ := slices.BinarySearch(list, id)
			list = slices.Insert(list, at, id)
		}
	}
	x.settle(move, after, list)
}

// settle makes room on links that hold too much, in every possible way. A walk takes one of them.
func (x *hostExpansion) settle(move hostMove, after *hostState, list []uint32) {
	var counts [MaxServers * MaxServers]int
	full := -1
	for _, id := range list {
		link := x.messages[id].link
		if counts[link]++; counts[link] > x.bounds.InFlight {
			full = link
		}
	}
	if full < 0 {
		one := *after
		one.messages = list
		x.result.Steps++
		x.found(move, &one)
		return
	}
	var places []int
	for at, id := range list {
		if x.messages[id].link == full && (at == 0 || list[at-1] != id) {
			places = append(places, at)
		}
	}
	if x.random != nil {
		at := x.random.IntN(len(places))
		places = places[at : at+1]
	}
	for _, at := range places {
		x.settle(move, after, slices.Delete(slices.Clone(list), at, at+1))
	}
}
