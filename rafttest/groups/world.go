// Package groups is a world of processes that serve many groups: real cores and a real Book in each
// process (package coalesce), on simulated disks, networks and clocks. A run is a function of its
// options. It loses, repeats and reorders messages, ends and pauses processes, lets shards stand
// still, lets single cores fail, hands leaderships over, changes members, one or several at once, and
// lets clocks drift apart. Then it heals everything, and demands that all groups have leaders again and
// become free of cost.
package groups

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// Options say what happens in a run.
type Options struct {
	Seed           uint64
	Hosts, Groups  int // each group has a member in each process
	Heartbeat      time.Duration
	Election       time.Duration
	Lease          time.Duration // 0 for none
	DiskDelay      time.Duration
	Delay, Further time.Duration // of a message: at least Delay, and less than that and Further
	Drift          time.Duration // by how much two clocks may drift apart in a second
	// Foundings and Elections are as in coalesce.Config.
	Foundings, Elections int
}

// A World is a run.
type World struct {
	Options
	random *rand.Rand
	now    raft.Instant
	queue  events
	serial uint64
	hosts  []*host
	cut    map[[2]int]bool
	loss   float64 // how likely a message is lost
	faulty bool

	sent          int // messages sent
	process       int // process heartbeats among them
	bytes         int // of process heartbeats
	turns         int
	faults        [numFaults]int // how often each happened
	answeredReads int
	failure       error

	elected map[raft.GroupID]map[raft.Term]int
	acked   map[raft.GroupID]raft.Index
}

// An event is something that happens at a time.
type event struct {
	at     raft.Instant
	serial uint64
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// New returns a world in which all processes have just started.
func New(options Options) *World {
	w := &World{
		Options: options, random: rand.New(rand.NewPCG(options.Seed, 7)), now: 1, cut: map[[2]int]bool{},
		elected: map[raft.GroupID]map[raft.Term]int{}, acked: map[raft.GroupID]raft.Index{},
	}
	for i := range options.Hosts {
		w.hosts = append(w.hosts, newHost(w, i))
	}
	for _, h := range w.hosts {
		h.start()
	}
	return w
}

// after plans something.
func (w *World) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now + raft.Instant(d), w.serial, do})
}

// Run lets the time pass.
func (w *World) Run(d time.Duration) error {
	end := w.now + raft.Instant(d)
	for w.failure == nil && len(w.queue) > 0 && w.queue[0].at <= end {
		e := heap.Pop(&w.queue).(event)
		w.now = max(w.now, e.at)
		e.do()
	}
	w.now = end
	return w.failure
}

// fail ends the run.
func (w *World) fail(format string, args ...any) {
	if w.failure == nil {
		w.failure = fmt.Errorf("seed %d at %v: %s", w.Seed, time.Duration(w.now), fmt.Sprintf(format, args...))
	}
}

func (w *World) index(id raft.ServerID) int { return int(id[0] - 'a') }

// send carries a message.
func (w *World) send(m wire.Message) {
	w.sent++
	if m.Kind() == wire.KindProcessHeartbeat {
		encoded := wire.AppendMessage(nil, &m)
		w.process++
		w.bytes += len(encoded)
		if len(encoded) > 256<<10 {
			w.fail("a process heartbeat of %d bytes", len(encoded))
		}
		decoded, err := wire.DecodeMessage(encoded)
		if err != nil {
			w.fail("%v", err)
			return
		}
		m = decoded
	}
	from, to := w.index(m.From), w.index(m.To)
	if to < 0 || to >= len(w.hosts) || w.cut[[2]int{from, to}] || w.random.Float64() < w.loss {
		return
	}
	times := 1
	if w.faulty && w.random.IntN(50) == 0 {
		times = 2
	}
	for range times {
		delay := w.Delay + time.Duration(w.random.Int64N(int64(w.Further)+1))
		if w.faulty && w.random.IntN(40) == 0 {
			delay += time.Duration(w.random.Int64N(int64(w.Election)))
		}
		w.after(delay, func() { w.hosts[to].receive(m) })
	}
}

// A host is a process.
type host struct {
	w       *World
	at      int
	id      raft.ServerID
	starts  uint64
	clock   clock
	running bool
	paused  bool
	backlog []func() // what comes while it is paused
	book    *coalesce.Book
	out     coalesce.Out
	timer   uint64 // of the Book
	stuck   []bool // shards that stand still
	members []*member
}

const shards = 2

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

func newHost(w *World, at int) *host {
	h := &host{w: w, at: at, id: raft.ServerID(rune('a' + at)), stuck: make([]bool, shards)}
	h.clock.showed = raft.Instant(at) * raft.Instant(w.Election)
	for g := range w.Groups {
		h.members = append(h.members, newMember(h, raft.GroupID(fmt.Sprint("g", g)), g%shards))
	}
	return h
}

// do does something in the process, now or when it goes on after a pause.
func (h *host) do(start uint64, f func()) {
	switch {
	case !h.running || h.starts != start:
	case h.paused:
		h.backlog = append(h.backlog, f)
	default:
		f()
	}
}

func (h *host) start() {
	h.starts++
	h.running, h.paused, h.backlog = true, false, nil
	clear(h.stuck)
	h.book = coalesce.NewBook(coalesce.Config{
		Self: h.id, Start: h.starts, Heartbeat: h.w.Heartbeat, ElectionTimeout: h.w.Election, Shards: shards, Now: coalesce.Instant(h.now()),
		Foundings: h.w.Foundings, Elections: h.w.Elections,
	})
	for _, m := range h.members {
		m.start()
	}
	h.pulse(h.starts)
	h.setTimer()
}

// pulse shows in each interval that the shards turn.
func (h *host) pulse(start uint64) {
	h.do(start, func() {
		for i := range h.stuck {
			if !h.stuck[i] {
				h.book.Turned(coalesce.Instant(h.now()), i)
			}
		}
		h.performBook()
	})
	if h.starts == start && h.running {
		h.w.after(h.w.Heartbeat, func() { h.pulse(start) })
	}
}

func (h *host) stop() {
	h.running = false
	for _, m := range h.members {
		m.stop()
	}
}

func (h *host) pause() { h.paused = true }

func (h *host) resume() {
	if !h.paused {
		return
	}
	h.paused = false
	for _, f := range h.backlog {
		f()
	}
	h.backlog = nil
	h.performBook()
}

func (h *host) receive(m wire.Message) {
	h.do(h.starts, func() {
		if m.Kind() == wire.KindProcessHeartbeat {
			h.book.Receive(coalesce.Instant(h.now()), &m)
			h.performBook()
			return
		}
		for _, to := range h.members {
			if to.id == m.Group {
				to.inbox = append(to.inbox, m)
				to.soon()
			}
		}
	})
}

// lost notes that the transport has lost a process.
func (h *host) lost(id raft.ServerID) {
	h.book.Lost(coalesce.Instant(h.now()), id)
	h.performBook()
}

// performBook sees to what the Book wants done, and sets its timer.
func (h *host) performBook() {
	h.book.Drain(&h.out)
	for _, m := range h.out.Messages {
		h.w.send(m)
	}
	for _, id := range h.out.Turns {
		for _, m := range h.members {
			if m.id == id {
				m.coalesced.Asked()
				m.soon()
			}
		}
	}
	h.setTimer()
}

func (h *host) setTimer() {
	due := h.book.Deadline()
	if due == 1<<63-1 {
		return
	}
	h.timer++
	timer, start := h.timer, h.starts
	h.until(raft.Instant(due), func() {
		h.do(start, func() {
			if h.timer == timer {
				h.book.Beat(coalesce.Instant(h.now()))
				h.performBook()
			}
		})
	})
}
