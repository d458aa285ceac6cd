package raft

import (
	"time"

	"github.com/e17579a5/raft/wire"
)

// These types are what servers say to each other and keep in their logs. Package wire declares them,
// with the rest of the format; here are those that an embedding service meets.
type (
	// A Term numbers an election period (§3.3). Terms start at 1 and only rise; 0 means "none".
	Term = wire.Term
	// An Index is the position of an entry in the log. The first entry has index 1; 0 stands before it.
	Index = wire.Index
	// A ServerID names one member of a cluster for ever: at most wire.MaxServerID bytes.
	ServerID = wire.ServerID
	// A ClusterID names a cluster. The founder draws it at random; the zero value is "no cluster yet".
	ClusterID = wire.ClusterID
	// An Incarnation names one life of a server's disk; zero means "not known".
	Incarnation = wire.Incarnation
	// An Origin is one run of one server, which first took a command from a caller.
	Origin = wire.Origin
	// An Entry is one record of the replicated log (§3.5).
	Entry = wire.Entry
	// A Server is a member's name, and the address at which the other servers reach it.
	Server = wire.Server
	// A Member is a server in a Configuration.
	Member = wire.Member
	// A MemberRole says what a member may do: Voter, Learner or Joining.
	MemberRole = wire.MemberRole
	// A Configuration is the set of servers that make up the cluster (§4.1).
	Configuration = wire.Configuration
	// A Level is a set of kinds of entries and of behaviours that servers know.
	Level = wire.Level
	// A SessionID names a session for ever.
	SessionID = wire.SessionID
	// A SessionCommand says which command of which session a command is (§6.3).
	SessionCommand = wire.SessionCommand
)

// Roles of members.
const (
	// Voter counts in elections and for commitment.
	Voter = wire.Voter
	// Learner receives the log, but doesn't count (§4.2.1).
	Learner = wire.Learner
	// Joining is a server that catches up, on its way into the cluster.
	Joining = wire.Joining
)

// MaxPriority is the highest priority of a server.
const MaxPriority = 1 << 16

// An Instant is a point of monotonic time in nanoseconds, on the clock of whoever drives the Core.
type Instant int64

// A HardState is what a server must remember of elections across a crash (Figure 2: currentTerm and
// votedFor). It is durable before anything that rests on it leaves the server.
type HardState struct {
	Term Term
	Vote ServerID // who got this server's vote in Term; "" when nobody did
}

// A DurableState is all that a server keeps across restarts beside its log and snapshot.
type DurableState struct {
	HardState

	// Server, Incarnation and Cluster are the identity of the disk. Cluster is zero until the server
	// belongs to one. None of them ever changes once it is set.
	Server      ServerID
	Incarnation Incarnation
	Cluster     ClusterID

	// Start names the latest start of this server on this disk (wire.NextStart).
	Start uint64

	// MaxLease is the longest lease that this server ever promised to respect (§6.4.1).
	MaxLease time.Duration
}

// A TermRun says that the entries from First on are of Term, up to where the next run begins.
type TermRun struct {
	First Index
	Term  Term
}
