package sim

import "math"

// The groups of a process share the room of its disk (Params.Reserve). Each of them has a part of its own
// here, which is full when the others are, and the Book tells the others of the smallest one.

// fillsUp fills the disk of a process, and those of others with a chance.
func (h *Hosts) fillsUp(victim int, span int64, luck uint64) {
	if h.params.Reserve == 0 {
		return
	}
	for i := range h.n {
		own := mix(luck + uint64(i))
		if i != victim && (luck%2 == 0 || own%4 == 0) {
			continue
		}
		left := pick(own, 1, h.params.Reserve, 4*h.params.Reserve)
		for g, w := range h.worlds {
			w.step(Event{Op: OpFill, Server: int8(i), N: below(mix(own+uint64(g)), left)}, nil)
		}
		if mix(own+1)%3 != 0 {
			h.queue.push(item{at: h.now + 8*spread(mix(own+2), span), what: itemFree, a: int8(i)})
		}
	}
}

// frees gives the disk of a process room again.
func (h *Hosts) frees(i int) {
	if p := &h.processes[i]; p.real != nil {
		p.real.free()
	}
	h.all(func(w *World) { w.step(Event{Op: OpFree, Server: int8(i)}, nil) })
}

// brim lets the disks stay full that Params.Brim names, if those of all their groups may.
func (h *Hosts) brim() {
	full := h.params.Brim
	for _, w := range h.worlds {
		for i := range h.n {
			if !w.mayStayFull(i) {
				full &^= 1 << i
			}
		}
	}
	h.all(func(w *World) { w.params.Brim = full })
}

// looksAtRoom tells the Book of a process how much room its disk has. If that has changed, each group takes
// a turn, in which its core is told.
func (h *Hosts) looksAtRoom(i int) {
	p, room := &h.processes[i], uint64(math.MaxUint64)
	for _, w := range h.worlds {
		if r := &w.servers[i].disk.room; r.known && r.outside != never {
			room = min(room, uint64(max(r.owned-w.params.Writes*recordBytes, 0)))
		}
	}
	if room == p.room {
		return
	}
	p.room = room
	p.book.Room(room)
	h.all(func(w *World) {
		if s := &w.servers[i]; s.up {
			w.queue.push(item{at: h.now, what: itemTurn, a: int8(i), life: s.life})
		}
	})
}
