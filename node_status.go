package raft

import (
	"errors"
	"slices"
	"time"
)

// A Status is what a node shows of itself at one moment.
type Status struct {
	ID   ServerID
	Role string // "follower", "pre-candidate", "candidate" or "leader"; "stopped" at the end
	Term Term

	// Leader leads in Term, as far as this server knows; "" while it knows of none. LeaderAddress
	// is where to reach it.
	Leader        ServerID
	LeaderAddress string

	// Applied ≤ Commit ≤ Last, and Stable ≤ Last: what the state machine has applied, what is
	// committed, what is in the log, and what of it is on this server's disk. Snapshot is what the
	// current snapshot covers.
	Snapshot, Applied, Commit, Stable, Last Index

	// Cluster is zero and Members is empty until the server belongs to a cluster. They are as in
	// the latest configuration in the log, committed or not, which is the entry at
	// ConfigurationIndex. While a change of the members is under way, Next are those to be, if
	// servers catch up for it, and Old those that were, if both must agree.
	Cluster            ClusterID
	Members, Old, Next []Member
	ConfigurationIndex Index
	// Level is the one in force, by the same configuration.
	Level Level

	// PendingProposals, PendingReads and PendingCalls count the callers who wait.
	PendingProposals, PendingReads, PendingCalls int

	// HandingOver is the server that this one, which leads, hands over to. Lease is for how long
	// its lease runs unless it is renewed; 0 while it has none.
	HandingOver ServerID
	Lease       time.Duration

	// Trouble says why this server takes no part in its cluster, if it has a reason to think that
	// it doesn't: ErrBootstrapMismatch, ErrOtherIncarnation, ErrRolledBack, ErrRemoved,
	// ErrOtherCluster, ErrOutdated or ErrNoCluster.
	Trouble error

	// NoLeader explains why there is no leader, nil while one is known. Command, Read and Call
	// explain what the oldest call of Propose, of Read and of those about the cluster itself
	// (AddServer, TransferLeadership, …) at this server waits for, nil while none waits.
	NoLeader            *NoLeader
	Command, Read, Call *Wait
	// Peers are the other servers as this one, while it leads, knows them.
	Peers []PeerStatus
	// Receiving is where the transfer of a snapshot to this server stands, nil when there is none.
	// After it, and after a start with a snapshot, the state machine is restored, which is the last
	// stage.
	Receiving *TransferStatus
	// Disk, CatchUp and Machine are the lanes: writes, reads of entries that have left memory,
	// batches for the state machine.
	Disk, CatchUp, Machine LaneStatus
	// Diverged is a *Divergence when another server's state machine was found to give other results
	// than the one here (Config.CompareResults), and nil otherwise.
	Diverged error
}

// Status returns what the node is and knows now, or, when it has stopped, what it knew at the end.
func (n *Node) Status() Status {
	answer := make(chan Status, 1)
	if n.inbox.query(answer) {
		return <-answer
	}
	<-n.life.done
	s := n.life.last
	s.Members, s.Old, s.Next = slices.Clone(s.Members), slices.Clone(s.Old), slices.Clone(s.Next)
	return s
}

// status makes a Status of the core's own.
func (l *loop) status() Status {
	c := l.core.Status()
	s := Status{
		ID: c.ID, Role: c.Role, Term: c.Term, Leader: c.Leader,
		Snapshot: c.Snapshot, Applied: c.Applied, Commit: c.Commit, Stable: c.Stable, Last: c.Last,
		Cluster: c.Cluster, Trouble: l.standing().Trouble,
		PendingProposals: c.PendingProposals, PendingReads: c.PendingReads, PendingCalls: c.PendingCalls,
		HandingOver: c.HandingOver, Lease: time.Duration(max(c.LeaseUntil-l.clock.now(), 0)),
		LeaderAddress: l.addressOf(c.Leader, c.Configuration),
	}
	if c.Diverged != nil {
		s.Diverged = c.Diverged
	}
	if c.Configuration != nil {
		latest := c.Configuration
		s.Members, s.Old, s.Next = slices.Clone(latest.Members), slices.Clone(latest.Old), slices.Clone(latest.Next)
		s.ConfigurationIndex, s.Level = c.ConfigurationIndex, latest.LevelInForce()
	}
	l.explain(&s)
	return s
}

// stoppedStatus is the last status. Of a core that is broken only the name is known.
func (l *loop) stoppedStatus(intact bool) Status {
	s := Status{ID: l.id}
	if intact {
		s = l.status()
	}
	s.Role, s.Leader, s.LeaderAddress, s.PendingProposals, s.PendingReads, s.PendingCalls = stoppedRole, "", "", 0, 0, 0
	s.NoLeader, s.Command, s.Read, s.Call, s.Peers, s.Receiving = nil, nil, nil, nil, nil, nil
	s.Disk, s.CatchUp, s.Machine = LaneStatus{}, LaneStatus{}, LaneStatus{}
	s.HandingOver, s.Lease = "", 0
	return s
}

// stoppedRole is the role of a node that has stopped.
const stoppedRole = "stopped"

// reply answers a question for the status, unless it was answered.
func reply(question chan<- Status, s Status) {
	select {
	case question <- s:
	default:
	}
}

// logFailure says why the node stops, with the stack if it was a panic.
func (l *loop) logFailure(cause error) {
	attributes := []any{"err", cause, "term", l.shown.standing.Term}
	var panicked *PanicError
	if errors.As(cause, &panicked) {
		attributes = append(attributes, "stack", string(panicked.Stack))
	}
	l.logger.Error("raft: stopped", attributes...)
}

// explain fills in why things are as they are.
func (l *loop) explain(s *Status) {
	now, why := l.read, l.core.Explain()
	if s.NoLeader = why.NoLeader; s.NoLeader != nil {
		s.NoLeader.For = time.Duration(now - l.shown.leaderless)
	}
	s.Command = l.waiting.commands.explain(why.Command, now)
	s.Read = l.waiting.reads.explain(why.Read, now)
	s.Call = l.waiting.calls.explain(why.Call, now)
	for _, peer := range why.Peers {
		peer.Silent = min(peer.Silent, time.Duration(now-l.shown.ledSince))
		s.Peers = append(s.Peers, peer)
	}
	s.Receiving = why.Receiving
	s.Disk, s.CatchUp, s.Machine = l.busy.disk.status(now), l.busy.catchUp.status(now), l.busy.machine.status(now)
}
