package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// changeHappens asks for a change of the members, or makes something happen that calls for one. It
// plans the next change.
func (w *World) changeHappens() {
	w.asks++
	h := w.luck.draw(luckChange, 0, 0, w.asks)
	w.queue.push(item{at: w.now + spread(mix(h+1), w.params.ChangeTime), what: itemChange})
	if w.servers[0].disk.last() == 0 && len(w.ghost.configurations) == 0 || w.anyLost() {
		return
	}
	i := int(below(mix(h+2), int64(w.n)))
	subject := byte(below(mix(h+3), int64(w.n)))
	address := byte(addressPresent)
	if mix(h+4)%16 == 0 {
		address = addressWrong
	}
	data := []byte{0, expectNothing}
	switch mix(h+5) % 16 {
	case 0:
		data[1] = expectOther
	case 1, 2:
		data[1] = expectPresent
	}
	role := byte(raft.Voter)
	if mix(h+6)%4 == 0 {
		role = byte(raft.Learner)
	}
	switch kind := below(mix(h+7), 16); {
	case kind == 0:
		if w.step(Event{Op: OpMove, Server: int8(subject)}, nil) {
			w.queue.push(item{at: w.now + spread(mix(h+8), w.params.DownTime), what: itemRestart, a: int8(subject)})
		}
		return
	case kind < 2:
		if w.step(Event{Op: OpWipe, Server: int8(subject)}, nil) {
			w.queue.push(item{at: w.now + spread(mix(h+8), w.params.DownTime), what: itemRestart, a: int8(subject)})
		}
		return
	case kind < 5:
		data[0] = byte(wire.CallAdd)
		data = append(data, subject, role, address)
	case kind < 7:
		data[0] = byte(wire.CallRemove)
		data = append(data, subject, 0, addressKept)
	case kind < 10:
		data[0] = byte(wire.CallReplace)
		for j := 0; j < w.n; j++ {
			if s := &w.servers[(int(subject)+j)%w.n]; s.wiped() && !w.counts((int(subject)+j)%w.n) {
				subject = byte((int(subject) + j) % w.n) // a server that needs a replacement
				break
			}
		}
		data = append(data, subject, 0, address)
	default:
		data[0] = byte(wire.CallSet)
		data = w.randomSet(data, mix(h+9))
	}
	w.askFor(i, data, h)
}

// randomSet appends a random set of members to data. It leaves out some servers and makes most of
// the others voters.
func (w *World) randomSet(data []byte, h uint64) []byte {
	for j := 0; j < w.n; j++ {
		h = mix(h + uint64(j) + 1)
		role, address := byte(raft.Voter), byte(addressPresent)
		switch h % 16 {
		case 0, 1, 2, 3, 4:
			continue
		case 5, 6, 7:
			role = byte(raft.Learner)
		case 8:
			address = addressKept
		}
		data = append(data, byte(j), role, address)
	}
	return data
}

// askFor lets a client ask a server for a change.
func (w *World) askFor(i int, data []byte, h uint64) {
	s := &w.servers[i]
	if !s.up || s.paused > w.now {
		return
	}
	w.clients++
	n := int64(w.clients)
	if permille(mix(h+10), w.params.Cancels) {
		w.queue.push(item{at: w.now + below(mix(h+11), w.params.ClientWait), what: itemCancel, a: int8(i), n: n})
	}
	w.stepHeld(Event{Op: OpChange, Server: int8(i), N: n, Data: data}, nil)
	w.planTick(i)
}
