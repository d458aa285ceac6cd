package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// Sizes of the format, in bytes. doc.go is its specification.
const (
	preambleSize  = 40
	headerSize    = 40
	frameSize     = 8 // before each entry: its length and its CRC
	recordAlign   = 8
	formatVersion = 2

	// maxRecord bounds the body of a record, and with it one Write: every offset in a segment must
	// fit into 31 bits, and so must everything that is held in memory.
	maxRecord = 1<<31 - 16<<20
	maxOffset = 1<<31 - 1
)

// magic begins every segment.
const magic = "raft-wal"

var (
	little     = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// recordKind says what a record is.
type recordKind uint32

const (
	// kindHead is the first record of a segment: the whole identity of the log when the segment
	// began.
	kindHead recordKind = 1 + iota
	// kindOpen is written when the log is opened: the whole identity of the log as it was found.
	kindOpen
	// kindBatch is one Write of the group "". No other group has had a part in the records since the
	// place of its witness.
	kindBatch
	// kindShared has parts of several groups, or of one other than "".
	kindShared
)

// A header stands before each record.
type header struct {
	length  uint32 // of the body
	entries uint32 // where in the body the entries begin; the length when there are none
	synced  uint32 // how far the segment was synced when the record was written
	kind    recordKind
	prior   uint32 // where the record before begins; 0 in a head
	before  uint32 // the chain before the record
	// chain is the CRC of all records up to the end of this one; of a header, it leaves out what
	// stands behind prior.
	chain uint32
}

// end returns where the body of a record at this offset ends.
func (h *header) end(at uint32) uint32 { return at + headerSize + h.length }

// next returns where the next record begins, when the body of this one ends at end.
func next(end uint32) uint32 { return (end + recordAlign - 1) &^ (recordAlign - 1) }

// seal fills in the header at the beginning of b. The rest of b is the body of the record, which
// will stand at the offset at of the segment with this key. seal returns the chain with this
// record.
func seal(b []byte, h header, key uint64, at uint32) uint32 {
	little.PutUint64(b, key+uint64(at))
	little.PutUint32(b[8:], uint32(len(b)-headerSize))
	little.PutUint32(b[12:], h.entries)
	little.PutUint32(b[16:], h.synced)
	little.PutUint32(b[20:], uint32(h.kind))
	little.PutUint32(b[24:], h.prior)
	little.PutUint32(b[28:], h.before)
	chain := chainOver(b, h.before)
	little.PutUint32(b[32:], chain)
	little.PutUint32(b[36:], crc32.Checksum(b[:36], castagnoli))
	return chain
}

// chainOver continues the chain over a whole record: its header without what concerns the chain,
// and its body.
func chainOver(record []byte, chain uint32) uint32 {
	chain = crc32.Update(chain, castagnoli, record[:28])
	return crc32.Update(chain, castagnoli, record[headerSize:])
}

// parseHeader returns the header at the beginning of b, and whether it is one: written for exactly
// this offset of exactly this segment, and undamaged. Other bytes would need 96 bits of luck to
// look like that. So wherever such a header is found, it was written there, even where nothing says
// that a record begins.
func parseHeader(b []byte, key uint64, at uint32) (header, bool) {
	if len(b) < headerSize || little.Uint64(b) != key+uint64(at) {
		return header{}, false
	}
	if little.Uint32(b[36:]) != crc32.Checksum(b[:36], castagnoli) {
		return header{}, false
	}
	h := header{
		length:  little.Uint32(b[8:]),
		entries: little.Uint32(b[12:]),
		synced:  little.Uint32(b[16:]),
		kind:    recordKind(little.Uint32(b[20:])),
		prior:   little.Uint32(b[24:]),
		before:  little.Uint32(b[28:]),
		chain:   little.Uint32(b[32:]),
	}
	return h, h.length <= maxRecord && h.entries <= h.length
}

// appendDirectory appends the directory of a record with one part, which has this prelude, and the
// prelude itself.
func appendDirectory(b, prelude []byte) []byte {
	start := len(b)
	b = append(b, 1, 0, 0)
	b = binary.AppendUvarint(b, uint64(len(prelude)))
	b = little.AppendUint32(b, crc32.Checksum(prelude, castagnoli))
	b = little.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, prelude...)
}

// errDamaged says that a checksum is wrong.
var errDamaged = errors.New("its directory or its prelude is damaged")

// splitBody returns the prelude of a record, and where in the body its frames begin. The error is
// errDamaged when a checksum is wrong.
func splitBody(body []byte) (prelude []byte, frames int, err error) {
	d := decoder{b: body}
	parts := d.uvarint()
	group, incarnation := d.uvarint(), d.uvarint()
	length := d.uvarint()
	crc := d.uint32()
	covered := len(body) - len(d.b)
	if sum := d.uint32(); d.err != nil || sum != crc32.Checksum(body[:covered], castagnoli) {
		return nil, 0, errDamaged
	}
	if parts != 1 || group != 0 || incarnation != 0 {
		return nil, 0, fmt.Errorf("it has %d parts, the first of them of group %d: this package knows one group", parts, group)
	}
	prelude = d.take(length)
	if d.err != nil || crc32.Checksum(prelude, castagnoli) != crc {
		return nil, 0, errDamaged
	}
	return prelude, len(body) - len(d.b), nil
}

// A preamble begins a segment.
type preamble struct {
	salt   uint64 // drawn once for each log
	number uint64 // of the segment
}

// seed is where the CRC of each frame begins: so bytes that a client chooses can't pass for a frame.
func (p preamble) seed() uint32 { return uint32(p.salt) }

// key is the number that the headers of a segment carry, each added to its own offset.
func (p preamble) key() uint64 { return mix(p.salt + p.number*0x9e3779b97f4a7c15) }

// mix is the finalizer of splitmix64: it makes the keys of neighbouring segments unlike each other.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// appendPreamble appends the encoding of p. It also returns the CRC with which the chain begins.
func appendPreamble(b []byte, p preamble) ([]byte, uint32) {
	start := len(b)
	b = append(b, magic...)
	b = little.AppendUint32(b, formatVersion)
	b = little.AppendUint32(b, 0)
	b = little.AppendUint64(b, p.salt)
	b = little.AppendUint64(b, p.number)
	crc := crc32.Checksum(b[start:], castagnoli)
	b = little.AppendUint32(b, crc)
	return little.AppendUint32(b, 0), crc
}

// parsePreamble returns the preamble at the beginning of b, the version of its format, and the CRC
// with which the chain begins; ok says whether there is a preamble at all.
func parsePreamble(b []byte) (p preamble, version, chain uint32, ok bool) {
	if len(b) < preambleSize || string(b[:len(magic)]) != magic {
		return preamble{}, 0, 0, false
	}
	crc := crc32.Checksum(b[:32], castagnoli)
	if little.Uint32(b[32:]) != crc {
		return preamble{}, 0, 0, false
	}
	p = preamble{salt: little.Uint64(b[16:]), number: little.Uint64(b[24:])}
	return p, little.Uint32(b[8:]), crc, true
}
