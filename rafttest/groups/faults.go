package groups

import (
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The faults, and the other things that happen to groups.
const (
	cutLink = iota
	healLinks
	lossy
	crash
	pause
	stuckShard
	failedCore
	transfer
	lostByTransport
	commands
	reads
	membership
	jointMembership
	drift
	numFaults
)

// faultNames are their names.
var faultNames = [numFaults]string{
	"cut link", "heal links", "lossy network", "crash", "pause", "stuck shard", "failed core", "transfer", "lost by transport",
	"commands", "reads", "membership", "joint membership", "clock drift",
}

// disturb lets something happen, again and again, until the faults end.
func (w *World) disturb() {
	if !w.faulty {
		return
	}
	fault := w.random.IntN(numFaults)
	w.faults[fault]++
	w.suffer(fault)
	w.after(time.Duration(w.random.Int64N(int64(w.Election)/2)), w.disturb)
}

// suffer lets one thing happen.
func (w *World) suffer(fault int) {
	h := w.hosts[w.random.IntN(len(w.hosts))]
	m := h.members[w.random.IntN(len(h.members))]
	soon := time.Duration(w.random.Int64N(3 * int64(w.Election)))
	switch fault {
	case cutLink:
		w.cut[[2]int{h.at, w.random.IntN(len(w.hosts))}] = true
	case healLinks:
		clear(w.cut)
		w.loss = 0
	case lossy:
		w.loss = []float64{0.01, 0.1, 0.3}[w.random.IntN(3)]
	case crash:
		if h.running {
			h.stop()
			w.after(soon, h.start)
		}
	case pause:
		h.pause()
		w.after(soon, h.resume)
	case stuckShard:
		shard := w.random.IntN(shards)
		h.stuck[shard] = true
		w.after(soon, func() { h.stuck[shard] = false })
	case failedCore:
		starts := h.starts
		m.fails()
		w.after(soon, func() { h.do(starts, m.startAgain) })
	case transfer:
		m.call(func(now raft.Instant) { _ = m.core.Transfer(now, "") })
	case lostByTransport:
		h.do(h.starts, func() {
			h.lost(w.hosts[w.random.IntN(len(w.hosts))].id)
		})
	case commands:
		for range 1 + w.random.IntN(4) {
			m.propose()
		}
	case reads:
		for _, other := range w.hosts {
			other.member(m.id).read(w.random.IntN(2) == 0)
		}
	case membership:
		m.changeMembers()
	case jointMembership:
		m.setMembers()
	case drift:
		h.drift(time.Duration(w.random.Int64N(int64(w.Drift) + 1)))
	}
}

// call hands a call to a member.
func (m *member) call(f func(now raft.Instant)) {
	m.h.do(m.h.starts, func() {
		if m.core != nil {
			m.calls = append(m.calls, f)
			m.soon()
		}
	})
}

// startAgain starts a core that has failed.
func (m *member) startAgain() {
	if m.core == nil {
		m.start()
	}
}

// changeMembers makes one of the members a learner, or a voter again.
func (m *member) changeMembers() {
	role := m.anyRole()
	id := raft.ServerID(rune('a' + m.h.w.random.IntN(len(m.h.w.hosts))))
	m.call(func(now raft.Instant) { m.core.Call(now, m.roleCall(id, role)) })
}

// setMembers gives all members roles at once: if several of them change, by a joint configuration
// (§4.3).
func (m *member) setMembers() {
	w := m.h.w
	call := wire.Call{Kind: wire.CallSet}
	for range w.hosts {
		id := raft.ServerID(rune('a' + len(call.Members)))
		call.Members = append(call.Members, raft.Member{Server: raft.Server{ID: id, Address: string(id)}, Role: m.anyRole()})
	}
	call.Members[w.random.IntN(len(w.hosts))].Role = raft.Voter
	m.call(func(now raft.Instant) { m.core.Call(now, call) })
}

func (m *member) anyRole() raft.MemberRole {
	if m.h.w.random.IntN(2) == 0 {
		return raft.Learner
	}
	return raft.Voter
}

func (m *member) roleCall(id raft.ServerID, role raft.MemberRole) wire.Call {
	return wire.Call{Kind: wire.CallAdd, Members: []raft.Member{{Server: raft.Server{ID: id, Address: string(id)}, Role: role}}}
}

// heal ends all faults.
func (w *World) heal() {
	w.faulty, w.loss = false, 0
	clear(w.cut)
	for _, h := range w.hosts {
		clear(h.stuck)
		h.resume()
		if !h.running {
			h.start()
		}
		for _, m := range h.members {
			m.startAgain()
		}
	}
}
