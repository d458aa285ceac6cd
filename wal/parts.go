package wal

import (
	"hash/crc32"
	"slices"
)

// encode makes a record of the parts, with room for its header. If it is the first one of its segment,
// all of them carry a head.
func (l *Log) encode(first bool) []byte {
	k := &l.shared
	d := &k.directory
	d.since = l.trail.since
	l.groups.window.begin(d.since)
	d.touched = l.groups.window.marks(d.touched[:0])
	if l.trail.touched().flags != 0 {
		d.touched = append(d.touched, markOf(&l.group, unknownParts))
	}
	before := headerSize + maxDirectory + len(d.touched)*maxMark + len(k.out)*maxInPart
	b := slices.Grow(k.buf[:0], before)[:before]
	seed := preamble{salt: l.salt}.seed()
	for i := range k.out {
		o := &k.out[i]
		o.start = len(b)
		b = l.appendPrelude(b, o, first)
		o.repairsAt = len(b)
		o.change.pieces = o.change.pieces[:0]
		b = o.change.appendRepairs(b, o.repairs, seed)
		o.change.endPieces(len(b))
		o.entriesAt = len(b)
		o.change.points = o.change.points[:0]
		if len(o.entries) > 0 {
			b = o.change.appendFrames(b, o.entries, seed)
		}
		o.end = len(b)
	}
	if cap(b) <= maxKeptBuffer {
		k.buf = b
	}
	d.parts = d.parts[:0]
	for i := range k.out {
		o := &k.out[i]
		prelude := b[o.start:o.repairsAt]
		d.parts = append(d.parts, part{
			group: o.group.number, prelude: prelude, crc: crc32.Checksum(prelude, castagnoli),
			repairs: o.repairsAt, entries: o.entriesAt, end: o.end,
		})
	}
	encoded := d.append(nil)
	start := before - headerSize - len(encoded)
	copy(b[start+headerSize:], encoded)
	for i := range k.out {
		k.out[i].change.shift(start)
	}
	return b[start:]
}

// appendPrelude appends the prelude of a part.
func (l *Log) appendPrelude(b []byte, o *outgoing, first bool) []byte {
	g, c := o.group, &o.change
	c.inPart = true
	o.head = 0
	headed := c.flags&ends == 0 && (g.needsHead() || first && !g.root())
	if headed {
		start := len(b)
		b = g.appendGroupHead(b)
		o.head = int64(len(b) - start)
	}
	b = c.append(b)
	if headed || c.flags&ends != 0 {
		return b
	}
	touched := l.groups.window.touched(g)
	if g.root() {
		touched = l.trail.touched()
	}
	return g.contents.appendPartWitness(b, touched)
}

// publishParts makes the parts visible, which are durable. See publish.
func (l *Log) publishParts(at, size, chain uint32) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	own := touch{}
	for i := range l.shared.out {
		if o := &l.shared.out[i]; o.group.root() {
			own = own.with(o.change.touches())
		}
	}
	l.extend(at, size, chain, own)
	for i := range l.shared.out {
		o := &l.shared.out[i]
		if err := o.group.take(&o.change, l.active, at, l.tip.place, o.head); err != nil {
			return err
		}
	}
	l.dropUnneeded()
	return nil
}

// take makes a part of a record take effect in its group. The record stands at an offset of a segment,
// and ends at end. head is how many bytes of the part are the head of the group; 0 if it has none.
func (g *group) take(c *change, s *segment, at uint32, end place, head int64) error {
	l := g.log
	if !g.root() {
		l.groups.numbered[g.number] = g
		if head > 0 {
			l.groups.heads += head - g.headSize
			g.headSize, g.head, g.headEnd = head, s, end
		}
		g.list(s, 1)
		l.groups.window.add(end, g, c.touches())
	}
	if c.flags&ends != 0 {
		g.end(s)
		return nil
	}
	grows := head == 0 && c.appends(&g.contents)
	if err := g.contents.apply(c, s, at); err != nil {
		return err
	}
	if c.flags&(changesCompacted|changesSnapshot) != 0 {
		g.forgetDamage(c)
		g.snapshots.unswept, l.untidy = true, true
		if !g.root() {
			l.files.unswept = append(l.files.unswept, g)
		}
	}
	g.count(c, grows)
	return nil
}

// forgetDamage forgets the damage to a snapshot when another one takes its place.
func (g *group) forgetDamage(c *change) {
	if c.flags&changesSnapshot != 0 {
		g.snapshots.damage = nil
	}
}

// appends says whether the change does nothing but to add entries behind those of a group, and to set
// its state.
func (c *change) appends(t *contents) bool {
	return c.flags&^(changesState|changesEntries) == 0 && (c.flags&changesEntries == 0 || c.first == t.last+1)
}

// count counts what a group needs after a change, and which segments. The change appends, or not.
func (g *group) count(c *change, appends bool) {
	if appends {
		bytes := c.bytes()
		g.live += bytes
		g.log.groups.live += bytes
		return
	}
	g.weigh()
	g.hold()
}

// end ends the group: nothing of it is needed any more, and its name may be used for a new one.
func (g *group) end(s *segment) {
	l := g.log
	g.ended, g.refused = true, nil
	g.list(s, 0)
	delete(l.groups.numbered, g.number)
	if l.groups.named[g.id] == g {
		delete(l.groups.named, g.id)
	}
	l.groups.heads -= g.headSize
	g.headSize = 0
	g.contents = contents{}
	g.weigh()
	g.hold()
}

// bytes returns how many bytes the entries of a part take.
func (c *change) bytes() uint64 {
	if len(c.points) == 0 {
		return 0
	}
	return uint64(c.points[len(c.points)-1].end - c.points[0].offset)
}

// endPieces says where each piece ends. The last one ends at end.
func (c *change) endPieces(end int) {
	for i := len(c.pieces) - 1; i >= 0; i-- {
		p := &c.pieces[i]
		p.moved = c.flags&moves != 0
		for j := range p.points {
			p.points[j].end = uint32(end)
		}
		end = int(p.points[0].offset)
	}
}

// shift moves the places in the change, which counted from the beginning of a buffer, so that they
// count from the offset start of it.
func (c *change) shift(start int) {
	move := func(points []point) {
		for i := range points {
			points[i].offset -= uint32(start)
			points[i].end -= uint32(start)
		}
	}
	move(c.points)
	for i := range c.pieces {
		move(c.pieces[i].points)
	}
}

// changedParts looks at the room after parts that are durable, and does the work that follows.
func (l *Log) changedParts() error {
	if l.disk != nil {
		l.disk.writes.Add(1)
	}
	for i := range l.shared.out {
		if o := &l.shared.out[i]; o.group.root() {
			if err := l.changed(&o.change); err != nil {
				return err
			}
		}
	}
	l.wrote()
	return nil
}
