package wal

import "fmt"

// A hole is damage: the part of the log from where reading stopped to where it goes on.
//
//	| A | B |/////////////////| y |       y says what the log was before it, as far as it was touched
//	        x                             since p. If p ≤ x, that closes the hole
//
// A checkpoint closes any hole. Until one record does, those that can be read are skipped. When the
// hole is closed, they give the bytes of their entries, if these still belong to the log.
type hole struct {
	segment *segment
	at      uint32
	start   place // where the log isn't known any more
	damage  error
	from    uint32 // where in the segment that is being searched the search goes on
	skipped []skipped
}

// A skipped is a piece of records that were skipped. The offsets of its points count from the
// beginning of the segment.
type skipped struct {
	piece
	segment *segment
	end     uint32 // where the last of its records ends; 0 if entries behind its last one are lost
}

// stop begins a hole, unless there is one.
func (r *replay) stop(s *segment, at uint32, reason string) {
	if r.hole == nil {
		r.hole = &hole{segment: s, at: at, start: place{s.number, at}, damage: corrupt(s, at, reason), from: at + recordAlign}
	}
	r.hole.from = max(r.hole.from, preambleSize)
}

// headless begins a hole where a segment has no head. If it is the first one, nothing is known of
// the log.
func (r *replay) headless(s *segment) {
	first := !r.started
	r.started = true
	r.stop(s, 0, "")
	r.hole.damage = corrupt(s, 0, "it doesn't begin like a segment of this log")
	if first {
		r.hole.start = place{}
	}
}

// skip keeps the entries of a record that can't be replayed. Its frames begin at the offset frames
// of its body.
func (r *replay) skip(s *segment, at uint32, h header, frames int) {
	hole := r.hole
	hole.from = next(h.end(at))
	var c change
	c.searchPieces(r.buf[at:h.end(at)], headerSize+frames, -1, preamble{salt: r.log.salt}.seed())
	for i, p := range c.pieces {
		for j := range p.points {
			p.points[j].offset += at
			p.points[j].end += at
		}
		n := len(hole.skipped)
		if first := at + headerSize + h.entries; i == 0 && n > 0 && p.points[0].offset == first {
			if k := &hole.skipped[n-1]; k.segment == s && k.end == at && k.last+1 == p.first && k.term == p.term {
				k.last, k.points = p.last, append(k.points, p.points...)
				k.end = next(h.end(at))
				continue
			}
		}
		hole.skipped = append(hole.skipped, skipped{piece: p, segment: s})
	}
	if n := len(hole.skipped); n > 0 && len(c.pieces) == 1 {
		hole.skipped[n-1].end = next(h.end(at))
	}
}

// search looks through the rest of segment i for a record that closes the hole. It returns false if
// there is none.
func (r *replay) search(i int) (bool, error) {
	s := r.all[i].segment
	from := uint32(preambleSize)
	if r.hole.segment == s {
		from = r.hole.from
	}
	limit := uint32(s.size)
	following := r.following(i)
	if following != nil {
		limit = min(limit, following.priorEnd)
	}
	var failed error
	found := r.headers(s, from, func(at uint32, h header) bool {
		if at >= limit || at < r.hole.from && r.hole.segment == s || !r.alive(i, at, h) || int64(h.end(at)) > s.size {
			return false
		}
		var closed bool
		closed, failed = r.closedBy(s, at, h)
		return closed || failed != nil
	})
	if found {
		return true, failed
	}
	if following != nil {
		found, err := r.headerLost(s, following.priorEnd)
		s.end, s.chain = limit, following.priorChain
		return found, err
	} else if i < r.newest {
		s.end = limit
	}
	return false, nil
}

// alive says whether a header that was found somewhere is of the log, and not of a record that
// another one has replaced. Only the record at the end of a log is ever replaced, and, with the head
// of its segment, the first batch. So a header is alive if it says that all before it was synced, or
// if its own place was.
func (r *replay) alive(i int, at uint32, h header) bool { return h.synced == at || r.promised(i, at) }

// closedBy closes the hole with the record at an offset of a segment, if that record can.
func (r *replay) closedBy(s *segment, at uint32, h header) (bool, error) {
	prelude, frames, err := splitBody(r.buf[at+headerSize : h.end(at)])
	if err != nil {
		return false, nil
	}
	if h.prior == r.hole.at {
		if ok, err := r.headerLost(s, at); ok || err != nil {
			s.last, s.end, s.chain = h.prior, at, h.before
			return ok, err
		}
	}
	switch h.kind {
	case kindOpen:
		var c checkpoint
		if c.decode(prelude) != nil {
			return false, nil
		}
		if err := r.closeWith(s, at, &c); err != nil {
			return false, err
		}
	case kindBatch:
		c := &r.change
		if c.decode(prelude) != nil {
			return false, nil
		}
		if r.hole.start.before(c.witness.since) {
			r.skip(s, at, h, frames)
			return r.closedByAnchor(s, at, h)
		}
		if err := r.closeAs(s, at, &c.witness); err != nil {
			return false, err
		}
	default:
		return false, nil
	}
	s.last, s.end, s.chain = h.prior, at, h.before
	s.synced = max(s.synced, h.synced)
	return true, nil
}

// closedByAnchor closes the hole with the anchor, if its place is where a record ends that was
// skipped: then nothing is wrong behind that place.
func (r *replay) closedByAnchor(s *segment, at uint32, h header) (bool, error) {
	a := r.anchor
	end := next(h.end(at))
	if a.place != (place{s.number, end}) || a.chain != h.chain || a.checkpoint == nil {
		return false, nil
	}
	if chainOver(r.buf[at:h.end(at)], h.before) != h.chain {
		return false, nil
	}
	if err := r.closeWith(s, end, a.checkpoint); err != nil {
		return false, err
	}
	s.last, s.end, s.chain = at, end, h.chain
	return true, nil
}

// closeWith closes the hole with a checkpoint that holds at an offset of a segment.
func (r *replay) closeWith(s *segment, at uint32, c *checkpoint) error {
	low := max(c.compacted, 1)
	if err := r.log.contents.become(low, c.last, c.compacted, c.runs, c.configurations); err != nil {
		return corrupt(s, at, err.Error())
	}
	if err := r.adopt(c); err != nil {
		return corrupt(s, at, err.Error())
	}
	r.closed(s, at, touch{touchable, low})
	return nil
}

// closeAs closes the hole with the witness of the batch at an offset of a segment.
func (r *replay) closeAs(s *segment, at uint32, w *witness) error {
	t := &r.log.contents
	if w.flags&changesState != 0 {
		t.durable = w.durable
	}
	if w.flags&changesSnapshot != 0 {
		t.snapshot = w.snapshot
	}
	compacted := t.compacted
	if w.flags&changesCompacted != 0 {
		compacted = w.compacted
	}
	var err error
	if w.flags&changesEntries != 0 {
		err = t.become(w.low, w.last, compacted, w.runs, w.configurations)
	} else {
		t.generation++
		t.compact(compacted)
	}
	if err == nil && t.last != w.last {
		err = fmt.Errorf("the log ends at %d before the damage, and at %d behind it", t.last, w.last)
	}
	if err == nil {
		err = t.check()
	}
	if err != nil {
		return corrupt(s, at, err.Error())
	}
	r.closed(s, at, touch{w.flags, w.low})
	return nil
}

// closed ends the hole at an offset of a segment, where the log is known again.
func (r *replay) closed(s *segment, at uint32, own touch) {
	l, hole := r.log, r.hole
	for i := range hole.skipped {
		l.contents.repair(&hole.skipped[i].piece, hole.skipped[i].segment, 0)
	}
	here := place{s.number, at}
	l.trail.add(here, 0, own)
	if a := r.anchor.place; !a.before(hole.start) && !here.before(a) {
		r.passed = true
	}
	r.lose(hole.damage)
	r.hole = nil
}

// headerLost replays the batch at the beginning of the hole, of which only the header is damaged. It
// must end at an offset of the segment in buf. It returns false if there is more that is damaged.
func (r *replay) headerLost(s *segment, end uint32) (bool, error) {
	hole := r.hole
	if hole.segment != s || end < hole.at+headerSize || int64(end) > s.size || hole.at < preambleSize+headerSize {
		return false, nil
	}
	record := r.buf[hole.at:end]
	prelude, frames, err := splitBody(record[headerSize:])
	if err != nil || len(prelude) == 0 || prelude[0] == checkpointMark {
		return false, nil
	}
	var c change
	if c.decode(prelude) != nil {
		return false, nil
	}
	at, entries := headerSize+frames, 0
	for i := range c.repairs + c.count {
		if i == c.repairs {
			entries = at
		}
		frame, ok := frameAt(record[at:])
		if !ok {
			return false, nil
		}
		at += len(frame)
	}
	if c.count == 0 {
		entries = at
	}
	if next(hole.at+uint32(at)) != end {
		return false, nil
	}
	r.hole = nil
	r.lose(hole.damage)
	r.log.contents.generation++ // nobody reads over the header
	s.end = hole.at
	h := header{length: uint32(at - headerSize), entries: uint32(entries - headerSize), kind: kindBatch}
	if err := r.replayed(s, h, record[:at], prelude, headerSize+frames, false); err != nil {
		return false, corrupt(s, hole.at, err.Error())
	}
	return true, r.visited(&r.all[s.number-r.all[0].segment.number], hole.at, h, record[:at])
}

// end finds out whether the log ends where reading has ended, and how.
func (r *replay) end() error {
	a, s := r.anchor, r.all[r.newest].segment
	if r.hole != nil {
		if !a.closed || a.place.segment != s.number || !r.hole.start.before(a.place) {
			return r.hole.damage
		}
		prior := r.hole.at
		if found, err := r.headerLost(s, a.place.offset); err != nil {
			return err
		} else if !found {
			if a.checkpoint == nil {
				return r.hole.damage
			}
			if err := r.closeWith(s, a.place.offset, a.checkpoint); err != nil {
				return err
			}
		}
		s.last, s.end, s.chain, r.passed = prior, a.place.offset, a.chain, true
	}
	if first := r.all[0].segment.number; !r.passed && a.place.segment >= first {
		return corrupt(s, s.end, fmt.Sprintf("the log doesn't stand where the anchor says, at %d of segment %d", a.place.offset, a.place.segment))
	}
	if a.place.segment == s.number {
		s.synced = max(s.synced, a.place.offset)
	}
	if a.checkpoint != nil {
		r.log.opens = max(r.log.opens, a.checkpoint.opens)
	}
	if err := r.short(); err != nil {
		return err
	}
	r.tail = TailOpen
	if a.closed && a.place == (place{s.number, s.end}) {
		r.tail = TailClosed
	} else if int64(s.end)+headerSize <= s.size {
		if _, ok := parseHeader(r.buf[s.end:], s.key, s.end); ok {
			r.tail = TailTorn
		}
	}
	return nil
}

// short refuses a log of which the newest file, or the next one, is shorter than it was, unless it
// was closed: what it held isn't known.
func (r *replay) short() error {
	if r.anchor.closed {
		return nil
	}
	for i := range r.all[r.newest:] {
		f := &r.all[r.newest+i]
		was := int64(f.head.size)
		if f.segment.number == r.anchor.highest {
			was = max(was, r.anchor.size)
		}
		if f.segment.size < was {
			return corrupt(f.segment, uint32(f.segment.size), fmt.Sprintf("it is shorter than the %d bytes that it had", was))
		}
	}
	return nil
}
