package sim

import (
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// In a timed run the surroundings act by themselves: messages arrive after a delay, disks need
// their time, deadlines pass. Everything that then reaches a core is an Event. The list of these
// events repeats the run without any time.

// beginTimed lets time pass by itself from now on. Messages that were on their way are lost.
func (w *World) beginTimed(phase uint64) {
	w.timed, w.phase, w.phaseBegun = true, phase, w.now
	w.queue.reset()
	w.slab.reset()
	for i := 0; i < w.n; i++ {
		s := &w.servers[i]
		s.tickAt, s.writing, s.applying, s.reading, s.storing, s.verifying = 0, false, false, false, false, false
		s.paused, s.stalled, s.stalledReads, s.lame = 0, 0, 0, 0
		s.doomed, s.forgetful = false, false
		s.waiting, s.arrived = s.waiting[:0], s.arrived[:0]
		s.nth = [numLucks]uint64{}
		for j := range w.links[i] {
			w.links[i][j].arriving, w.links[i][j].lag = 0, 0
		}
		if !s.up {
			continue
		}
		if s.held {
			w.queue.push(item{at: w.now, what: itemDrain, a: int8(i), life: s.life})
		}
		for range s.fetched {
			w.queue.push(item{at: w.now, what: itemFetched, a: int8(i), life: s.life})
		}
		w.planLanes(i)
		w.planTick(i)
	}
	for _, st := range w.streams {
		st.planned = [2]bool{}
	}
	w.planStreams()
}

// endTimed stops time.
func (w *World) endTimed() {
	w.timed, w.calm = false, false
	w.queue.reset()
	w.slab.reset()
}

// planLanes plans the ends of what the lanes of a server begin to do.
func (w *World) planLanes(i int) {
	s := &w.servers[i]
	p := &w.params
	if w.hosts != nil {
		w.hosts.planWrite(i)
	} else if !s.writing && len(s.writes) > 0 && s.frozen != frozenDisk && s.disk.fits(s.writes[0]) {
		s.writing = true
		w.queue.push(item{at: max(w.now, s.stalled) + w.takes(luckWrite, i, p.WriteTime) + w.fills(s.writes[0]), what: itemWrite, a: int8(i), life: s.life})
		if s.doomed {
			s.doomed = false
			w.queue.push(item{at: w.now + w.takes(luckWrite, i, p.WriteTime)/2, what: itemCrash, a: int8(i), life: s.life})
		}
	}
	if !s.applying && len(s.lane) > 0 && s.frozen != frozenMachine {
		s.applying = true
		w.queue.push(item{at: max(w.now, s.lame) + w.takes(luckApply, i, p.ApplyTime), what: itemApply, a: int8(i), life: s.life})
	}
	if !s.storing && s.capture != nil && s.frozen != frozenDisk {
		s.storing = true
		w.queue.push(item{at: max(w.now, s.stalled) + w.takes(luckStore, i, p.StoreTime), what: itemStore, a: int8(i), life: s.life})
	}
	if !s.verifying && s.verify != nil && s.frozen != frozenDisk {
		s.verifying = true
		w.queue.push(item{at: max(w.now, s.stalledReads) + w.takes(luckStore, i, p.StoreTime), what: itemVerify, a: int8(i), life: s.life})
	}
	if !s.reading && len(s.fetches) > 0 && s.frozen != frozenDisk {
		s.reading = true
		w.queue.push(item{at: max(w.now, s.stalledReads) + w.takes(luckFetch, i, p.FetchTime), what: itemRead, a: int8(i), life: s.life})
	}
}

// takes returns how long something takes. In a hurry it takes no longer than a tenth of a heartbeat.
func (w *World) takes(what, i int, mean int64) int64 {
	if w.hurries() {
		mean = min(mean, w.params.Heartbeat/20)
	}
	return spread(w.next(what, i), mean)
}

// fills returns how long the entries of a write take at the throughput of the disks.
func (w *World) fills(write *raft.Write) int64 {
	if w.params.Throughput == 0 || w.calm {
		return 0
	}
	bytes := int64(0)
	for i := range write.Entries {
		bytes += int64(write.Entries[i].Size())
	}
	return int64(float64(bytes) / float64(w.params.Throughput) * float64(time.Second))
}

// planTick plans the next wake-up of a server.
func (w *World) planTick(i int) {
	s := &w.servers[i]
	if !s.up {
		return
	}
	d := w.deadline(i)
	if d == s.deadline && s.tickAt != 0 {
		return
	}
	s.deadline = d
	at := w.until(s, d)
	if at == never || s.tickAt != 0 && s.tickAt <= at && s.tickAt > w.now {
		return
	}
	s.tickAt = at
	w.queue.push(item{at: at, what: itemTick, a: int8(i), life: s.life})
}

// loop lets things happen until done returns true, or until an instant.
func (w *World) loop(end int64, done func() bool) {
	for w.violation == nil && len(w.queue.items) > 0 && !done() {
		if w.queue.items[0].at > end {
			w.now = end
			return
		}
		it := w.queue.pop()
		w.now = max(w.now, it.at)
		w.happen(&it)
	}
}

// happen lets an item of the queue happen.
func (w *World) happen(it *item) {
	i := int(it.a)
	s := &w.servers[i]
	if it.what <= itemDrain {
		if s.paused > w.now {
			w.waits(it, i)
			return
		}
		if it.life != 0 && (it.life != s.life || !s.up) {
			return
		}
		w.laneHappens(it, i)
		if s.up && w.violation == nil {
			w.planTick(i)
		}
		return
	}
	w.outsideHappens(it, i)
}

// laneHappens lets an item happen that reaches a server's core.
func (w *World) laneHappens(it *item, i int) {
	s := &w.servers[i]
	e := Event{Server: it.a, Peer: it.b, N: it.n}
	switch it.what {
	case itemDeliver:
		cell := &w.slab.cells[it.n]
		if s.up {
			e.Op, e.Kind, e.N = OpDeliver, cell.message.Kind(), int64(cell.number)
			w.stepHeld(e, &cell.message)
		} else if w.trace != nil {
			w.trace.misses(w, &cell.message, cell.number)
		}
		w.slab.release(int32(it.n))
	case itemTick:
		w.tick(i, it.at)
	case itemWrite:
		s.writing = false
		e.Op, e.N = OpPersist, 1
		if w.hosts != nil {
			if e.N = w.hosts.landed(w, i); e.N == 0 {
				return // they were reported before
			}
		} else if w.params.Merge > 0 && permille(w.next(luckMerge, i), w.params.Merge) {
			e.N = int64(len(s.writes))
		}
		if s.forgetful && w.step(Event{Op: OpImage, Server: it.a}, nil) {
			s.forgetful = false
			w.queue.push(item{at: w.now + 1 + 4*w.params.Delay, what: itemForget, a: it.a, life: s.life})
		}
		w.stepHeld(e, nil)
		w.planLanes(i)
	case itemApply:
		s.applying = false
		e.Op, e.N = OpApply, 1
		if w.params.Merge > 0 && permille(w.next(luckMerge, i), w.params.Merge) {
			e.N = int64(len(s.lane))
		}
		w.stepHeld(e, nil)
		w.planLanes(i)
	case itemRead:
		s.reading = false
		e.Op = OpRead
		if w.step(e, nil) {
			w.queue.push(item{at: w.now + w.takes(luckFetch, i, w.params.FetchTime), what: itemFetched, a: it.a, life: s.life})
		}
		w.planLanes(i)
	case itemStore:
		w.storeHappens(s, e)
	case itemVerify:
		s.verifying = false
		e.Op = OpVerify
		w.stepHeld(e, nil)
	case itemSent, itemStream:
		w.streamHappens(it)
	case itemFetched:
		e.Op = OpFetched
		w.stepHeld(e, nil)
	case itemTurn:
		w.turnAsked(e)
	case itemDrain:
		if s.held {
			e.Op = OpDrain
			w.step(e, nil)
		}
	}
}

// tick wakes a server, unless its deadline has moved.
func (w *World) tick(i int, planned int64) {
	s := &w.servers[i]
	if planned != s.tickAt && s.tickAt > w.now {
		return // a later plan has replaced this one
	}
	s.tickAt = 0
	d := w.deadline(i)
	s.deadline = d
	at := w.until(s, d)
	if at > w.now {
		if at != never {
			s.tickAt = at
			w.queue.push(item{at: at, what: itemTick, a: int8(i), life: s.life})
		}
		return
	}
	w.stepHeld(Event{Op: OpExpire, Server: int8(i)}, nil)
}

// stepHeld performs an event. Luck may hold its effects back for a while.
func (w *World) stepHeld(e Event, m *wire.Message) {
	i := int(e.Server)
	if w.params.Hold > 0 && permille(w.next(luckHold, i), w.params.Hold) {
		e.Hold = true
		s := &w.servers[i]
		if !s.held {
			w.queue.push(item{at: w.now + 1 + below(w.next(luckHold, i), w.params.HoldTime), what: itemDrain, a: e.Server, life: s.life})
		}
	}
	w.step(e, m)
}

// transmit plans the arrival of a message. number counts the messages of its link.
func (w *World) transmit(m *wire.Message, l *link, from, to int, number uint64) {
	p := &w.params
	if l.cut {
		w.stats.Dropped++
		if w.trace != nil {
			w.trace.loses(from, to, number, true)
		}
		return
	}
	h := w.luck.draw(luckNetwork, from, to, l.sent)
	delay, copies := p.Delay+below(h, p.Jitter+1)+l.lag, int8(1)
	reordered := false
	if w.hurries() {
		delay = min(delay, p.Heartbeat/20)
	}
	if !w.calm {
		if p.Loss > 0 && permille(mix(h+1), p.Loss) {
			w.stats.Dropped++
			if w.trace != nil {
				w.trace.loses(from, to, number, false)
			}
			return
		}
		if p.Slow > 0 && permille(mix(h+2), p.Slow) {
			delay += below(mix(h+3), p.DelaySlow)
			reordered = true
		}
		if p.Duplicate > 0 && permille(mix(h+4), p.Duplicate) {
			copies = 2
		}
		reordered = reordered || p.Reorder > 0 && permille(mix(h+5), p.Reorder)
	}
	at := w.now + delay
	if !reordered {
		at = max(at, l.arriving)
		l.arriving = at
	}
	place := int64(w.slab.put(m, number, copies))
	w.queue.push(item{at: at, what: itemDeliver, a: int8(to), b: int8(from), n: place})
	if copies == 2 {
		at += 1 + below(mix(h+6), p.DelaySlow)
		w.queue.push(item{at: at, what: itemDeliver, a: int8(to), b: int8(from), n: place})
	}
}

// storeHappens lets a captured snapshot be written, or become durable.
func (w *World) storeHappens(s *server, e Event) {
	s.storing = false
	if s.capture == nil {
		return
	}
	if !s.capture.stored {
		e.Op, e.N = OpStore, 0
		w.step(e, nil)
		w.planLanes(int(e.Server))
		return
	}
	e.Op, e.N = OpStored, 0
	if !w.calm && permille(w.next(luckStore, int(e.Server)), w.params.StoreFail) {
		e.N = 1
	}
	w.stepHeld(e, nil)
}

// planStreams plans what happens next at either end of each stream.
func (w *World) planStreams() {
	for _, st := range w.streams {
		ends := [2]item{
			{what: itemSent, a: st.from, b: st.to, life: st.fromLife},
			{what: itemStream, a: st.to, b: st.from, life: st.toLife},
		}
		for side, done := range [2]bool{st.senderEnds, st.takerEnds} {
			if done || st.planned[side] {
				continue
			}
			st.planned[side] = true
			it := ends[side]
			it.at, it.n = w.now+1+w.takes(luckStream, int(it.a), w.params.StreamTime), int64(st.number)
			w.queue.push(it)
		}
	}
}

// streamHappens lets something happen at one end of a stream. If the link between the servers is
// cut, nothing moves, and neither side learns of it.
func (w *World) streamHappens(it *item) {
	e := Event{Op: OpSent, Server: it.a, Peer: it.b, N: w.params.StreamPiece}
	from, to := it.a, it.b
	if it.what == itemStream {
		e.Op = OpStream
		from, to = it.b, it.a
	}
	stands := w.servers[it.a].frozen == frozenDisk || w.links[from][to].cut || w.links[to][from].cut
	for _, st := range w.streams {
		if st.number == uint64(it.n) {
			st.planned[it.what-itemSent] = false
			stands = stands && !st.broken
		}
	}
	if !stands {
		if !w.calm && permille(w.next(luckStream, int(it.a)), w.params.StreamBreak) {
			w.step(Event{Op: OpBreak, Server: to, Peer: from}, nil)
		}
		w.stepHeld(e, nil)
	}
	w.planStreams()
}
