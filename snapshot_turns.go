package raft

import "github.com/e17579a5/raft/wire"

// A process that serves many groups takes, sends and receives only a few snapshots at a time, and
// decides which logs are to become shorter. So the driver has a say in it:
//
//	what is done            the core says                  the driver says
//	──────────────────────  ─────────────────────────────  ────────────────────────────────────────
//	a snapshot is taken     Effects.SnapshotDue            SnapshotTurn: it is this group's turn
//	a snapshot is sent      Effects.Sends                  SnapshotWaits: the stream has no place yet
//	a snapshot is received  TakesOffer                     ReceiveBusy: there is no place for it now
//	the log is shortened    LogSize                        FreeLog
//
// The log can be shortened in two ways, one after the other:
//
//	| kept          | grown        |     a snapshot lets go of what is kept, and the log that has grown
//	base            snapshot  handed     since the last one is kept then, in case that one is damaged.
//	                                     When nothing has grown, what is kept can be forgotten, once
//	                                     the snapshot was read and is sound.
//
// Each costs as much as the snapshot is large: it is written, or read. So the core does either only if
// it lets go of more than SnapshotFactor times that.

// freeing is what a core does because FreeLog has asked for it.
type freeing uint8

const (
	freeNot          freeing = iota
	freeBySnapshot           // a snapshot is to be taken
	freeByForgetting         // what is kept before the current snapshot is to be forgotten
)

// A LogSize says what a core's log takes, for a driver of many cores that bounds their sum.
type LogSize struct {
	// Bytes is about how many bytes of entries the log holds that the state machine was handed.
	Bytes uint64
	// Snapshot is CoreConfig.SnapshotFactor times the size of the current snapshot. A log of twice that
	// can be shortened.
	Snapshot uint64
	// Frees says that Core.FreeLog would shorten the log now, and Freeing that this is under way.
	Frees, Freeing bool
}

// LogSize says what the log takes.
func (c *Core) LogSize() LogSize {
	s := &c.snapshots
	return LogSize{
		Bytes: s.grown() + c.kept(), Snapshot: c.factored(),
		Frees: c.freeable() != freeNot, Freeing: s.freeing != freeNot || s.busy(),
	}
}

// kept returns about how many bytes of the log lie before the current snapshot.
func (c *Core) kept() uint64 {
	s, base := &c.snapshots, c.log.base.Index
	if s.current == nil || base >= s.current.meta.Index {
		return 0
	}
	switch oldest := s.past[0]; {
	case oldest.meta.Index <= base:
		return s.current.handed - oldest.handed
	case oldest.serial > 0: // the first one ever
		return s.current.handed
	default:
		return s.current.handed - oldest.handed + oldest.before
	}
}

// factored returns how much of the log must go for a snapshot to be worth while.
func (c *Core) factored() uint64 {
	if s := &c.snapshots; s.current != nil {
		return uint64(c.config.SnapshotFactor) * s.current.bytes
	}
	return 0
}

// busy says whether a snapshot is on its way to being the current one, or being read.
func (s *snapshots) busy() bool {
	return s.taking != nil || s.taken != nil || s.named != nil || s.restore != restoreNot || s.verify.reading != nil
}

// freeable returns how the log can be shortened now. It can't be while the last attempt has failed
// lately, and while a peer is sent the snapshot or needs what follows it: what is kept for that peer is
// bounded by itself (SnapshotRetainBytes).
func (c *Core) freeable() freeing {
	s := &c.snapshots
	if s.busy() || s.damaged || c.states[snapshotDeadline] != deadlineOff || c.sendingSnapshots() || c.keepsForPeers() {
		return freeNot
	}
	switch worth := c.factored(); {
	case s.grown() > worth && c.log.handed > s.current.index():
		return freeBySnapshot
	case c.kept() > worth && c.log.applied >= s.current.index():
		return freeByForgetting
	}
	return freeNot
}

// keepsForPeers says whether a peer that was sent a snapshot needs the log before the current one.
func (c *Core) keepsForPeers() bool {
	l, leads := c.role.(*leader)
	for i := 0; leads && i < len(l.peers); i++ {
		if l.peers[i].needs() < c.snapshots.current.index() {
			return true
		}
	}
	return false
}

// FreeLog asks for the log to be shortened, because the logs of all groups together take too much. It
// returns false if that can't be done now, or isn't worth while.
func (c *Core) FreeLog(now Instant) bool {
	c.advance(now)
	if s := &c.snapshots; s.freeing == freeNot {
		s.freeing = c.freeable()
	}
	return c.snapshots.freeing != freeNot
}

// watchFreeing notes that what FreeLog has asked for is done, or can't be done any more.
func (c *Core) watchFreeing() {
	s := &c.snapshots
	if s.freeing != freeNot && s.verify.reading == nil && c.out.compact <= c.log.base.Index && c.freeable() != s.freeing {
		s.freeing = freeNot
	}
}

// SnapshotTurn says that this core may take a snapshot with the next Drain, if one is due then
// (CoreConfig.SnapshotTurns).
func (c *Core) SnapshotTurn(now Instant) {
	c.advance(now)
	c.snapshots.turn = true
}

// SnapshotWaits reports that a stream of Effects.Sends waits until others have ended. Until
// Core.SnapshotMoved reports that it doesn't wait any more, nobody holds against it that it brings
// nothing.
func (c *Core) SnapshotWaits(now Instant, stream uint64) {
	c.advance(now)
	if _, p := c.sendingTo(stream); p != nil {
		p.sending.waits = true
	}
	c.pullWaits(stream, true)
}

// TakesOffer says whether a message offers a snapshot that this server would answer for with the offset
// from which on it is to be sent. The driver has it wait by Core.ReceiveBusy.
func (c *Core) TakesOffer(m *wire.Message) bool {
	if m.Kind() != wire.KindSnapshotRequest || m.Term < c.state.Term {
		return false
	}
	c.wake()
	in, offer := &c.incoming, m.SnapshotRequest()
	return c.needs(offer.Snapshot.Index) && in.state != incomingStored && in.stream == 0 && c.states[snapshotDeadline] == deadlineOff
}

// ReceiveBusy is Receive for a message that offers a snapshot for which the driver has no place now. The
// leader is told so, and asks again.
func (c *Core) ReceiveBusy(now Instant, m wire.Message) {
	c.wake()
	c.turnedAway = true
	c.Receive(now, m)
	c.turnedAway = false
}
