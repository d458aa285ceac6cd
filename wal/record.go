package wal

import (
	"encoding/binary"
	"hash/crc32"
)

// Sizes of the format, in bytes. doc.go is its specification.
const (
	preambleSize  = 40
	headerSize    = 32
	frameSize     = 8 // before each entry: its length and its CRC
	recordAlign   = 8
	formatVersion = 1

	// maxRecord bounds the body of a record, and so what one Write takes: any offset in a segment must
	// fit into 31 bits, and so must what is in memory.
	maxRecord = 1<<31 - 16<<20
)

// magic begins every segment.
const magic = "raft-wal"

var (
	little     = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// recordKind says what a record is.
type recordKind uint8

const (
	// kindHead is the first record of a segment: the whole state as it was when the segment began.
	kindHead recordKind = 1 + iota
	// kindOpen is written when the log is opened: the whole state as it was found.
	kindOpen
	// kindBatch is one Write.
	kindBatch
	// kindMark has no body: it only says by its header what is synced. The next record is written over it.
	kindMark
)

// A header stands before each record.
type header struct {
	length  uint32 // of the body
	entries uint32 // where in the body the entries begin; the length when there are none
	synced  uint32 // up to where the segment was synced when the record was written
	kind    recordKind
	chain   uint32 // CRC of everything up to the end of the record, itself and crc left out
}

// end returns where the body of a record at this offset ends.
func (h *header) end(at uint32) uint32 { return at + headerSize + h.length }

// next returns where the record after one whose body ends here begins.
func next(end uint32) uint32 { return (end + recordAlign - 1) &^ (recordAlign - 1) }

// seal fills in the header at the beginning of b, whose rest is the body of the record that will stand
// at the offset at of the segment with this key. It returns the new end of the chain.
func seal(b []byte, h header, key uint64, at, chain uint32) uint32 {
	little.PutUint64(b, key+uint64(at))
	little.PutUint32(b[8:], uint32(len(b)-headerSize))
	little.PutUint32(b[12:], h.entries)
	little.PutUint32(b[16:], h.synced)
	little.PutUint32(b[20:], uint32(h.kind))
	chain = chainOver(b, chain)
	little.PutUint32(b[24:], chain)
	little.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	return chain
}

// chainOver continues the chain over a whole record.
func chainOver(record []byte, chain uint32) uint32 {
	chain = crc32.Update(chain, castagnoli, record[:24])
	return crc32.Update(chain, castagnoli, record[headerSize:])
}

// parseHeader returns the header at the beginning of b, and whether it is one: written for exactly this
// offset of exactly this segment, and undamaged. That takes 96 bits of luck, so a header that is
// found where nobody promised one is one that was written there.
func parseHeader(b []byte, key uint64, at uint32) (header, bool) {
	if len(b) < headerSize || little.Uint64(b) != key+uint64(at) {
		return header{}, false
	}
	if little.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli) {
		return header{}, false
	}
	h := header{
		length:  little.Uint32(b[8:]),
		entries: little.Uint32(b[12:]),
		synced:  little.Uint32(b[16:]),
		kind:    recordKind(b[20]),
		chain:   little.Uint32(b[24:]),
	}
	return h, h.length <= maxRecord && h.entries <= h.length
}

// A preamble begins a segment.
type preamble struct {
	salt   uint64 // drawn once for each log
	number uint64 // of the segment
}

// segmentKey is what the headers of a segment's records carry, added to their offset.
func (p preamble) key() uint64 { return mix(p.salt + p.number*0x9e3779b97f4a7c15) }

// mix is the finalizer of splitmix64: it makes keys of neighbours unlike each other.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// appendPreamble appends the encoding of p, and returns with it the beginning of the chain.
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

// parsePreamble returns the preamble at the beginning of b, the version of its format, and the
// beginning of the chain; ok says whether there is one at all.
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
