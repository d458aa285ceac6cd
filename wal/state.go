package wal

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A checkpoint is the whole state except the entries. Records of kind head and open hold one.
type checkpoint struct {
	opens      uint64     // how often the log was opened, this time included
	priorEnd   uint32     // in a head, where the segment before this one ends; 0 when there is none
	priorChain uint32     // in a head, the chain at that place
	last       raft.Index // index of the last entry
	compacted  raft.Index // the log may be forgotten up to here
	durable    raft.DurableState
	snapshot   snapshotRef
}

func (c *checkpoint) append(b []byte) []byte {
	b = binary.AppendUvarint(b, c.opens)
	b = little.AppendUint32(b, c.priorEnd)
	b = little.AppendUint32(b, c.priorChain)
	b = binary.AppendUvarint(b, uint64(c.last))
	b = binary.AppendUvarint(b, uint64(c.compacted))
	b = appendDurable(b, &c.durable)
	return appendSnapshotRef(b, &c.snapshot)
}

func (c *checkpoint) decode(b []byte) error {
	d := decoder{b: b}
	c.opens = d.uvarint()
	c.priorEnd = d.uint32()
	c.priorChain = d.uint32()
	c.last = raft.Index(d.uvarint())
	c.compacted = raft.Index(d.uvarint())
	c.durable = d.durable()
	c.snapshot = d.snapshotRef()
	d.check(len(d.b) == 0, "end")
	return d.err
}

func appendDurable(b []byte, s *raft.DurableState) []byte {
	b = binary.AppendUvarint(b, uint64(s.Term))
	b = appendString(b, string(s.Vote))
	b = appendString(b, string(s.Server))
	b = little.AppendUint64(b, uint64(s.Incarnation))
	b = append(b, s.Cluster[:]...)
	b = binary.AppendUvarint(b, s.Start)
	return binary.AppendVarint(b, int64(s.MaxLease))
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

func (d *decoder) string() string { return string(d.take(d.uvarint())) }

func (d *decoder) durable() raft.DurableState {
	var s raft.DurableState
	s.Term = raft.Term(d.uvarint())
	s.Vote = raft.ServerID(d.string())
	s.Server = raft.ServerID(d.string())
	s.Incarnation = raft.Incarnation(d.uint64())
	copy(s.Cluster[:], d.take(uint64(len(s.Cluster))))
	s.Start = d.uvarint()
	s.MaxLease = time.Duration(d.varint())
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
