package wal

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/e17579a5/raft"
)

// doubts are what a replay doesn't know after damage.
type doubts struct {
	// passed are the holes behind which reading has gone on, as long as it isn't known which groups they
	// concern.
	passed []*hole
	// holes are the groups that aren't known since a hole, and known is where groups were known again.
	holes map[*group]*hole
	known map[*group]place
}

// pass ends a hole at the place where reading goes on.
func (r *replay) pass(here place) {
	hole := r.hole
	r.hole = nil
	hole.resumed, hole.groups = here, hole.start
	if hole.start == (place{}) {
		hole.groups = place{r.all[0].segment.number, 0}
	}
	if a := r.anchor.place; !a.before(hole.start) && !here.before(a) {
		r.passed = true
	}
	r.damage = append(r.damage, hole.damage)
	r.doubts.passed = append(r.doubts.passed, hole)
}

// resolve takes notice of which groups were touched since a place: the holes behind it concern these,
// and no other ones. nil stands for groups that aren't known. read says how many parts of a group
// were read since that place: a group of which there were no more isn't concerned.
func (r *replay) resolve(since place, touched []mark, read func(g *group) uint32) {
	if touched == nil || len(r.doubts.passed) == 0 {
		return
	}
	r.doubts.passed = slices.DeleteFunc(r.doubts.passed, func(hole *hole) bool {
		if hole.groups.before(since) {
			return false
		}
		for _, m := range touched {
			if g := r.numbered(m.number); g == nil || m.ended || m.parts >= unknownParts || read(g) != m.parts {
				r.suspect(m, hole)
			}
		}
		return true
	})
}

// resolveBy takes notice of which other groups were touched in a segment, as a checkpoint says. It says
// whether there is doubt about the group "", whose identity the checkpoint has.
func (r *replay) resolveBy(c *checkpoint, number uint64) bool {
	var s *segment
	if number >= r.all[0].segment.number {
		s = r.all[number-r.all[0].segment.number].segment
	}
	since := place{number, 0}
	doubtful := r.doubt(&r.log.group) != nil
	r.resolve(since, c.touched, func(g *group) uint32 { return g.partsIn(s) })
	return doubtful
}

// suspect begins the doubt about a group that has a mark. If the group has ended, nothing is in doubt.
func (r *replay) suspect(m mark, hole *hole) {
	l := r.log
	g := r.numbered(m.number)
	l.groups.next = max(l.groups.next, m.number+1)
	if m.ended {
		if g != nil {
			r.ended(g, r.of(hole.resumed))
			l.groups.window.note(hole.resumed, g, touch{})
		}
		return
	}
	if g == nil {
		g = r.made(m.number)
	}
	r.begin(g, hole)
}

// numbered returns the group with a number, or nil.
func (r *replay) numbered(number uint64) *group {
	switch {
	case number == 0:
		return &r.log.group
	case number < uint64(len(r.fast)):
		return r.fast[number]
	}
	return r.log.groups.numbered[number]
}

// maxFast bounds the numbers of groups that are found without a look into a map.
const maxFast = 1 << 20

// made makes a group of which nothing is known but its number.
func (r *replay) made(number uint64) *group {
	g := &group{log: r.log, number: number}
	r.log.groups.numbered[number] = g
	if number < maxFast {
		for uint64(len(r.fast)) <= number {
			r.fast = append(r.fast, nil)
		}
		r.fast[number] = g
	}
	r.log.groups.next = max(r.log.groups.next, number+1)
	return g
}

// ended ends a group, in a record of a segment.
func (r *replay) ended(g *group, s *segment) {
	delete(r.doubts.holes, g)
	if g.number < uint64(len(r.fast)) {
		r.fast[g.number] = nil
	}
	g.end(s)
}

// of returns the segment of a place.
func (r *replay) of(p place) *segment { return r.all[p.segment-r.all[0].segment.number].segment }

// begin begins the doubt about a group, unless it was known again behind the hole.
func (r *replay) begin(g *group, from *hole) {
	if known, ok := r.doubts.known[g]; ok && !known.before(from.resumed) {
		return
	}
	k := r.doubts.holes[g]
	if k == nil {
		k = &hole{segment: from.segment, at: from.at, start: from.groups, damage: from.damage, resumed: from.resumed}
		r.doubts.holes[g] = k
		if g.root() {
			k.start = from.start
		}
	} else if !k.resumed.before(from.resumed) {
		return // it began with this hole already
	}
	k.resumed = from.resumed
	if g.root() {
		k.skipped = append(k.skipped, from.skipped...)
		return
	}
	r.log.groups.window.note(from.resumed, g, touch{})
	if from.resumed.offset > 0 {
		g.unsure(r.of(from.resumed))
	}
}

// doubt returns the hole since which a group isn't known, or nil if it is known.
func (r *replay) doubt(g *group) *hole {
	for _, hole := range r.doubts.passed {
		r.begin(g, hole)
	}
	if len(r.doubts.holes) == 0 {
		return nil
	}
	return r.doubts.holes[g]
}

// byAnchor ends what doubts it can where the checkpoint of the anchor holds.
func (r *replay) byAnchor(s *segment, a *anchorState) error {
	if a.checkpoint == nil {
		return nil
	}
	if !r.resolveBy(a.checkpoint, s.number) {
		return nil
	}
	return r.closeWith(&r.log.group, s, a.place.offset, a.checkpoint)
}

// unsure returns the damage by which the whole log is lost: that of the group "", or that of nobody
// knows which groups.
func (r *replay) unsure() error {
	if len(r.doubts.passed) > 0 && r.log.groups.next > 1 {
		return r.doubts.passed[0].damage
	}
	if hole := r.doubt(&r.log.group); hole != nil {
		return hole.damage
	}
	return nil
}

// sharedRecord replays a shared record at the end of a segment. See record.
func (r *replay) sharedRecord(f *found, h header, record []byte, whole bool) (bool, error) {
	s, at := f.segment, f.segment.end
	err := r.shared.decode(record)
	if errors.Is(err, errDamaged) && !whole {
		r.stop(s, at, "the directory of a record is damaged")
		r.hole.from = next(h.end(at))
		return false, nil
	}
	if err == nil && r.shared.end != len(record) {
		err = errParts
	}
	if err == nil {
		err = r.parts(s, &r.shared, record, whole)
	}
	if err != nil {
		return false, located(s, at, err)
	}
	s.last, s.end, s.chain = at, next(h.end(at)), h.chain
	return true, r.visited(f, at, h, record)
}

// parts makes the parts of a record at the end of a segment take effect.
func (r *replay) parts(s *segment, d *directory, record []byte, whole bool) error {
	l := r.log
	end := place{s.number, next(s.end + uint32(len(record)))}
	r.resolve(d.since, d.touched, func(g *group) uint32 { return l.groups.window.parts(g, d.since) })
	own := touch{}
	for i := range d.parts {
		p := &d.parts[i]
		g := r.numbered(p.group)
		if !p.sound() {
			r.spoiled(s, g, p, record, "the part of a group is damaged")
			continue
		}
		headed, err := r.change.decodePart(p.prelude, &r.read, d.since)
		if g == nil && r.change.flags&ends != 0 && err == nil {
			l.groups.next = max(l.groups.next, p.group+1)
			continue // nothing of it is there any more
		}
		if g == nil && !headed {
			r.spoiled(s, nil, p, record, "the part of a group has no head, and the group isn't known")
			continue
		}
		if g == nil {
			g = r.made(p.group)
		}
		if err == nil && r.change.flags&ends != 0 {
			g.list(s, 1)
			l.groups.window.add(end, g, touch{})
			r.ended(g, s)
			continue
		}
		var touched touch
		if err == nil {
			touched, err = r.take(s, g, headed, record, p, whole, end)
		}
		switch {
		case err != nil && g.root():
			return err
		case err != nil:
			r.contradicts(s, g, err)
		case g.root():
			own = own.with(touched)
		}
	}
	l.trail.add(end, uint32(len(record)), own)
	l.groups.window.begin(l.trail.since)
	return nil
}

// take makes a part take effect that was decoded. It returns what it has touched.
func (r *replay) take(s *segment, g *group, headed bool, record []byte, p *part, whole bool, end place) (touch, error) {
	l := r.log
	var head *groupHead
	if headed {
		head = &r.read
	}
	touched, err := r.part(s, g, &r.change, head, record, p, whole)
	if g.root() || err != nil {
		return touched, err
	}
	g.list(s, 1)
	l.groups.window.add(end, g, touched)
	if headed {
		l.groups.heads += head.size - g.headSize
		g.headSize, g.head, g.headEnd = head.size, s, end
		r.name(g, head.id, s, end)
	}
	return touched, nil
}

// name gives a group its name. If another group has had it, that one has ended: the end was lost.
func (r *replay) name(g *group, id raft.GroupID, s *segment, end place) {
	named := r.log.groups.named
	if g.id == id {
		return
	}
	if old := named[id]; old != nil && old.number < g.number {
		r.ended(old, s)
		r.log.groups.window.note(end, old, touch{})
	}
	g.id = id
	named[id] = g
}

// part makes a part of a group take effect, in a record at the end of a segment. If there is doubt
// about the group, the part ends it, or is skipped. It returns what the part has touched.
func (r *replay) part(s *segment, g *group, c *change, head *groupHead, record []byte, p *part, whole bool) (touch, error) {
	at, t := s.end, &g.contents
	hole := r.doubt(g)
	var err error
	switch {
	case hole != nil && hole.final:
		return touch{}, nil
	case hole != nil && head != nil:
		err = r.closeWith(g, s, at, &head.checkpoint)
	case hole != nil && (c.witness.silent || hole.start.before(c.witness.since) || !g.root() && g.head == nil):
		if c.inPart {
			hole.skipPart(s, at, record, p, r.seed())
		} else {
			hole.skip(s, at, record, p.repairs, p.entries, r.seed())
		}
		return touch{}, nil
	case hole != nil:
		err = r.closeAs(g, s, at, &c.witness)
	case head != nil && g.head == nil:
		t.start(&head.checkpoint)
		err = t.adopt(&head.checkpoint)
	case head != nil && (head.last != t.last || !slices.Equal(head.runs, t.runs)):
		err = fmt.Errorf("the head of a group continues a log that ends at %d, not at %d, or with other terms", head.last, t.last)
	case head != nil:
		err = t.adopt(&head.checkpoint)
	}
	if err == nil {
		err = r.frames(s, g, c, record, p, whole)
	}
	if err == nil {
		err = t.apply(c, s, at)
	}
	if err == nil {
		err = t.check()
	}
	return c.touches(), err
}

// spoiled begins the doubt about a group, or about one of which only the number is known, with a part
// of a record at the end of a segment.
func (r *replay) spoiled(s *segment, g *group, p *part, record []byte, reason string) {
	if g == nil {
		g = r.made(p.group)
	}
	at := place{s.number, s.end}
	k := &hole{
		segment: s, at: s.end, start: at, groups: at, resumed: place{s.number, next(s.end + uint32(len(record)))},
		damage: corrupt(s, s.end, reason),
	}
	r.damage = append(r.damage, k.damage)
	r.begin(g, k)
	r.doubts.holes[g].skipPart(s, s.end, record, p, r.seed())
}

// contradicts makes a group one that can't be loaded.
func (r *replay) contradicts(s *segment, g *group, err error) {
	damage := located(s, s.end, err)
	r.damage = append(r.damage, damage)
	r.doubts.holes[g] = &hole{segment: s, damage: damage, final: true}
}

// endGroups ends the replay for the groups but "": those about which there is doubt can't be loaded, and
// keep the segments in which they may still be found. It takes the groups in order: that of the holders of
// a segment, in which the cleaner moves what they need, follows.
func (r *replay) endGroups() {
	l := r.log
	for _, number := range slices.Sorted(maps.Keys(l.groups.numbered)) {
		g := l.groups.numbered[number]
		k := r.doubts.holes[g]
		if k == nil {
			g.contents.clip()
			g.weigh()
			g.hold()
			continue
		}
		g.refused = k.damage
		if g.id == "" {
			l.groups.nameless = k.damage
		}
		if g.weigh(); g.head == nil || k.segment.number < g.head.number {
			g.holdIn(k.segment)
		} else {
			g.hold()
		}
	}
	l.weigh()
}

// located says where an error was found, unless it says so itself.
func located(s *segment, at uint32, err error) error {
	var damage *CorruptError
	if errors.As(err, &damage) {
		return err
	}
	return corrupt(s, at, err.Error())
}
