package raft

import "errors"

// Reclaiming is what a server does whose disk is full, so that it has room again:
//
//  1. It takes a snapshot at once, if the state machine was handed more than the current one
//     covers. Then the log can be forgotten up to it. The state machine is handed only what the disk
//     holds, or has plenty of room for (crowded).
//  2. It has the current snapshot read to its end once. If it is sound, the log is forgotten up to
//     it, and the storage lets the snapshot before go. As long as there is room, the log is kept
//     from the snapshot before on, which can take the place of a current one that is found damaged.
//     Whoever gives that up must know that the current one isn't damaged by now.
//  3. It keeps nothing for the sake of others.
//
// A snapshot that finds no room fails, and is tried again when there is more.
//
// The second of these is also what a server does about lost entries whose bytes no member has given
// for a while, and which its snapshot covers. No state machine can be brought past them from the
// snapshot before. So they are forgotten, with what lies before them, once the current snapshot is
// known to be sound. Else they would stay in a cluster at rest, and be asked for, for ever. And it is
// what a server does whose driver wants the log to be shorter (snapshot_turns.go).

// verification is what is known of the bytes of the current snapshot.
type verification struct {
	// reading is the snapshot that is being read; nil while none is. sound says that the current
	// one was read to its end. failed says that the last one couldn't be.
	reading       *storedSnapshot
	sound, failed bool
}

func (v *verification) encode(s *stateEncoder) {
	v.reading.encode(s)
	s.numbers(flag(v.sound), flag(v.failed))
}

// reclaims says whether a snapshot is to be taken for the sake of the room. After the first one,
// that is so when the next one lets enough be forgotten. Otherwise each entry would cost a
// snapshot.
func (c *Core) reclaims() bool {
	return c.space.full && c.log.handed <= c.log.stable && (!c.space.captured || c.snapshots.grown() >= uint64(c.config.ReserveBytes)/4)
}

// compactTo returns the index up to which the log is forgotten with the next snapshot. That is the
// index of the current one, which is then the one before. It is less while a peer that was sent a
// snapshot hasn't caught up and needs the log. What is kept for such a peer is bounded, and nothing
// is kept by a server whose disk is full.
func (c *Core) compactTo() Index {
	s := &c.snapshots
	to := s.current.index()
	l, leads := c.role.(*leader)
	if !leads || c.space.full {
		return to
	}
	for i := range l.peers {
		if needs := l.peers[i].needs(); needs < to {
			kept, handed := c.log.base.Index, uint64(0)
			for _, past := range s.past {
				if past.meta.Index <= needs {
					kept, handed = past.meta.Index, past.handed
				}
			}
			if s.handedBytes-handed <= uint64(c.config.SnapshotRetainBytes) {
				to = min(to, max(kept, c.log.base.Index))
			}
		}
	}
	return to
}

// forgettable returns the index up to which the log is to be forgotten with the current snapshot, once
// that is known to be sound; 0 if it is to stay.
func (c *Core) forgettable() (to Index) {
	covered := c.snapshots.current.index()
	switch {
	case c.space.full, c.snapshots.freeing == freeByForgetting:
		to = covered
	case len(c.log.lost) > 0 && (c.repairs.rounds == maxRepairWait || len(c.otherServers()) == 0):
		to = c.log.lost.upTo(covered)
	}
	if to <= c.log.base.Index {
		return 0
	}
	return to
}

// drainVerify asks for the current snapshot to be read, if some of the log can be forgotten then.
func (c *Core) drainVerify(e *Effects) {
	s := &c.snapshots
	if s.verify.reading == nil && !s.verify.sound && !s.damaged && s.restore == restoreNot && c.forgettable() != 0 {
		s.verify.reading = s.current
		e.VerifySnapshot = &s.current.meta
	}
}

// SnapshotVerified reports that the snapshot of Effects.VerifySnapshot was read to its end, or why
// it couldn't be. The reason wraps ErrNoSnapshot if the snapshot isn't the current one any more.
// One that can't be read is as bad as a damaged one: another one is taken, at once or, if the one
// before was as bad, after a while.
func (c *Core) SnapshotVerified(now Instant, err error) {
	c.advance(now)
	s := &c.snapshots
	assert(s.verify.reading != nil, "Snapshots Verified Once")
	current := s.verify.reading == s.current
	s.verify.reading = nil
	switch {
	case !current || errors.Is(err, ErrNoSnapshot) && s.named != nil:
	case err == nil:
		s.verify.sound, s.verify.failed = true, false
	default:
		if s.verify.failed {
			c.arm(snapshotDeadline, snapshotRetry*c.config.ElectionTimeout)
		}
		s.damaged, s.verify.failed = true, true
	}
}

// forgetCovered lets the log be forgotten as far as it may with a current snapshot that is known to be
// sound.
func (c *Core) forgetCovered() {
	s := &c.snapshots
	if s.verify.sound && !s.damaged && s.named == nil && c.log.applied >= s.current.index() {
		c.out.compact = max(c.out.compact, c.forgettable())
	}
}

// forgetPast drops the snapshots of the past from which the log doesn't go on any more.
func (s *snapshots) forgetPast(base Index) {
	gone := 0
	for gone+1 < len(s.past) && s.past[gone+1].meta.Index <= base {
		gone++
	}
	s.past = append([]*storedSnapshot(nil), s.past[gone:]...)
}
