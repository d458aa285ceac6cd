package state

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// A copy is the content of a database, as it is in snapshots: records in an order that depends on the
// content alone. So servers with the same content have the same bytes, whatever their files look like.
//
//	"raft-copy" 1      the format
//	records            a kind, which isn't 0, and two fields: each its length as a varint, and its bytes
//	0                  the end
//	count              of the records, 8 bytes, big endian
//	checksum           of all before, CRC-32C, 4 bytes, big endian

const copyMagic = "raft-copy\x01"

// maxField bounds a field, in bytes, so that a damaged length costs bounded memory.
const maxField = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A CopyWriter writes a copy.
type CopyWriter struct {
	out     *bufio.Writer
	sum     hash.Hash32
	count   uint64
	written int64
	head    []byte
}

// NewCopyWriter returns a CopyWriter that writes to w. A copy without End is refused when it is read.
func NewCopyWriter(w io.Writer) (*CopyWriter, error) {
	c := &CopyWriter{out: bufio.NewWriterSize(w, 1<<16), sum: crc32.New(castagnoli)}
	return c, c.write([]byte(copyMagic))
}

// Record writes a record. Its kind is one that the reader knows, and not 0.
func (c *CopyWriter) Record(kind byte, first, second []byte) error {
	if kind == 0 || len(first) > maxField || len(second) > maxField {
		return fmt.Errorf("state: a record of the kind %d, with fields of %d and %d bytes", kind, len(first), len(second))
	}
	c.count++
	c.head = binary.AppendUvarint(append(c.head[:0], kind), uint64(len(first)))
	if err := c.write(c.head); err != nil {
		return err
	}
	if err := c.write(first); err != nil {
		return err
	}
	if err := c.write(binary.AppendUvarint(c.head[:0], uint64(len(second)))); err != nil {
		return err
	}
	return c.write(second)
}

// End writes the end.
func (c *CopyWriter) End() error {
	if err := c.write(binary.BigEndian.AppendUint64([]byte{0}, c.count)); err != nil {
		return err
	}
	if err := c.write(binary.BigEndian.AppendUint32(nil, c.sum.Sum32())); err != nil {
		return err
	}
	return c.out.Flush()
}

func (c *CopyWriter) write(b []byte) error {
	_, _ = c.sum.Write(b) // this never fails
	n, err := c.out.Write(b)
	c.written += int64(n)
	return err
}

// ErrCopy says that a copy is damaged or cut off.
var ErrCopy = errors.New("state: the copy is damaged")

// A CopyReader reads a copy.
type CopyReader struct {
	in            *bufio.Reader
	sum           hash.Hash32
	count         uint64
	first, second []byte
	passed        func() // called from time to time, unless it is nil
}

// passedEach is how many records there are between two calls of passed.
const passedEach = 1000

// NewCopyReader returns a CopyReader that reads from r.
func NewCopyReader(r io.Reader) (*CopyReader, error) {
	c := &CopyReader{in: bufio.NewReaderSize(r, 1<<16), sum: crc32.New(castagnoli)}
	magic, err := c.read(nil, len(copyMagic))
	if err == nil && string(magic) != copyMagic {
		err = fmt.Errorf("%w: it begins with %q", ErrCopy, magic)
	}
	return c, err
}

// Next returns the next record. Its kind is 0 at the end, which is only reached if nothing is damaged.
// The fields are valid until the next call.
func (c *CopyReader) Next() (kind byte, first, second []byte, err error) {
	head, err := c.read(c.first[:0], 1)
	if err != nil {
		return 0, nil, nil, err
	}
	if kind = head[0]; kind == 0 {
		return 0, nil, nil, c.end()
	}
	if c.first, err = c.field(head[:0]); err == nil {
		c.second, err = c.field(c.second[:0])
	}
	if c.count++; c.count%passedEach == 0 && c.passed != nil {
		c.passed()
	}
	return kind, c.first, c.second, err
}

func (c *CopyReader) end() error {
	count, err := c.read(nil, 8)
	if err != nil {
		return err
	}
	sum := c.sum.Sum32()
	stored, err := c.read(nil, 4)
	switch {
	case err != nil:
		return err
	case binary.BigEndian.Uint64(count) != c.count:
		return fmt.Errorf("%w: it has %d records, and says %d", ErrCopy, c.count, binary.BigEndian.Uint64(count))
	case binary.BigEndian.Uint32(stored) != sum:
		return fmt.Errorf("%w: its checksum is %08x, and it says %08x", ErrCopy, sum, stored)
	}
	if _, err := c.in.ReadByte(); err != io.EOF {
		return errors.Join(fmt.Errorf("%w: something comes after its end", ErrCopy), err)
	}
	return nil
}

// field reads a field into the memory of b.
func (c *CopyReader) field(b []byte) ([]byte, error) {
	length := uint64(0)
	for shift := 0; ; shift += 7 {
		one, err := c.read(b[:0], 1)
		if err != nil {
			return b, err
		}
		b = one
		length |= uint64(one[0]&0x7f) << shift
		if one[0] < 0x80 {
			break
		}
		if shift > 28 {
			return b, fmt.Errorf("%w: a length of too many bytes", ErrCopy)
		}
	}
	if length > maxField {
		return b, fmt.Errorf("%w: a field of %d bytes, more than %d", ErrCopy, length, maxField)
	}
	return c.read(b[:0], int(length))
}

// read reads n bytes into the memory of b, which grows as they come.
func (c *CopyReader) read(b []byte, n int) ([]byte, error) {
	for len(b) < n {
		begun := len(b)
		b = append(b, make([]byte, min(n-begun, max(cap(b)-begun, 1<<16)))...)
		if _, err := io.ReadFull(c.in, b[begun:]); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = fmt.Errorf("%w: it is cut off", ErrCopy)
			}
			return b[:begun], err
		}
	}
	_, _ = c.sum.Write(b)
	return b, nil
}
