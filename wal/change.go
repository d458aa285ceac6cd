package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Flags of a batch: they say what it changes.
const (
	changesState byte = 1 << iota
	changesSnapshot
	changesCompacted
	changesEntries
	dropsLog // the snapshot replaces the whole log before it

	allChanges = dropsLog<<1 - 1
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
	// configurations are the indexes of the configuration entries.
	configurations []raft.Index
	// points are places in the record from which entries can be read: the first entry, and then
	// entries at least pointSpacing bytes apart. Their offsets count from the beginning of the
	// record.
	points []point
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
	*c = change{runs: c.runs[:0], configurations: c.configurations[:0], points: c.points[:0]}
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
			c.configurations = append(c.configurations, e.Index)
		}
	}
}

// append appends the encoding of the change, as far as the entries themselves.
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
	if c.flags&changesEntries == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(c.first))
	b = binary.AppendUvarint(b, uint64(c.count))
	b = binary.AppendUvarint(b, uint64(len(c.runs)))
	for _, run := range c.runs {
		b = binary.AppendUvarint(b, uint64(run.First-c.first))
		b = binary.AppendUvarint(b, uint64(run.Term))
	}
	b = binary.AppendUvarint(b, uint64(len(c.configurations)))
	for _, index := range c.configurations {
		b = binary.AppendUvarint(b, uint64(index-c.first))
	}
	return b
}

// decode is the inverse of append.
func (c *change) decode(b []byte) error {
	c.reset()
	d := decoder{b: b}
	c.flags = d.byte()
	d.check(c.flags != 0 && c.flags&^allChanges == 0, "flags")
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
	if c.flags&changesEntries != 0 {
		c.decodeEntries(&d)
	}
	d.check(len(d.b) == 0, "end")
	return d.err
}

// decodeEntries decodes the description of the entries.
func (c *change) decodeEntries(d *decoder) {
	c.first = raft.Index(d.uvarint())
	count := d.uvarint()
	d.check(c.first > 0 && count > 0 && count <= maxRecord/frameSize, "range of entries")
	if d.err != nil {
		return
	}
	c.count = int(count)
	after := uint64(0)
	for i := d.count(); i > 0 && d.err == nil; i-- {
		offset, term := d.uvarint(), d.uvarint()
		d.check(offset < count && (len(c.runs) == 0 && offset == 0 || len(c.runs) > 0 && offset > after), "term run")
		c.runs = append(c.runs, raft.TermRun{First: c.first + raft.Index(offset), Term: raft.Term(term)})
		after = offset
	}
	d.check(len(c.runs) > 0, "term runs")
	for i := d.count(); i > 0 && d.err == nil; i-- {
		offset := d.uvarint()
		d.check(offset < count && (len(c.configurations) == 0 || offset > after), "configuration entry")
		c.configurations = append(c.configurations, c.first+raft.Index(offset))
		after = offset
	}
}

// appendFrames appends the entries, each in a frame with its length and CRC, and notes their places
// in c.points. The record begins at b[0].
func (c *change) appendFrames(b []byte, entries []raft.Entry) []byte {
	since := -pointSpacing
	for i := range entries {
		at := len(b)
		if at-since >= pointSpacing {
			c.points = append(c.points, point{index: entries[i].Index, offset: uint32(at)})
			since = at
		}
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
		b = wire.AppendEntry(b, &entries[i])
		little.PutUint32(b[at:], uint32(len(b)-at-frameSize))
		little.PutUint32(b[at+4:], crc32.Checksum(b[at+frameSize:], castagnoli))
	}
	c.endPoints(len(b))
	return b
}

// endPoints notes in each point where the record ends.
func (c *change) endPoints(end int) {
	for i := range c.points {
		c.points[i].end = uint32(end)
	}
}

// walkFrames finds the points of a record that was read. The frames of its entries are
// record[entries:]. It calls configuration with the bytes of each configuration entry.
func (c *change) walkFrames(record []byte, entries int, configuration func([]byte) error) error {
	if c.flags&changesEntries == 0 {
		if entries != len(record) {
			return fmt.Errorf("%d bytes behind a batch without entries", len(record)-entries)
		}
		return nil
	}
	since, at, configurations := -pointSpacing, entries, c.configurations
	for i := range c.count {
		if at-since >= pointSpacing {
			c.points = append(c.points, point{index: c.first + raft.Index(i), offset: uint32(at)})
			since = at
		}
		if len(record)-at < frameSize {
			return fmt.Errorf("entry %d lies past the end of its batch", c.first+raft.Index(i))
		}
		length := uint64(little.Uint32(record[at:]))
		at += frameSize
		if uint64(len(record)-at) < length {
			return fmt.Errorf("entry %d ends past the end of its batch", c.first+raft.Index(i))
		}
		if len(configurations) > 0 && configurations[0] == c.first+raft.Index(i) {
			if err := configuration(record[at : at+int(length)]); err != nil {
				return err
			}
			configurations = configurations[1:]
		}
		at += int(length)
	}
	if at != len(record) {
		return fmt.Errorf("%d bytes behind the last entry of a batch", len(record)-at)
	}
	c.endPoints(len(record))
	return nil
}
