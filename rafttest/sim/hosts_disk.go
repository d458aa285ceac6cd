package sim

// The groups of a process have one disk. What has gathered is one write: it is durable for all of them
// or for none, and takes as long as one write with all of their bytes.

// A hostDisk is the lane to the disk of a process.
type hostDisk struct {
	nth       [numLucks]uint64
	batch     *[MaxGroups]int // how many writes of each group are being written; nil for none
	landed    [MaxGroups]int  // how many are durable, and not reported yet
	doomed    bool            // the process crashes during the next write
	forgetful bool            // the disk loses the next write after it has said that it is durable
	images    []uint64        // the starts of the process as the images of its disk have them
}

// forget clears what a process loses when it ends.
func (d *hostDisk) forget() {
	d.batch, d.landed, d.doomed, d.forgetful = nil, [MaxGroups]int{}, false, false
}

// planWrite begins a write of all that has gathered at a process, unless one is under way.
func (h *Hosts) planWrite(i int) {
	p := &h.processes[i]
	if !p.up || p.batch != nil || h.worlds[0].servers[i].frozen == frozenDisk {
		return
	}
	var batch [MaxGroups]int
	groups, bytes := 0, int64(0)
	for _, w := range h.worlds {
		s := &w.servers[i]
		n := len(s.writes) - p.landed[w.group]
		if !s.up || n <= 0 || !s.disk.fits(s.writes[p.landed[w.group]]) {
			continue
		}
		groups++
		batch[w.group] = n
		for _, write := range s.writes[p.landed[w.group]:] {
			bytes += w.fills(write)
		}
	}
	if groups == 0 {
		return
	}
	h.stats.Writes++
	if groups > 1 {
		h.stats.Shared++
	}
	p.batch = &batch
	w := h.worlds[0]
	takes := func() int64 {
		mean := h.params.WriteTime
		if w.hurries() {
			mean = min(mean, h.params.Heartbeat/20)
		}
		return spread(h.draw(luckWrite, i), mean)
	}
	h.queue.push(item{at: max(h.now, w.servers[i].stalled) + takes() + bytes, what: itemWrite, a: int8(i), life: p.life})
	if p.doomed {
		p.doomed = false
		h.queue.push(item{at: h.now + takes()/2, what: itemCrash, a: int8(i), life: p.life})
	}
}

// written ends a write. Each group is told in a turn of its own.
func (h *Hosts) written(i int) {
	p := &h.processes[i]
	batch := p.batch
	p.batch = nil
	if p.forgetful && h.images(i) {
		p.forgetful = false
		h.queue.push(item{at: h.now + 1 + 4*h.params.Delay, what: itemForget, a: int8(i), life: p.life})
	}
	for _, w := range h.worlds {
		if s := &w.servers[i]; batch[w.group] > 0 && s.up {
			p.landed[w.group] += batch[w.group]
			w.queue.push(item{at: h.now, what: itemWrite, a: int8(i), life: s.life})
		}
	}
	h.planWrite(i)
}

// landed returns how many writes of a group are durable, and are reported now.
func (h *Hosts) landed(w *World, i int) int64 {
	p := &h.processes[i]
	n := p.landed[w.group]
	p.landed[w.group] = 0
	return int64(n)
}

// keeps returns how many of the writes that a server has handed out its disk has kept, when the server
// ends. n is as OpCrash says. If only the group ends, all that was begun goes on.
func (h *Hosts) keeps(w *World, i int, n int64) int64 {
	p := &h.processes[i]
	if p.up {
		n = int64(p.landed[w.group])
		if p.batch != nil {
			n += int64(p.batch[w.group])
			p.batch[w.group] = 0
		}
	}
	return min(n, int64(len(w.servers[i].writes)))
}

// crashes ends a process, with all of its groups. What is being written is kept for all of them, or
// for none.
func (h *Hosts) crashes(i int) {
	p := &h.processes[i]
	if !p.up {
		return
	}
	p.up = false
	keep := p.batch != nil && permille(h.draw(luckKeep, i), h.params.Keep)
	upgrade := h.params.Older != 0 && h.draw(luckLevel, i)%8 == 0
	for _, w := range h.worlds {
		n := p.landed[w.group]
		if keep {
			n += p.batch[w.group]
		}
		w.step(Event{Op: OpCrash, Server: int8(i), N: int64(n)}, nil)
		if upgrade {
			w.step(Event{Op: OpUpgrade, Server: int8(i)}, nil)
		}
		p.seats[w.group] = nil
	}
	p.book = nil
	p.hostDisk.forget()
	for _, it := range p.waiting {
		if it.what == itemDeliver {
			h.release(int32(it.n))
		}
	}
	p.waiting = p.waiting[:0]
	h.queue.push(item{at: h.now + spread(h.draw(luckRestart, i), h.params.DownTime), what: itemRestart, a: int8(i)})
	for j := range h.n {
		if luck := h.draw(luckLost, i); j != i && luck%2 == 0 {
			h.queue.push(item{at: h.now + h.params.Delay + below(mix(luck), h.params.Heartbeat), what: itemLost, a: int8(j), b: int8(i)})
		}
	}
}

// images takes an image of the disk of a process, if every group's part of it can be taken.
func (h *Hosts) images(i int) bool {
	for _, w := range h.worlds {
		if d := w.servers[i].disk; d.state.Server == "" || d.spoiled || w.servers[i].rotten {
			return false
		}
	}
	h.all(func(w *World) { w.step(Event{Op: OpImage, Server: int8(i)}, nil) })
	p := &h.processes[i]
	if len(p.hostDisk.images) == maxImages {
		p.hostDisk.images = append(p.hostDisk.images[:0], p.hostDisk.images[1:]...)
	}
	p.hostDisk.images = append(p.hostDisk.images, p.durable)
	return true
}

// putsBack puts an image back on the disk of a process that is down: the one before so many later
// ones. All groups go back together. It reports whether there is that image of every group.
func (h *Hosts) putsBack(i, later int) bool {
	p := &h.processes[i]
	if p.up || later >= len(p.hostDisk.images) {
		return false
	}
	for _, w := range h.worlds {
		if s := &w.servers[i]; later >= len(s.images) || s.rotten || s.disk.spoiled {
			return false
		}
	}
	for _, w := range h.worlds {
		w.step(Event{Op: OpPutBack, Server: int8(i), N: int64(len(w.servers[i].images) - 1 - later)}, nil)
	}
	p.durable = p.hostDisk.images[len(p.hostDisk.images)-1-later]
	return true
}

// forgets lets the disk of a process lose the write that it has just said to be durable.
func (h *Hosts) forgets(i int) {
	p := &h.processes[i]
	if p.up && len(p.hostDisk.images) > 0 {
		h.crashes(i)
		h.putsBack(i, 0)
	}
}

// goesBack lets the disk of a process go back to an image, if there is one, or takes an image.
func (h *Hosts) goesBack(i int, luck uint64) {
	n := len(h.processes[i].hostDisk.images)
	if n > 0 && mix(luck)%4 != 0 && (h.expendable(i) || mix(luck+1)%8 == 0) {
		h.crashes(i)
		h.putsBack(i, int(below(mix(luck+2), int64(n))))
		return
	}
	h.images(i)
}

// expendable reports whether every group can do without the disk of a process.
func (h *Hosts) expendable(i int) bool {
	for _, w := range h.worlds {
		if !w.expendable(i) {
			return false
		}
	}
	return true
}
