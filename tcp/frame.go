package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// frameHeader is the size in bytes of what precedes the body of a frame: checksum and length.
const frameHeader = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealFrame fills in the header of a frame, whose body is in its place already.
func sealFrame(frame []byte) {
	binary.LittleEndian.PutUint32(frame[4:], uint32(len(frame)-frameHeader))
	binary.LittleEndian.PutUint32(frame, crc32.Checksum(frame[4:], castagnoli))
}

// errFrame says that the bytes which have arrived are no frame.
var errFrame = errors.New("malformed frame")

// Sizes of the memory of a frameReader, in bytes.
const (
	readChunk = 64 << 10 // how much it takes at a time, unless a frame is larger
	minRead   = 4 << 10  // the least room that a read gets
)

// A frameReader takes frames from a connection. Frames stay in its memory where they were read,
// many in one chunk. A body that is kept belongs to somebody else, and its bytes are never changed
// again. All other memory is used again:
//
//	     kept        kept       partial
//	[....#######.....####.......======............]
//	                     ^low   ^next ^end
//
// Everything before low may be in use elsewhere. Once all frames were handed out, next equals end,
// and reading goes on at low. So a connection whose bodies aren't kept uses one chunk for ever.
type frameReader struct {
	conn io.Reader
	max  int // the largest body that is accepted
	// larger, if not nil, is asked about a larger body. It may raise max.
	larger         func(length uint64) error
	proven         int // the size of the largest frame that has come
	buffer         []byte
	low, next, end int
}

// read returns the body of the next frame. It is valid until the next call, or for ever if it is
// kept. If the connection ends between two frames, the error is io.EOF; within a frame,
// io.ErrUnexpectedEOF.
func (r *frameReader) read() ([]byte, error) {
	for {
		need := frameHeader
		if have := r.buffer[r.next:r.end]; len(have) >= frameHeader {
			length := binary.LittleEndian.Uint32(have[4:])
			if uint64(length) > uint64(r.max) && r.larger != nil {
				if err := r.larger(uint64(length)); err != nil {
					return nil, err
				}
			}
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

// shrink gives up a large buffer. The body that was read last isn't used any more, or was kept.
func (r *frameReader) shrink() {
	rest := r.buffer[r.next:r.end]
	chunk := make([]byte, max(readChunk, len(rest)))
	r.low, r.next, r.end = 0, 0, copy(chunk, rest)
	r.buffer, r.proven = chunk, 0
}

// keep hands over the body that was read last.
func (r *frameReader) keep() { r.low = r.next }

// fill reads from the connection once, to get nearer to need bytes from next on.
func (r *frameReader) fill(need int) error {
	have := r.end - r.next
	if have == 0 {
		r.next, r.end = r.low, r.low
	}
	fits := have > 0 && r.next+need <= len(r.buffer)
	if !fits && len(r.buffer)-r.end < minRead {
		if len(r.buffer)-r.low < max(need, have+minRead) {
			// A frame may claim any size. Unless an earlier one was as large, it gets memory for no
			// more than twice the bytes that have come of it, and one chunk.
			chunk := make([]byte, max(min(readChunk, r.max+frameHeader+minRead), min(need, max(2*have+readChunk, r.proven))))
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
