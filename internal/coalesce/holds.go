package coalesce

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// holds is the list of another process for this one, as far as it is known here.
type holds struct {
	byGroup map[wire.GroupID]*hold
	// all are the holds in no order that matters. bare are those of them that aren't covered.
	all, bare []*hold
	// version is that of the list, and round the last round that was heard with all of it, at heard.
	version, round uint64
	heard          Instant
}

// A hold is a group on the list of another process.
type hold struct {
	process *process
	group   *group // nil while the group doesn't run here
	stand   wire.Stand
	version uint64
	at      int // its place in holds.all
	bareAt  int // its place in holds.bare, unless it is covered
	covered bool
	// handed says that the core was handed the heartbeat that the stand stands for.
	handed bool
}

// matches says whether a follower's core knows just what the leader's stand says, and promises at
// least the lease that it asks for.
func (h *hold) matches() bool {
	g := h.group
	if g == nil || !g.follows || g.leader != h.process || g.claim.Lease < h.stand.Lease {
		return false
	}
	claim := g.claim
	claim.Lease = h.stand.Lease
	if h.stand.Level == 0 {
		claim.Level = 0 // the leader doesn't care
	}
	return claim == h.stand
}

// mayCover says whether a hold's core need hear nothing of its leader's heartbeats.
func (b *Book) mayCover(h *hold) bool {
	return h.matches() && h.process.hears(b) && !b.shards[h.group.shard].stuck
}

// hears says whether the process was heard within an election timeout.
func (p *process) hears(b *Book) bool {
	return p.holds.round > 0 && !p.lost && b.now < p.holds.heard+b.timeout
}

// cover lets the process's heartbeats count as those of the group's leader, and promises what they ask
// for (H4).
func (h *hold) cover() {
	if h.covered {
		return
	}
	h.covered = true
	bare := &h.process.holds.bare
	last := len(*bare) - 1
	(*bare)[h.bareAt] = (*bare)[last]
	(*bare)[h.bareAt].bareAt = h.bareAt
	(*bare)[last] = nil
	*bare = (*bare)[:last]
}

// uncover ends that.
func (h *hold) uncover() {
	if h.covered {
		h.covered = false
		h.bare()
	}
}

// bare notes that a hold isn't covered.
func (h *hold) bare() {
	l := &h.process.holds
	h.bareAt = len(l.bare)
	l.bare = append(l.bare, h)
}

// heardNow returns what the core has heard of its leader by the list.
func (h *hold) heardNow() (heard Heard) {
	heard = Heard{Leader: h.process.id, Term: h.stand.Term, At: h.process.holds.heard}
	if h.covered {
		heard.Promise = h.stand.Lease
	}
	return heard
}

// leaveHold tells a core what it has missed, and covers it no more.
func (b *Book) leaveHold(h *hold, left *Left) {
	p := h.process
	if p.holds.round > 0 {
		left.Heard = append(left.Heard, h.heardNow())
	}
	h.uncover()
	if !h.handed && p.hears(b) {
		h.handed = true
		left.Heartbeats = append(left.Heartbeats, h.stand.Heartbeat(p.id, b.config.Self))
	}
}

// lapse makes the core take a turn in which it learns what it has missed, since its leader's
// heartbeats don't count any more.
func (b *Book) lapse(h *hold) {
	if !h.covered {
		return
	}
	heard := h.heardNow()
	h.uncover()
	h.group.heard = append(h.group.heard, heard)
	b.turn(h.group)
}

// takeList takes the changes of a list from a message (H2). It returns false if they can't be taken,
// because they are older, or because there is something missing before them.
func (b *Book) takeList(p *process, m *wire.ProcessHeartbeat) bool {
	l := &p.holds
	if m.Version < l.version || m.Base > l.version {
		return false
	}
	if m.Version == l.version {
		return true
	}
	for _, id := range m.Gone {
		if h := l.byGroup[id]; h != nil {
			b.dropHold(h)
		}
	}
	for i := range m.Stands {
		b.takeStand(p, &m.Stands[i], m.Version)
	}
	if m.Base == 0 {
		for n := len(l.all); n > 0; n-- {
			if h := l.all[n-1]; h.version != m.Version {
				b.dropHold(h) // the list has begun anew without it
			}
		}
	}
	l.version = m.Version
	return true
}

// takeStand takes one change of a list.
func (b *Book) takeStand(p *process, stand *wire.Stand, version uint64) {
	l := &p.holds
	h := l.byGroup[stand.Group]
	switch {
	case h == nil:
		h = &hold{process: p, group: b.byGroup[stand.Group], at: len(l.all)}
		l.byGroup[stand.Group] = h
		l.all = append(l.all, h)
		h.bare()
		if h.group != nil {
			h.group.holds = append(h.group.holds, h)
		}
	case h.stand == *stand && h.covered:
		h.version = version
		return // it is sent again
	default:
		b.lapse(h)
	}
	h.stand, h.version, h.handed = *stand, version, false
	if b.mayCover(h) {
		h.cover()
	} else {
		b.wake(h)
	}
}

// wake asks for a turn of a hold's group.
func (b *Book) wake(h *hold) {
	if h.group != nil {
		b.turn(h.group)
	} else {
		b.turns = append(b.turns, h.stand.Group)
	}
}

// dropHold forgets a group that has left the list of another process.
func (b *Book) dropHold(h *hold) {
	l := &h.process.holds
	b.lapse(h)
	h.cover() // so that it isn't bare either
	last := len(l.all) - 1
	l.all[h.at] = l.all[last]
	l.all[h.at].at = h.at
	l.all[last] = nil
	l.all = l.all[:last]
	delete(l.byGroup, h.stand.Group)
	if g := h.group; g != nil {
		g.holds = slices.DeleteFunc(g.holds, func(other *hold) bool { return other == h })
	}
}

// forget forgets the whole list, because the other process has started anew.
func (b *Book) forget(p *process) {
	for n := len(p.holds.all); n > 0; n-- {
		b.dropHold(p.holds.all[n-1])
	}
	p.holds.version, p.holds.round = 0, 0
}

// answer fills in the answer to the process's heartbeats (H3). If there are more groups for which it
// doesn't speak than fit, it speaks for the older part of the list only.
func (l *holds) answer(m *wire.ProcessHeartbeat) {
	m.AnsweredRound, m.AnsweredVersion = l.round, l.version
	bytes := 0
	for _, h := range l.bare {
		bytes += len(h.stand.Group) + 2
	}
	bare := l.bare
	if bytes > maxMessage/2 {
		bare = slices.Clone(bare)
		slices.SortFunc(bare, func(x, y *hold) int {
			return cmp.Or(cmp.Compare(x.version, y.version), cmp.Compare(x.stand.Group, y.stand.Group))
		})
		n := 0
		for bytes = 0; bytes <= maxMessage/2; n++ {
			bytes += len(bare[n].stand.Group) + 2
		}
		for m.AnsweredVersion = bare[n].version - 1; n > 0 && bare[n-1].version > m.AnsweredVersion; n-- {
		}
		bare = bare[:n]
	}
	for _, h := range bare {
		m.Excepted = append(m.Excepted, h.stand.Group)
	}
}
