package wal

import "fmt"

// A hole is damage: the part of the log from where reading stopped to where it goes on. It goes on at
// the next sound record, y. In between, groups may have been touched. y says which ones, if the place
// of its directory isn't behind the beginning of the hole; a batch says that it is the group "" alone.
// Else the head of the next segment says it, an open, or the anchor.
//
//	| A | B |/////////////////| y |       y says what was touched since p. If p ≤ x, that tells which
//	        x                             groups aren't known any more: there is doubt about them
//
// A part of a record that is damaged alone is a hole for its own group.
//
// The doubt about a group ends with a part that has its head, or whose witness says what was touched in
// the group since a place that isn't behind the beginning of the hole. Until then its parts are
// skipped. When it ends, they give the bytes of their entries, if these still belong to the log.
type hole struct {
	segment *segment
	at      uint32
	start   place // where the log isn't known any more
	groups  place // start; or, if nothing is known of the log before, the beginning of the first segment
	resumed place // where reading went on
	damage  error
	from    uint32 // where in the segment that is being searched the search goes on
	skipped []skipped
	final   bool // nothing ends the doubt: the parts of the group contradict each other
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

// skip keeps the entries of a batch that can't be replayed. Its frames begin at the offset frames of the
// record, and those of its entries at the offset entries.
func (k *hole) skip(s *segment, at uint32, record []byte, frames, entries int, seed uint32) {
	var c change
	c.searchPieces(record, frames, -1, seed)
	end := next(at + uint32(len(record)))
	for i, p := range c.pieces {
		p.place(at)
		n := len(k.skipped)
		if first := at + uint32(entries); i == 0 && n > 0 && p.points[0].offset == first {
			if k := &k.skipped[n-1]; k.segment == s && k.end == at && k.last+1 == p.first && k.term == p.term {
				k.last, k.points = p.last, append(k.points, p.points...)
				k.end = end
				continue
			}
		}
		k.skipped = append(k.skipped, skipped{piece: p, segment: s})
	}
	if n := len(k.skipped); n > 0 && len(c.pieces) == 1 {
		k.skipped[n-1].end = end
	}
}

// skipPart keeps the entries of a part of a shared record, from its repairs on.
func (k *hole) skipPart(s *segment, at uint32, record []byte, p *part, seed uint32) {
	var c change
	c.searchPieces(record[:p.end], p.repairs, -1, seed)
	for _, p := range c.pieces {
		p.place(at)
		k.skipped = append(k.skipped, skipped{piece: p, segment: s})
	}
}

// place makes the places of a piece count from the beginning of the segment, in which its record stands
// at an offset.
func (p *piece) place(at uint32) {
	for i := range p.points {
		p.points[i].offset += at
		p.points[i].end += at
	}
}

// search looks through the rest of segment i for a record with which reading goes on. It returns false
// if there is none.
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
		var resumed bool
		resumed, failed = r.resume(s, at, h)
		return resumed || failed != nil
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

// resume makes reading go on with the record at an offset of a segment, if that can be read.
func (r *replay) resume(s *segment, at uint32, h header) (bool, error) {
	if !r.readable(h, r.buf[at:h.end(at)]) {
		return false, nil
	}
	if h.prior == r.hole.at {
		if ok, err := r.headerLost(s, at); ok || err != nil {
			s.last, s.end, s.chain = h.prior, at, h.before
			return ok, err
		}
	}
	r.pass(place{s.number, at})
	s.last, s.end, s.chain = h.prior, at, h.before
	s.synced = max(s.synced, h.synced)
	return true, nil
}

// readable says whether a record says what it is: its directory is sound, and its prelude, if it has one
// part.
func (r *replay) readable(h header, record []byte) bool {
	if h.kind == kindShared {
		return r.shared.decode(record) == nil && r.shared.end == len(record)
	}
	prelude, _, err := splitBody(record[headerSize:])
	switch {
	case err != nil:
		return false
	case h.kind == kindOpen:
		return new(checkpoint).decode(prelude) == nil
	}
	return h.kind == kindBatch && r.change.decode(prelude) == nil
}

// closeWith ends the doubt about a group with a checkpoint that holds at an offset of a segment.
func (r *replay) closeWith(g *group, s *segment, at uint32, c *checkpoint) error {
	low := max(c.compacted, 1)
	if err := g.contents.become(low, c.last, c.compacted, c.runs, c.configurations); err != nil {
		return corrupt(s, at, err.Error())
	}
	adopt := g.contents.adopt
	if g.root() {
		adopt = r.adopt
	}
	if err := adopt(c); err != nil {
		return corrupt(s, at, err.Error())
	}
	r.closed(g, s, at, touch{touchable, low})
	return nil
}

// closeAs ends the doubt about a group with the witness of its part at an offset of a segment.
func (r *replay) closeAs(g *group, s *segment, at uint32, w *witness) error {
	t := &g.contents
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
	r.closed(g, s, at, touch{w.flags, w.low})
	return nil
}

// closed ends the doubt about a group at an offset of a segment, where it is known again.
func (r *replay) closed(g *group, s *segment, at uint32, own touch) {
	l, hole, here := r.log, r.doubts.holes[g], place{s.number, at}
	for i := range hole.skipped {
		g.contents.repair(&hole.skipped[i].piece, hole.skipped[i].segment, 0)
	}
	if g.root() {
		l.trail.add(here, 0, own)
	} else {
		l.groups.window.note(here, g, own)
	}
	if g.damage == nil {
		g.damage = hole.damage
	}
	delete(r.doubts.holes, g)
	r.doubts.known[g] = here
}

// headerLost replays the record at the beginning of the hole, of which only the header is damaged. It
// must end at an offset of the segment in buf. It returns false if there is more that is damaged.
func (r *replay) headerLost(s *segment, end uint32) (bool, error) {
	hole := r.hole
	if hole.segment != s || end < hole.at+headerSize || int64(end) > s.size || hole.at < preambleSize+headerSize {
		return false, nil
	}
	record := r.buf[hole.at:end]
	h, prelude, frames, ok := r.withoutHeader(record)
	at := int(h.length) + headerSize
	if !ok || next(hole.at+uint32(at)) != end {
		return false, nil
	}
	r.hole = nil
	r.damage = append(r.damage, hole.damage)
	r.log.contents.generation++ // nobody reads over the header
	s.end = hole.at
	var err error
	if h.kind == kindShared {
		err = r.parts(s, &r.shared, record[:at], false)
	} else {
		err = r.replayed(s, h, record[:at], prelude, frames, false)
	}
	if err != nil {
		return false, located(s, hole.at, err)
	}
	return true, r.visited(&r.all[s.number-r.all[0].segment.number], hole.at, h, record[:at])
}

// withoutHeader finds out what a record is by its body alone. Its frames begin at the offset frames.
func (r *replay) withoutHeader(record []byte) (h header, prelude []byte, frames int, ok bool) {
	if r.shared.decode(record) == nil {
		length := uint32(r.shared.end - headerSize)
		return header{length: length, entries: length, kind: kindShared}, nil, 0, true
	}
	prelude, frames, err := splitBody(record[headerSize:])
	if err != nil || len(prelude) == 0 || prelude[0] == checkpointMark {
		return h, nil, 0, false
	}
	var c change
	if c.decode(prelude) != nil {
		return h, nil, 0, false
	}
	frames += headerSize
	at, entries := frames, 0
	for i := range c.repairs + c.count {
		if i == c.repairs {
			entries = at
		}
		frame, ok := frameAt(record[at:])
		if !ok {
			return h, nil, 0, false
		}
		at += len(frame)
	}
	if c.count == 0 {
		entries = at
	}
	return header{length: uint32(at - headerSize), entries: uint32(entries - headerSize), kind: kindBatch}, prelude, frames, true
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
			r.pass(a.place)
			if err := r.byAnchor(s, a); err != nil {
				return err
			}
		}
		s.last, s.end, s.chain, r.passed = prior, a.place.offset, a.chain, true
	}
	if err := r.unsure(); err != nil {
		return err
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
