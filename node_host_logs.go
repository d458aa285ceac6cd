package raft

import (
	"container/heap"
	"sync"
	"sync/atomic"
)

// hostLogs keep the logs of a host's groups together within a bound. The log that exceeds its snapshot the
// most is shortened first (Core.FreeLog). What must hold:
//
//	the logs of all groups take no more than the bound, or a group is on its way to take less, or none can
//
// The bound is HostConfig.LogBytes, or twice the sum of what snapshots are worth (LogSize.Snapshot) and an eighth
// of LogBytes, if that is more. While the logs take more, one of them at least exceeds twice what its own
// snapshot is worth, by no less than its share of that eighth. So there is always one that can be shortened,
// what is written and read for snapshots stays in proportion to what is let go of, and groups with little log
// aren't asked in the place of a large one that can't be shortened now.
//
// A loop tells the size of its log at the end of a turn, if that has changed enough. So nothing is ever
// looked for: a group in which nothing happens costs nothing.
//
//	idle ───────▶ asked ───────▶ freeing ───────▶ idle
//	in the heap   by the host    by the loop  │   when the core is done
//	  ▲                                       ▼
//	  └────────────────────────────────── deferred: the core can't now; it stays out of the heap until it can
type hostLogs struct {
	limit  uint64
	groups func() int64  // how many run
	step   atomic.Uint64 // a change of less than that isn't told
	// unseen is how many bytes were written since the storage was asked for its holders, and looking says
	// that it is being asked.
	unseen  int
	looking atomic.Bool

	mu           sync.Mutex
	bytes, worth uint64 // the sums over all groups
	largest      logHeap
	asked        int    // how many are asked or freeing
	going        uint64 // the sizes of these: their logs are about to be shorter
}

// A groupLog is what a host knows of the log of a group. A group that never had much has none.
type groupLog struct {
	node *Node
	size LogSize // as it was told; the loop changes it, while it holds mu
	// state is changed by who holds mu. place is that in the heap, and -1 if it isn't there.
	state atomic.Uint32
	place int
}

// The states of a groupLog.
const (
	logIdle = iota
	logAsked
	logFreeing
	logDeferred
)

// excess is by how much the log is too large for its snapshot.
func (g *groupLog) excess() int64 { return int64(g.size.Bytes) - 2*int64(g.size.Snapshot) }

// maxFreeing is how many groups are asked at a time.
const maxFreeing = maxTakes

// stepShare is into how many parts the bound is cut, shared out to all groups: a group tells when its log
// has changed by one of these. So the sum is wrong by less than one part of so many.
const stepShare = 16

func (h *hostLogs) init(of *Host) {
	h.limit, h.groups = uint64(of.config.LogBytes), of.tails.groups.Load
	h.step.Store(1)
}

// bound returns what the logs may take. The caller holds mu.
func (h *hostLogs) bound() uint64 { return max(h.limit, 2*h.worth+h.limit/8) }

// weigh tells the host what the log takes, if that has changed.
func (l *loop) weigh() {
	g, size := l.weighed, l.core.LogSize()
	step := l.host.snapshots.logs.step.Load()
	if g == nil {
		if size.Bytes >= step || size.Snapshot > 0 {
			l.weighed = &groupLog{node: l.Node, place: -1}
			l.host.snapshots.logs.note(l.weighed, size, logIdle)
		}
		return
	}
	state := g.state.Load()
	switch {
	case state == logFreeing && !size.Freeing, state == logDeferred && size.Frees:
		state = logIdle
	case max(size.Bytes, g.size.Bytes)-min(size.Bytes, g.size.Bytes) < step && size.Snapshot == g.size.Snapshot:
		return
	}
	l.host.snapshots.logs.note(g, size, state)
}

// note takes what a group tells, and asks others to shorten their logs if all take too much. state is what
// the group's loop has found it in.
func (h *hostLogs) note(g *groupLog, size LogSize, state uint32) {
	h.mu.Lock()
	h.step.Store(h.limit/stepShare/uint64(max(h.groups(), 1)) + 1)
	h.bytes += size.Bytes - g.size.Bytes
	h.worth += size.Snapshot - g.size.Snapshot
	was := g.state.Load()
	if was == logAsked {
		state = logAsked // meanwhile
	}
	h.settle(g, logIdle)
	g.size = size
	h.settle(g, state)
	h.place(g)
	h.ask()
}

// settle changes the state of a group.
func (h *hostLogs) settle(g *groupLog, state uint32) {
	if was := g.state.Swap(state); was == logAsked || was == logFreeing {
		h.asked--
		h.going -= g.size.Bytes
	}
	if state == logAsked || state == logFreeing {
		h.asked++
		h.going += g.size.Bytes
	}
}

// place puts a group where it belongs in the heap, or takes it out.
func (h *hostLogs) place(g *groupLog) {
	belongs := g.state.Load() == logIdle && g.excess() > 0
	switch {
	case belongs && g.place < 0:
		heap.Push(&h.largest, g)
	case belongs:
		heap.Fix(&h.largest, g.place)
	case g.place >= 0:
		heap.Remove(&h.largest, g.place)
	}
}

// ask asks the groups with the largest logs, if all take too much, and unlocks mu.
func (h *hostLogs) ask() {
	var asked []*groupLog
	least := int64(h.limit/8) / max(h.groups(), 1)
	for h.bytes-h.going > h.bound() && h.asked < maxFreeing && len(h.largest) > 0 && h.groups() > 1 {
		if h.largest[0].excess() < least {
			break
		}
		g := heap.Pop(&h.largest).(*groupLog)
		h.settle(g, logAsked)
		asked = append(asked, g)
	}
	h.mu.Unlock()
	for _, g := range asked {
		g.ask(h)
	}
}

// ask has the group's core shorten the log, if it can.
func (g *groupLog) ask(h *hostLogs) {
	_ = g.node.inbox.report(func(l *loop, now Instant) { // an error says that the group has ended: forget
		state := uint32(logFreeing)
		if !l.core.FreeLog(now) {
			state = logDeferred
		}
		h.mu.Lock()
		h.settle(g, state)
		h.ask()
	})
}

// forget takes away what a group has told, when it has ended.
func (h *hostLogs) forget(l *loop) {
	g := l.weighed
	if g == nil {
		return
	}
	h.mu.Lock()
	h.settle(g, logDeferred)
	h.bytes -= g.size.Bytes
	h.worth -= g.size.Snapshot
	g.size = LogSize{}
	h.place(g)
	h.ask()
}

// holdingStorage is a SharedStorage that says which groups hold up its log.
type holdingStorage interface{ Holders() []Holder }

// lookEvery is after how many bytes the storage is asked which groups hold up its log, and maxHolders how
// many of them are asked to shorten theirs.
const (
	lookEvery  = 32 << 20
	maxHolders = maxFreeing
)

// wrote counts what was written. The disk's goroutine calls it, and holds its mutex.
func (h *hostLogs) wrote(host *Host, bytes int) {
	if h.unseen += bytes; h.unseen < lookEvery {
		return
	}
	h.unseen = 0
	if storage, ok := host.config.Storage.(holdingStorage); ok && h.groups() > 1 && h.looking.CompareAndSwap(false, true) {
		host.life.goroutines.Go(func() { h.look(host, storage) })
	}
}

// look asks the groups that hold up the storage's log to shorten theirs, if their snapshots are worth it.
func (h *hostLogs) look(host *Host, storage holdingStorage) {
	defer h.looking.Store(false)
	var holders []Holder
	broken := error(&PanicError{Where: "storage"}) // it stays so if the storage ends the goroutine
	defer func() {
		if broken != nil {
			host.stop(broken)
		}
	}()
	broken = guard("storage", func() error { holders = storage.Holders(); return nil })
	for _, holder := range holders[:min(len(holders), maxHolders)] {
		if n := host.node(holder.Group); n != nil && holder.Bytes > 0 {
			_ = n.inbox.report(func(l *loop, now Instant) { l.core.FreeLog(now) }) // it may have ended
		}
	}
}

// count returns what the logs take.
func (h *hostLogs) count() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bytes
}

// logHeap has the largest log in front.
type logHeap []*groupLog

func (a logHeap) Len() int           { return len(a) }
func (a logHeap) Less(i, j int) bool { return a[i].excess() > a[j].excess() }
func (a logHeap) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

func (a *logHeap) Push(x any) {
	g := x.(*groupLog)
	g.place = len(*a)
	*a = append(*a, g)
}

func (a *logHeap) Pop() any {
	n := len(*a) - 1
	g := (*a)[n]
	(*a)[n] = nil
	*a = (*a)[:n]
	g.place = -1
	return g
}
