package sim

import (
	"fmt"
	"io"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/blame"
)

// MaxGroups is the greatest number of groups that the processes of a simulated run serve.
const MaxGroups = 8

// Hosts is a world of processes that serve several groups each. Every group is a World of its own,
// with all of its faults and checks. What the groups of a process share is here: the process, which
// starts, crashes and pauses as a whole; its disk, on which all that has gathered is one atomic write
// (raft.SharedStorage), or the real log that keeps them all; its clock and its links; and its Book, by which the heartbeats of the process
// stand for those of the groups in which nothing happens (package coalesce).
//
//	                ┌ World 0 ┐ ┌ World 1 ┐ … one for each group: cores, commands, checks
//	process 1 ──────┤ server 1├─┤ server 1├─▶ Book, disk, clock, links
//	process 2 ──────┤ server 2├─┤ server 2├─▶ Book, disk, clock, links
//	                └─────────┘ └─────────┘
//
// The one that is next in time goes on: a group, or the processes. A run follows from its parameters alone.
// There is no schedule of it: Shrink makes the parameters smaller instead.
type Hosts struct {
	params    Params
	luck      luck
	now       int64
	n         int // number of processes
	worlds    []*World
	spare     []*World // worlds to be used again in the next run
	processes [MaxServers]process
	queue     queue
	mail      []mail
	free      []int32 // places in mail that are empty
	links     [MaxServers][MaxServers]struct {
		sent     uint64
		arriving int64
	}
	faults uint64
	items  int // how many have happened
	calm   bool
	unread bool // no group begins to read its log any more
	stats  HostStats
	failed *Violation // of the processes rather than of one group
	out    io.Writer  // of a transcript; nil for none
}

// HostStats count what happened to the processes of a run.
type HostStats struct {
	Groups     int
	Heartbeats int // messages of processes
	Turns      int // turns of groups that Books asked for
	Settled    int // turns after which a group was left to the Book
	Writes     int // of disks
	Shared     int // of these, with more than one group's
	Failed     int // groups that failed in a process that went on
	Removed    int // groups that were removed from a process
	Frozen     int // processes that stayed as they were when all other faults ended
	Scrubs     int // times that a group began to read its log
	Renamed    int // starts that took a later name, since others knew of one
	Cleaned    int // logs whose size was looked at
	Spared     int // groups beside which bytes changed on their disk
	Faults     [numHostFaults + numHostDiskFaults]int
}

// Add adds the counts of another run.
func (s *HostStats) Add(o *HostStats) {
	s.Groups, s.Heartbeats, s.Turns, s.Settled = s.Groups+o.Groups, s.Heartbeats+o.Heartbeats, s.Turns+o.Turns, s.Settled+o.Settled
	s.Writes, s.Shared, s.Failed, s.Removed = s.Writes+o.Writes, s.Shared+o.Shared, s.Failed+o.Failed, s.Removed+o.Removed
	s.Renamed, s.Frozen, s.Scrubs, s.Cleaned, s.Spared = s.Renamed+o.Renamed, s.Frozen+o.Frozen, s.Scrubs+o.Scrubs, s.Cleaned+o.Cleaned, s.Spared+o.Spared
	for i := range s.Faults {
		s.Faults[i] += o.Faults[i]
	}
}

// NewHosts returns a world without groups. Run makes them.
func NewHosts() *Hosts { return new(Hosts) }

// Run performs the run of a seed with so many groups, 1 to MaxGroups. The parameters are those that
// the seed draws (HostSwarm).
func (h *Hosts) Run(seed uint64, groups int) (Result, HostStats) {
	return h.RunParams(HostSwarm(seed), groups)
}

// RunParams performs a run with given parameters. The groups are founded and things go wrong for a
// while. Then all faults end, and every group must make progress, and become free of cost.
func (h *Hosts) RunParams(p Params, groups int) (Result, HostStats) {
	h.reset(p, max(min(groups, MaxGroups), 1))
	h.guard(func() {
		if p.Found != 0 {
			h.found()
		}
		h.faultPhase()
		h.settle()
	})
	return h.result()
}

// reset prepares the world for a run.
func (h *Hosts) reset(p Params, groups int) {
	h.params, h.luck, h.now, h.n, h.faults, h.calm, h.failed = p, luck(p.Seed), 0, p.All(), 0, false, nil
	h.items, h.unread = 0, false
	h.stats = HostStats{Groups: groups}
	h.queue.reset()
	clear(h.mail)
	h.mail, h.free = h.mail[:0], h.free[:0]
	clear(h.links[:])
	for len(h.spare) < groups {
		w := NewWorld(Options{})
		w.hosts, w.group = h, len(h.spare)
		h.spare = append(h.spare, w)
	}
	h.worlds = h.spare[:groups]
	for i := range h.processes {
		h.processes[i] = process{id: raft.ServerID([]byte{'1' + byte(i)}), at: i}
	}
	for g, w := range h.worlds {
		own := p
		own.Seed = int64(mix(uint64(p.Seed)+uint64(g)*0x9e3779b97f4a7c15) >> 1)
		own.ClientTime, own.Freeze = h.clientTime(g), 0
		own.FaultKinds &= groupFaults
		if own.After != 0 {
			own.After, own.Before = h.after(g)
		}
		h.observes(w)
		w.reset(own)
		for i := range w.servers {
			w.servers[i].clocks = append(w.servers[i].clocks[:0], h.worlds[0].servers[i].clocks...)
		}
	}
}

// after returns with what a group begins, if any of a run begins with what another cluster has left
// (Params.After). Each of these has a cluster of its own before it.
func (h *Hosts) after(g int) (after, before int64) {
	luck := h.luck.draw(luckHeritage, 0, 0xff, uint64(g))
	if luck%2 == 0 {
		return 0, 0
	}
	return h.params.After, int64(mix(luck) >> 1)
}

// clientTime returns how often clients speak to a group: often, rarely, or hardly ever.
func (h *Hosts) clientTime(g int) int64 {
	p := &h.params
	return pick(h.luck.draw(luckParams, 1, g, 0), p.ClientTime, p.Election, 4*p.Election, 4*p.Election, 20*p.Election, 20*p.Election)
}

// guard calls f. It turns a panic into a violation.
func (h *Hosts) guard(f func()) {
	defer func() {
		if r := recover(); r != nil {
			h.failed = newViolation(Assertion, -1, h.now, "%v", r)
			h.failed.Stack = blame.Stack()
		}
	}()
	f()
}

// fail reports that an invariant of the processes doesn't hold.
func (h *Hosts) fail(name string, w *World, i int, format string, args ...any) {
	if w != nil {
		w.fail(name, i, format, args...)
	} else if h.failed == nil {
		h.failed = newViolation(name, i, h.now, format, args...)
	}
}

// over reports whether the run has ended, because an invariant doesn't hold or because it is beyond
// what is promised.
func (h *Hosts) over() bool {
	for _, w := range h.worlds {
		if w.violation != nil {
			return true
		}
	}
	return h.failed != nil
}

// result returns what came of the run.
func (h *Hosts) result() (Result, HostStats) {
	r := Result{Params: h.params, Hash: uint64(h.params.Seed), Violation: h.failed}
	for g, w := range h.worlds {
		own := w.result()
		r.Stats.Add(&own.Stats)
		r.Stats.Settled, r.Stats.Succeeded = max(r.Stats.Settled, own.Stats.Settled), max(r.Stats.Succeeded, own.Stats.Succeeded)
		r.Hash = mix(r.Hash ^ own.Hash)
		if v := own.Violation; v != nil && r.Violation == nil {
			told := *v
			told.Detail = fmt.Sprintf("group %d: %s", g, v.Detail)
			r.Violation = &told
		}
	}
	r.Stats.Servers = h.n
	r.Hash = mix(r.Hash ^ uint64(h.stats.Heartbeats)<<32 ^ uint64(h.stats.Turns))
	return r, h.stats
}

// maxItems is more than happens in any run that ends.
const maxItems = 500_000

// loop lets things happen until done returns true, or until an instant.
func (h *Hosts) loop(end int64, done func() bool) {
	for !h.over() && !done() {
		next := h.next()
		if next == nil {
			return
		}
		if next.items[0].at > end {
			h.set(end)
			return
		}
		if h.items++; h.items > maxItems {
			h.fail(Convergence, nil, -1, "there is no end to what happens")
		}
		it := next.pop()
		h.set(it.at)
		for _, w := range h.worlds {
			if next == &w.queue {
				w.happen(&it)
			}
		}
		if next == &h.queue {
			h.happen(&it)
		}
	}
}

// next returns the queue with the first item, or nil if nothing is to happen any more.
func (h *Hosts) next() (first *queue) {
	consider := func(q *queue) {
		if len(q.items) == 0 {
			return
		}
		if first != nil {
			a, b := &q.items[0], &first.items[0]
			if a.at > b.at || a.at == b.at && a.order>>62 >= b.order>>62 {
				return
			}
		}
		first = q
	}
	consider(&h.queue)
	for _, w := range h.worlds {
		consider(&w.queue)
	}
	return first
}

// set lets it be an instant, for all.
func (h *Hosts) set(at int64) {
	h.now = max(h.now, at)
	for _, w := range h.worlds {
		w.now = h.now
	}
}

// all does something to each group.
func (h *Hosts) all(f func(w *World)) {
	for _, w := range h.worlds {
		f(w)
	}
}

// events returns how much has happened so far.
func (h *Hosts) events() (n int) {
	for _, w := range h.worlds {
		n += w.stats.Events
	}
	return n + h.stats.Heartbeats
}

// groupID returns the name of a group.
func groupID(g int) raft.GroupID { return raft.GroupID([]byte{'g', '0' + byte(g)}) }
