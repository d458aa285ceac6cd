package wal

import (
	"fmt"
	"slices"
	"sort"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// maxIndex bounds the indexes that a file may hold, so that no arithmetic with them overflows.
const maxIndex = 1 << 62

// contents is what the log holds: its state, and where its entries are.
//
//	index:      compacted ....... snapshot ........ last
//	            may be removed                      the end of the log
//
// The order compacted ≤ snapshot ≤ last always holds. The entries in (compacted, last] are in the
// files, except those that are lost.
type contents struct {
	durable  raft.DurableState
	snapshot snapshotRef

	last      raft.Index // the last entry
	compacted raft.Index // the log may be forgotten up to here
	// runs are the terms of the entries from compacted on, or from 1 on if that is 0.
	runs           []raft.TermRun
	configurations []raft.Entry // those behind compacted
	stretches      []stretch    // of all entries behind compacted, in the order of the log

	// generation rises when entries are truncated or dropped.
	generation uint64
}

// apply makes c take effect. The record of c stands at the offset at of s.
func (t *contents) apply(c *change, s *segment, at uint32) error {
	if c.flags&changesState != 0 {
		t.durable = c.durable
	}
	for i := range c.pieces {
		t.repair(&c.pieces[i], s, at)
	}
	if c.flags&changesSnapshot != 0 {
		t.snapshot = c.snapshot
		if c.flags&dropsLog != 0 {
			t.drop(c.snapshot.meta.Index, c.snapshot.meta.Term)
		}
	}
	if c.flags&changesEntries != 0 {
		if c.first > t.last+1 || c.first <= t.compacted {
			return fmt.Errorf("entry %d in a log of the entries %d to %d", c.first, t.compacted+1, t.last)
		}
		t.truncate(c.first)
		t.add(c, s, at)
		for _, lost := range c.lost {
			t.lose(lost.First, lost.Last)
		}
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

// drop empties the log: the next entry is the one after index, which had this term.
func (t *contents) drop(index raft.Index, term raft.Term) {
	t.last, t.compacted = index, index
	t.runs, t.stretches, t.configurations = []raft.TermRun{{First: index, Term: term}}, nil, nil
	t.generation++
}

// truncate removes the entries from index on.
func (t *contents) truncate(index raft.Index) {
	if index > t.last {
		return
	}
	t.generation++
	t.last = index - 1
	for n := len(t.runs); n > 0 && t.runs[n-1].First >= index; n-- {
		t.runs = t.runs[:n-1]
	}
	for n := len(t.configurations); n > 0 && t.configurations[n-1].Index >= index; n-- {
		t.configurations = t.configurations[: n-1 : n-1]
	}
	t.truncateStretches(index)
}

// add appends the entries of c, which follow the last entry of the log. A new stretch begins where
// they don't also follow it in the file: in a new segment, after a truncation, and after a drop.
func (t *contents) add(c *change, s *segment, at uint32) {
	for _, run := range c.runs {
		if n := len(t.runs); n == 0 || t.runs[n-1].Term != run.Term {
			t.runs = append(t.runs, run)
		}
	}
	t.configurations = append(t.configurations, c.configurations...)
	n := len(t.stretches)
	fresh := n == 0 || t.stretches[n-1].segment != s || t.stretches[n-1].generation != t.generation || t.stretches[n-1].inParts != c.inPart
	if fresh {
		t.stretches = append(t.stretches, stretch{first: c.first, segment: s, generation: t.generation, inParts: c.inPart})
		n++
	}
	into := &t.stretches[n-1]
	for i, p := range c.points {
		p.offset, p.end = p.offset+at, p.end+at
		if !fresh && !c.inPart && i == 0 && len(c.lost) == 0 && p.offset-into.points[len(into.points)-1].offset < pointSpacing {
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
		t.stretches = slices.Clone(t.stretches[dead:])
	}
	t.runs = trimRuns(t.runs, t.compacted, t.last)
	if kept := configurationsFrom(t.configurations, t.compacted+1); len(kept) < len(t.configurations) {
		t.configurations = slices.Clone(kept)
	}
}

// become makes the log what a checkpoint or a witness says: from the index low on, it has these
// terms and these configurations, and it ends at last. It may be forgotten up to compacted. The
// entries that the log has had already keep their places. The bytes of all others are lost.
func (t *contents) become(low, last, compacted raft.Index, runs []raft.TermRun, configurations []raft.Entry) error {
	if low < t.compacted || last < t.compacted {
		return fmt.Errorf("the log was forgotten up to %d before the damage, and goes from %d to %d behind it", t.compacted, low, last)
	}
	t.generation++
	if low > t.last+1 {
		if low > max(compacted, 1) {
			return fmt.Errorf("the log ends at %d before the damage, and is known from %d on behind it", t.last, low)
		}
		t.drop(low-1, 0)
		t.runs = nil
	}
	common := low - 1 // up to here, the log is what it was
	for i, run := range runs {
		end := last
		if i+1 < len(runs) {
			end = runs[i+1].First - 1
		}
		term, until := t.run(run.First)
		if until == 0 || term != run.Term {
			break
		}
		common = min(end, until)
		if common < end {
			break
		}
	}
	t.truncate(common + 1)
	t.last = last
	for i, run := range runs {
		if i+1 < len(runs) && runs[i+1].First <= common+1 || common >= last {
			continue
		}
		run.First = max(run.First, common+1)
		if n := len(t.runs); n == 0 || t.runs[n-1].Term != run.Term {
			t.runs = append(t.runs, run)
		}
	}
	t.configurations = append(t.configurations, configurationsFrom(configurations, common+1)...)
	if first := max(common, t.compacted, compacted) + 1; first <= last {
		t.miss(max(common, t.compacted)+1, last)
	}
	t.compact(compacted)
	return nil
}

// base returns the last entry before those that can be read, and its term.
func (t *contents) base() (raft.Index, raft.Term) {
	term, _ := t.run(t.compacted)
	return t.compacted, term
}

// run returns the term of the entry at index, and the last entry up to which the terms are the
// same; 0 when the term isn't known.
func (t *contents) run(index raft.Index) (raft.Term, raft.Index) {
	if index > t.last {
		return 0, 0
	}
	i := sort.Search(len(t.runs), func(i int) bool { return t.runs[i].First > index })
	switch {
	case i == 0:
		return 0, 0
	case i < len(t.runs):
		return t.runs[i-1].Term, t.runs[i].First - 1
	}
	return t.runs[i-1].Term, t.last
}

// has says whether the log holds the entry at index, with this term, behind what may be forgotten.
func (t *contents) has(index raft.Index, term raft.Term) bool {
	held, until := t.run(index)
	return index > t.compacted && until > 0 && held == term
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
	term, until := t.run(m.Index)
	return until > 0 && term == m.Term
}

// covers says whether the log goes on from a snapshot without a gap, and doesn't contradict it.
func (t *contents) covers(m *raft.SnapshotMeta) bool {
	if m.Index > t.last || m.Index < t.compacted {
		return false
	}
	term, until := t.run(m.Index)
	return until == 0 || term == m.Term
}

// knows says whether the log belongs to a cluster, or did before a recovery. An exported snapshot,
// with which a cluster begins, names none.
func (t *contents) knows(cluster raft.ClusterID) bool {
	of := func(c *raft.Configuration) bool { return cluster == c.Cluster || cluster == c.Recovered }
	return cluster == raft.ClusterID{} || cluster == t.durable.Cluster || of(&t.snapshot.meta.Configuration) ||
		slices.ContainsFunc(t.configurations, func(e raft.Entry) bool {
			c, err := wire.DecodeConfiguration(e.Data)
			return err == nil && of(&c)
		})
}

// checkpoint returns the whole identity of a group at this moment.
func (t *contents) checkpoint(opens uint64) checkpoint {
	return checkpoint{
		opens: opens, last: t.last, compacted: t.compacted, durable: t.durable, snapshot: t.snapshot,
		runs: t.runs, configurations: t.configurations,
	}
}

// lost returns the entries behind an index whose bytes are lost.
func (t *contents) lost(after raft.Index) (lost []wire.Range) {
	for i := range t.stretches {
		if t.stretches[i].segment != nil || t.limit(i) <= after+1 {
			continue
		}
		first := max(t.stretches[i].first, after+1)
		if n := len(lost); n > 0 && lost[n-1].Last+1 == first {
			lost[n-1].Last = t.limit(i) - 1
		} else {
			lost = append(lost, wire.Range{First: first, Last: t.limit(i) - 1})
		}
	}
	return lost
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
