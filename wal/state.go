package wal

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"time"
	"unique"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// checkpointMark begins a checkpoint. No batch begins with it.
const checkpointMark = 0xff

// A checkpoint is the whole identity of a log: everything except the bytes of its entries. Records
// of kind head and open hold one, and so does the anchor.
type checkpoint struct {
	opens      uint64 // how often the log was opened, this time included
	size       uint32 // in a head, the size of the segment's file
	priorEnd   uint32 // in a head, where the segment before this one ends; 0 when there is none
	priorChain uint32 // in a head, the chain at that place
	next       uint64 // the number of the next group that is made
	// touched are the groups that had a part in the segment before, in a head, and else in this one so
	// far; nil if that isn't known.
	touched   []mark
	last      raft.Index // index of the last entry
	compacted raft.Index // the log may be forgotten up to here
	durable   raft.DurableState
	snapshot  snapshotRef
	// runs are the terms of the entries from compacted on, or from 1 on if that is 0.
	runs           []raft.TermRun
	configurations []raft.Entry // those behind compacted
}

func (c *checkpoint) append(b []byte) []byte {
	b = append(b, checkpointMark)
	b = binary.AppendUvarint(b, c.opens)
	b = little.AppendUint32(b, c.size)
	b = little.AppendUint32(b, c.priorEnd)
	b = little.AppendUint32(b, c.priorChain)
	b = c.appendIdentity(b)
	switch {
	case c.next <= 1:
		return b // there has been no group but ""
	case c.touched == nil:
		return append(binary.AppendUvarint(b, c.next), 0)
	}
	return appendMarks(append(binary.AppendUvarint(b, c.next), 1), c.touched)
}

// appendIdentity appends what the checkpoint says of one group.
func (c *checkpoint) appendIdentity(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(c.last))
	b = binary.AppendUvarint(b, uint64(c.compacted))
	b = appendDurable(b, &c.durable)
	b = appendSnapshotRef(b, &c.snapshot)
	b = appendRuns(b, c.runs, max(c.compacted, 1))
	return appendConfigurations(b, c.configurations)
}

func (c *checkpoint) decode(b []byte) error {
	d := decoder{b: b}
	d.check(d.byte() == checkpointMark, "checkpoint")
	c.opens = d.uvarint()
	c.size = d.uint32()
	c.priorEnd = d.uint32()
	c.priorChain = d.uint32()
	c.decodeIdentity(&d)
	c.next, c.touched = 1, []mark{}
	if d.err == nil && len(d.b) > 0 {
		c.next = d.uvarint()
		known := d.byte()
		d.check(c.next > 1 && known <= 1, "groups")
		if c.touched = nil; known == 1 {
			c.touched = d.marks([]mark{})
		}
	}
	d.check(len(d.b) == 0, "end")
	return d.err
}

// decodeIdentity decodes what the checkpoint says of one group.
func (c *checkpoint) decodeIdentity(d *decoder) {
	c.last = raft.Index(d.uvarint())
	c.compacted = raft.Index(d.uvarint())
	c.durable = d.durable()
	c.snapshot = d.snapshotRef()
	d.check(c.last <= maxIndex && c.compacted <= c.last, "range of the log")
	c.runs = d.runs(nil, max(c.compacted, 1), c.last)
	c.configurations = d.configurations(nil, c.compacted+1, c.last)
}

// groupMark begins the head of a group in its part of a record. No change begins with it.
const groupMark = 0xfe

// appendGroupHead appends the head of a group: its name, and its whole identity.
func (g *group) appendGroupHead(b []byte) []byte {
	c := g.contents.checkpoint(0)
	return c.appendIdentity(appendString(append(b, groupMark), string(g.id)))
}

// A groupHead is the head of a group, as it was read.
type groupHead struct {
	id raft.GroupID
	checkpoint
	size int64 // how many bytes it takes
}

// decode decodes the head of a group, if one stands there. It says whether one does.
func (h *groupHead) decode(d *decoder) bool {
	if len(d.b) == 0 || d.b[0] != groupMark {
		return false
	}
	before := len(d.b)
	d.byte()
	*h = groupHead{id: raft.GroupID(d.string())}
	d.check(h.id != "" && len(h.id) <= wire.MaxGroupID, "name of a group")
	h.decodeIdentity(d)
	h.size = int64(before - len(d.b))
	return d.err == nil
}

// appendRuns appends the part of runs from the index from on.
func appendRuns(b []byte, runs []raft.TermRun, from raft.Index) []byte {
	i := max(sort.Search(len(runs), func(i int) bool { return runs[i].First > from })-1, 0)
	runs = runs[i:]
	b = binary.AppendUvarint(b, uint64(len(runs))*2)
	for i, run := range runs {
		if i > 0 {
			b = binary.AppendUvarint(b, uint64(run.First-max(runs[i-1].First, from)))
		}
		b = binary.AppendUvarint(b, uint64(run.Term))
	}
	return b
}

// appendConfigurations appends configuration entries.
func appendConfigurations(b []byte, entries []raft.Entry) []byte {
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for i := range entries {
		b = appendString(b, string(wire.AppendEntry(nil, &entries[i])))
	}
	return b
}

func appendDurable(b []byte, s *raft.DurableState) []byte {
	b = binary.AppendUvarint(b, uint64(s.Term))
	b = appendString(b, string(s.Vote))
	b = appendString(b, string(s.Server))
	b = little.AppendUint64(b, uint64(s.Incarnation))
	b = append(b, s.Cluster[:]...)
	b = binary.AppendUvarint(b, s.Start)
	b = binary.AppendVarint(b, int64(s.MaxLease))
	if s.RolledBack {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendSnapshotRef(b []byte, s *snapshotRef) []byte {
	b = binary.AppendUvarint(b, s.file)
	if s.file == 0 {
		return b
	}
	return appendMeta(b, &s.meta)
}

func appendMeta(b []byte, m *raft.SnapshotMeta) []byte {
	b = binary.AppendUvarint(b, uint64(m.Index))
	b = binary.AppendUvarint(b, uint64(m.Term))
	b = binary.AppendUvarint(b, uint64(m.ConfigurationIndex))
	configuration := wire.AppendConfiguration(nil, &m.Configuration)
	return appendString(b, string(configuration))
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// A decoder takes encoded values from the front of b. After the first error it returns zeros.
type decoder struct {
	b   []byte
	err error
}

// check notes an error unless ok. what names the part of the record that is wrong.
func (d *decoder) check(ok bool, what string) {
	if !ok && d.err == nil {
		d.err = fmt.Errorf("%w: wal record: bad %s", wire.ErrMalformed, what)
	}
	if d.err != nil {
		d.b = nil
	}
}

func (d *decoder) take(n uint64) []byte {
	if uint64(len(d.b)) < n {
		d.check(false, "length")
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if b := d.take(4); b != nil {
		return little.Uint32(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return little.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.check(false, "number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.check(false, "number")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count decodes the length of a list whose elements take at least one byte each.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.check(false, "count")
		return 0
	}
	return int(n)
}

// runs decodes the terms of the entries from the index first to last, and appends them to runs.
func (d *decoder) runs(runs []raft.TermRun, first, last raft.Index) []raft.TermRun {
	n := d.uvarint()
	d.check(n%2 == 0 && n/2 <= uint64(len(d.b)) && (n > 0) == (first <= last), "term runs")
	for i := n / 2; i > 0 && d.err == nil; i-- {
		if i < n/2 {
			step := d.uvarint()
			d.check(step > 0 && step <= uint64(last-first), "term run")
			first += raft.Index(step)
		}
		runs = append(runs, raft.TermRun{First: first, Term: raft.Term(d.uvarint())})
	}
	return runs
}

// configurations decodes the configuration entries among those from the index first to last, and
// appends them to entries. They share no memory with what is decoded.
func (d *decoder) configurations(entries []raft.Entry, first, last raft.Index) []raft.Entry {
	for i := d.count(); i > 0 && d.err == nil; i-- {
		b := slices.Clone(d.take(d.uvarint()))
		e, rest, err := wire.DecodeEntry(b)
		d.check(err == nil && len(rest) == 0 && e.Kind == wire.EntryConfiguration && e.Index >= first && e.Index <= last, "configuration entry")
		entries = append(entries, e)
		first = e.Index + 1
	}
	return entries
}

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) durable() raft.DurableState {
	var s raft.DurableState
	s.Term = raft.Term(d.uvarint())
	// Groups have the same servers, most times.
	s.Vote = unique.Make(raft.ServerID(d.string())).Value()
	s.Server = unique.Make(raft.ServerID(d.string())).Value()
	s.Incarnation = raft.Incarnation(d.uint64())
	copy(s.Cluster[:], d.take(uint64(len(s.Cluster))))
	s.Start = d.uvarint()
	s.MaxLease = time.Duration(d.varint())
	flags := d.byte()
	d.check(flags <= 1, "flags of the state")
	s.RolledBack = flags == 1
	return s
}

func (d *decoder) snapshotRef() snapshotRef {
	file := d.uvarint()
	if file == 0 {
		return snapshotRef{}
	}
	return snapshotRef{file: file, meta: d.meta()}
}

func (d *decoder) meta() raft.SnapshotMeta {
	var m raft.SnapshotMeta
	m.Index = raft.Index(d.uvarint())
	m.Term = raft.Term(d.uvarint())
	m.ConfigurationIndex = raft.Index(d.uvarint())
	b := d.take(d.uvarint())
	if d.err != nil {
		return m
	}
	configuration, err := wire.DecodeConfiguration(b)
	if err != nil {
		d.err = err
		d.b = nil
	}
	m.Configuration = configuration
	return m
}
