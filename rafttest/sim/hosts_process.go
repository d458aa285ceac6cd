package sim

import (
	"math"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// hostShards is how many shards take the turns of a process's groups.
const hostShards = 2

// shard returns the shard that takes the turns of a group.
func (w *World) shard() int { return w.group % hostShards }

// A process serves one server of each group.
type process struct {
	id   raft.ServerID
	at   int
	up   bool
	life uint32
	// durable is the name of its last start, as its disk has it.
	durable uint64
	start   uint64 // the name of this start

	book  *coalesce.Book
	out   coalesce.Out
	seats [MaxGroups]*raft.Coalesced
	again [MaxGroups]bool // the group's Book has asked for a turn during one
	// removed says of each group until when it is removed from the process; 0 for not.
	removed [MaxGroups]int64
	room    uint64 // of its disk, when it was last looked at
	beatAt  int64  // the earliest ring of the Book's timer in the queue; 0 for none

	paused  int64 // until this instant it stands still
	waiting []item
	stuck   [hostShards]int64 // until this instant the shard takes no turns

	hostDisk
	hostScrub
	watched
}

// noLock is for a Book that one goroutine alone uses.
type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// draw draws the next decision of a kind at a process.
func (h *Hosts) draw(what, i int) uint64 {
	p := &h.processes[i]
	p.nth[what]++
	return h.luck.draw(what, i+1, 0xff, p.nth[what])
}

// local returns the time that the clock of a process shows now.
func (h *Hosts) local(i int) raft.Instant { return h.worlds[0].local(&h.worlds[0].servers[i]) }

// starts starts a process, unless its log can't be opened: then it reports false, and another attempt is
// planned. Its groups are started by the caller. cut is as OpStart says.
func (h *Hosts) starts(i int, cut int64) bool {
	p := &h.processes[i]
	switch {
	case h.params.WAL == 0:
		p.durable = wire.NextStart(p.durable, uint32(h.draw(luckStart, i)))
	case !h.opens(i, cut):
		return false
	}
	p.up = true
	p.life++
	p.start = p.durable
	h.tells(i, "starts as %s", wire.ShowStart(p.start))
	p.beatAt, p.room = 0, math.MaxUint64
	p.hostDisk.forget()
	h.planScrub(i)
	p.watched.forget()
	c := h.params.config(i)
	p.book = coalesce.NewBook(coalesce.Config{
		Self: p.id, Start: p.start, Heartbeat: c.Heartbeat, ElectionTimeout: c.ElectionTimeout, Shards: hostShards, Now: coalesce.Instant(h.local(i)),
		Foundings: int(p.start % 3), // often few; elections have more places than there are groups
	})
	return true
}

// renames notes the name of a process's start that its messages have. The Book takes a later one if
// others know of a later one than the disk does.
func (h *Hosts) renames(i int, start uint64) {
	p := &h.processes[i]
	if start < p.start {
		h.fail(Gate, nil, i, "a message has the start %s after one with %s", wire.ShowStart(start), wire.ShowStart(p.start))
	}
	if start > p.start {
		p.start = start
		h.stats.Renamed++
	}
}

// joins lets a core that has just started be served by its process, and begins its first turn.
func (w *World) joins(i int) {
	if w.hosts == nil {
		return
	}
	p := &w.hosts.processes[i]
	if p.removed[w.group] > w.now {
		w.fail(RemovedIsSilent, i, "group %d comes back by itself", w.group)
	}
	p.seats[w.group] = raft.NewCoalesced(w.servers[i].core, groupID(w.group), w.shard(), p.book, noLock{})
	p.seats[w.group].Found()
	p.alive[w.group], p.again[w.group] = w.now, false
	w.beginTurn(i)
}

// leaves lets a core go that has ended in a process that goes on.
func (w *World) leaves(i int) {
	if w.hosts == nil {
		return
	}
	p := &w.hosts.processes[i]
	if seat := p.seats[w.group]; seat != nil && p.up && w.servers[i].up {
		seat.End(w.local(&w.servers[i]))
		w.hosts.performBook(i)
	}
	p.seats[w.group], p.landed[w.group] = nil, 0
}

// beginTurn tells a core what it has missed, before it is handed anything.
func (w *World) beginTurn(i int) {
	if w.hosts == nil {
		return
	}
	s, seat := &w.servers[i], w.hosts.processes[i].seats[w.group]
	s.told = w.local(s)
	seat.Before(s.told)
	told := seat.Told()
	if told.Lost != "" {
		s.heard = 0
	}
	for j := range told.Heartbeats {
		m := &told.Heartbeats[j]
		w.speaks(i, m)
		w.answered(i, m)
		w.checkRefused(i, false)
	}
	w.observe(i)
}

// tickTurn tells a core the time after what it was handed, as raft.HandIn does in each turn.
func (w *World) tickTurn(i int) {
	if w.hosts != nil {
		w.observe(i)
		w.servers[i].core.Tick(w.local(&w.servers[i]))
	}
}

// resumeTurn goes on with a turn whose effects were held back.
func (w *World) resumeTurn(i int) {
	if w.hosts != nil {
		w.beginTurn(i)
		w.tickTurn(i)
		w.observe(i)
	}
}

// endTurn leaves a group to the Book if nothing happens in it.
func (w *World) endTurn(i int) {
	s := &w.servers[i]
	if w.hosts == nil || !s.up || s.held || w.violation != nil {
		return
	}
	h := w.hosts
	p := &h.processes[i]
	h.watch(w, i)
	if p.again[w.group] {
		p.again[w.group] = false
		w.queue.push(item{at: w.now, what: itemTurn, a: int8(i), life: s.life})
	}
	seat := p.seats[w.group]
	seat.After(w.local(s))
	if seat.Deadline() == endless {
		h.stats.Settled++
	}
	p.book.Turned(coalesce.Instant(w.local(s)), w.shard())
	h.performBook(i)
}

// turnAsked lets a group take a turn that its Book has asked for: after the present one, if that hasn't
// ended.
func (w *World) turnAsked(e Event) {
	if i := int(e.Server); w.servers[i].held {
		w.hosts.processes[i].again[w.group] = true
		return
	}
	e.Op = OpExpire
	w.stepHeld(e, nil)
}

// endVainTurn ends a turn in which the core was handed nothing.
func (w *World) endVainTurn(i int) {
	if s := &w.servers[i]; w.hosts != nil && s.up && !s.held && w.violation == nil {
		w.drain(i)
		w.endTurn(i)
	}
}

// endless is the deadline of a core that the Book looks after.
const endless = raft.Instant(1<<63 - 1)

// deadline returns when a server's next turn is due, whatever happens.
func (w *World) deadline(i int) raft.Instant {
	if w.hosts != nil {
		return w.hosts.processes[i].seats[w.group].Deadline()
	}
	return w.servers[i].core.Deadline()
}

// performBook sees to what the Book of a process wants done.
func (h *Hosts) performBook(i int) {
	p := &h.processes[i]
	p.book.Drain(&p.out)
	for j := range p.out.Messages {
		h.sends(i, &p.out.Messages[j])
	}
	for _, group := range p.out.Turns {
		w := h.worlds[group[1]-'0']
		if s := &w.servers[i]; s.up {
			h.stats.Turns++
			p.seats[w.group].Asked()
			w.queue.push(item{at: h.now + 1 + below(h.draw(luckHold, i), h.params.Heartbeat/100), what: itemTurn, a: int8(i), life: s.life})
		}
	}
	h.setTimer(i)
}

// setTimer sets the timer of a process's Book.
func (h *Hosts) setTimer(i int) {
	p := &h.processes[i]
	if !p.up {
		return
	}
	w := h.worlds[0]
	at := w.until(&w.servers[i], raft.Instant(p.book.Deadline()))
	if at == never || p.beatAt != 0 && p.beatAt <= at && p.beatAt > h.now {
		return
	}
	p.beatAt = at
	h.queue.push(item{at: at, what: itemTick, a: int8(i), life: p.life})
}

// rings lets the Book of a process do what is due.
func (h *Hosts) rings(i int, planned int64) {
	p := &h.processes[i]
	if planned != p.beatAt && p.beatAt > h.now {
		return // a later plan has replaced this one
	}
	p.beatAt = 0
	now := coalesce.Instant(h.local(i))
	if p.book.Deadline() > now {
		h.setTimer(i)
		return
	}
	h.beat(i)
}

// beat lets the shards show that they turn, and then lets the Book do what is due.
func (h *Hosts) beat(i int) {
	p := &h.processes[i]
	now := coalesce.Instant(h.local(i))
	for shard, until := range p.stuck {
		if until <= h.now {
			p.book.Turned(now, shard)
		}
	}
	h.looksAtRoom(i)
	p.book.Beat(now)
	h.performBook(i)
	if p.book.Deadline() <= now {
		h.fail(DeadlinesMove, nil, i, "the deadline of its Book has just passed and is due again at once")
	}
	h.lookAt(i)
}

// happen lets an item of the processes happen.
func (h *Hosts) happen(it *item) {
	i := int(it.a)
	p := &h.processes[i]
	switch it.what {
	case itemRestart:
		h.restarts(i, it.n)
	case itemRemoved:
		if it.life == p.life {
			h.endsRemoval(i, int(it.n))
		}
	case itemFault:
		h.faultHappens()
	case itemCrash:
		if it.life == p.life || it.life == 0 {
			h.crashes(i)
		}
	case itemBack:
		h.putsAnyBack(i, uint64(it.n))
	case itemForget:
		if it.life == p.life {
			h.forgets(i)
		}
	case itemWake:
		h.goesOn(i)
	case itemResigned:
		h.stops(it, i)
	case itemFree:
		h.frees(i)
	case itemScrub:
		h.scrubs(it, i)
	case itemDeliver, itemTick, itemWrite, itemLost:
		switch {
		case p.paused > h.now:
			p.waiting = append(p.waiting, *it)
		case p.up && (it.life == p.life || it.life == 0):
			h.reaches(it, i)
		case it.what == itemDeliver:
			h.release(int32(it.n))
		}
	}
}

// reaches lets an item happen that reaches a process that is up.
func (h *Hosts) reaches(it *item, i int) {
	switch it.what {
	case itemDeliver:
		h.receives(i, int32(it.n))
	case itemTick:
		h.rings(i, it.at)
	case itemWrite:
		h.written(i)
	case itemLost:
		h.processes[i].book.Lost(coalesce.Instant(h.local(i)), h.processes[it.b].id)
		h.performBook(i)
	}
}

// restarts starts a process again, and its groups one after the other.
func (h *Hosts) restarts(i int, cut int64) {
	if h.processes[i].up || h.worlds[0].servers[i].frozen == frozenDown || !h.starts(i, cut) {
		return
	}
	h.all(func(w *World) {
		after := below(h.draw(luckRestart, i), h.params.Heartbeat/4+1)
		w.queue.push(item{at: h.now + after, what: itemRestart, a: int8(i)})
	})
	h.setTimer(i)
}

// pauses lets a process stand still for a while.
func (h *Hosts) pauses(i int, span int64) {
	p := &h.processes[i]
	p.paused = max(p.paused, h.now+span)
	h.tells(i, "stands still until %.3f", float64(p.paused)/1e6)
	h.all(func(w *World) { w.servers[i].paused = max(w.servers[i].paused, p.paused) })
	h.queue.push(item{at: h.now + span, what: itemWake, a: int8(i)})
}

// jams lets a shard of a process stand still for a while.
func (h *Hosts) jams(i, shard int, span int64) {
	p := &h.processes[i]
	p.stuck[shard] = max(p.stuck[shard], h.now+span)
	h.tells(i, "takes no turns of shard %d until %.3f", shard, float64(p.stuck[shard])/1e6)
	for _, w := range h.worlds {
		if w.shard() == shard {
			w.servers[i].paused = max(w.servers[i].paused, p.stuck[shard])
		}
	}
	h.queue.push(item{at: h.now + span, what: itemWake, a: int8(i)})
}

// goesOn lets a process, or a shard, go on that stood still. Luck decides what comes first after a
// pause: the timer of the Book, what has arrived for the process, or what has arrived for its groups.
func (h *Hosts) goesOn(i int) {
	p := &h.processes[i]
	p.woken = h.now
	h.tells(i, "goes on")
	for _, w := range h.worlds {
		if w.servers[i].paused <= h.now {
			w.spokenTo(i)
		}
	}
	luck := h.draw(luckHold, i)
	if luck%2 == 0 {
		h.wakeGroups(i)
	}
	if p.paused <= h.now && len(p.waiting) > 0 {
		waiting := p.waiting
		p.waiting = nil
		if p.up && luck/2%2 == 0 && p.book.Deadline() <= coalesce.Instant(h.local(i)) {
			h.beat(i)
		}
		for j := range waiting {
			if it := waiting[j]; it.what != itemTick {
				h.happen(&it)
			}
		}
		p.beatAt = 0
		h.setTimer(i)
	}
	if luck%2 != 0 {
		h.wakeGroups(i)
	}
}

// wakeGroups lets the groups of a process go on whose shards do.
func (h *Hosts) wakeGroups(i int) {
	for _, w := range h.worlds {
		if w.servers[i].paused <= h.now {
			w.wakes(i)
		}
	}
}

// HostSwarm returns the parameters that a seed draws for hosts: those of Swarm, with faults of processes,
// and with more time for each group, of which several share the events of a run.
func HostSwarm(seed uint64) Params {
	p := Swarm(seed)
	p.HostKinds = hostKinds(luck(seed))
	h := luck(seed).draw(luckParams, 1, 0xff, 1)
	if p.FaultKinds == 0 || p.Throughput != 0 {
		p.Throughput, p.FaultKinds = 0, swarmFaults(mix(h+1))
	}
	if p.WAL != 0 {
		p = p.WithWAL()
	}
	p.FaultKinds &^= 1 << faultFill
	p.Election = max(p.Election, p.Heartbeat*pick(mix(h+2), 3, 5, 10))
	p.MaxLease = min(p.MaxLease, p.Election)
	p.Events = 2000 + below(mix(h+3), 4000)
	rare := pick(mix(h+4), 1, 2, 4, 8, 16)
	p.FaultTime, p.ChangeTime, p.LoseTime = p.FaultTime*rare, p.ChangeTime*2*rare, p.LoseTime*2*rare
	return p
}

// restful reports whether groups come to rest in the end.
// An answer must come within a heartbeat interval, and no member may promise less than the leader asks for.
func (p *Params) restful() bool {
	return 2*(2*p.oneWay()+2*p.WriteTime) < p.Heartbeat && (p.MaxLease == 0 || p.ShortLeases == 0)
}
