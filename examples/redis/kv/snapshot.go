package kv

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A snapshot is the same bytes for the same state, whatever Keyspace it is of:
//
//	snapshot = magic, now, version, number of keys, key…
//	key      = name, kind byte, expires, version, value
//	value    = string | number of fields, (name, value)… | number of items, item…
//
// Numbers are unsigned varints; names, strings and items are their length and their bytes. Keys are
// in the order of SCAN.
const magic = "raft-redis 1\n"

// Snapshot captures the state.
func (m *Machine) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	captured, err := m.keys.Capture()
	if err != nil {
		return nil, fmt.Errorf("kv: snapshot: %w", err)
	}
	return &snapshot{captured}, nil
}

// A snapshot writes a Capture.
type snapshot struct{ Capture }

// WriteTo implements io.WriterTo.
func (s *snapshot) WriteTo(to io.Writer) (int64, error) {
	counted := &counter{to: to}
	w := bufio.NewWriterSize(counted, 64<<10)
	meta := s.Meta()
	out := &encoder{w: w}
	out.raw(magic)
	out.number(uint64(meta.Now))
	out.number(meta.Version)
	out.number(uint64(s.Len()))
	for key, o := range s.All() {
		out.text(key)
		if out.object(o); out.err != nil {
			break
		}
	}
	err := errors.Join(out.err, s.Err(), w.Flush())
	return counted.n, err
}

// A counter counts what is written.
type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.n += int64(n)
	return n, err
}

// An encoder writes the parts of a snapshot until an error.
type encoder struct {
	w interface {
		io.Writer
		io.StringWriter
	}
	err     error
	scratch [binary.MaxVarintLen64]byte
}

func (e *encoder) raw(s string) {
	if e.err == nil {
		_, e.err = e.w.WriteString(s)
	}
}

func (e *encoder) number(n uint64) {
	if e.err == nil {
		_, e.err = e.w.Write(binary.AppendUvarint(e.scratch[:0], n))
	}
}

func (e *encoder) text(s string) {
	e.number(uint64(len(s)))
	e.raw(s)
}

func (e *encoder) bytes(b []byte) {
	e.number(uint64(len(b)))
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
}

func (e *encoder) object(o *Object) {
	e.number(uint64(o.Kind))
	e.number(uint64(o.Expires))
	e.number(o.Version)
	switch o.Kind {
	case String:
		e.bytes(o.Bytes)
	case Hash, Set:
		e.number(uint64(o.Fields.Len()))
		for _, f := range o.Fields.All() {
			e.text(f.Name)
			if o.Kind == Hash {
				e.bytes(f.Value)
			}
		}
	case List:
		e.number(uint64(o.Items.Len()))
		for i := range o.Items.Len() {
			e.bytes(o.Items.At(i))
		}
	}
}

// encodeObject appends an object in the form that it has in a snapshot, without its key, for a
// Keyspace on a disk.
func encodeObject(to *bytes.Buffer, o *Object) {
	out := &encoder{w: to} // which never fails
	out.object(o)
}

// decodeObject reads what encodeObject has written. The object shares no memory with it.
func decodeObject(b []byte) (*Object, error) {
	rest := bytes.NewReader(b)
	in := &reader{r: rest}
	o := in.object()
	if in.err == nil && rest.Len() > 0 {
		in.err = fmt.Errorf("%d bytes after an object", rest.Len())
	}
	return o, in.err
}

// Restore replaces the state by the one in a snapshot. If the snapshot is malformed, the error says
// at which key, and the state is as before, or as it was last saved.
func (m *Machine) Restore(from io.Reader) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	buffered := bufio.NewReaderSize(from, 64<<10)
	in := &reader{r: buffered}
	if head := in.fixed(len(magic)); in.err == nil && string(head) != magic {
		return errors.New("kv: restore: this is no snapshot of this version of the program")
	}
	meta := Meta{Now: int64(in.number()), Version: in.number()}
	keys := in.number()
	if in.err != nil {
		return fmt.Errorf("kv: restore: %w", in.err)
	}
	err := m.keys.Restore(meta, func(put func(string, *Object)) error {
		for n := range keys {
			key := string(in.bytes())
			o := in.object()
			if in.err != nil {
				return fmt.Errorf("kv: restore: key %d of %d: %w", n+1, keys, in.err)
			}
			put(key, o)
		}
		if _, err := buffered.ReadByte(); err != io.EOF {
			return errors.New("kv: restore: the snapshot goes on after its last key")
		}
		return nil
	})
	m.meta = m.keys.Meta()
	return errors.Join(err, m.keys.Err())
}

// A reader reads the parts of a snapshot until an error.
type reader struct {
	r interface {
		io.Reader
		io.ByteReader
	}
	err error
}

func (r *reader) number() uint64 {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		r.fail(err)
		return 0
	}
	return n
}

func (r *reader) fail(err error) {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	r.err = err
}

// fixed reads so many bytes. It takes memory as they come, not as a damaged number says.
func (r *reader) fixed(n int) []byte {
	if r.err != nil {
		return nil
	}
	const piece = 1 << 20
	b := make([]byte, 0, min(n, piece))
	for len(b) < n {
		at := len(b)
		b = append(b, make([]byte, min(n-at, piece))...)
		if _, err := io.ReadFull(r.r, b[at:]); err != nil {
			r.fail(err)
			return nil
		}
	}
	return b
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > 1<<30 {
		r.err = fmt.Errorf("a string of %d bytes", n)
	}
	if r.err != nil {
		return nil
	}
	return r.fixed(int(n))
}

func (r *reader) object() *Object {
	o := &Object{Kind: Kind(r.number()), Expires: int64(r.number()), Version: r.number()}
	switch o.Kind {
	case String:
		o.Bytes = r.bytes()
	case Hash, Set:
		o.Fields = &Fields{}
		for n := r.number(); n > 0 && r.err == nil; n-- {
			name := r.bytes()
			var value []byte
			if o.Kind == Hash {
				value = r.bytes()
			}
			o.Fields.Set(name, value)
		}
	case List:
		o.Items = &Items{}
		for n := r.number(); n > 0 && r.err == nil; n-- {
			o.Items.PushLast(r.bytes())
		}
	default:
		if r.err == nil {
			r.err = fmt.Errorf("an object of kind %d", o.Kind)
		}
	}
	return o
}
