package coalesce

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A group is one group at this process.
type group struct {
	id    wire.GroupID
	shard int
	at    int // its place in Book.groups

	// entries are those of this process's lists, while the core leads and is quiet. absent are the
	// processes of the members that take no part. awaits is the core's round for which reads wait.
	entries []*entry
	absent  []*process
	term    wire.Term
	awaits  uint64

	// claim is what a quiet follower knows of its leader.
	claim wire.Stand
	// leader is the leader that the core followed when it was last quiet, and voters are the voters
	// then.
	leader *process
	voters []wire.ServerID
	// holds are the entries of others' lists.
	holds []*hold

	// heir is the server to which the core hands its leadership over, or "".
	heir wire.ServerID

	// What the core is to be told when it takes its next turn.
	heard []Heard
	lost  wire.ServerID

	// out says that the group has left the lists, and nobody was told yet. follows says that the core still
	// knows what claim says. doubted and first are what the core is to be told, and turning says that a turn
	// for that was asked for.
	out, follows, doubted, first, turning bool

	campaign *campaign // while it is in a line
}

// group returns what is known of a group, from now on at least.
func (b *Book) group(id wire.GroupID) *group {
	g := b.byGroup[id]
	if g == nil {
		g = &group{id: id, at: len(b.groups)}
		b.byGroup[id] = g
		b.groups = append(b.groups, g)
		for _, p := range b.processes {
			if h := p.holds.byGroup[id]; h != nil {
				h.group = g
				g.holds = append(g.holds, h)
			}
		}
	}
	return g
}

// Leave takes a group from all lists before its core is handed anything (H6), and fills left with
// what the core is to be told first. busy says that the group is on no list any more: a further call would
// have nothing to do until Settle has been called, or Out names the group.
func (b *Book) Leave(now Instant, id wire.GroupID, left *Left) (busy bool) {
	b.advance(now)
	left.Clear()
	g := b.group(id)
	left.Heard = append(left.Heard, g.heard...)
	left.Doubted, left.Lost, left.First = g.doubted, g.lost, g.first
	if g.first {
		b.claim(g)
	}
	left.Campaign = b.mayCampaign(g)
	g.heard, g.doubted, g.lost, g.first, g.turning, g.follows = g.heard[:0], false, "", false, false, false
	for _, h := range g.holds {
		b.leaveHold(h, left)
	}
	g.waitForNobody()
	busy = len(g.holds) == 0
	if len(g.entries) == 0 || g.out {
		return busy
	}
	left.Term = g.term
	for _, e := range g.entries {
		if v := e.voucher(); v.Sent > 0 {
			left.Vouched = append(left.Vouched, v)
		}
	}
	g.out = true
	b.away = append(b.away, g)
	return busy
}

// waitForNobody notes that the core looks after all members itself.
func (g *group) waitForNobody() {
	for _, p := range g.absent {
		p.absences--
	}
	g.absent = g.absent[:0]
}

// Settle puts a quiet group on the lists after its turn. settled is false if the group's core must
// look after itself: a member's process is heard that lacks something, or the leader's list doesn't
// have the same stand. sooner says that Deadline may be earlier than before.
func (b *Book) Settle(now Instant, id wire.GroupID, shard int, quiet *Quiet) (settled, sooner bool) {
	b.advance(now)
	g := b.group(id)
	g.shard = shard
	b.Turned(now, shard)
	if !quiet.Leads {
		return b.follow(g, quiet), false
	}
	g.leader = nil
	if !b.mayLead(g, quiet) {
		return false, false
	}
	b.lead(g, quiet)
	return true, true
}

// mayLead says whether the Book can stand for the rounds of a quiet leader. A member that lacks
// something while its process answers is for the core to look after, once that process has had the time to
// start its groups. And reads don't wait for members that have yet to be told of the group.
func (b *Book) mayLead(g *group, quiet *Quiet) bool {
	for i := range quiet.Others {
		o := &quiet.Others[i]
		p := b.process(o.ID)
		if p == nil || !o.Level && p.answers() {
			return false
		}
		e := p.list.entries[g.id]
		if vouches := e != nil && e.on && e.stand == o.Stand && e.counts(); quiet.Awaits != 0 && o.Level && !vouches {
			return false
		}
	}
	return true
}

// lead puts a group on the lists of the members' processes.
func (b *Book) lead(g *group, quiet *Quiet) {
	again := g.awaits == quiet.Awaits && g.term == quiet.Term
	was := g.entries
	g.entries, g.out = nil, false
	g.term, g.awaits = quiet.Term, quiet.Awaits
	for i := range quiet.Others {
		o := &quiet.Others[i]
		p := b.process(o.ID)
		if !o.Level {
			g.absent = append(g.absent, p)
			p.absences++
			p.contact(b)
			continue
		}
		e := p.put(b, g, &o.Stand, quiet.Confirmed)
		g.entries = append(g.entries, e)
		if g.awaits == 0 {
			e.wanted = 0
		} else if !again || e.wanted == 0 {
			e.wanted = p.round + 1
			p.waits = append(p.waits, e)
			p.urgent = true
		}
	}
	for _, e := range was {
		if !slices.Contains(g.entries, e) {
			e.process.take(b, e)
		}
	}
}

// follow notes what a quiet follower knows of its leader, and covers the follower if the leader's list
// says the same.
func (b *Book) follow(g *group, quiet *Quiet) bool {
	o := &quiet.Others[0]
	g.leader = b.process(o.ID)
	if g.leader == nil {
		return false
	}
	g.claim, g.follows = o.Stand, true
	if !slices.Equal(g.voters, quiet.Voters) {
		g.voters = slices.Clone(quiet.Voters)
	}
	for _, h := range g.holds {
		if b.mayCover(h) {
			h.cover()
			return true
		}
	}
	return false
}

// Heir notes to which server a group's core hands its leadership over; "" for none. If the process of
// that server is lost, the core is told in a turn. sooner is as Settle's.
func (b *Book) Heir(id wire.GroupID, heir wire.ServerID) (sooner bool) {
	g := b.group(id)
	g.heir = heir
	if p := b.byProcess[heir]; p != nil && p.lost {
		b.loseHeir(g, heir)
		return true
	}
	return false
}

// End forgets a group that doesn't run here any more. The others hear of it at once.
func (b *Book) End(now Instant, id wire.GroupID) {
	b.advance(now)
	g := b.byGroup[id]
	if g == nil {
		return
	}
	for _, e := range g.entries {
		e.process.take(b, e)
		e.process.urgent = true
	}
	for _, h := range g.holds {
		h.uncover()
		h.group = nil
	}
	g.waitForNobody()
	b.leaveLine(g)
	g.entries, g.out = nil, false
	delete(b.byGroup, id)
	last := len(b.groups) - 1
	b.groups[g.at] = b.groups[last]
	b.groups[g.at].at = g.at
	b.groups[last] = nil
	b.groups = b.groups[:last]
}

// leaveAway takes the groups from the lists that have left them since the last message.
func (b *Book) leaveAway() {
	for _, g := range b.away {
		if !g.out {
			continue
		}
		for _, e := range g.entries {
			e.process.take(b, e)
		}
		g.entries, g.out = nil, false
	}
	clear(b.away)
	b.away = b.away[:0]
}
