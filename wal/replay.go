package wal

import (
	"errors"
	"fmt"
	"slices"
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
//	                        E says: synced past x            → x was promised: damage
//
// The chain and the lengths before E are broken. E is found all the same, because a header is
// recognised by its place alone. So is damage that ends the log, since the anchor says how far the
// log went.
//
// Damage is a hole: it begins where reading stops, and ends where the next sound record stands. Which
// groups it concerns, a later record says, and what has stood in it, later records of these groups
// (see hole).
type replay struct {
	log      *Log
	anchor   *anchorState
	unproven []byte // what is to be written once more, from active.synced on

	size    int64   // of the largest segment
	buf     []byte  // the segment that is being replayed
	all     []found // the segments, in order
	newest  int     // the last one that has begun
	started bool    // the first head was read, or is missing
	change  change
	hole    *hole // where reading has stopped; nil while it goes on
	doubts  doubts
	shared  directory
	fast    []*group  // by their numbers, as far as these are small
	read    groupHead // of the part that is being replayed
	passed  bool      // the place of the anchor was passed
	damage  []error   // what was found damaged, each a *CorruptError
	tail    TailState

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
	l.salt = r.anchor.salt
	if err := r.complete(numbers); err != nil {
		return err
	}
	for _, number := range numbers {
		f, err := r.peek(number)
		if f.segment != nil {
			l.segments = append(l.segments, f.segment) // so that its file is closed in any case
			r.size = max(r.size, f.segment.size)
		}
		if err != nil {
			return err
		}
		r.all = append(r.all, f)
	}
	r.buf = make([]byte, r.size)
	r.doubts.holes, r.doubts.known = make(map[*group]*hole), make(map[*group]place)
	if err := r.findNewest(); err != nil {
		return err
	}
	for i := range r.all[:r.newest+1] {
		if err := r.segment(i); err != nil {
			return err
		}
	}
	if err := r.end(); err != nil {
		return err
	}
	l.active = r.all[r.newest].segment
	if s := l.active; s.synced < s.end {
		// The padding behind the last record may be missing at the end of the file.
		r.unproven = slices.Clone(r.buf[s.synced:min(int64(s.end), s.size)])
	}
	if err := r.unbegun(r.all[r.newest+1:]); err != nil {
		return err
	}
	l.segments = l.segments[:r.newest+1]
	r.endGroups()
	l.dropUnneeded()
	return nil
}

// complete returns an error if a segment is missing among those with these numbers, or after them.
func (r *replay) complete(numbers []uint64) error {
	missing := func(number uint64) error {
		return &CorruptError{File: r.log.path(fileName(number, segmentSuffix)), Offset: -1, Reason: "it is missing"}
	}
	for i, number := range numbers[1:] {
		if number != numbers[i]+1 {
			return missing(numbers[i] + 1)
		}
	}
	if last := numbers[len(numbers)-1]; last < r.anchor.highest {
		return missing(last + 1)
	}
	return nil
}

// findNewest finds the last segment that has begun: it has a head, or the anchor or a record in it
// proves that it had one.
func (r *replay) findNewest() error {
	r.newest = -1
	for i := range r.all {
		f := &r.all[i]
		if f.begun || f.segment.number == r.anchor.place.segment {
			r.newest = i
			continue
		}
		if slices.ContainsFunc(r.all[i+1:], func(f found) bool { return f.begun }) {
			continue
		}
		if err := r.load(f.segment); err != nil {
			return err
		}
		if r.headers(f.segment, preambleSize, func(at uint32, h header) bool { return h.synced > 0 }) {
			r.newest = i
		}
	}
	if r.newest < 0 {
		return corrupt(r.all[0].segment, 0, "it doesn't begin like a segment of a log")
	}
	return nil
}

// headers calls visit with each header in buf, from the offset at on, until visit returns true. It
// says whether visit did.
func (r *replay) headers(s *segment, at uint32, visit func(at uint32, h header) bool) bool {
	for ; int64(at)+headerSize <= s.size; at += recordAlign {
		if little.Uint64(r.buf[at:]) != s.key+uint64(at) {
			continue
		}
		if h, ok := parseHeader(r.buf[at:], s.key, at); ok && visit(at, h) {
			return true
		}
	}
	return false
}

// following returns the head of the segment behind segment i, if it has one.
func (r *replay) following(i int) *checkpoint {
	if i < r.newest && r.all[i+1].begun {
		return &r.all[i+1].head
	}
	return nil
}

// segment replays a segment that has begun.
func (r *replay) segment(i int) error {
	f := &r.all[i]
	s := f.segment
	if err := r.load(s); err != nil {
		return err
	}
	if f.begun {
		if err := r.head(f); err != nil {
			return err
		}
	} else {
		r.headless(s)
	}
	for {
		if r.hole != nil {
			if found, err := r.search(i); !found || err != nil {
				return err
			}
		}
		if done, err := r.reached(i); done || err != nil {
			return err
		}
		more, err := r.record(i)
		if err != nil {
			return err
		}
		if !more {
			if r.hole == nil && !r.promised(i, s.end) {
				return nil
			}
			r.stop(s, s.end, "a record is damaged")
		}
	}
}

// reached says whether the replay stands where segment i ends, as the next one says. It compares
// the chain there, and at the place of the anchor.
func (r *replay) reached(i int) (bool, error) {
	s := r.all[i].segment
	if a := r.anchor; a.place == (place{s.number, s.end}) {
		if a.chain != s.chain {
			return false, corrupt(s, s.end, "the anchor continues another log")
		}
		r.passed = true
		if err := r.byAnchor(s, a); err != nil {
			return false, err
		}
	}
	following := r.following(i)
	if following == nil || s.end < following.priorEnd {
		return false, nil
	}
	if s.end > following.priorEnd || s.chain != following.priorChain {
		return false, corrupt(s, s.end, "the next segment continues another one")
	}
	s.synced = s.end
	return true, nil
}

// head takes over what the head of a segment says.
func (r *replay) head(f *found) error {
	s, c, t := f.segment, &f.head, &r.log.contents
	if r.hole != nil {
		r.pass(place{s.number, 0})
	}
	doubtful := r.resolveBy(c, s.number-1)
	switch {
	case !r.started:
		r.started = true
		t.start(c)
		if s.number > 1 { // before the first segment there was nothing
			r.log.trail.since = place{s.number, 0}
		}
	case doubtful:
		if err := r.closeWith(&r.log.group, s, preambleSize, c); err != nil {
			return err
		}
	case c.last != t.last || !slices.Equal(c.runs, t.runs):
		return corrupt(s, preambleSize, fmt.Sprintf("it continues a log that ends at %d, not at %d, or with other terms", c.last, t.last))
	}
	if err := r.adopt(c); err != nil {
		return corrupt(s, preambleSize, err.Error())
	}
	r.log.trail.add(place{s.number, s.end}, s.end, touch{})
	h, _ := parseHeader(r.buf[preambleSize:], s.key, preambleSize)
	return r.visited(f, preambleSize, h, r.buf[preambleSize:h.end(preambleSize)])
}

// adopt takes over the state of a checkpoint.
func (r *replay) adopt(c *checkpoint) error {
	r.log.opens = c.opens
	r.log.groups.next = max(r.log.groups.next, c.next)
	return r.log.contents.adopt(c)
}

// adopt takes over the state, the snapshot, and what may be forgotten.
func (t *contents) adopt(c *checkpoint) error {
	t.durable, t.snapshot = c.durable, c.snapshot
	t.compact(c.compacted)
	return t.check()
}

// visited counts the record at an offset and shows it to the visitor.
func (r *replay) visited(f *found, at uint32, h header, record []byte) error {
	f.records++
	if r.visit == nil {
		return nil
	}
	return r.visit(f.segment, at, h, record)
}

// record replays the record at the end of segment i, and moves the end behind it. It returns false
// if no record stands there that can be read.
func (r *replay) record(i int) (bool, error) {
	f := &r.all[i]
	s := f.segment
	at := s.end
	if int64(at) >= s.size {
		return false, nil
	}
	h, ok := parseHeader(r.buf[at:], s.key, at)
	if !ok || h.before != s.chain || int64(at)+headerSize+int64(h.length) > s.size {
		return false, nil
	}
	s.synced = max(s.synced, h.synced)
	record := r.buf[at:h.end(at)]
	whole := chainOver(record, s.chain) == h.chain
	if !whole && !r.promised(i, at) {
		return false, nil
	}
	if h.kind == kindShared {
		return r.sharedRecord(f, h, record, whole)
	}
	prelude, frames, err := splitBody(record[headerSize:])
	if errors.Is(err, errDamaged) && !whole {
		r.stop(s, at, "the directory or the prelude of a record is damaged")
		r.hole.from = next(h.end(at))
		entries := headerSize + int(h.entries)
		r.hole.skip(s, at, r.buf[at:h.end(at)], entries, entries, r.seed())
		return false, nil
	}
	if err != nil {
		return false, corrupt(s, at, err.Error())
	}
	if err := r.replayed(s, h, record, prelude, headerSize+frames, whole); err != nil {
		return false, located(s, at, err)
	}
	s.last, s.end, s.chain = at, next(h.end(at)), h.chain
	return true, r.visited(f, at, h, record)
}

// replayed makes a record of the group "" take effect. Its frames begin at the offset frames.
func (r *replay) replayed(s *segment, h header, record, prelude []byte, frames int, whole bool) error {
	l, at := r.log, s.end
	end, size := place{s.number, next(at + uint32(len(record)))}, uint32(len(record))
	switch h.kind {
	case kindOpen:
		var c checkpoint
		if err := c.decode(prelude); err != nil {
			return err
		}
		if r.resolveBy(&c, s.number) {
			if err := r.closeWith(&l.group, s, at, &c); err != nil {
				return err
			}
		}
		if t := &l.contents; c.last != t.last || !slices.Equal(c.runs, t.runs) {
			return fmt.Errorf("it was opened with a log that ends at %d, not at %d, or with other terms", c.last, t.last)
		}
		l.trail.add(end, size, touch{})
		return r.adopt(&c)
	case kindBatch:
		c := &r.change
		if err := c.decode(prelude); err != nil {
			return err
		}
		r.resolve(c.witness.since, []mark{markOf(&l.group, unknownParts)}, nil)
		p := part{prelude: prelude, repairs: frames, entries: headerSize + int(h.entries), end: len(record)}
		own, err := r.part(s, &l.group, c, nil, record, &p, whole)
		l.trail.add(end, size, own)
		return err
	}
	return fmt.Errorf("a record of the unknown kind %d", h.kind)
}

// frames finds the frames of a part: its repairs and its entries.
func (r *replay) frames(s *segment, g *group, c *change, record []byte, p *part, whole bool) error {
	seed := r.seed()
	if c.repairs > 0 {
		c.searchPieces(record[:p.entries], p.repairs, c.repairs, seed)
		if c.inPart {
			c.endPieces(p.entries)
		}
	}
	if c.flags&changesEntries == 0 {
		return nil
	}
	if whole {
		return c.walkFrames(record[:p.end], p.entries)
	}
	c.searchFrames(record[:p.end], p.entries, seed)
	if len(c.lost) > 0 {
		r.lose(g, corrupt(s, s.end, fmt.Sprintf("entries of the batch of %d to %d are damaged", c.first, c.last())))
	}
	return nil
}

// seed is where the CRCs of the frames of this log begin.
func (r *replay) seed() uint32 { return preamble{salt: r.log.salt}.seed() }

// lose notes damage that costs a group bytes of its entries, and doesn't keep it from being loaded.
func (r *replay) lose(g *group, damage error) {
	r.damage = append(r.damage, damage)
	if g.damage == nil {
		g.damage = damage
	}
}

// promised says whether something proves that the place at an offset of segment i was synced, and
// more behind it.
func (r *replay) promised(i int, at uint32) bool {
	s := r.all[i].segment
	if i < r.newest || r.anchor.place.segment == s.number && r.anchor.place.offset > at {
		return true
	}
	return r.headers(s, at, func(_ uint32, h header) bool { return h.synced > at })
}

// unbegun looks at the segments after the newest one that has begun. The first of them becomes the
// spare again. There are more of them only if something is wrong.
func (r *replay) unbegun(left []found) error {
	l := r.log
	sp := l.newSpare(l.active)
	l.prepared = prepared{l.active.number, 0}
	for i, f := range left {
		s := f.segment
		if i > 0 {
			return corrupt(s, 0, "it has no head, and it isn't the next segment")
		}
		sp.file, sp.size = s.file, s.size
		l.prepared.number = s.number
	}
	if l.prepared.number == r.anchor.highest {
		l.prepared.size = r.anchor.size
	}
	l.segments = l.segments[:len(l.segments)-len(left)]
	l.spare <- sp
	return nil
}

func corrupt(s *segment, at uint32, reason string) error {
	return &CorruptError{File: s.name, Offset: int64(at), Reason: reason}
}

// start makes the log what a checkpoint says, when nothing of what precedes it is known.
func (t *contents) start(c *checkpoint) {
	t.compacted, t.last = c.compacted, c.last
	t.runs, t.configurations = slices.Clone(c.runs), slices.Clone(c.configurations)
	t.miss(c.compacted+1, c.last)
}
