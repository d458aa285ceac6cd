package wal

import (
	"fmt"
	"slices"
	"sort"

	"github.com/e17579a5/raft"
)

// pointSpacing is the least distance, in bytes, between the points at which reading can start. The
// index in memory takes about 16 bytes for so many bytes of the log.
const pointSpacing = 4096

// maxIndex bounds the indexes that a file may hold, so that no arithmetic with them overflows.
const maxIndex = 1 << 62

// A point is the place of an entry in a segment.
type point struct {
	index  raft.Index
	offset uint32 // of the entry's frame
	end    uint32 // of the body of its record
}

// A stretch is a part of a segment in which the entries of the log follow each other, from one
// record to the next. A truncation begins a new stretch: the entries between the two are dead.
type stretch struct {
	segment    *segment
	generation uint64  // that of the contents when the stretch began
	points     []point // ascending and never empty; the first one is the first entry of the stretch
}

// contents is what the log holds: its state, and where its entries are.
//
//	index:      first ............ compacted ....... snapshot ........ last
//	            still in files     may be removed                      the end of the log
//
// The order compacted ≤ snapshot ≤ last always holds. The entries in (snapshot, last] are always in
// the files.
type contents struct {
	durable  raft.DurableState
	snapshot snapshotRef

	// first is the least index from which on all entries are in the files; last+1 when no entry is.
	first     raft.Index
	last      raft.Index     // the last entry
	compacted raft.Index     // the log may be forgotten up to here
	runs      []raft.TermRun // the terms of the entries from compacted on, as far as they are known
	stretches []stretch      // in the order of the log

	// generation rises when entries are truncated or dropped.
	generation uint64
}

// apply makes c take effect. The record of c stands at the offset at of s.
func (t *contents) apply(c *change, s *segment, at uint32) error {
	if c.flags&changesState != 0 {
		t.durable = c.durable
	}
	if c.flags&changesSnapshot != 0 {
		t.snapshot = c.snapshot
		if c.flags&dropsLog != 0 {
			t.drop(c.snapshot.meta.Index)
		}
	}
	if c.flags&changesEntries != 0 {
		if c.first > t.last+1 {
			return fmt.Errorf("entry %d follows entry %d", c.first, t.last)
		}
		t.truncate(c.first)
		t.add(c, s, at)
	}
	if c.flags&changesCompacted != 0 {
		t.compact(c.compacted)
	}
	return nil
}

// check returns an error unless compacted ≤ snapshot ≤ last ≤ maxIndex.
func (t *contents) check() error {
	if t.last > maxIndex || t.snapshot.meta.Index > t.last || t.compacted > t.snapshot.meta.Index {
		return fmt.Errorf("it contradicts itself: the log ends at %d, the snapshot at %d, what may be forgotten at %d",
			t.last, t.snapshot.meta.Index, t.compacted)
	}
	return nil
}

// drop empties the log: the next entry is the one after index.
func (t *contents) drop(index raft.Index) {
	t.last, t.first = index, index+1
	t.runs, t.stretches = nil, nil
	t.generation++
}

// truncate removes the entries from index on.
func (t *contents) truncate(index raft.Index) {
	if index > t.last {
		return
	}
	t.generation++
	t.last = index - 1
	t.first = min(t.first, index)
	for n := len(t.runs); n > 0 && t.runs[n-1].First >= index; n-- {
		t.runs = t.runs[:n-1]
	}
	for n := len(t.stretches); n > 0; n-- {
		s := &t.stretches[n-1]
		i := sort.Search(len(s.points), func(i int) bool { return s.points[i].index >= index })
		if i > 0 {
			// The points that readers have got stay as they are: the slice is cut, and a new
			// stretch begins.
			s.points = s.points[:i:i]
			break
		}
		t.stretches = t.stretches[: n-1 : n-1]
	}
}

// add appends the entries of c, which follow the last entry of the log. A new stretch begins where
// they don't also follow it in the file: in a new segment, after a truncation, and after a drop.
func (t *contents) add(c *change, s *segment, at uint32) {
	for _, run := range c.runs {
		if n := len(t.runs); n == 0 || t.runs[n-1].Term != run.Term {
			t.runs = append(t.runs, run)
		}
	}
	n := len(t.stretches)
	fresh := n == 0 || t.stretches[n-1].segment != s || t.stretches[n-1].generation != t.generation
	if fresh {
		t.stretches = append(t.stretches, stretch{segment: s, generation: t.generation})
		n++
	}
	into := &t.stretches[n-1]
	for i, p := range c.points {
		p.offset, p.end = p.offset+at, p.end+at
		if !fresh && i == 0 && p.offset-into.points[len(into.points)-1].offset < pointSpacing {
			continue
		}
		into.points = append(into.points, p)
	}
	t.last = c.last()
}

// compact forgets the entries up to index: the stretches that hold no other entry, and their terms.
func (t *contents) compact(index raft.Index) {
	t.compacted = max(t.compacted, index)
	dead := 0
	for dead < len(t.stretches) && t.limit(dead) <= t.compacted+1 {
		dead++
	}
	if dead > 0 {
		t.first = max(t.first, t.limit(dead-1))
		t.stretches = slices.Clone(t.stretches[dead:])
	}
	t.runs = trimRuns(t.runs, t.compacted, t.last)
}

// base returns the last entry before those that can be read, and its term. An entry that may be
// forgotten counts as gone. If the term of the entry before the readable ones isn't known, base
// returns the entry after it, which then counts as gone too.
func (t *contents) base() (raft.Index, raft.Term) {
	index := max(t.compacted, t.first-1)
	if index == t.snapshot.meta.Index {
		return index, t.snapshot.meta.Term
	}
	term, known := t.term(index)
	if !known && index > 0 {
		index++
		term, _ = t.term(index)
	}
	return index, term
}

// bytesAfter returns about how many bytes the entries after an index take in the files.
func (t *contents) bytesAfter(index raft.Index) uint64 {
	bytes := uint64(0)
	for i := range t.stretches {
		if t.limit(i) <= index+1 {
			continue
		}
		points := t.stretches[i].points
		from := max(sort.Search(len(points), func(j int) bool { return points[j].index > index+1 })-1, 0)
		bytes += uint64(points[len(points)-1].end - points[from].offset)
	}
	return bytes
}

// limit returns the index after the last entry of stretch i.
func (t *contents) limit(i int) raft.Index {
	if i+1 < len(t.stretches) {
		return t.stretches[i+1].points[0].index
	}
	return t.last + 1
}

// find returns the point at which a search for the entry at index begins: the last point at or
// before it, and its stretch. The entry must be in the files.
func (t *contents) find(index raft.Index) (stretch int, p point) {
	i := sort.Search(len(t.stretches), func(i int) bool { return t.stretches[i].points[0].index > index }) - 1
	points := t.stretches[i].points
	j := sort.Search(len(points), func(j int) bool { return points[j].index > index }) - 1
	return i, points[j]
}

// term returns the term of the entry at index, and whether it is known.
func (t *contents) term(index raft.Index) (raft.Term, bool) {
	if index > t.last {
		return 0, false
	}
	i := sort.Search(len(t.runs), func(i int) bool { return t.runs[i].First > index }) - 1
	if i < 0 {
		return 0, false
	}
	return t.runs[i].Term, true
}

// agrees says whether the log has the last entry of a snapshot, in the same term, so that it goes
// on from the snapshot. If the current snapshot ends with that entry, the entry itself may be gone.
// The snapshot must not be older than the current one.
func (t *contents) agrees(m *raft.SnapshotMeta) bool {
	if m.Index > t.last {
		return false
	}
	if current := &t.snapshot.meta; m.Index == current.Index {
		return m.Term == current.Term
	}
	term, known := t.term(m.Index)
	return known && term == m.Term
}

// covers says whether the log goes on from a snapshot without a gap, and doesn't contradict it.
func (t *contents) covers(m *raft.SnapshotMeta) bool {
	if m.Index > t.last || m.Index+1 < t.first || m.Index < t.compacted {
		return false
	}
	term, known := t.term(m.Index)
	return !known || term == m.Term
}

// trimRuns returns the runs without the part before the index from. The last run ends at last.
func trimRuns(runs []raft.TermRun, from, last raft.Index) []raft.TermRun {
	if from > last {
		return nil
	}
	i := sort.Search(len(runs), func(i int) bool { return runs[i].First > from }) - 1
	if i < 0 {
		return runs
	}
	runs = slices.Clone(runs[i:])
	runs[0].First = from
	return runs
}

// oldest returns the number of the oldest segment that holds entries of the log. If none does, it
// returns otherwise.
func (t *contents) oldest(otherwise uint64) uint64 {
	if len(t.stretches) == 0 {
		return otherwise
	}
	return t.stretches[0].segment.number
}
