package wal

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A replay reads the segments of a log, from the oldest to the newest, and rebuilds what the log
// holds.
//
// The question is where the log ends. A torn record, and one that was never written, look like a
// record that was damaged. But every record says how far the segment was synced before it was
// written. So:
//
//	|  A  |  B  |  C  |/////|  E  |
//	                  x     E says: synced up to x, or less  → nobody was told of x: cut off
//	                        E says: synced past x            → x was promised: corrupt
//
// The chain and the lengths before E are broken. E is found all the same, because a header is
// recognised by its place alone.
type replay struct {
	log            *Log
	configurations []raft.Entry
	unproven       []byte // what is to be written once more, from active.synced on

	size    int64   // of the largest segment
	buf     []byte  // the segment that is being replayed
	all     []found // the segments, in order
	salted  bool    // the first preamble was read
	started bool    // the first head was read
	change  change
	decoder wire.Decoder
	tail    TailState // how the log ends

	// visit, if not nil, is called with every record, after the record was replayed.
	visit func(s *segment, at uint32, h header, record []byte) error
}

// A found is a segment of which the beginning of its file was read.
type found struct {
	segment *segment
	begun   bool // it has a preamble and a head
	head    checkpoint
	records int // how many were replayed
}

// run replays the segments with these numbers.
func (r *replay) run(numbers []uint64) error {
	l := r.log
	for i, number := range numbers[1:] {
		if number != numbers[i]+1 {
			name := l.path(fileName(numbers[i]+1, segmentSuffix))
			return &CorruptError{File: name, Offset: -1, Reason: "it is missing"}
		}
	}
	newest := -1
	for i, number := range numbers {
		f, err := r.peek(number)
		if f.segment != nil {
			l.segments = append(l.segments, f.segment) // so that its file is closed in any case
		}
		if err != nil {
			return err
		}
		r.all = append(r.all, f)
		if f.begun {
			newest = i
		}
	}
	all := r.all
	for i := range all[:newest+1] {
		if !all[i].begun {
			return corrupt(all[i].segment, 0, "it doesn't begin like a segment of this log")
		}
	}
	if newest < 0 {
		return corrupt(all[0].segment, 0, "it doesn't begin like a segment of a log")
	}
	for _, f := range all {
		r.size = max(r.size, f.segment.size)
	}
	for i := range all[:newest+1] {
		var following *checkpoint
		if i < newest {
			following = &all[i+1].head
		}
		if err := r.segment(&all[i], following); err != nil {
			return err
		}
	}
	if err := r.ended(&all[newest]); err != nil {
		return err
	}
	l.active = all[newest].segment
	if s := l.active; s.synced < s.end {
		// The padding behind the last record may be missing at the end of the file.
		r.unproven = slices.Clone(r.buf[s.synced:min(int64(s.end), s.size)])
	}
	if err := r.unbegun(all[newest+1:]); err != nil {
		return err
	}
	l.segments = l.segments[:newest+1]
	l.dropUnneeded()
	return nil
}

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
	p, version, _, ok := parsePreamble(b)
	if !ok || p.number != number {
		return f, nil
	}
	if version != formatVersion {
		return f, fmt.Errorf("wal: %s has format version %d; this package knows version %d", s.name, version, formatVersion)
	}
	s.key = p.key()
	if !r.salted {
		l.salt, r.salted = p.salt, true
	} else if p.salt != l.salt {
		return f, corrupt(s, 0, "it belongs to another log")
	}
	h, ok := parseHeader(b[preambleSize:], s.key, preambleSize)
	if !ok || h.kind != kindHead || int64(h.end(preambleSize)) > s.size {
		return f, nil
	}
	record := make([]byte, headerSize+h.length)
	if err := readFull(s, record, preambleSize); err != nil {
		return f, notBegun(err)
	}
	_, _, chain, _ := parsePreamble(b)
	if chainOver(record, chain) != h.chain {
		return f, nil
	}
	if err := f.head.decode(record[headerSize:]); err != nil {
		return f, corrupt(s, preambleSize, err.Error())
	}
	f.begun = true
	s.end, s.chain = next(h.end(preambleSize)), h.chain
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

// segment replays a segment that has begun. following is the head of the next segment, which says
// where this one ends; it is nil for the newest one.
func (r *replay) segment(f *found, following *checkpoint) error {
	s := f.segment
	if err := r.head(f); err != nil {
		return err
	}
	if r.buf == nil {
		r.buf = make([]byte, r.size)
	}
	r.buf = r.buf[:s.size]
	if err := readFull(s, r.buf, 0); err != nil {
		return err
	}
	if err := r.visited(f, preambleSize); err != nil {
		return err
	}
	for following == nil || s.end != following.priorEnd {
		at := s.end
		more, err := r.record(s)
		if err != nil {
			return err
		}
		if more {
			if err := r.visited(f, at); err != nil {
				return err
			}
			continue
		}
		if following != nil {
			return corrupt(s, s.end, "a record is damaged")
		}
		return r.proof(s)
	}
	if s.chain != following.priorChain {
		return corrupt(s, s.end, "the next segment continues another one")
	}
	s.synced = s.end
	return nil
}

// visited counts the record at an offset and shows it to the visitor.
func (r *replay) visited(f *found, at uint32) error {
	f.records++
	if r.visit == nil {
		return nil
	}
	s := f.segment
	h, _ := parseHeader(r.buf[at:], s.key, at)
	return r.visit(s, at, h, r.buf[at:h.end(at)])
}

// ended notes how the log ends, in its newest segment. Only one batch is written at a time,
// directly behind the last one. So ended looks only there: further behind, the bytes are old.
func (r *replay) ended(f *found) error {
	s := f.segment
	r.tail = TailUnmarked
	if int64(s.end)+headerSize > s.size {
		return nil
	}
	h, ok := parseHeader(r.buf[s.end:], s.key, s.end)
	switch {
	case ok && h.kind != kindMark:
		r.tail = TailTorn
	case ok && chainOver(r.buf[s.end:s.end+headerSize], s.chain) == h.chain:
		r.tail = TailMarked
		return r.visited(f, s.end)
	}
	return nil
}

// head takes over the state from the head of a segment.
func (r *replay) head(f *found) error {
	l, head := r.log, &f.head
	t := &l.contents
	if !r.started {
		r.started = true
		t.first, t.last = head.last+1, head.last
	} else if head.last != t.last {
		return corrupt(f.segment, preambleSize, fmt.Sprintf("it continues a log that ends at %d, not at %d", head.last, t.last))
	}
	if err := r.adopt(head); err != nil {
		return corrupt(f.segment, preambleSize, err.Error())
	}
	return nil
}

// adopt takes over the state of a checkpoint.
func (r *replay) adopt(c *checkpoint) error {
	t := &r.log.contents
	r.log.opens = c.opens
	t.durable, t.snapshot = c.durable, c.snapshot
	t.compact(c.compacted)
	return t.check()
}

// record replays the record at the end of s, and moves the end behind it. It returns false if no
// whole record stands there.
func (r *replay) record(s *segment) (bool, error) {
	at := s.end
	if int64(at) >= s.size {
		return false, nil
	}
	h, ok := parseHeader(r.buf[at:], s.key, at)
	if !ok || int64(at)+headerSize+int64(h.length) > s.size {
		return false, nil
	}
	record := r.buf[at:h.end(at)]
	if chainOver(record, s.chain) != h.chain {
		return false, nil
	}
	s.synced = max(s.synced, h.synced)
	if h.kind == kindMark {
		return false, nil
	}
	if err := r.replayed(s, h, record); err != nil {
		return false, corrupt(s, at, err.Error())
	}
	s.end, s.chain = next(h.end(at)), h.chain
	return true, nil
}

// replayed makes a record take effect.
func (r *replay) replayed(s *segment, h header, record []byte) error {
	body := record[headerSize:]
	switch h.kind {
	case kindOpen:
		var c checkpoint
		if err := c.decode(body); err != nil {
			return err
		}
		if last := r.log.contents.last; c.last != last {
			return fmt.Errorf("it was opened with a log that ends at %d, not at %d", c.last, last)
		}
		return r.adopt(&c)
	case kindBatch:
		c := &r.change
		if err := c.decode(body[:h.entries]); err != nil {
			return err
		}
		if c.flags&changesEntries != 0 {
			n := len(r.configurations)
			for n > 0 && r.configurations[n-1].Index >= c.first {
				n--
			}
			r.configurations = r.configurations[:n]
		}
		if c.flags&dropsLog != 0 {
			r.configurations = nil
		}
		if err := c.walkFrames(record, headerSize+int(h.entries), r.configuration); err != nil {
			return err
		}
		if err := r.log.contents.apply(c, s, s.end); err != nil {
			return err
		}
		return r.log.contents.check()
	}
	return fmt.Errorf("a record of the unknown kind %d", h.kind)
}

// configuration notes a configuration entry.
func (r *replay) configuration(b []byte) error {
	e, rest, err := r.decoder.DecodeEntry(slices.Clone(b))
	if err != nil {
		return err
	}
	if len(rest) > 0 || e.Kind != wire.EntryConfiguration {
		return fmt.Errorf("entry %d isn't a configuration", e.Index)
	}
	r.configurations = append(r.configurations, e)
	return nil
}

// proof looks behind the end of the newest segment for a record that says that more was synced.
// Then the record at the end was damaged, not torn.
func (r *replay) proof(s *segment) error {
	for at := s.end; int64(at)+headerSize <= s.size; at += recordAlign {
		if little.Uint64(r.buf[at:]) != s.key+uint64(at) {
			continue
		}
		if h, ok := parseHeader(r.buf[at:], s.key, at); ok && h.synced > s.end {
			return corrupt(s, s.end, fmt.Sprintf("a record is damaged, and the one at %d proves that it was there", at))
		}
	}
	return nil
}

// unbegun looks at the segments after the newest one that has begun. The first of them becomes the
// spare again, unless a record in it proves that it had begun. There are more of them only if
// something is wrong.
func (r *replay) unbegun(left []found) error {
	l := r.log
	sp := l.newSpare(l.active)
	for i, f := range left {
		s := f.segment
		b := r.buf[:s.size]
		if err := readFull(s, b, 0); err != nil {
			return err
		}
		for at := uint32(0); int64(at)+headerSize <= s.size; at += recordAlign {
			if little.Uint64(b[at:]) != s.key+uint64(at) {
				continue
			}
			if h, ok := parseHeader(b[at:], s.key, at); ok && h.synced > 0 {
				return corrupt(s, 0, fmt.Sprintf("its head is damaged, and the record at %d proves that it was there", at))
			}
		}
		if i > 0 {
			return corrupt(s, 0, "it has no head, and it isn't the next segment")
		}
		sp.file, sp.size = s.file, s.size
	}
	l.segments = l.segments[:len(l.segments)-len(left)]
	l.spare <- sp
	return nil
}

func corrupt(s *segment, at uint32, reason string) error {
	return &CorruptError{File: s.name, Offset: int64(at), Reason: reason}
}
