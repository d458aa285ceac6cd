package raft

import (
	"time"

	"github.com/e17579a5/raft/wire"
)

// These types are what servers say to each other and keep in their logs. Package wire declares
// them, with the rest of the format. Here are those that a service meets.
type (
	// A Term numbers an election period (§3.3). Terms begin at 1 and only rise. 0 stands for none.
	Term = wire.Term
	// An Index is the position of an entry in the log. The first entry has index 1. 0 stands before
	// it.
	Index = wire.Index
	// A ServerID names one member of a cluster for ever: 1 to wire.MaxServerID bytes.
	ServerID = wire.ServerID
	// A GroupID names a group of servers: at most wire.MaxGroupID bytes. "" is the group of a
	// process that serves one only.
	GroupID = wire.GroupID
	// A ClusterID names a cluster. It is drawn at random when the cluster is founded. The zero
	// value stands for no cluster yet.
	ClusterID = wire.ClusterID
	// An Incarnation names one life of a server's disk. 0 stands for an unknown one.
	Incarnation = wire.Incarnation
	// An Origin is one run of one server: the one that took a command from its caller.
	Origin = wire.Origin
	// An Entry is one record of the replicated log (§3.5).
	Entry = wire.Entry
	// A Server is a member's name, with the address at which the other servers reach it.
	Server = wire.Server
	// A Member is a server in a Configuration.
	Member = wire.Member
	// A MemberRole says what a member may do: Voter, Learner or Joining.
	MemberRole = wire.MemberRole
	// A Configuration is the set of servers that make up the cluster (§4.1).
	Configuration = wire.Configuration
	// A SessionID names a session for ever.
	SessionID = wire.SessionID
	// A SessionCommand names a command of a session: which session, and which of its commands
	// (§6.3).
	SessionCommand = wire.SessionCommand
)

// Roles of members.
const (
	// Voter is a member whose vote and whose disk count: in elections and for commitment.
	Voter = wire.Voter
	// Learner is a member that receives the log, but doesn't count (§4.2.1).
	Learner = wire.Learner
	// Joining is a server on its way into the cluster, while it catches up.
	Joining = wire.Joining
)

// maxPriority is the highest Config.Priority.
const maxPriority = 1 << 16

// An Instant is a point of monotonic time, in nanoseconds, on the clock of the driver of the Core.
type Instant int64

// A HardState is what a server must remember of elections across a crash (Figure 2: currentTerm and
// votedFor). It is durable before anything that rests on it leaves the server.
type HardState struct {
	Term Term
	Vote ServerID // the server that got this server's vote in Term; "" if none did
}

// A DurableState is all that a server keeps across restarts, beside its log and its snapshot.
type DurableState struct {
	HardState

	// Server, Incarnation and Cluster are the identity of the disk. Cluster is zero until the
	// server belongs to one. Once one of them is set, it never changes, unless package recovery
	// gives the disk to a new cluster.
	Server      ServerID
	Incarnation Incarnation
	Cluster     ClusterID

	// Start names the latest start of this server on this disk (wire.NextStart).
	Start uint64

	// MaxLease is the longest lease that this server has ever promised to respect, or 0 (§6.4.1).
	MaxLease time.Duration

	// RolledBack says that the disk is known to have forgotten what the server had promised
	// (ErrRolledBack). Once it is set, it stays, unless package recovery gives the disk to a new
	// cluster.
	RolledBack bool
}

// A TermRun says that the entries from index First on have the term Term, up to where the next run
// begins.
type TermRun struct {
	First Index
	Term  Term
}
