package wal

import (
	"errors"
	"io"
	"math"
)

// peek opens a segment and reads its preamble and its head, if it has them.
func (r *replay) peek(number uint64) (found, error) {
	l := r.log
	s := &segment{number: number, name: l.path(fileName(number, segmentSuffix))}
	file, err := l.fs.Open(s.name)
	if err != nil {
		return found{}, err
	}
	s.file = file
	s.key = preamble{salt: l.salt, number: number}.key()
	f := found{segment: s}
	if s.size, err = file.Size(); err != nil {
		return f, err
	}
	if s.size > math.MaxInt32 {
		return f, corrupt(s, 0, "it is larger than a segment can be")
	}
	b := make([]byte, preambleSize+headerSize)
	if err := readFull(s, b, 0); err != nil {
		return f, notBegun(err)
	}
	p, version, chain, ok := parsePreamble(b)
	if !ok {
		return f, nil
	}
	if version != formatVersion {
		return f, versionError(s.name, version)
	}
	if p.salt != l.salt {
		return f, corrupt(s, 0, "it belongs to another log")
	}
	h, ok := parseHeader(b[preambleSize:], s.key, preambleSize)
	if p.number != number || !ok || h.kind != kindHead || int64(h.end(preambleSize)) > s.size {
		return f, nil
	}
	record := make([]byte, headerSize+h.length)
	if err := readFull(s, record, preambleSize); err != nil {
		return f, notBegun(err)
	}
	prelude, _, err := splitBody(record[headerSize:])
	if h.before != chain || chainOver(record, chain) != h.chain || err != nil {
		return f, nil
	}
	if err := f.head.decode(prelude); err != nil {
		return f, corrupt(s, preambleSize, err.Error())
	}
	f.begun = true
	s.last, s.end, s.chain = preambleSize, next(h.end(preambleSize)), h.chain
	return f, nil
}

// notBegun turns the error of a file that ends before its head does into nil: such a segment has
// not begun.
func notBegun(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// readFull fills b from the offset at of a segment. If the file is too short, the error is io.EOF.
func readFull(s *segment, b []byte, at int64) error {
	n, err := s.file.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	return err
}

// load reads a segment into buf.
func (r *replay) load(s *segment) error {
	r.buf = r.buf[:s.size]
	return readFull(s, r.buf, 0)
}
