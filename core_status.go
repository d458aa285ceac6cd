package raft

// CoreStatus is what a core shows of itself.
type CoreStatus struct {
	ID          ServerID
	Role        string // "follower", "pre-candidate", "candidate" or "leader"
	Term        Term
	Vote        ServerID
	Leader      ServerID // of this term; "" while unknown
	Incarnation Incarnation
	Start       uint64
	Cluster     ClusterID

	// Applied ≤ Commit ≤ Last, Snapshot ≤ Commit and Stable ≤ Last. Applied is behind Snapshot while the state machine is
	// being restored.
	Snapshot, Applied, Commit, Stable, Last Index
	LastTerm                                Term

	// Configuration is the latest one in the log, committed or not; nil while there is none. It is shared
	// and not to be changed. ConfigurationIndex is its place.
	Configuration      *Configuration
	ConfigurationIndex Index
	// PendingProposals, PendingReads and PendingCalls count the callers who wait.
	PendingProposals, PendingReads, PendingCalls int
	// Diverged says that another server's state machine gives other results than the one here, if that was found
	// (CoreConfig.CompareResults).
	Diverged *Divergence
	// Changing says that this server leads and a change of the members is under way, or about to begin.
	Changing bool
	// Held counts the messages that wait for the disk.
	Held int
	// Leads says that this server leads and its state machine has applied the entry that began the term.
	// LeaseUntil is when a leader's lease ends unless it is renewed, 0 while it has none; QuietUntil when what this
	// server has promised ends, 0 while it has promised nothing. HandingOver is the server that is to lead next.
	Leads                  bool
	LeaseUntil, QuietUntil Instant
	HandingOver            ServerID
	// Trouble says why this server takes no part in its cluster, if it has a reason to think that it
	// doesn't: ErrBootstrapMismatch, ErrOtherIncarnation, ErrRolledBack, ErrRemoved, ErrOutdated or ErrOtherCluster.
	Trouble error
}

// Status returns what the core is and knows.
func (c *Core) Status() CoreStatus {
	s := CoreStatus{
		ID: c.id, Role: c.roleName(), Term: c.state.Term, Vote: c.state.Vote, Leader: c.leaderID(),
		Incarnation: c.state.Incarnation, Start: c.state.Start, Cluster: c.state.Cluster,
		Snapshot: c.snapshots.current.index(), Applied: c.log.applied, Commit: c.log.commit,
		Stable: c.log.stable, Last: c.log.last, LastTerm: c.log.lastTerm(),
		PendingProposals: c.proposals.count(), PendingReads: c.waitingReads(),
		PendingCalls: len(c.calls.items), Held: len(c.out.held),
		Trouble: c.trouble, Diverged: c.fingerprints.differ, Leads: c.Leads(),
		LeaseUntil: c.pending(leaseDeadline), QuietUntil: c.pending(promiseDeadline),
	}
	if placed := c.log.placed(); placed != nil {
		s.Configuration, s.ConfigurationIndex = placed.configuration, placed.index
	}
	if l, leads := c.role.(*leader); leads {
		s.HandingOver = l.handover.to
		s.Changing = !c.mayChange(l)
	}
	return s
}

// Leads says whether this server leads and its state machine has applied the entry that began the term: what earlier
// leaders have committed shows in it.
func (c *Core) Leads() bool {
	l, leads := c.role.(*leader)
	return leads && c.log.applied >= l.begin
}

// leaderRole is the name of the role of who leads.
const leaderRole = "leader"

func (c *Core) roleName() string {
	switch r := c.role.(type) {
	case *leader:
		return leaderRole
	case *candidate:
		if r.pre {
			return "pre-candidate"
		}
		return "candidate"
	}
	return "follower"
}
