package raft

import (
	"slices"
	"sort"
)

// weights know how many bytes the entries of a log have. They keep a mark now and then, not a
// number for each entry: so what they say of an index is too much by less than each.
type weights struct {
	each uint64 `state:"fixed"` // from one mark to the next, in bytes
	// total is the sum since the first mark. After a truncation it is too much by what has gone: as
	// much is too much of what is said of an index before that.
	total uint64
	marks []weight // rising; the first one is at the log's base or before it
}

// A weight is the number of bytes of all entries up to an index.
type weight struct {
	index Index
	bytes uint64
}

func (w *weight) encode(s *stateEncoder) { s.numbers(uint64(w.index), w.bytes) }

func (w *weights) encode(s *stateEncoder) {
	s.numbers(w.total)
	encodeList(s, w.marks, (*weight).encode)
}

func (w *weights) clone() weights {
	n := *w
	n.marks = append([]weight(nil), w.marks...)
	return n
}

// check: the marks rise, and none is above the total.
func (w *weights) check(last Index) error {
	before := weight{}
	for _, m := range w.marks {
		if m.index < before.index || m.bytes < before.bytes || m.bytes > w.total || m.index > last {
			return broken("Weights Rise", "%d bytes up to %d, after %d up to %d, of %d up to %d",
				m.bytes, m.index, before.bytes, before.index, w.total, last)
		}
		before = m
	}
	return nil
}

// maxEach is how many bytes there are at most from one mark to the next, beside a single entry.
const maxEach = 64 << 10

// newWeights returns the weights of a log that was loaded: the storage knows about how many bytes
// the entries behind the snapshot have, and those before it that are still there.
func newWeights(saved *Saved, reserve int) weights {
	total := saved.KeptBytes + saved.LogBytes
	marks := slices.Compact([]weight{
		{saved.Base, 0}, {saved.Snapshot.Index, saved.KeptBytes}, {max(saved.Last, saved.Snapshot.Index), total},
	})
	return weights{each: uint64(min(maxEach, reserve/64)) + 1, total: total, marks: append([]weight(nil), marks...)}
}

// add adds the entry at the right end.
func (w *weights) add(e *Entry) {
	w.total += uint64(e.Size())
	if n := len(w.marks); n == 0 || w.total-w.marks[n-1].bytes >= w.each {
		w.marks = append(w.marks, weight{e.Index, w.total})
	}
}

// truncate drops what is after an index.
func (w *weights) truncate(after Index) {
	n := len(w.marks)
	for n > 0 && w.marks[n-1].index > after {
		n--
	}
	w.marks = w.marks[:n]
}

// compact drops the marks that no index of the log needs that begins after base.
func (w *weights) compact(base Index) {
	gone := 0
	for gone+1 < len(w.marks) && w.marks[gone+1].index <= base {
		gone++
	}
	w.marks = append([]weight(nil), w.marks[gone:]...)
}

// restart begins anew behind an index.
func (w *weights) restart(at Index) { w.marks = []weight{{at, w.total}} }

// bytesAfter returns about how many bytes the entries after an index have: not less, and more by
// less than weights.each. Of an index that was forgotten before this start, it returns what is
// known.
func (l *entryLog) bytesAfter(index Index) uint64 {
	w := &l.weights
	if index >= l.last {
		return 0
	}
	n := sort.Search(len(w.marks), func(i int) bool { return w.marks[i].index > index })
	if n == 0 {
		if len(w.marks) == 0 {
			return w.total
		}
		return w.total - w.marks[0].bytes
	}
	return w.total - w.marks[n-1].bytes
}
