package coalesce

import "github.com/e17579a5/raft/wire"

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
	fresh, again, taken row
	takenAgain          int // how many of those that have places have tried before
}

// A founding is a group's part of the line.
type founding struct {
	row         *row
	ahead, next *group
	until       Instant // when its place is somebody else's, whatever has become of the group
	again, told bool    // whether it has tried before, and whether the core knows of the place
}

// WaitToFound lets a group wait until it may be founded: then it takes a turn, and Left says so. again says
// that it has tried before. sooner is as Settle's.
func (b *Book) WaitToFound(now Instant, id wire.GroupID, again bool) (sooner bool) {
	b.advance(now)
	g, l := b.group(id), &b.line
	b.leaveLine(g)
	g.founding = &founding{again: again}
	if again {
		l.again.add(g)
	} else {
		l.fresh.add(g)
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
	if f, l := g.founding, &b.line; f != nil {
		if f.again && f.row == &l.taken {
			l.takenAgain--
		}
		f.row.remove(g)
		g.founding = nil
	}
}

// callUp gives free places to those who wait. It returns true if there was anybody.
func (b *Book) callUp() (any bool) {
	for l := &b.line; l.taken.length < l.places; any = true {
		g := l.fresh.last
		if g == nil && l.takenAgain < (l.places+3)/4 {
			g = l.again.first
		}
		if g == nil {
			break
		}
		f := g.founding
		f.row.remove(g)
		l.taken.add(g)
		if f.until = b.now + b.timeout; f.again {
			l.takenAgain++
		}
		b.turn(g)
	}
	return any
}

// callIn takes the places of those who have had them for too long.
func (b *Book) callIn() {
	for b.now >= b.line.until() {
		b.leaveLine(b.line.taken.first)
		b.callUp()
	}
}

// until returns when callIn has something to do.
func (l *line) until() Instant {
	if l.taken.length == 0 || l.fresh.length+l.again.length == 0 {
		return never
	}
	return l.taken.first.founding.until
}

// A row is groups of the line one behind the other.
type row struct {
	first, last *group
	length      int
}

// add puts a group at the end of the row.
func (r *row) add(g *group) {
	f := g.founding
	f.row, f.ahead, f.next = r, r.last, nil
	if r.last == nil {
		r.first = g
	} else {
		r.last.founding.next = g
	}
	r.last = g
	r.length++
}

// remove takes a group out of the row.
func (r *row) remove(g *group) {
	f := g.founding
	if f.ahead == nil {
		r.first = f.next
	} else {
		f.ahead.founding.next = f.next
	}
	if f.next == nil {
		r.last = f.ahead
	} else {
		f.next.founding.ahead = f.ahead
	}
	r.length--
}
