package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// frameHeader is the size of what precedes a frame's body: checksum and length.
const frameHeader = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealFrame fills in the header of a frame, whose body stands already in its place.
func sealFrame(frame []byte) {
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.LittleEndian.PutUint32(frame, crc32.Checksum(frame[4:], castagnoli))
}

// errFrame says that what arrived is no frame.
var errFrame = errors.New("malformed frame")

// Sizes of a frameReader's memory.
const (
	readChunk = 64 << 10 // what it takes at a time, unless a frame is larger
	minRead   = 4 << 10  // the least that a read is given room for
)

// A frameReader takes frames from a connection. Frames lie in its memory as they were read, many in
// one chunk. A body that was kept belongs to somebody else, and its bytes are left alone from then on;
// all other memory is used again:
//
//	     kept        kept       partial
//	[....#######.....####.......======............]
//	                     ^low   ^next ^end
//
// Everything below low may be in use elsewhere. Once all frames were handed out (next = end), reading
// goes on at low, so that a connection whose bodies aren't kept does with one chunk for ever.
type frameReader struct {
	conn           io.Reader
	max            int // the largest body that is accepted
	proven         int // the largest frame that has come
	buffer         []byte
	low, next, end int
}

// read returns the body of the next frame. It is valid until the next call, or for ever if it is kept.
// At the end of the connection between two frames it returns io.EOF, and within one
// io.ErrUnexpectedEOF.
func (r *frameReader) read() ([]byte, error) {
	for {
		need := frameHeader
		if have := r.buffer[r.next:r.end]; len(have) >= frameHeader {
			length := binary.LittleEndian.Uint32(have[4:])
			if uint64(length) > uint64(r.max) {
				return nil, fmt.Errorf("%w: %d bytes, more than %d", errFrame, length, r.max)
			}
			need += int(length)
			if len(have) >= need {
				r.next += need
				if crc32.Checksum(have[4:need], castagnoli) != binary.LittleEndian.Uint32(have) {
					return nil, fmt.Errorf("%w: wrong checksum", errFrame)
				}
				r.proven = max(r.proven, need)
				return have[frameHeader:need:need], nil
			}
		}
		if err := r.fill(need); err != nil {
			return nil, err
		}
	}
}

// keep hands over the body that was read last.
func (r *frameReader) keep() { r.low = r.next }

// fill reads once, in order to have need bytes from next on.
func (r *frameReader) fill(need int) error {
	have := r.end - r.next
	if have == 0 {
		r.next, r.end = r.low, r.low
	}
	fits := have > 0 && r.next+need <= len(r.buffer)
	if !fits && len(r.buffer)-r.end < minRead {
		if len(r.buffer)-r.low < max(need, have+minRead) {
			// A frame that claims to be large gets as much again as it has shown, or as an earlier one has.
			chunk := make([]byte, max(readChunk, min(need, max(2*have+readChunk, r.proven))))
			copy(chunk, r.buffer[r.next:r.end])
			r.buffer, r.low = chunk, 0
		} else {
			copy(r.buffer[r.low:], r.buffer[r.next:r.end])
		}
		r.next, r.end = r.low, r.low+have
	}
	n, err := r.conn.Read(r.buffer[r.end:])
	r.end += n
	switch {
	case n > 0 || err == nil:
		return nil
	case err == io.EOF && have > 0:
		return io.ErrUnexpectedEOF
	}
	return err
}
