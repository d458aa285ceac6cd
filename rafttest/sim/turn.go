package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A process that stands still takes all that has gathered meanwhile in one turn, in the order of
// raft.HandIn.

// An arrived is a message that waits at a process that stands still.
type arrived struct {
	message wire.Message
	number  uint64 // on its link
}

// wakes lets a paused process go on. The lanes report first; then the process takes what has
// arrived.
func (w *World) wakes(i int) {
	s := &w.servers[i]
	if s.paused > w.now {
		return // a later pause lasts longer
	}
	waiting := s.waiting
	s.waiting = nil
	for j := range waiting {
		if it := &waiting[j]; it.what != itemDeliver && it.what != itemTick && it.life == s.life && s.up && w.violation == nil {
			w.laneHappens(it, i)
		}
	}
	if s.up && len(s.arrived) > 0 && w.violation == nil {
		w.step(Event{Op: OpWake, Server: int8(i)}, nil)
	}
	for j := range waiting {
		if it := &waiting[j]; it.what == itemDeliver {
			w.slab.release(int32(it.n))
		}
	}
	s.waiting = waiting[:0]
	s.tickAt = 0
	w.planTick(i)
}

// waits keeps an item that reaches a paused process.
func (w *World) waits(it *item, i int) {
	s := &w.servers[i]
	s.waiting = append(s.waiting, *it)
	if it.what == itemDeliver {
		cell := &w.slab.cells[it.n]
		w.step(Event{Op: OpArrive, Server: it.a, Peer: it.b, Kind: cell.message.Kind(), N: int64(cell.number)}, &cell.message)
	}
}

// arrive lets a message arrive at a process that stands still.
func (w *World) arrive(e *Event, m *wire.Message) bool {
	s := &w.servers[e.Server]
	if m == nil {
		if m = w.find(e); m == nil {
			return false
		}
	}
	if w.trace != nil {
		w.trace.arrives(m)
	}
	s.arrived = append(s.arrived, arrived{*m, uint64(e.N)})
	return true
}

// wake lets a process take what has arrived, in one turn. In a schedule without times (when is 0),
// the process's deadline has passed by then.
func (w *World) wake(i int, when int64) bool {
	s := &w.servers[i]
	if len(s.arrived) == 0 || w.waking {
		return false
	}
	if at := w.until(s, s.core.Deadline()); when == 0 && !w.timed && at != never {
		w.now = max(w.now, at)
	}
	w.waking = true
	raft.HandIn(w.local(s), &turn{w, i})
	w.waking = false
	return true
}

// A turn is one turn of a server that takes what has arrived.
type turn struct {
	w *World
	i int
}

// Reports implements raft.Turn. What the lanes report has been an event of its own before.
func (t *turn) Reports(raft.Instant) {}

// Messages implements raft.Turn.
func (t *turn) Messages(raft.Instant) {
	s := &t.w.servers[t.i]
	for len(s.arrived) > 0 && s.up && t.w.violation == nil {
		a := s.arrived[0]
		s.arrived = s.arrived[:copy(s.arrived, s.arrived[1:])]
		t.w.step(Event{Op: OpDeliver, Server: int8(t.i), Peer: int8(serverOf(a.message.From)), Kind: a.message.Kind(), N: int64(a.number)}, &a.message)
	}
}

// Calls implements raft.Turn. Nobody calls a process that stands still.
func (t *turn) Calls(raft.Instant) {}

// Tick implements raft.Turn. It checks that passing time doesn't make the server do what a message
// that has arrived forbids.
func (t *turn) Tick(now raft.Instant) {
	w, s := t.w, &t.w.servers[t.i]
	if !s.up || w.violation != nil || s.core.Deadline() > now {
		return
	}
	before := s.status
	w.step(Event{Op: OpExpire, Server: int8(t.i)}, nil)
	if !s.up || w.violation != nil {
		return
	}
	campaigns := before.role == "follower" && s.status.role != "follower"
	steps := before.role == leads && s.status.role != leads
	var answered [MaxServers]bool
	for j := range s.arrived {
		m := &s.arrived[j].message
		if m.Term != before.term {
			continue
		}
		switch m.Kind() {
		case wire.KindAppendRequest, wire.KindHeartbeat:
			if campaigns {
				w.fail(ArrivedFirst, t.i, "campaigns though a %v of %s, the leader of its term, had arrived", m.Kind(), m.From)
			}
		case wire.KindAppendResponse, wire.KindHeartbeatResponse:
			answered[serverOf(m.From)] = true
		}
	}
	count := 1
	for _, yes := range answered {
		if yes {
			count++
		}
	}
	if steps && count > w.n/2 && len(s.writes) == 0 {
		w.fail(ArrivedFirst, t.i, "steps down though the answers of %d of %d servers, itself among them, had arrived", count, w.n)
	}
}

// expire lets time pass until a server's deadline. Where a group has a Book, each turn ends with a tick,
// and the deadline may be another one since the turn has begun.
func (w *World) expire(s *server) bool {
	if w.hosts != nil {
		w.asksToScrub(s)
		return true
	}
	at := w.until(s, s.core.Deadline())
	if at == never {
		return false
	}
	w.now = at
	s.core.Tick(w.local(s))
	return true
}
