package coalesce

import "github.com/e17579a5/raft/wire"

// Campaigns is for how many groups a process campaigns at a time to found them, and for how many others,
// unless its Config says otherwise. That many keep the disks and the connections busy.
const Campaigns = 256

// A line is where groups wait for which a process is to campaign. Whoever makes thousands of groups at once,
// or loses the process that leads them, wants them led as fast as that goes, and not all at the same time:
// then each would take longer than an election timeout, each server would campaign again and again, and no
// group would ever be led. There is a line for groups that are to be founded, and one for the rest.
//
//	WaitToCampaign ──▶ waits ──▶ has a place ──▶ CampaignOver: it is led, or has asked in vain
//	                                        └──▶ an election timeout has passed
//
// A group that is new in the line goes ahead of those that have tried in vain, or leave another server the
// first try, and of the new ones the one that came last: so it doesn't wait for thousands whose other
// servers aren't there. The others have a quarter of the places at most.
type line struct {
	places     int
	rows       [3]row
	takenAgain int // how many of those that have places aren't new
}

// The rows of a line: groups that wait and are new, the others that wait, and those that have places, in the
// order in which they got them.
const (
	fresh = iota
	again
	taken
)

// A campaign is a group's part of a line.
type campaign struct {
	row         int
	ahead, next *group
	until       Instant // when its place is somebody else's, whatever has become of the group
	founds      bool    // whether it is in the line of those that are to be founded
	again, told bool    // whether it isn't new, and whether the core knows of the place
}

// lineOf returns the line in which a group is.
func (b *Book) lineOf(c *campaign) *line {
	if c.founds {
		return &b.foundings
	}
	return &b.elections
}

// WaitToCampaign lets a group wait until this server may campaign for it: then it takes a turn, and Left says
// so. founds says that it is to be founded, and tried that it has tried before or leaves another server
// the first try. sooner is as Settle's.
func (b *Book) WaitToCampaign(now Instant, id wire.GroupID, founds, tried bool) (sooner bool) {
	b.advance(now)
	g := b.group(id)
	b.leaveLine(g)
	g.campaign = &campaign{founds: founds, again: tried}
	l := b.lineOf(g.campaign)
	if tried {
		l.add(again, g)
	} else {
		l.add(fresh, g)
	}
	b.callUp(l)
	return true
}

// CampaignOver notes that a group is led, by this server or another one. sooner is as Settle's.
func (b *Book) CampaignOver(now Instant, id wire.GroupID) (sooner bool) {
	b.advance(now)
	if g := b.byGroup[id]; g != nil {
		sooner = b.leaveLine(g)
	}
	return sooner
}

// leaveLine takes a group out of its line, or from its place, which somebody else gets. It returns true if
// there is anybody.
func (b *Book) leaveLine(g *group) (any bool) {
	c := g.campaign
	if c == nil {
		return false
	}
	l := b.lineOf(c)
	if c.again && c.row == taken {
		l.takenAgain--
	}
	l.remove(g)
	g.campaign = nil
	return b.callUp(l)
}

// callUp gives free places to those who wait. It returns true if there was anybody.
func (b *Book) callUp(l *line) (any bool) {
	for ; l.rows[taken].length < l.places; any = true {
		g := l.rows[fresh].last
		if g == nil && l.takenAgain < (l.places+3)/4 {
			g = l.rows[again].first
		}
		if g == nil {
			break
		}
		l.remove(g)
		b.take(l, g)
		b.turn(g)
	}
	return any
}

// take gives a group a place.
func (b *Book) take(l *line, g *group) {
	l.add(taken, g)
	if g.campaign.until = b.now + b.timeout; g.campaign.again {
		l.takenAgain++
	}
}

// claim gives a group that is to campaign at once a place, if there is one: it needs no further turn then.
func (b *Book) claim(g *group) {
	if l := &b.elections; g.campaign == nil && l.rows[taken].length < l.places {
		g.campaign = new(campaign)
		b.take(l, g)
	}
}

// mayCampaign says whether a group has a place, and notes that its core knows that.
func (b *Book) mayCampaign(g *group) bool {
	c := g.campaign
	if c == nil || c.row != taken || c.told {
		return false
	}
	c.told = true
	return true
}

// callIn takes the places of those who have had them for too long.
func (b *Book) callIn(l *line) {
	for b.now >= l.until() {
		b.leaveLine(l.rows[taken].first)
	}
}

// until returns when callIn has something to do.
func (l *line) until() Instant {
	if l.rows[taken].length == 0 || l.rows[fresh].length+l.rows[again].length == 0 {
		return never
	}
	return l.rows[taken].first.campaign.until
}

// A row is groups of a line one behind the other.
type row struct {
	first, last *group
	length      int
}

// add puts a group at the end of a row.
func (l *line) add(row int, g *group) {
	r, c := &l.rows[row], g.campaign
	c.row, c.ahead, c.next = row, r.last, nil
	if r.last == nil {
		r.first = g
	} else {
		r.last.campaign.next = g
	}
	r.last = g
	r.length++
}

// remove takes a group out of its row.
func (l *line) remove(g *group) {
	c := g.campaign
	r := &l.rows[c.row]
	if c.ahead == nil {
		r.first = c.next
	} else {
		c.ahead.campaign.next = c.next
	}
	if c.next == nil {
		r.last = c.ahead
	} else {
		c.next.campaign.ahead = c.ahead
	}
	r.length--
}
