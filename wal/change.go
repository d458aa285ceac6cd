package wal

import (
	"encoding/binary"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Flags of a batch: they say what it changes. A witness has those that are touchable.
const (
	changesState byte = 1 << iota
	changesSnapshot
	changesCompacted
	changesEntries
	dropsLog // the snapshot replaces the whole log before it
	repairs
	moves // the repairs also take the place of bytes in older segments
	ends  // the group has ended

	allChanges = repairs<<1 - 1
	touchable  = changesState | changesSnapshot | changesCompacted | changesEntries
)

// A change is what one batch does. The next change uses the memory of its slices again.
type change struct {
	flags     byte
	durable   raft.DurableState
	snapshot  snapshotRef
	compacted raft.Index

	first raft.Index // the index of the first entry
	count int        // how many entries there are
	runs  []raft.TermRun
	// configurations are the configuration entries.
	configurations []raft.Entry
	// points are places in the record from which entries can be read: the first entry, and then
	// entries at least pointSpacing bytes apart. Their offsets count from the beginning of the
	// record.
	points []point
	// lost are the entries of a record that was read whose bytes are damaged. There is a point
	// behind each of these ranges, if the record goes on there.
	lost []wire.Range

	inPart  bool    // it is a part of a shared record
	repairs int     // how many repairs there are
	pieces  []piece // the repairs that are sound
	witness witness
}

// A piece is entries that stand one behind the other in a record, with their places there.
type piece struct {
	first, last raft.Index
	term        raft.Term
	moved       bool // it also takes the place of bytes in older segments
	points      []point
}

// last returns the index of the last entry of the change.
func (c *change) last() raft.Index { return c.first + raft.Index(c.count) - 1 }

// A snapshotRef names a snapshot: its file and what it holds. The zero value names none.
type snapshotRef struct {
	file  uint64
	meta  raft.SnapshotMeta
	bytes uint64 // how many it holds, if Open has read it to its end; not in any record
}

// reset empties the change.
func (c *change) reset() {
	*c = change{
		runs: c.runs[:0], configurations: c.configurations[:0], points: c.points[:0], lost: c.lost[:0], pieces: c.pieces[:0],
		witness: witness{runs: c.witness.runs[:0], configurations: c.witness.configurations[:0]},
	}
}

// setEntries describes the entries, which are contiguous and at least one.
func (c *change) setEntries(entries []raft.Entry) {
	c.flags |= changesEntries
	c.first, c.count = entries[0].Index, len(entries)
	for i := range entries {
		e := &entries[i]
		if n := len(c.runs); n == 0 || c.runs[n-1].Term != e.Term {
			c.runs = append(c.runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == wire.EntryConfiguration {
			kept := *e
			kept.Data = slices.Clone(e.Data)
			c.configurations = append(c.configurations, kept)
		}
	}
}

// append appends the encoding of the change, without its witness and without the entries
// themselves.
func (c *change) append(b []byte) []byte {
	b = append(b, c.flags)
	if c.flags&changesState != 0 {
		b = appendDurable(b, &c.durable)
	}
	if c.flags&changesSnapshot != 0 {
		b = appendSnapshotRef(b, &c.snapshot)
	}
	if c.flags&changesCompacted != 0 {
		b = binary.AppendUvarint(b, uint64(c.compacted))
	}
	if c.flags&repairs != 0 {
		b = binary.AppendUvarint(b, uint64(c.repairs))
	}
	if c.flags&changesEntries == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(c.first))
	b = binary.AppendUvarint(b, uint64(c.count))
	b = appendRuns(b, c.runs, c.first)
	return appendConfigurations(b, c.configurations)
}

// decode decodes the prelude of a batch: the change, and the witness behind it.
func (c *change) decode(b []byte) error {
	c.reset()
	d := decoder{b: b}
	c.flags = d.byte()
	d.check(c.flags != 0 && c.flags&^allChanges == 0, "flags")
	c.decodeWhat(&d)
	c.witness.decode(&d)
	d.check(len(d.b) == 0, "end")
	return d.err
}

// decodePart decodes the prelude of a part of a shared record, whose directory has this place: the
// head of the group, the change, and a witness if there is no head and the group goes on. It says
// whether there is a head.
func (c *change) decodePart(b []byte, head *groupHead, since place) (headed bool, err error) {
	c.reset()
	c.inPart = true
	d := decoder{b: b}
	headed = head.decode(&d)
	c.flags = d.byte()
	d.check(c.flags&moves == 0 || c.flags&repairs != 0, "flags")
	d.check(c.flags&ends == 0 || c.flags == ends, "flags")
	c.decodeWhat(&d)
	if !headed && c.flags&ends == 0 {
		c.witness.decodePart(&d, since)
	}
	d.check(len(d.b) == 0, "end")
	return headed, d.err
}

// decodeWhat decodes what the flags say that there is.
func (c *change) decodeWhat(d *decoder) {
	if c.flags&changesState != 0 {
		c.durable = d.durable()
	}
	if c.flags&changesSnapshot != 0 {
		c.snapshot = d.snapshotRef()
	}
	d.check(c.flags&dropsLog == 0 || c.flags&changesSnapshot != 0, "flags")
	if c.flags&changesCompacted != 0 {
		c.compacted = raft.Index(d.uvarint())
	}
	if c.flags&repairs != 0 {
		n := d.uvarint()
		d.check(n > 0 && n <= maxRecord/frameSize, "number of repairs")
		c.repairs = int(n)
	}
	if c.flags&changesEntries != 0 {
		c.first = raft.Index(d.uvarint())
		count := d.uvarint()
		d.check(c.first > 0 && c.first <= maxIndex && count > 0 && count <= maxRecord/frameSize, "range of entries")
		if d.err != nil {
			return
		}
		c.count = int(count)
		c.runs = d.runs(c.runs, c.first, c.last())
		c.configurations = d.configurations(c.configurations, c.first, c.last())
	}
}

// appendFrames appends the entries, each in a frame with its length and CRC, and notes their places
// in c.points. The record begins at b[0].
func (c *change) appendFrames(b []byte, entries []raft.Entry, seed uint32) []byte {
	since := -pointSpacing
	for i := range entries {
		at := len(b)
		if at-since >= pointSpacing {
			c.points = append(c.points, point{index: entries[i].Index, offset: uint32(at)})
			since = at
		}
		b = appendFrame(b, &entries[i], seed)
	}
	c.endPoints(len(b))
	return b
}

// appendRepairs appends entries that were lost, in frames, and notes their places in c.pieces.
func (c *change) appendRepairs(b []byte, entries []raft.Entry, seed uint32) []byte {
	at := len(b)
	for i := range entries {
		b = appendFrame(b, &entries[i], seed)
	}
	if len(entries) > 0 {
		c.searchPieces(b, at, len(entries), seed)
	}
	return b
}

// endPoints notes in each point where the record ends.
func (c *change) endPoints(end int) {
	for i := range c.points {
		c.points[i].end = uint32(end)
	}
}
