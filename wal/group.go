package wal

import (
	"fmt"

	"github.com/e17579a5/raft"
)

// A group is what the log knows of one group of servers. Log.mu guards it, as it guards the fields of
// the log that stand behind mu; whoever changes anything but snapshots and damage also holds busy.
type group struct {
	log       *Log
	id        raft.GroupID
	number    uint64 // 0 for the group "", and for a group of which nothing is stored
	contents  contents
	snapshots snapshots
	damage    error // the first damage that was found
	failed    error // with which every further write of the group fails
	refused   error // why the group can't be loaded: Open has found damage to its part of the log

	// What a group other than "" has in the segments. head is the one with its newest head. listed is
	// the last one that names it among the groups that have a part there.
	head, listed *segment
	listedAt     int    // where it stands among the groups that listed names
	headEnd      place  // the end of the record with its newest head
	headSize     int64  // bytes of that head
	live         uint64 // about how many bytes of the segments the group needs
	holds        *segment
	holdsAt      int // where it stands among the holders of holds
	ended        bool
	recent       recent
	open         *member // the storage that was handed out, until it is closed
}

// groups are the groups of a log.
type groups struct {
	numbered map[uint64]*group       // those that are stored, but ""
	named    map[raft.GroupID]*group // these, and those that were asked for; but ""
	next     uint64                  // the number of the next one
	window   window
	// nameless is the damage by which a group is lost whose name isn't known.
	nameless error
	live     uint64 // bytes that all groups need
	heads    int64  // bytes of the newest heads of all groups
}

// group returns what the log knows of a group, and a new one that isn't stored if that is nothing. The
// caller holds busy or mu.
func (l *Log) groupNamed(id raft.GroupID) (*group, error) {
	if id == "" {
		return &l.group, nil
	}
	if err := checkName(id); err != nil {
		return nil, err
	}
	if g := l.groups.named[id]; g != nil {
		return g, nil
	}
	if err := l.groups.nameless; err != nil {
		return nil, fmt.Errorf("group %q isn't known, and the name of a group was lost, which may be this one: %w", id, err)
	}
	g := &group{log: l, id: id}
	l.groups.named[id] = g
	return g, nil
}

// checkpoint returns the whole identity of the group "" at this moment, and which other groups have had
// a part in the segment in which the log ends.
func (l *Log) checkpoint() checkpoint {
	c := l.contents.checkpoint(l.opens)
	c.next, c.touched = l.groups.next, []mark{}
	for i := len(l.segments) - 1; i >= 0 && l.segments[i].number >= l.tip.place.segment; i-- {
		if l.segments[i].number == l.tip.place.segment {
			c.touched = append(c.touched, l.segments[i].touched...)
		}
	}
	return c
}

// root says whether it is the group "".
func (g *group) root() bool { return g == &g.log.group }

// setNumber gives the group a number when something of it is stored first, if only a snapshot that no
// write has named. No other group ever has this number. The caller holds mu.
func (g *group) setNumber() {
	if !g.root() && g.number == 0 {
		g.number = g.log.groups.next
		g.log.groups.next++
	}
}

// unsure notes in a segment that the group may have had parts there which damage has hit.
func (g *group) unsure(s *segment) {
	g.list(s, 0)
	s.touched[g.listedAt].parts = unknownParts
}

// list notes in a segment that the group has so many parts more there.
func (g *group) list(s *segment, parts uint32) {
	if g.listed != s {
		g.listed, g.listedAt = s, len(s.touched)
		s.touched = append(s.touched, markOf(g, 0))
	}
	if m := &s.touched[g.listedAt]; m.parts < unknownParts {
		m.parts += parts
	}
	s.touched[g.listedAt].ended = g.ended
}

// partsIn returns how many parts of the group are in a segment, as far as that is known.
func (g *group) partsIn(s *segment) uint32 {
	if g.listed != s {
		return 0
	}
	return s.touched[g.listedAt].parts
}

// needsHead says whether the next part of a group carries its head. The first part in each segment
// does, so that nothing but bytes of entries is looked for in older segments. So do those that follow
// within the window: if the first one is damaged, they say the same.
func (g *group) needsHead() bool {
	return !g.root() && (g.head != g.log.active || g.log.trail.since.before(g.headEnd))
}

// weigh counts the bytes that the group needs anew.
func (g *group) weigh() {
	l := g.log
	l.groups.live -= g.live
	g.live = g.contents.bytesAfter(g.contents.compacted)
	if g.ended {
		g.live = 0
	} else if !g.root() {
		g.live += uint64(g.headSize)
	}
	l.groups.live += g.live
}

// hold notes which segment is the oldest one that a group other than "" needs: one with bytes of its
// entries, or the one with its newest head.
func (g *group) hold() {
	if g.root() {
		return // its heads stand in each segment, and dropUnneeded looks for its entries
	}
	oldest := g.head
	for i := range g.contents.stretches {
		if s := g.contents.stretches[i].segment; s != nil && s.number < oldest.number {
			oldest = s
		}
	}
	if g.ended {
		oldest = nil
	}
	g.holdIn(oldest)
}

// holdIn makes the group a holder of a segment, and of no other one.
func (g *group) holdIn(s *segment) {
	if g.holds == s {
		return
	}
	if old := g.holds; old != nil {
		last := old.holders[len(old.holders)-1]
		old.holders[g.holdsAt], last.holdsAt = last, g.holdsAt
		old.holders = old.holders[:len(old.holders)-1]
	}
	if g.holds = s; s != nil {
		g.holdsAt = len(s.holders)
		s.holders = append(s.holders, g)
	}
}
