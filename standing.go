package raft

import "github.com/e17579a5/raft/wire"

// A Standing is what a server knows that is worth telling whenever it changes. The driver of a Core
// asks for it after each Drain. Two Standings are equal (==) exactly if nothing in them has
// changed. A CoreStatus tells more, and changes with nearly every event.
type Standing struct {
	// Role is as in Status. Leader is "" while no leader of this term is known.
	Role   string
	Term   Term
	Leader ServerID
	// Leads is as Core.Leads returns it.
	Leads bool

	// Configuration is the latest one in the log, and ConfigurationIndex the index of its entry;
	// nil and 0 while there is none. It is shared, and nobody may change it.
	Configuration          *Configuration
	ConfigurationIndex     Index
	ConfigurationCommitted bool

	// Snapshot is the current one, and zero while there is none. SnapshotSerial tells it from an
	// earlier one that is equal in everything else.
	Snapshot       CurrentSnapshot
	SnapshotSerial uint64

	// Lost goes from the first to the last entry whose bytes this server's disk has lost, and
	// LostEntries is how many they are. Both are zero if nothing is lost.
	Lost        wire.Range
	LostEntries uint64

	// Trouble and Diverged are as in CoreStatus.
	Trouble  error
	Diverged *Divergence
	// TroubledPeer is the first other member that is known to take no part, and PeerTrouble says
	// why. Only a leader knows of any. TroubledPeer is "" for none.
	TroubledPeer ServerID
	PeerTrouble  error
	// Full says that this server's disk is full, and FullPeer is the first other member of which
	// that is known. Only a leader knows of any. FullPeer is "" for none.
	Full     bool
	FullPeer ServerID

	// Refused counts the notes of messages that weren't taken because they contradict what this
	// server knows, or because their sender isn't a member. RefusedFrom is the sender of the latest
	// one and RefusedTerm its term; RefusedWhy says what was wrong. In an election timeout at most
	// one message is noted, however many are refused.
	Refused     uint64
	RefusedFrom ServerID
	RefusedTerm Term
	RefusedWhy  string
}

// Standing returns what the core knows now. It costs next to nothing.
func (c *Core) Standing() (s Standing) {
	c.wake()
	s = Standing{
		Role: c.roleName(), Term: c.state.Term, Leader: c.leaderID(), Leads: c.Leads(),
		Trouble: c.trouble, Diverged: c.fingerprints.differ, Full: c.space.full,
	}
	if r := c.refusal; r != nil {
		s.Refused, s.RefusedFrom, s.RefusedTerm, s.RefusedWhy = r.count, r.from, r.term, r.why
	}
	if placed := c.log.placed(); placed != nil {
		s.Configuration, s.ConfigurationIndex = placed.configuration, placed.index
		s.ConfigurationCommitted = placed.index <= c.log.commit
	}
	if lost := c.log.lost; len(lost) > 0 {
		s.Lost, s.LostEntries = wire.Range{First: lost[0].First, Last: lost[len(lost)-1].Last}, lost.count()
	}
	if current := c.snapshots.current; current != nil {
		s.Snapshot = CurrentSnapshot{current.meta.Index, current.meta.Term, current.bytes, current.installed}
		s.SnapshotSerial = current.serial
	}
	if l, leads := c.role.(*leader); leads {
		s.TroubledPeer, s.PeerTrouble = c.troubledPeer(l)
		s.FullPeer = c.fullPeer(l)
	}
	return s
}

// Committed returns the index up to which the log is committed, as far as this server knows.
func (c *Core) Committed() Index { return c.log.commit }

// LogIndexes say how far a server has come in its log, whose first entry is that after Base. The others are
// those of Status.
type LogIndexes struct{ Applied, Commit, Stable, Last, Base Index }

// LogIndexes returns how far this server has come in its log. It costs next to nothing.
func (c *Core) LogIndexes() LogIndexes {
	return LogIndexes{c.log.applied, c.log.commit, c.log.stable, c.log.last, c.log.base.Index}
}

// CurrentSnapshot is the snapshot from which a server would start. It covers what was applied up to
// Index, and has Bytes bytes. Received says that another server has sent it since this server's
// start. Config.Trace tells how snapshots are taken, sent and received.
type CurrentSnapshot struct {
	Index    Index
	Term     Term
	Bytes    uint64
	Received bool
}
