package prometheus

import (
	"time"

	"github.com/e17579a5/raft"
)

// stages follow the entries of a leader through its turns: when they got into its log, when its own
// disk had them, when they were committed, and when its state machine had applied them. Entries of
// one turn are one mark, so a batch costs as much as a single entry. The loop of the node uses it.
//
//	turn        12 ms          14 ms          15 ms          16 ms
//	log         201 to 240     …
//	written                    40 × 2 ms
//	quorum                                    40 × 3 ms
//	applied                                                  40 × 4 ms
//
// A mark passes a stage when its last entry does.
type stages struct {
	leadership raft.Leadership // the latest

	leads bool
	last  raft.Index // of the log, at the end of the last turn
	ahead [len(stageNames) - 1]marks
}

// marks are those that haven't passed a stage yet.
type marks struct {
	ring        []mark // its length is a power of two, at most maxMarks
	first, next uint64 // numbered without end; each is at its number modulo the length of the ring
}

// leastMarks is the length with which a ring begins: most of many groups need no more.
const leastMarks = 4

// maxMarks bounds the turns whose entries are followed at a time, for each stage. While there are
// more, entries count with those of the turn before, as if they were as old.
const maxMarks = 256

// A mark is the entries that a leader has taken into its log in one turn.
type mark struct {
	last    raft.Index
	entries uint64
	at      raft.Instant
}

// follow looks at what a turn has changed, and counts in times.
func (s *stages) follow(t *raft.TurnTrace, times *[len(stageNames) - 1]histogram) {
	leads := s.leadership.Role == "leader"
	if !leads || !s.leads {
		s.leads, s.last = leads, t.Log.Last
		for i := range s.ahead {
			s.ahead[i].first = s.ahead[i].next
		}
		return
	}
	if t.Log.Last > s.last {
		m := mark{t.Log.Last, uint64(t.Log.Last - s.last), t.Began}
		for i := range s.ahead {
			s.ahead[i].take(m)
		}
		s.last = t.Log.Last
	}
	for i, reached := range [...]raft.Index{t.Log.Stable, t.Log.Commit, t.Log.Applied} {
		s.ahead[i].pass(reached, t.Began, &times[i])
	}
}

// take adds a mark, or puts its entries to the newest one if there is no room.
func (a *marks) take(m mark) {
	if waiting := a.next - a.first; waiting == maxMarks {
		newest := a.at(a.next - 1)
		newest.last, newest.entries = m.last, newest.entries+m.entries
		return
	} else if int(waiting) == len(a.ring) {
		a.grow()
	}
	*a.at(a.next) = m
	a.next++
}

// at returns the place of a mark.
func (a *marks) at(number uint64) *mark { return &a.ring[number%uint64(len(a.ring))] }

// grow doubles the ring.
func (a *marks) grow() {
	ring := make([]mark, max(2*len(a.ring), leastMarks))
	for n := a.first; n < a.next; n++ {
		ring[n%uint64(len(ring))] = *a.at(n)
	}
	a.ring = ring
}

// pass counts the marks up to an index, which have passed the stage.
func (a *marks) pass(reached raft.Index, now raft.Instant, times *histogram) {
	for a.first < a.next {
		m := a.at(a.first)
		if m.last > reached {
			return
		}
		times.observe(time.Duration(now-m.at), m.entries)
		a.first++
	}
}
