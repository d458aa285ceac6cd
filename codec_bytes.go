package raft

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// A Decoder decodes entries and messages and remembers the server IDs that it has met, so that an ID
// costs an allocation once and not with every entry: a message then costs one allocation for each of
// its lists. Its zero value is ready for use, by one goroutine at a time.
type Decoder struct {
	last ServerID // the ID met last: most come in runs
	ids  map[string]ServerID
	room []Entry // for entries of small messages to come
}

// entryRoom is for how many entries room is taken at a time. A message of more than a quarter of that gets its own.
const entryRoom = 64

// entries returns n entries that nobody else has.
func (d *Decoder) entries(n int) []Entry {
	if n > entryRoom/4 {
		return make([]Entry, n)
	}
	if n > len(d.room) {
		d.room = make([]Entry, entryRoom)
	}
	entries := d.room[:n:n]
	d.room = d.room[n:]
	return entries
}

// maxDecoderIDs bounds the IDs that a Decoder remembers. Past it, it starts afresh.
const maxDecoderIDs = 1024

// id returns the ID that is spelled by b.
func (d *Decoder) id(b []byte) ServerID {
	if string(b) == string(d.last) {
		return d.last
	}
	id, ok := d.ids[string(b)]
	if !ok {
		if d.ids == nil || len(d.ids) >= maxDecoderIDs {
			d.ids = make(map[string]ServerID)
		}
		id = ServerID(b)
		d.ids[string(id)] = id
	}
	d.last = id
	return id
}

func appendUvarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}

func appendString(b []byte, s string) []byte {
	b = appendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// A reader takes an encoding apart. Once something is wrong it stays so: err says what it was, nothing
// is left, and every further read returns zero.
//
// It moves an offset and leaves the slice alone: a pointer that is written with every byte would cost a
// write barrier each while the garbage collector marks.
type reader struct {
	bytes []byte
	at    int // up to where they were read
	ids   *Decoder
	err   error
}

// left returns how many bytes are left.
func (r *reader) left() int { return len(r.bytes) - r.at }

// fail records the first error.
func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
	r.at = len(r.bytes)
}

func (r *reader) check(holds bool, otherwise string) {
	if !holds {
		r.fail("%s", otherwise)
	}
}

// present returns v, the value of a field that is said not to be zero.
func (r *reader) present(v uint64, name string) uint64 {
	if v == 0 {
		r.fail("%s is zero, yet present", name)
	}
	return v
}

// end checks that nothing is left.
func (r *reader) end(what string) {
	if r.left() > 0 {
		r.fail("%s: %d bytes behind its end", what, r.left())
	}
}

// next returns the next n bytes without a copy, and nil for none.
func (r *reader) next(n uint64, name string) []byte {
	if n > uint64(r.left()) {
		r.fail("%s: %d bytes, but only %d are left", name, n, r.left())
		return nil
	}
	if n == 0 {
		return nil
	}
	start := r.at
	r.at += int(n)
	return r.bytes[start:r.at:r.at]
}

func (r *reader) byte(name string) byte {
	if r.at >= len(r.bytes) {
		r.fail("%s: cut off", name)
		return 0
	}
	v := r.bytes[r.at]
	r.at++
	return v
}

func (r *reader) uint32(name string) uint32 {
	if b := r.next(4, name); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64(name string) uint64 {
	if b := r.next(8, name); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint(name string) uint64 {
	if r.at < len(r.bytes) {
		if v := r.bytes[r.at]; v < 0x80 {
			r.at++
			return uint64(v)
		}
	}
	return r.longUvarint(name)
}

// longUvarint reads a varint of several bytes. It refuses one with more bytes than its value needs.
func (r *reader) longUvarint(name string) uint64 {
	v, n := binary.Uvarint(r.bytes[r.at:])
	switch {
	case n == 0:
		r.fail("%s: cut off", name)
		return 0
	case n < 0:
		r.fail("%s: exceeds 64 bits", name)
		return 0
	case n != (bits.Len64(v)+6)/7:
		r.fail("%s: %d bytes for the number %d", name, n, v)
		return 0
	}
	r.at += n
	return v
}

// count reads the length of a list whose elements take at least size bytes each.
func (r *reader) count(size int, name string) int {
	n := r.uvarint(name)
	if most := r.left() / size; n > uint64(most) {
		r.fail("%s: %d of them in %d bytes", name, n, r.left())
		return 0
	}
	return int(n)
}

func (r *reader) serverID(name string) ServerID {
	n := r.uvarint(name)
	if n > MaxServerID {
		r.fail("%s: a server ID of %d bytes, more than %d", name, n, MaxServerID)
		return ""
	}
	return r.ids.id(r.next(n, name))
}

func (r *reader) string(limit uint64, name string) string {
	n := r.uvarint(name)
	if n > limit {
		r.fail("%s: %d bytes, more than %d", name, n, limit)
		return ""
	}
	return string(r.next(n, name))
}
