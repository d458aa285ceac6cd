package sim

import (
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The groups of a process have one disk. What has gathered is one write: it is durable for all of them
// or for none, and takes as long as one write with all of their bytes. If the disk is a real log,
// hosts_wal.go says how that is.

// A hostDisk is the lane to the disk of a process.
type hostDisk struct {
	nth       [numLucks]uint64
	batch     *[MaxGroups]int // how many writes of each group are being written; nil for none
	landed    [MaxGroups]int  // how many are durable, and not reported yet
	doomed    bool            // the process crashes during the next write
	forgetful bool            // the disk loses the next write after it has said that it is durable
	images    []hostImage

	hostLog
}

// A hostImage is what a disk held of its process at one moment, beside what its groups have an image of.
type hostImage struct {
	durable uint64
	tried   []uint64
	real    *realLog
}

// forget clears what a process loses when it ends.
func (d *hostDisk) forget() {
	d.batch, d.landed, d.doomed, d.forgetful = nil, [MaxGroups]int{}, false, false
	d.failed = nil
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
	if h.out != nil {
		h.tells(i, "begins to write: %v", batch[:len(h.worlds)])
	}
	if p.real != nil {
		h.writesGroups(i)
	}
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
	if p.real != nil && !h.wrote(i) {
		return
	}
	batch := p.batch
	p.batch = nil
	h.tells(i, "has written")
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
	h.rests(i)
}

// landed returns how many writes of a group are durable, and are reported now.
func (h *Hosts) landed(w *World, i int) int64 {
	p := &h.processes[i]
	n := p.landed[w.group]
	p.landed[w.group] = 0
	return int64(n)
}

// keeps returns how many of the writes that a server has handed out its disk has kept, when the server
// ends, and those of which that isn't known. n is as OpCrash says. If only the group ends, all that was
// begun goes on.
func (h *Hosts) keeps(w *World, i int, n int64) (kept int64, left []*raft.Write) {
	p, writes := &h.processes[i], w.servers[i].writes
	begun := p.landed[w.group]
	if p.batch != nil {
		begun += p.batch[w.group]
	}
	if p.up {
		n = int64(p.landed[w.group])
		if p.batch != nil {
			if p.failed == nil {
				n = int64(begun)
			}
			if p.real != nil {
				p.real.fs.Settle(p.wrote)
			}
			p.batch[w.group] = 0
		}
	}
	n = min(n, int64(len(writes)))
	return n, writes[n:max(n, int64(begun))]
}

// crashes ends a process, with all of its groups. What is being written is kept for all of them, or
// for none; of a real log luck decides what is left.
func (h *Hosts) crashes(i int) {
	luck := int64(0)
	if h.processes[i].real != nil {
		luck = crashLuck(h.draw(luckKeep, i))
	}
	h.ends(i, luck)
}

// ends is crashes with this luck for a real log.
func (h *Hosts) ends(i int, luck int64) {
	p := &h.processes[i]
	if !p.up {
		return
	}
	p.up = false
	h.tells(i, "ends")
	keep := p.real == nil && p.batch != nil && permille(h.draw(luckKeep, i), h.params.Keep)
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
	if p.real != nil {
		h.endsLog(i, luck)
	}
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
	p := &h.processes[i]
	if p.real != nil && p.up {
		return false // a real log is copied only while nobody has it open
	}
	for _, w := range h.worlds {
		if d := w.servers[i].disk; d.state.Server == "" || d.spoiled || w.servers[i].rotten {
			return false
		}
	}
	h.all(func(w *World) { w.step(Event{Op: OpImage, Server: int8(i)}, nil) })
	if len(p.images) == maxImages {
		p.images = append(p.images[:0], p.images[1:]...)
	}
	image := hostImage{durable: p.durable, tried: slices.Clone(p.tried)}
	if p.real != nil {
		image.real = p.real.imaged()
	}
	p.images = append(p.images, image)
	h.tells(i, "has an image of its disk taken")
	return true
}

// putsBack puts an image back on the disk of a process that is down: the one before so many later
// ones. All groups go back together. It reports whether there is that image of every group.
func (h *Hosts) putsBack(i, later int) bool {
	p := &h.processes[i]
	if p.up || later >= len(p.images) {
		return false
	}
	for _, w := range h.worlds {
		if s := &w.servers[i]; later >= len(s.images) || s.rotten || s.disk.spoiled || len(w.ghost.configurations) == 0 {
			return false
		}
	}
	for _, w := range h.worlds {
		s := &w.servers[i]
		n := len(s.images) - 1 - later
		if !w.step(Event{Op: OpPutBack, Server: int8(i), N: int64(n)}, nil) && p.real != nil {
			s.disk.wal.unreported = s.images[n].disk.wal.unreported // what was reported is the same
		}
	}
	image := &p.images[len(p.images)-1-later]
	h.tells(i, "has its disk put back to start %s", wire.ShowStart(image.durable))
	p.durable, p.tried = image.durable, slices.Clone(image.tried)
	if p.real != nil {
		p.real = image.real.imaged()
		h.all(func(w *World) { w.servers[i].disk.wal.realLog = p.real })
	}
	return true
}

// forgets lets the disk of a process lose the write that it has just said to be durable.
func (h *Hosts) forgets(i int) {
	p := &h.processes[i]
	if p.up && len(p.images) > 0 {
		h.crashes(i)
		h.putsBack(i, 0)
	}
}

// goesBack lets the disk of a process go back to an image, if there is one, or takes an image.
func (h *Hosts) goesBack(i int, span int64, luck uint64) {
	p := &h.processes[i]
	if len(p.images) > 0 && mix(luck)%4 != 0 {
		h.putsAnyBack(i, luck)
		return
	}
	if p.real != nil {
		h.crashes(i)
	}
	if h.images(i) {
		// Starts come behind the image, of which others hear: those of the disk that goes back are then told of.
		for n := range uint64(2) {
			h.queue.push(item{at: h.now + h.params.DownTime + int64(n+1)*span, what: itemCrash, a: int8(i)})
		}
		h.queue.push(item{at: h.now + 2*h.params.DownTime + 3*span, what: itemBack, a: int8(i), n: int64(mix(luck+3) >> 1)})
	}
}

// putsAnyBack puts one of the images of a process's disk back, if there is one, and if every group can do
// without the disk; or, rarely, though some can't.
func (h *Hosts) putsAnyBack(i int, luck uint64) {
	if n := len(h.processes[i].images); n > 0 && (h.expendable(i) || mix(luck+1)%8 == 0) {
		h.crashes(i)
		h.putsBack(i, int(below(mix(luck+2), int64(n))))
	}
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
