package raft

import (
	"cmp"
	"time"
)

// A server reads its log from the disk, from the beginning to the end and then its snapshot, and so
// on, and throws away what it has read. So it finds out that bytes are lost while other servers still
// have them, and not only when it needs them itself. What it finds goes the way of all damage
// (Core.Damaged).
//
//	A  1 1 !1 1      Nobody reads index 3, since all have applied it. While C still holds it, C can
//	B  1 1  1 1      give it to A. When A finds out years later, because A is to bring a new server up
//	C  1 1  1 1      to date or has started anew, the bytes may be lost at B and C too.
//
// It takes little of the disk. There is one such read at a time, of what the rate allows in a
// heartbeat interval, and no larger than a write to this disk would be. It lets writes and other
// reads go first. A disk that always has something to do would let it starve: so after
// maxScrubYields heartbeat intervals it reads all the same, unless the disk has stalled.
//
// A read of this kind that hangs says nothing about this server's fitness: it isn't among those for
// which the disk is watched.

// scrubbing is how far a server has got with that.
type scrubbing struct {
	// after is the index up to which the present pass has come. end is where the log ended when the
	// pass began, or 0 before it begins. What is appended meanwhile is for the next pass: a pass that
	// ran after the end of a log under load would come neither to the snapshot nor to its own end.
	after, end Index
	// snapshot says that the pass has come to the snapshot with this serial, and offset how much of
	// it was read.
	snapshot       bool
	serial, offset uint64
	// reads says that a read was handed out and not reported.
	reads bool
	// yields is how many heartbeat intervals the disk has had something else to do.
	yields int
}

func (s *scrubbing) encode(e *stateEncoder) {
	e.numbers(uint64(s.after), uint64(s.end), flag(s.snapshot), s.serial, s.offset, flag(s.reads), uint64(s.yields))
}

const (
	// maxScrubYields is how many heartbeat intervals in a row other work of the disk goes first.
	maxScrubYields = 10
	// scrubPause is how many election timeouts there are between two passes.
	scrubPause = 60
)

// armScrub plans the next read, after so many bytes were read: so that the rate isn't exceeded, and
// not before a heartbeat interval has passed.
func (c *Core) armScrub(bytes int) {
	took := float64(bytes) / float64(c.config.ScrubBytesPerSecond) * float64(time.Second)
	c.arm(scrubDeadline, max(time.Duration(min(took, float64(time.Hour))), c.config.Heartbeat))
}

// scrubRoom returns how many bytes are read at a time.
func (c *Core) scrubRoom() int {
	allowed := float64(c.config.ScrubBytesPerSecond) * float64(c.config.Heartbeat) / float64(time.Second)
	return max(int(min(allowed, float64(c.disk.room), fetchBytes)), 1)
}

// scrubDue reads on, unless the disk has something else to do.
func (c *Core) scrubDue() {
	c.disarm(scrubDeadline)
	s := &c.scrubbing
	if s.reads {
		return
	}
	busy := c.reading > 0 || len(c.out.flights) > 0
	if c.diskStalled() || busy && s.yields < maxScrubYields {
		s.yields++
		c.armScrub(0)
		return
	}
	s.yields = 0
	f := Fetch{For: c.id, Scrub: true, MaxBytes: c.scrubRoom(), knows: c.repairs.changes}
	if !s.snapshot && c.scrubLog(&f) || c.scrubSnapshot(&f) {
		s.reads = true
		c.fetches = append(c.fetches, f)
		return
	}
	s.after, s.end, s.snapshot, s.offset = 0, 0, false, 0
	if c.config.Coalesced {
		return // until the driver comes to this group again
	}
	c.arm(scrubDeadline, cmp.Or(c.config.ScrubPause, scrubPause*min(c.config.ElectionTimeout, time.Hour)))
}

// Scrub begins to read the log once from its beginning to its end, and then the snapshot, unless that
// is under way. It is for a driver of many groups (CoreConfig.Coalesced), whose cores read nothing of
// their own accord: the driver goes from group to group, so that one of them reads at a time, and the
// others have nothing to do. Scrubs says when the next one may begin.
func (c *Core) Scrub(now Instant) {
	c.advance(now)
	if c.config.ScrubBytesPerSecond > 0 && !c.Scrubs() {
		c.arm(scrubDeadline, 0)
	}
}

// Scrubs says whether this server is reading its log.
func (c *Core) Scrubs() bool {
	c.wake()
	return c.scrubbing.reads || c.states[scrubDeadline] != deadlineOff
}

// scrubLog asks for what follows in the log. It passes over what is known to be lost. It returns
// false where the log ended when the pass began.
func (c *Core) scrubLog(f *Fetch) bool {
	s, l := &c.scrubbing, &c.log
	s.after = max(s.after, l.base.Index)
	for l.lost.has(s.after + 1) {
		s.after++
	}
	if s.end == 0 {
		s.end = l.stable
	}
	f.After, f.Last = s.after, min(s.end, l.stable)
	return f.After < f.Last
}

// scrubSnapshot asks for what follows in the current snapshot. It returns false at the end, and when
// the snapshot is another one by now, or is known to be damaged.
func (c *Core) scrubSnapshot(f *Fetch) bool {
	s, current := &c.scrubbing, c.snapshots.current
	if current == nil || c.snapshots.damaged || c.snapshots.restore != restoreNot {
		return false
	}
	if !s.snapshot {
		s.snapshot, s.serial, s.offset = true, current.serial, 0
	}
	f.After, f.Last, f.Snapshot, f.Offset = 0, 0, &current.meta, s.offset
	return s.serial == current.serial && s.offset <= current.bytes // the end is read, too
}

// scrubbed notes that a read has come to an index. Of what it has read nothing is used.
func (c *Core) scrubbed(f Fetch, to Index, bytes int) {
	s := &c.scrubbing
	if f.Snapshot != nil {
		s.offset += uint64(f.MaxBytes)
		c.armScrub(f.MaxBytes)
		return
	}
	s.after = max(to, f.After+1) // what is missing there has left the log
	c.armScrub(bytes)
}

// snapshotScrubbed notes that the snapshot was found damaged. Another one is taken, or comes from the
// leader.
func (c *Core) snapshotScrubbed(f Fetch) {
	if current := c.snapshots.current; current != nil && &current.meta == f.Snapshot {
		c.snapshots.damaged = true
		if l, leads := c.role.(*leader); leads {
			c.sendAnother(l)
		}
	}
	c.armScrub(f.MaxBytes)
}

// scrubDone notes that the disk has finished a read of this kind. So it goes on with those that it
// owes.
func (c *Core) scrubDone() {
	assert(c.scrubbing.reads, "Fetches Answered Once")
	c.scrubbing.reads = false
	if c.reading > 0 {
		c.diskMoved(readDeadline, c.reading)
	}
}
