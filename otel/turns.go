package otel

import (
	"sort"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// turns remember in which turn of a node the entries got to each stage.
type turns struct {
	mu sync.Mutex
	// epoch is what the node's clock counts from; zero before the first turn.
	epoch                   time.Time
	last                    raft.LogIndexes // at the end of the latest turn
	stable, commit, applied stage
}

// A stage remembers when the log had got there up to which index: marks whose indexes and times
// rise. Those are the newest ones of a ring.
type stage struct {
	ring       []mark
	begin, end uint64 // numbered without end; each is at its number modulo the length
	// known is the index up to which nothing is known: what got there before.
	known raft.Index
}

// A mark is the index of the last entry that had got to a stage at a time.
type mark struct {
	index raft.Index
	at    raft.Instant
}

func (t *turns) keep(marks int) {
	for _, s := range []*stage{&t.stable, &t.commit, &t.applied} {
		s.ring = make([]mark, marks)
	}
}

// note notes how far the log has got in a turn.
func (t *turns) note(turn *raft.TurnTrace, now func() time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	is := turn.Log
	if t.epoch.IsZero() {
		t.epoch = now().Add(-time.Duration(turn.Began) - turn.Took)
		t.stable.known, t.commit.known, t.applied.known = is.Stable, is.Commit, is.Applied
		t.last = is
		return
	}
	if is.Stable < t.last.Stable {
		t.stable.truncate(is.Stable) // another leader's entries take the place of some
	}
	if is.Stable > t.last.Stable {
		t.stable.add(mark{is.Stable, turn.Began})
	}
	if is.Commit > t.last.Commit {
		t.commit.add(mark{is.Commit, turn.Began})
	}
	if is.Applied > t.last.Applied {
		t.applied.add(mark{is.Applied, turn.Began})
	}
	t.last = is
}

// add adds a mark, and forgets the oldest one if there is no room.
func (s *stage) add(m mark) {
	if s.end-s.begin == uint64(len(s.ring)) {
		s.known = s.at(s.begin).index
		s.begin++
	}
	*s.at(s.end) = m
	s.end++
}

// truncate forgets what got there behind an index.
func (s *stage) truncate(index raft.Index) {
	s.known = min(s.known, index)
	for ; s.end > s.begin; s.end-- {
		before := s.known
		if s.end-1 > s.begin {
			before = s.at(s.end - 2).index
		}
		if before < index {
			newest := s.at(s.end - 1) // what it has up to the index stays
			newest.index = min(newest.index, index)
			return
		}
	}
}

// at returns the mark with a number.
func (s *stage) at(number uint64) *mark { return &s.ring[number%uint64(len(s.ring))] }

// reached returns when an entry got to the stage, if that is known.
func (s *stage) reached(index raft.Index) (at raft.Instant, known bool) {
	if index <= s.known {
		return 0, false
	}
	n := int(s.end - s.begin)
	i := sort.Search(n, func(i int) bool { return s.at(s.begin+uint64(i)).index >= index })
	if i == n {
		return 0, false
	}
	return s.at(s.begin + uint64(i)).at, true
}
