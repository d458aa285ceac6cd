package wal

import (
	"cmp"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/e17579a5/raft"
)

// The cleaner moves what is needed out of the oldest segment, so that the segment can go. Segments go
// in order alone: otherwise a group that has ended would come back, whose end is in a segment that went
// before what it ends.
//
//	| 7: a.......b...c | 8 ............ | 9: ......b | 10: ... a c |   b has a head in 9, and needs
//	                                                                    nothing of 7: once a and c are
//	                                                                    moved, 7 goes
//
// What is moved is a part like any other one, of entries and, since it is the group's first one in its
// segment, its head. The entries only get another place: what isn't in the log any more stays away, and
// so does a group that has ended.
//
// What must hold: the log takes no more than twice the bytes that are needed and four segments, or the
// cleaner owes it to move more. It moves at most as many bytes beside a record as the record has, and
// 256 KiB at a time when nothing is written. Only a group that can't be loaded stays where it is, and
// holds up the rest.

// cleanStep is how many bytes are moved at a time, beside the first entry. While nobody writes, the
// keeper moves so many every cleanPause, and while somebody does, every busyCleanPause.
const (
	cleanStep      = 256 << 10
	cleanPause     = 10 * time.Millisecond
	busyCleanPause = 10 // times cleanPause
	// stuckPause is how long the keeper waits when it owes something and can't move anything.
	stuckPause = time.Second
)

// owed says whether the log takes more than it should, and there is something that can be moved.
func (l *Log) owed() bool {
	if len(l.groups.numbered) == 0 || len(l.segments) < 2 {
		return false
	}
	used := uint64(0)
	for _, s := range l.segments {
		used += uint64(s.end)
	}
	return used > 2*l.groups.live+4*uint64(max(l.target, l.active.size))
}

// cleanBeside adds parts that move bytes to a record that is being made, no more bytes than data.
func (l *Log) cleanBeside(data int) {
	if data > 0 && l.owed() {
		l.credit = min(l.credit+data, cleanStep)
		if l.credit > 0 {
			l.credit -= l.addMoves(l.credit)
		}
	}
}

// addMoves adds parts to the record that move about so many bytes out of the oldest segment. It returns
// how many bytes that are. What is moved stands before what is new.
func (l *Log) addMoves(budget int) (moved int) {
	s := l.segments[0]
	given := slices.Clone(l.shared.out)
	l.shared.out = l.shared.out[:0]
	var out []outgoing
	for i := -1; i < len(s.holders) && moved < budget; i++ {
		g := &l.group
		if i >= 0 {
			g = s.holders[i]
		}
		if g.refused != nil || ending(given, g) {
			continue
		}
		entries, bytes := g.entriesIn(s, budget-moved)
		if i < 0 && len(entries) == 0 {
			continue // nobody looks for the heads of the group ""
		}
		o := outgoing{group: g, repairs: entries}
		if len(entries) > 0 {
			o.change.flags, o.change.repairs = repairs|moves, len(entries)
		}
		out = append(out, o)
		moved += bytes + int(g.headSize)
	}
	l.shared.out = append(out, given...)
	return moved
}

// ending says whether one of some parts ends a group.
func ending(out []outgoing, g *group) bool {
	return slices.ContainsFunc(out, func(o outgoing) bool { return o.group == g && o.change.flags&ends != 0 })
}

// entriesIn reads entries of the group whose bytes are in a segment, with no more than budget bytes
// behind the first one. What turns out to be damaged is lost, and isn't there any more.
func (g *group) entriesIn(s *segment, budget int) (entries []raft.Entry, bytes int) {
	l := g.log
	after := g.contents.compacted
	for bytes < budget || len(entries) == 0 {
		l.mu.Lock()
		first, last := g.contents.in(s, after)
		l.mu.Unlock()
		if first == 0 {
			break
		}
		some, err := g.entries(l, first-1, last, budget-bytes)
		var damaged *raft.DamagedError
		if errors.As(err, &damaged) {
			after = damaged.Lost.Last
			continue
		}
		if err != nil {
			l.tell(slog.LevelWarn, "wal: oldest segment not cleaned", err)
			break
		}
		for i := range some {
			bytes += len(some[i].Data) + maxEntryOverhead
		}
		entries = append(entries, some...)
		after = some[len(some)-1].Index
	}
	return entries, bytes
}

// in returns the first entries behind an index that are in a segment, without a gap; 0 if none is.
func (t *contents) in(s *segment, after raft.Index) (first, last raft.Index) {
	for i := range t.stretches {
		if t.stretches[i].segment != s || t.limit(i) <= after+1 {
			continue
		}
		return max(t.stretches[i].first, after+1, t.compacted+1), t.limit(i) - 1
	}
	return 0, 0
}

// Clean moves up to 256 KiB of what is needed out of the oldest segment, if the log takes more than
// twice what its groups need, and four segments. It says whether it has moved anything, and so whether
// it makes sense to call it again. The log does this by itself unless Options.Inline is set; and with
// each write of a group, it moves as many bytes as the write has.
func (l *Log) Clean() (moved bool, err error) {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	if err := l.usable(); err != nil {
		return false, err
	}
	return l.clean()
}

func (l *Log) clean() (bool, error) {
	if !l.owed() {
		return false, nil
	}
	l.shared.out = l.shared.out[:0]
	if l.addMoves(cleanStep) == 0 || !l.hasRoomToClean() {
		return false, nil
	}
	if err := l.writeParts(0); err != nil {
		return false, l.fail(err)
	}
	return true, nil
}

// hasRoomToClean says whether the record that is being made fits without taking room that a write may
// need: on a full disk, the reserve is for writes.
func (l *Log) hasRoomToClean() bool {
	if l.active.fits(len(l.encode(false))) {
		return true
	}
	need := int64(len(l.encode(true))) + l.reserve.head.Load() + preambleSize
	sp := <-l.spare
	defer func() { l.spare <- sp }()
	return l.options.Inline || sp.file != nil && sp.size >= need && !l.reserve.short.Load()
}

// A cleaning is when the keeper cleans.
type cleaning struct {
	due  bool   // the timer runs
	seen uint64 // how many batches there were at the last time
	left int    // for how many times it lets others write
}

// fired does what is due when the timer has fired, and returns after which time the timer is to fire
// next; 0 for never.
func (c *cleaning) fired(l *Log) time.Duration {
	c.due = false
	if n := l.keeper.batches.Load(); n != c.seen && c.left > 0 {
		c.seen = n
		c.left--
		return cleanPause
	}
	c.left = busyCleanPause
	defer func() { c.seen = l.keeper.batches.Load() }()
	select {
	case l.busy <- struct{}{}:
	default:
		return cleanPause // it may be that a write waits for the keeper
	}
	defer func() { <-l.busy }()
	if l.usable() != nil {
		return 0
	}
	moved, err := l.clean()
	switch {
	case err != nil:
		l.tell(slog.LevelWarn, "wal: oldest segment not cleaned", err)
		return 0
	case !l.owed():
		return 0
	case !moved:
		return stuckPause
	}
	return cleanPause
}

// Holders returns the groups that hold up the oldest segment, those with most bytes there first; nil
// while the log takes no more than it should. A host asks the first of them for snapshots, which
// saves the cleaner the work. The first ones of Live are those whose snapshots free most of the disk.
func (l *Log) Holders() []raft.Holder {
	l.busy <- struct{}{}
	defer func() { <-l.busy }()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || !l.owed() {
		return nil
	}
	s := l.segments[0]
	var all []raft.Holder
	for _, g := range append(slices.Clip(s.holders), &l.group) {
		h := raft.Holder{Group: g.id, Live: g.live, Damaged: g.refused != nil}
		for i := range g.contents.stretches {
			if k := &g.contents.stretches[i]; k.segment == s {
				h.Bytes += k.bytesFrom(0)
			}
		}
		if !g.root() || h.Bytes > 0 {
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b raft.Holder) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Group, b.Group))
	})
	return all
}
