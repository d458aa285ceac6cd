package wal

import (
	"encoding/binary"

	"github.com/e17579a5/raft"
)

// Bounds of the witness of a batch, in bytes.
const (
	// witnessWindow is how much may be damaged at the least, so that the record behind the damage
	// knows what has stood there.
	witnessWindow = 64 << 10
	// maxWitness bounds a witness. Where it would be larger, since many terms or configurations
	// begin in the window, the batch says nothing of what precedes it.
	maxWitness = 1 << 20
)

// A place is one in the log at which a record begins or ends.
type place struct {
	segment uint64
	offset  uint32
}

// before says whether p lies before q.
func (p place) before(q place) bool {
	return p.segment < q.segment || p.segment == q.segment && p.offset < q.offset
}

// A witness says what the log was when a batch was written, as far as it was touched since a place
// far enough before it.
type witness struct {
	silent    bool // it says nothing: it would be too large
	flags     byte // what was touched
	since     place
	durable   raft.DurableState
	snapshot  snapshotRef
	compacted raft.Index
	last      raft.Index // of the log

	// If entries were touched: the lowest one, and the terms and the configurations from there on.
	low            raft.Index
	runs           []raft.TermRun
	configurations []raft.Entry
}

// appendWitness appends the witness of the next batch: what t is, as far as the trail says that it
// was touched. here is where the log ends.
func (t *contents) appendWitness(b []byte, trail *trail, here place) []byte {
	start := len(b)
	b = t.appendTouched(b, trail.touched(), trail.since)
	if len(b)-start > maxWitness {
		b = t.appendTouched(b[:start], touch{}, here)
	}
	return b
}

func (t *contents) appendTouched(b []byte, touched touch, since place) []byte {
	b = append(b, touched.flags)
	b = binary.AppendUvarint(b, since.segment)
	b = binary.AppendUvarint(b, uint64(since.offset))
	return t.appendWhat(b, touched)
}

// silentWitness stands in place of the flags of a witness that would be too large.
const silentWitness = 0xff

// appendPartWitness appends the witness of a part, whose place is in the directory.
func (t *contents) appendPartWitness(b []byte, touched touch) []byte {
	start := len(b)
	b = t.appendWhat(append(b, touched.flags), touched)
	if len(b)-start > maxWitness {
		b = append(b[:start], silentWitness)
	}
	return b
}

// appendWhat appends what t is, as far as it was touched.
func (t *contents) appendWhat(b []byte, touched touch) []byte {
	flags := touched.flags
	if flags&changesState != 0 {
		b = appendDurable(b, &t.durable)
	}
	if flags&changesSnapshot != 0 {
		b = appendSnapshotRef(b, &t.snapshot)
	}
	if flags&changesCompacted != 0 {
		b = binary.AppendUvarint(b, uint64(t.compacted))
	}
	b = binary.AppendUvarint(b, uint64(t.last))
	if flags&changesEntries == 0 {
		return b
	}
	// The terms of what may be forgotten aren't known any more, and don't matter.
	low := max(touched.low, t.compacted)
	b = binary.AppendUvarint(b, uint64(t.last-low+1))
	b = appendRuns(b, t.runs, low)
	return appendConfigurations(b, configurationsFrom(t.configurations, low))
}

// decode decodes a witness.
func (w *witness) decode(d *decoder) {
	w.flags = d.byte()
	d.check(w.flags&^touchable == 0, "flags of the witness")
	w.since.segment = d.uvarint()
	offset := d.uvarint()
	d.check(offset <= maxOffset, "place of the witness")
	w.since.offset = uint32(offset)
	w.decodeWhat(d)
}

// decodePart decodes the witness of a part, in a record whose directory has this place.
func (w *witness) decodePart(d *decoder, since place) {
	w.since = since
	if w.flags = d.byte(); w.flags == silentWitness {
		w.flags, w.silent = 0, true
		return
	}
	d.check(w.flags&^touchable == 0, "flags of the witness")
	w.decodeWhat(d)
}

func (w *witness) decodeWhat(d *decoder) {
	if w.flags&changesState != 0 {
		w.durable = d.durable()
	}
	if w.flags&changesSnapshot != 0 {
		w.snapshot = d.snapshotRef()
	}
	if w.flags&changesCompacted != 0 {
		w.compacted = raft.Index(d.uvarint())
	}
	w.last = raft.Index(d.uvarint())
	d.check(w.last <= maxIndex, "end of the log")
	if w.flags&changesEntries == 0 {
		return
	}
	n := d.uvarint()
	d.check(n <= uint64(w.last), "range of the witness") // none if the log is empty
	if d.err != nil {
		return
	}
	w.low = w.last - raft.Index(n) + 1
	w.runs = d.runs(w.runs, w.low, w.last)
	w.configurations = d.configurations(w.configurations, w.low, w.last)
}

// A touch is what records have touched.
type touch struct {
	flags byte
	low   raft.Index // the lowest entry, if entries were touched
}

// with returns what either of two has touched.
func (a touch) with(b touch) touch {
	switch {
	case a.flags&changesEntries == 0:
		a.low = b.low
	case b.flags&changesEntries != 0:
		a.low = min(a.low, b.low)
	}
	a.flags |= b.flags
	return a
}

// A trail is what the last records have touched: all those behind since, which lies far enough
// before the last one.
type trail struct {
	since   place
	steps   []step // in order; those before begun are no part of the trail any more
	begun   int
	written uint64 // how many bytes the records have taken
	// Each step before summed knows what it and those behind it, before summed, have touched. What
	// the others have touched is in recent. So nothing is summed up more than once or twice.
	summed int
	recent touch
}

// A step is what one record has touched.
type step struct {
	end    place
	behind uint64 // trail.written behind the record
	own    touch
	all    touch // what the steps from this one to trail.summed have touched
}

// add notes a record that ends at end and takes size bytes.
func (t *trail) add(end place, size uint32, own touch) {
	t.steps = append(t.steps, step{end: end, behind: t.written + uint64(size), own: own})
	t.recent = t.recent.with(own)
	for t.steps[t.begun].behind+witnessWindow <= t.written {
		t.since = t.steps[t.begun].end
		t.begun++
	}
	t.written += uint64(size)
	if t.begun > len(t.steps)/2 {
		t.steps = t.steps[:copy(t.steps, t.steps[t.begun:])]
		t.begun, t.summed = 0, t.summed-t.begun
	}
	if t.begun >= t.summed {
		t.summed, t.recent = len(t.steps), touch{}
		all := touch{}
		for i := len(t.steps) - 1; i >= t.begun; i-- {
			all = all.with(t.steps[i].own)
			t.steps[i].all = all
		}
	}
}

// touched returns what was touched since t.since.
func (t *trail) touched() touch {
	if len(t.steps) == 0 {
		return touch{}
	}
	return t.steps[t.begun].all.with(t.recent)
}

// touches returns what a batch touches.
func (c *change) touches() touch {
	own := touch{c.flags & touchable, c.first}
	if c.flags&dropsLog != 0 {
		// The log begins anew with the last entry of the snapshot.
		own = touch{own.flags | changesEntries | changesCompacted, c.snapshot.meta.Index}
	}
	return own
}

// configurationsFrom returns the configuration entries from an index on.
func configurationsFrom(entries []raft.Entry, from raft.Index) []raft.Entry {
	for len(entries) > 0 && entries[0].Index < from {
		entries = entries[1:]
	}
	return entries
}
