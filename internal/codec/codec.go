// Package codec has what the formats of this module have in common: numbers and lengths of as few
// bytes as possible, and a reader that takes them apart and says what was wrong. Package wire
// specifies them.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// ErrMalformed is what every error of a Reader wraps.
var ErrMalformed = errors.New("raft: malformed")

// AppendUvarint appends a number.
func AppendUvarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}

// AppendString appends a string: its length and its bytes.
func AppendString(b []byte, s string) []byte {
	b = AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// A Reader takes an encoding apart. Once it has found something wrong, Err says what that was,
// nothing is left to read, and every further read returns zero. The names that its methods take are
// for the error.
//
// The Reader moves an offset and leaves the slice alone. A pointer that moved with every byte would
// cost a write barrier each time while the garbage collector marks.
type Reader struct {
	bytes []byte
	at    int // how many bytes were read
	err   error
}

// NewReader returns a Reader of b.
func NewReader(b []byte) Reader { return Reader{bytes: b} }

// Err returns what was wrong first, or nil.
func (r *Reader) Err() error { return r.err }

// Rest returns the bytes that are left.
func (r *Reader) Rest() []byte { return r.bytes[r.at:] }

// Left returns how many bytes are left.
func (r *Reader) Left() int { return len(r.bytes) - r.at }

// Fail records what is wrong, unless something was wrong before. The error wraps ErrMalformed.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	r.at = len(r.bytes)
}

// Check fails unless a condition holds.
func (r *Reader) Check(holds bool, otherwise string) {
	if !holds {
		r.Fail("%s", otherwise)
	}
}

// Present returns v, the value of a field of which the encoding says that it isn't zero. It fails
// if v is.
func (r *Reader) Present(v uint64, name string) uint64 {
	if v == 0 {
		r.Fail("%s is zero, yet present", name)
	}
	return v
}

// End fails if something is left.
func (r *Reader) End(what string) {
	if r.Left() > 0 {
		r.Fail("%s: %d bytes behind its end", what, r.Left())
	}
}

// Next returns the next n bytes without a copy, and nil for none.
func (r *Reader) Next(n uint64, name string) []byte {
	if n > uint64(r.Left()) {
		r.Fail("%s: %d bytes, but only %d are left", name, n, r.Left())
		return nil
	}
	if n == 0 {
		return nil
	}
	start := r.at
	r.at += int(n)
	return r.bytes[start:r.at:r.at]
}

// Byte reads a byte.
func (r *Reader) Byte(name string) byte {
	if r.at >= len(r.bytes) {
		r.Fail("%s: cut off", name)
		return 0
	}
	v := r.bytes[r.at]
	r.at++
	return v
}

// Uint32 reads four bytes, little endian.
func (r *Reader) Uint32(name string) uint32 {
	if b := r.Next(4, name); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Uint64 reads eight bytes, little endian.
func (r *Reader) Uint64(name string) uint64 {
	if b := r.Next(8, name); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Uvarint reads a number.
func (r *Reader) Uvarint(name string) uint64 {
	if r.at < len(r.bytes) {
		if v := r.bytes[r.at]; v < 0x80 {
			r.at++
			return uint64(v)
		}
	}
	return r.longUvarint(name)
}

// longUvarint reads a varint of several bytes. It refuses a varint of more bytes than its value
// needs.
func (r *Reader) longUvarint(name string) uint64 {
	v, n := binary.Uvarint(r.bytes[r.at:])
	switch {
	case n == 0:
		r.Fail("%s: cut off", name)
		return 0
	case n < 0:
		r.Fail("%s: exceeds 64 bits", name)
		return 0
	case n != (bits.Len64(v)+6)/7:
		r.Fail("%s: %d bytes for the number %d", name, n, v)
		return 0
	}
	r.at += n
	return v
}

// Count reads the length of a list whose elements take at least size bytes each.
func (r *Reader) Count(size int, name string) int {
	n := r.Uvarint(name)
	if most := r.Left() / size; n > uint64(most) {
		r.Fail("%s: %d of them in %d bytes", name, n, r.Left())
		return 0
	}
	return int(n)
}

// String reads a string of at most limit bytes.
func (r *Reader) String(limit uint64, name string) string {
	n := r.Uvarint(name)
	if n > limit {
		r.Fail("%s: %d bytes, more than %d", name, n, limit)
		return ""
	}
	return string(r.Next(n, name))
}
