package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// CoreStatus is what a core shows of itself (Core.Status).
type CoreStatus struct {
	ID          ServerID
	Role        string // as in Status
	Term        Term
	Vote        ServerID
	Leader      ServerID // of this term; "" while unknown
	Incarnation Incarnation
	Start       uint64
	Cluster     ClusterID

	// Applied ≤ Commit ≤ Last, Snapshot ≤ Commit and Stable ≤ Last. Applied is less than Snapshot
	// while the state machine is being restored.
	Snapshot, Applied, Commit, Stable, Last Index
	// SnapshotBytes is as in Status.
	SnapshotBytes uint64
	// Written is the index up to which the storage was given the log. It may be before Last while the
	// disk has no room for more, or has enough to do.
	Written  Index
	LastTerm Term

	// Configuration is the latest one in the log, committed or not. It is nil while there is none.
	// It is shared, and must not be changed. ConfigurationIndex is the index of its entry.
	Configuration      *Configuration
	ConfigurationIndex Index
	// PendingProposals, PendingReads and PendingCalls count the calls at this server that wait for
	// an answer.
	PendingProposals, PendingReads, PendingCalls int
	// PendingBytes is the size of the commands and other entries of the proposals that wait.
	PendingBytes int
	// UncommittedBytes and UnappliedBytes are what this leader has taken in that counts against
	// CoreConfig.MaxUncommittedBytes and MaxUnappliedBytes; 0 while it doesn't lead.
	UncommittedBytes, UnappliedBytes int
	// Diverged is not nil if it was found that another server's state machine gives other results
	// than the one here (CoreConfig.CompareResults).
	Diverged *Divergence
	// SnapshotTrouble is as in Status.
	SnapshotTrouble error
	// Lost are the entries whose bytes this server's disk has lost. LostSince is when the first of
	// them was found, and LostWhy what the storage has said of it when it was read. LostAsked are
	// the servers that were asked for bytes since one has given some. Questions counts the questions
	// to other servers that wait for an answer.
	Lost      []wire.Range
	LostSince Instant
	LostWhy   error
	LostAsked []ServerID
	Questions int
	// Room is how many bytes of entries this disk has room for, as Core.Room was told last. Full
	// says that hardly more than the reserve is left.
	Room uint64
	Full bool
	// Changing says that this server leads and a change of the members is under way, or about to
	// begin.
	Changing bool
	// Held counts the messages that wait for the disk.
	Held int
	// Leads is what Core.Leads returns. LeaseUntil is when a leader's lease ends unless it is
	// renewed; it is 0 without a lease. QuietUntil is when a promise that this server has given
	// ends; it is 0 without a promise. HandingOver is the server that is to lead next, or "" if
	// there is none.
	Leads                  bool
	LeaseUntil, QuietUntil Instant
	HandingOver            ServerID
	// Trouble says why this server takes no part in its cluster, if it has a reason to think so:
	// ErrBootstrapMismatch, ErrOtherIncarnation, ErrRolledBack, ErrRemoved, ErrOutdated or
	// ErrOtherCluster.
	Trouble error
}

// Status returns the status of the core.
func (c *Core) Status() CoreStatus {
	c.wake()
	s := CoreStatus{
		ID: c.id, Role: c.roleName(), Term: c.state.Term, Vote: c.state.Vote, Leader: c.leaderID(),
		Incarnation: c.state.Incarnation, Start: c.state.Start, Cluster: c.state.Cluster,
		Snapshot: c.snapshots.current.index(), Applied: c.log.applied, Commit: c.log.commit,
		Stable: c.log.stable, Written: c.log.written, Last: c.log.last, LastTerm: c.log.lastTerm(),
		PendingProposals: c.proposals.count(), PendingReads: c.waitingReads(),
		PendingCalls: len(c.calls.items), Held: len(c.out.held), PendingBytes: c.proposals.bytes,
		Trouble: c.trouble, SnapshotTrouble: c.snapshots.trouble(), Diverged: c.fingerprints.differ, Leads: c.Leads(),
		Lost: slices.Clone(c.log.lost), LostSince: c.repairs.since, LostWhy: c.repairs.damage, LostAsked: slices.Clone(c.repairs.tried),
		Questions: len(c.repairs.questions),
		Room:      c.space.room, Full: c.space.full,
		LeaseUntil: c.pending(leaseDeadline), QuietUntil: c.pending(promiseDeadline),
	}
	if placed := c.log.placed(); placed != nil {
		s.Configuration, s.ConfigurationIndex = placed.configuration, placed.index
	}
	if current := c.snapshots.current; current != nil {
		s.SnapshotBytes = current.bytes
	}
	if l, leads := c.role.(*leader); leads {
		s.HandingOver = l.handover.to
		s.UncommittedBytes, s.UnappliedBytes = l.uncommitted, l.unapplied
		s.Changing = !c.mayChange(l)
	}
	return s
}

// Leads says whether this server leads and its state machine has applied the entry that began the
// term. Everything that earlier leaders have committed then shows in its state.
func (c *Core) Leads() bool {
	l, leads := c.role.(*leader)
	return leads && c.log.applied >= l.begin
}

// leaderRole is the name of a leader's role, recoveringRole that of a server that was elected and
// repairs its log before it leads.
const leaderRole, recoveringRole = "leader", "recovering"

func (c *Core) roleName() string {
	switch r := c.role.(type) {
	case *leader:
		return leaderRole
	case *recovering:
		return recoveringRole
	case *candidate:
		if r.pre {
			return "pre-candidate"
		}
		return "candidate"
	}
	return "follower"
}
