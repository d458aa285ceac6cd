package coalesce

import (
	linked "container/list"

	"github.com/e17579a5/raft/wire"
)

// Foundings is how many groups a process founds at a time, unless its Config says otherwise. That many keep
// the disks and the connections busy.
const Foundings = 256

// A line is where groups wait that a process is to found. Whoever makes thousands of groups at once wants
// them founded as fast as that goes, and not all at the same time: then each would take longer than an
// election timeout, each server would campaign again and again, and no group would ever be founded.
//
//	WaitToFound ──▶ waits ──▶ has a place ──▶ FoundingOver: it is founded and quiet, or has tried in vain
//	                                     └──▶ an election timeout has passed
//
// A group that is new goes ahead of those that have tried in vain, and of the new ones the one that
// came last: so it doesn't wait for thousands whose other servers aren't there. Those that try again
// have a quarter of the places at most.
type line struct {
	places int
	// fresh are new groups that wait, and again those that have tried before. taken are those that have
	// places, in the order in which they got them.
	fresh, again, taken *linked.List
	takenAgain          int // how many of those that have places have tried before
}

func newLine(places int) line {
	if places == 0 {
		places = Foundings
	}
	return line{places: places, fresh: linked.New(), again: linked.New(), taken: linked.New()}
}

// A founding is a group's part of the line.
type founding struct {
	waits, takes *linked.Element // in the line, and among those that have places; nil for not
	until        Instant         // when the place is somebody else's, whatever has become of the group
	again, told  bool            // whether it has tried before, and whether the core knows of the place
}

// WaitToFound lets a group wait until it may be founded: then it takes a turn, and Left says so. again says
// that it has tried before. sooner is as Settle's.
func (b *Book) WaitToFound(now Instant, id wire.GroupID, again bool) (sooner bool) {
	b.advance(now)
	g := b.group(id)
	b.leaveLine(g)
	f, l := &g.founding, &b.line
	f.again = again
	if again {
		f.waits = l.again.PushBack(g)
	} else {
		f.waits = l.fresh.PushFront(g)
	}
	b.callUp()
	return true
}

// FoundingOver notes that a group has been founded, here or by another server. sooner is as Settle's.
func (b *Book) FoundingOver(now Instant, id wire.GroupID) (sooner bool) {
	b.advance(now)
	if g := b.byGroup[id]; g != nil {
		b.leaveLine(g)
	}
	return b.callUp()
}

// leaveLine takes a group out of the line, or from its place.
func (b *Book) leaveLine(g *group) {
	l, f := &b.line, &g.founding
	switch {
	case f.waits != nil && f.again:
		l.again.Remove(f.waits)
	case f.waits != nil:
		l.fresh.Remove(f.waits)
	case f.takes != nil:
		l.taken.Remove(f.takes)
		if f.again {
			l.takenAgain--
		}
	}
	*f = founding{}
}

// callUp gives free places to those who wait. It returns true if there was anybody.
func (b *Book) callUp() (any bool) {
	l := &b.line
	for {
		var e *linked.Element
		switch {
		case l.fresh.Len() > 0 && l.taken.Len() < l.places:
			e = l.fresh.Front()
		case l.again.Len() > 0 && l.taken.Len() < l.places && l.takenAgain < (l.places+3)/4:
			e = l.again.Front()
			l.takenAgain++
		default:
			return any
		}
		g := e.Value.(*group)
		if f := &g.founding; f.again {
			l.again.Remove(e)
		} else {
			l.fresh.Remove(e)
		}
		g.founding.waits, g.founding.takes, g.founding.until = nil, l.taken.PushBack(g), b.now+b.timeout
		b.turn(g)
		any = true
	}
}

// callIn takes the places of those who have had them for too long.
func (b *Book) callIn() {
	for b.now >= b.line.until() {
		b.leaveLine(b.line.taken.Front().Value.(*group))
		b.callUp()
	}
}

// until returns when callIn has something to do.
func (l *line) until() Instant {
	if l.taken.Len() == 0 || l.fresh.Len()+l.again.Len() == 0 {
		return never
	}
	return l.taken.Front().Value.(*group).founding.until
}
