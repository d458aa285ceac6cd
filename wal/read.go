package wal

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// How much is read from a file at once, in bytes.
const (
	minReadBytes = 16 << 10
	maxReadBytes = 1 << 20
	maxGuess     = 4096 // how many entries get memory before they are seen
)

// Entries returns entries of (after, last], at least one, with at most maxBytes of data in those
// after the first. It fails with raft.ErrCompacted when entry after+1 may be forgotten or isn't
// there yet, and with a *raft.DamagedError when its bytes are lost. See raft.Storage.
func (l *Log) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	return l.entries(l, after, last, maxBytes)
}

// entries is Entries for a group, whose calls pass a gate.
func (g *group) entries(gate gate, after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	l := g.log
	if err := gate.enter(); err != nil {
		return nil, err
	}
	defer gate.leave()
	r := reader{log: l, group: g, next: after + 1, last: last, budget: maxBytes, seed: preamble{salt: l.salt}.seed()}
	for {
		more, err := r.open()
		if err != nil {
			return nil, err
		}
		if !more {
			return r.entries, nil
		}
		err = r.read()
		l.release(r.segment)
		var damage *CorruptError
		if errors.As(err, &damage) {
			if err := r.damaged(damage); err != nil {
				return nil, err
			}
		} else if err != nil {
			return nil, fmt.Errorf("wal: read entries after %d: %w", after, err)
		}
	}
}

// damaged notes that the next entry is lost, and those that can't be found without it. It returns
// an error if the caller wants that entry first.
func (r *reader) damaged(damage *CorruptError) error {
	l, g := r.log, r.group
	l.mu.Lock()
	lost := wire.Range{First: r.next, Last: r.next}
	if g.contents.generation == r.generation {
		if r.adrift {
			lost.Last = g.contents.nextPoint(r.next) - 1
		}
		g.contents.lose(lost.First, lost.Last)
	}
	if g.damage == nil {
		g.damage = damage
	}
	l.mu.Unlock()
	l.tell(slog.LevelError, "wal: entries are damaged", damage, indexAttr("first", lost.First), indexAttr("last", lost.Last))
	r.full = true
	if len(r.entries) > 0 {
		return nil
	}
	return &raft.DamagedError{Lost: lost, Err: damage}
}

// A reader collects entries, one stretch after the other.
type reader struct {
	log        *Log
	group      *group
	next, last raft.Index // the entries that are still wanted
	budget     int        // how many bytes of data may still come; the first entry is free
	entries    []raft.Entry
	full       bool   // the next entry doesn't fit, or is lost
	seed       uint32 // of the CRC of a frame
	adrift     bool   // it isn't known where the entry after the damaged one is
	generation uint64 // of the contents when the first stretch was found
	decoder    wire.Decoder

	// The stretch that is being read.
	segment *segment
	inParts bool       // see stretch
	limit   raft.Index // the index after its last entry
	offset  uint32     // of the next frame; at end, the record is read
	end     uint32     // where the record ends
	bound   uint32     // where the segment ends
	skip    raft.Index // the index of the entry at offset, at most next

	// window holds bytes of the segment, from the offset windowAt on. Entries share its memory.
	window   []byte
	windowAt uint32
}

// open finds the stretch that holds the next entry, and keeps its segment from being removed. It
// says whether there is one to read.
func (r *reader) open() (bool, error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	t := &r.group.contents
	if len(r.entries) == 0 {
		r.generation = t.generation
		if r.next <= t.compacted || r.next > t.last || r.last < r.next {
			return false, raft.ErrCompacted
		}
	}
	// After a truncation, the entries from here on might not continue those that were read before
	// it.
	r.last = min(r.last, t.last)
	if r.full || r.next > r.last || r.generation != t.generation || r.next <= t.compacted {
		return false, nil
	}
	i := t.at(r.next)
	s := &t.stretches[i]
	if s.segment == nil {
		return false, r.missing(i)
	}
	p := s.points[s.pointFor(r.next)]
	r.segment, r.limit = s.segment, min(t.limit(i), r.last+1)
	r.offset, r.end, r.skip = p.offset, p.end, p.index
	r.bound, r.inParts = r.segment.end, s.inParts
	r.window, r.windowAt = nil, 0
	r.segment.readers++
	return true, nil
}

// missing returns the error of an entry that is lost, in stretch i, or nil if there are entries
// before it.
func (r *reader) missing(i int) error {
	if len(r.entries) > 0 {
		return nil
	}
	g := r.group
	return &raft.DamagedError{Lost: wire.Range{First: r.next, Last: g.contents.limit(i) - 1}, Err: g.damage}
}

// release ends the reading of a segment, which may be removed again when nobody reads it.
func (l *Log) release(s *segment) {
	l.mu.Lock()
	s.readers--
	wake := s.readers == 0 && len(l.garbage) > 0
	l.mu.Unlock()
	if wake {
		l.keeper.signal()
	}
}

// read reads the stretch to its end, or until the next entry exceeds the budget.
func (r *reader) read() error {
	began := r.next
	for r.skip < r.limit {
		if r.offset == r.end && r.inParts {
			if r.next == began {
				return r.corrupt(r.offset, "a part ends too early")
			}
			return nil // the next entry has a point of its own
		}
		if r.offset == r.end {
			if err := r.nextRecord(); err != nil {
				return err
			}
			continue
		}
		r.adrift = true
		start, err := r.bytes(r.offset, frameSize)
		if err != nil {
			return err
		}
		length := little.Uint32(start)
		if r.end-r.offset < frameSize || r.end-r.offset-frameSize < length {
			return r.corrupt(r.offset, "an entry ends past the end of its record")
		}
		if r.skip == r.next {
			frame, err := r.bytes(r.offset, frameSize+length)
			if err != nil {
				return err
			}
			r.adrift = false
			if little.Uint32(frame[4:]) != frameCRC(frame, r.seed) {
				return r.corrupt(r.offset, fmt.Sprintf("the checksum of entry %d is wrong", r.next))
			}
			if err := r.take(frame[frameSize:]); err != nil || r.full {
				return err
			}
		}
		r.skip++
		r.offset += frameSize + length
	}
	return nil
}

// take decodes the next entry, and adds it if it fits.
func (r *reader) take(b []byte) error {
	e, rest, err := r.decoder.DecodeEntry(b)
	if err != nil {
		return r.corrupt(r.offset, fmt.Sprintf("entry %d: %v", r.next, err))
	}
	if len(rest) > 0 || e.Index != r.next {
		return r.corrupt(r.offset, fmt.Sprintf("entry %d in the place of %d", e.Index, r.next))
	}
	if len(r.entries) > 0 {
		if len(e.Data) > r.budget {
			r.full = true
			return nil
		}
		r.budget -= len(e.Data)
	}
	if r.entries == nil {
		fit := max(r.budget, 0) / (len(e.Data) + 1)
		r.entries = make([]raft.Entry, 0, min(int64(fit), int64(min(r.last-r.next, maxGuess)))+1)
	}
	r.entries = append(r.entries, e)
	r.next++
	return nil
}

// nextRecord moves on to the entries of the next record.
func (r *reader) nextRecord() error {
	at := next(r.end)
	r.adrift = true
	b, err := r.bytes(at, headerSize)
	if err != nil {
		return err
	}
	h, ok := parseHeader(b, r.segment.key, at)
	if !ok {
		return r.corrupt(at, "not a record")
	}
	r.offset, r.end = at+headerSize+h.entries, h.end(at)
	if h.kind != kindBatch {
		r.offset = r.end // an open record has no entries
	}
	return nil
}

// bytes returns n bytes of the segment, from the offset at on. These bytes are never changed.
func (r *reader) bytes(at, n uint32) ([]byte, error) {
	if r.bound < at || r.bound-at < n {
		return nil, r.corrupt(at, "the log ends too early")
	}
	if at < r.windowAt || uint64(at)+uint64(n) > uint64(r.windowAt)+uint64(len(r.window)) {
		size := min(max(r.budget+r.budget/4, minReadBytes), maxReadBytes)
		if r.inParts && at < r.end {
			size = min(size, int(r.end-at)) // other groups' bytes follow
		}
		size = min(max(size, int(n)), int(r.bound-at))
		window := make([]byte, size)
		if k, err := r.segment.file.ReadAt(window, int64(at)); err != nil && (!errors.Is(err, io.EOF) || k < int(n)) {
			if errors.Is(err, io.EOF) {
				return nil, r.corrupt(at, "the file ends too early")
			}
			return nil, err
		}
		r.window, r.windowAt = window, at
	}
	from := at - r.windowAt
	return r.window[from : from+n : from+n], nil
}

func (r *reader) corrupt(at uint32, reason string) error {
	return &CorruptError{File: r.segment.name, Offset: int64(at), Reason: reason}
}
