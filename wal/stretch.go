package wal

import (
	"slices"
	"sort"

	"github.com/e17579a5/raft"
)

// pointSpacing is the least distance, in bytes, between the points at which reading can start. The
// index in memory takes about 16 bytes for so many bytes of the log.
const pointSpacing = 4096

// A point is the place of an entry in a segment.
type point struct {
	index  raft.Index
	offset uint32 // of the entry's frame
	end    uint32 // of the body of its record
}

// A stretch is a part of a segment in which the entries of the log follow each other, from one
// record to the next. A truncation begins a new stretch: the entries between the two are dead. So
// does whatever is lost. A stretch without a segment is of entries that are lost.
type stretch struct {
	first      raft.Index
	segment    *segment // nil: their bytes are lost
	generation uint64   // that of the contents when the stretch began; apart if it can't grow
	points     []point  // ascending; the first one is at first, or before it
	// inParts says that its entries stand in parts of shared records: there is a point at the first
	// entry of each, and the end of a point is that of its part.
	inParts bool
}

// apart is the generation of a stretch that no later record continues.
const apart = ^uint64(0)

// limit returns the index after the last entry of stretch i.
func (t *contents) limit(i int) raft.Index {
	if i+1 < len(t.stretches) {
		return t.stretches[i+1].first
	}
	return t.last + 1
}

// at returns the stretch that an entry behind compacted is in.
func (t *contents) at(index raft.Index) int {
	return sort.Search(len(t.stretches), func(i int) bool { return t.stretches[i].first > index }) - 1
}

// pointFor returns the last point at or before an index.
func (s *stretch) pointFor(index raft.Index) int {
	return sort.Search(len(s.points), func(j int) bool { return s.points[j].index > index }) - 1
}

// nextPoint returns the next index behind this one from which reading can start.
func (t *contents) nextPoint(index raft.Index) raft.Index {
	i := t.at(index)
	s := &t.stretches[i]
	if j := s.pointFor(index) + 1; j < len(s.points) {
		return min(s.points[j].index, t.limit(i))
	}
	return t.limit(i)
}

// bytesAfter returns about how many bytes the entries after an index take in the files.
func (t *contents) bytesAfter(index raft.Index) uint64 {
	bytes := uint64(0)
	for i := range t.stretches {
		s := &t.stretches[i]
		if t.limit(i) <= index+1 || s.segment == nil {
			continue
		}
		from := max(s.pointFor(index+1), 0)
		bytes += s.bytesFrom(from)
	}
	return bytes
}

// bytesFrom returns about how many bytes the entries take from point i on.
func (s *stretch) bytesFrom(i int) (bytes uint64) {
	if !s.inParts {
		return uint64(s.points[len(s.points)-1].end - s.points[i].offset)
	}
	for ; i < len(s.points); i++ {
		p, end := &s.points[i], s.points[i].end
		if i+1 < len(s.points) && s.points[i+1].end == end {
			end = s.points[i+1].offset
		}
		bytes += uint64(end - p.offset)
	}
	return bytes
}

// truncateStretches removes the entries from index on from the stretches.
func (t *contents) truncateStretches(index raft.Index) {
	n := len(t.stretches)
	for n > 0 && t.stretches[n-1].first >= index {
		n--
	}
	// What readers have got stays as it is: the slices are cut, and new stretches begin.
	t.stretches = t.stretches[:n:n]
	if n > 0 && t.stretches[n-1].segment != nil {
		s := &t.stretches[n-1]
		i := s.pointFor(index-1) + 1
		s.points = s.points[:i:i]
	}
}

// miss appends entries whose bytes are lost, at the end of the log.
func (t *contents) miss(first, last raft.Index) {
	if n := len(t.stretches); first <= last && (n == 0 || t.stretches[n-1].segment != nil) {
		t.stretches = append(t.stretches, stretch{first: first})
	}
}

// lose takes away the places of entries, which are lost from then on.
func (t *contents) lose(first, last raft.Index) {
	t.put(max(first, t.compacted+1), min(last, t.last), stretch{})
}

// repair gives their bytes back to the entries of a piece that are lost, and new places to those in
// older segments if the piece was moved. What the log doesn't hold under this index and term, and
// anything else, stays as it is.
func (t *contents) repair(p *piece, s *segment, at uint32) {
	for index := max(p.first, t.compacted+1); index <= min(p.last, t.last); {
		term, until := t.run(index)
		i := t.at(index)
		until = min(until, p.last, t.limit(i)-1)
		old := t.stretches[i].segment
		if term == p.term && (old == nil || p.moved && old.number < s.number) {
			points := make([]point, 0, len(p.points))
			for _, q := range p.points {
				points = append(points, point{index: q.index, offset: q.offset + at, end: q.end + at})
			}
			found := stretch{segment: s, generation: apart, points: points, inParts: p.moved}
			found.points = points[max(found.pointFor(index), 0) : found.pointFor(until)+1]
			t.put(index, until, found)
		}
		index = until + 1
	}
}

// put makes new the stretch of the entries from first to last. What was forgotten before first goes: it
// would hold its segment, and there would be nothing to move.
func (t *contents) put(first, last raft.Index, new stretch) {
	if first > last {
		return
	}
	new.first = first
	i, j := max(t.at(first), 0), t.at(last)
	pieces := make([]stretch, 0, 3)
	if before := t.stretches[i]; before.first < first && first > t.compacted+1 {
		if before.segment != nil {
			k := before.pointFor(first-1) + 1
			before.points = before.points[:k:k]
		}
		pieces = append(pieces, before)
	}
	pieces = append(pieces, new)
	if behind := t.stretches[j]; t.limit(j) > last+1 {
		behind.first = last + 1
		if behind.segment != nil {
			behind.points = behind.points[max(behind.pointFor(behind.first), 0):]
		}
		pieces = append(pieces, behind)
	}
	both := func(a, b stretch) bool { return a.segment == nil && b.segment == nil }
	t.stretches = slices.Clip(slices.CompactFunc(slices.Concat(t.stretches[:i], pieces, t.stretches[j+1:]), both))
}

// clip gives back the memory that the stretches don't use.
func (t *contents) clip() {
	t.stretches = clipped(t.stretches)
	t.runs = clipped(t.runs)
	for i := range t.stretches {
		t.stretches[i].points = clipped(t.stretches[i].points)
	}
}

// clipped returns a slice without room for more.
func clipped[E any](s []E) []E {
	if cap(s) == len(s) {
		return s
	}
	return append(make([]E, 0, len(s)), s...)
}

// oldest returns the number of the oldest segment that holds entries of the log. If none does, it
// returns otherwise.
func (t *contents) oldest(otherwise uint64) uint64 {
	for i := range t.stretches {
		if s := t.stretches[i].segment; s != nil {
			otherwise = min(otherwise, s.number)
		}
	}
	return otherwise
}
