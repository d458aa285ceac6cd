package raft

import (
	"encoding/hex"
	"strconv"
)

// A Term numbers an election period (§3.3). Terms start at 1 and only rise; 0 means "none".
type Term uint64

// An Index is the position of an entry in the log. The first entry has index 1; 0 stands before it.
// A range of the log is written (after, last], without its left end and with its right one.
type Index uint64

// A ServerID names one member of a cluster. It is chosen by the user, never reused for another
// machine, and at most MaxServerID bytes long. The empty ID means "nobody".
type ServerID string

// A ClusterID names a cluster. Its founder draws it, and it never changes; the zero value means
// "no cluster yet".
type ClusterID [16]byte

// String returns the ID in hexadecimal digits.
func (id ClusterID) String() string { return hex.EncodeToString(id[:]) }

// An Incarnation names one life of a server's disk. It is drawn at random when a server starts on
// an empty storage; a server whose disk was replaced comes back with another one, so that no vote or
// acknowledgement of the lost disk is ever counted for the new one. Zero means "not known".
type Incarnation uint64

// An Instant is a point of monotonic time in nanoseconds, on the clock of whoever drives the Core.
type Instant int64

// A Duration is a span of time in nanoseconds.
type Duration int64

// Units of Duration.
const (
	Microsecond Duration = 1000
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
)

// Limits of the formats. What exceeds one is refused with an error that names it.
const (
	MaxServerID    = 255     // bytes in a ServerID
	MaxAddress     = 1 << 10 // bytes in an address
	MaxMembers     = 255     // members of a cluster
	MaxCommandSize = 1 << 30 // bytes in a command, whatever the Config allows
	MaxPriority    = 1 << 16 // of a server

	// maxTerm leaves room to count on: no cluster gets there, and a message that claims to have is not heard.
	maxTerm Term = 1 << 62
)

// An EntryKind says what an entry of the log is for.
type EntryKind uint8

// Kinds of entries.
const (
	// EntryCommand carries a command of the user to the state machine.
	EntryCommand EntryKind = 1 + iota
	// EntryNoOp is what a new leader appends so that it can commit its predecessors' entries (§6.4).
	EntryNoOp
	// EntryConfiguration carries a Configuration in the encoding of AppendConfiguration.
	EntryConfiguration
	// EntryOpenSession opens a session, whose ID is the entry's place (§6.3). It carries SessionLimits.
	EntryOpenSession
	// EntryCloseSession ends the session that it names.
	EntryCloseSession
	// EntrySessionCommand carries a SessionCommand and the command itself (DecodeSessionCommand).
	EntrySessionCommand
)

// String returns the kind in words.
func (k EntryKind) String() string {
	switch k {
	case EntryCommand:
		return "command"
	case EntryNoOp:
		return "no-op"
	case EntryConfiguration:
		return "configuration"
	case EntryOpenSession:
		return "open session"
	case EntryCloseSession:
		return "close session"
	case EntrySessionCommand:
		return "session command"
	}
	return "kind " + strconv.Itoa(int(k))
}

// An Origin is one run of one server: who first took a command from a caller. Start is the server's
// durable start counter, which rises each time the server starts; the first start is 1.
type Origin struct {
	Server ServerID
	Start  uint64
}

// An Entry is one record of the replicated log (§3.5). Its Data is never changed once the entry
// exists: the log, messages and writes share it.
type Entry struct {
	Index Index
	Term  Term // the term of the leader that appended it
	Kind  EntryKind

	// Origin and Number identify a command for ever, across retries and leaders: they are what makes
	// a command apply exactly once. They are zero in entries that no caller proposed.
	Origin Origin
	Number uint64

	Data []byte
}

// size is what an entry counts for against limits in bytes: its data, and a round figure for the rest.
func (e *Entry) size() int { return len(e.Data) + entryOverhead }

// entryOverhead is about what an entry takes in memory beside its data.
const entryOverhead = 96

// A Server is a member's name and where to reach it.
type Server struct {
	ID      ServerID
	Address string // as the Transport understands it
}

// A MemberRole says what a member may do.
type MemberRole uint8

// Roles of members.
const (
	// Voter counts in elections and for commitment.
	Voter MemberRole = 1 + iota
	// Learner receives the log, but doesn't count (§4.2.1).
	Learner
	// Joining is a server that catches up, on its way into the cluster: it receives the log like a learner, and goes
	// again if it doesn't catch up.
	Joining
)

// String returns "voter", "learner" or "joining".
func (r MemberRole) String() string {
	switch r {
	case Voter:
		return "voter"
	case Learner:
		return "learner"
	case Joining:
		return "joining"
	}
	return "role " + strconv.Itoa(int(r))
}

// A Member is a server in a Configuration.
type Member struct {
	Server
	Role        MemberRole
	Incarnation Incarnation // of the disk that counts for this member
}

// A Configuration is the set of servers that make up the cluster (§4.1). The first entry of every
// log is one; it founds the cluster. Each list is sorted by ID and names each server once; none is ever changed in
// place.
type Configuration struct {
	Cluster ClusterID
	// Members are the servers of the cluster.
	Members []Member

	// Old makes the configuration joint (§4.3): these were the members before, and as long as they are named here, an
	// election or a commitment needs a majority of their voters too. Next are the members to be, while servers catch
	// up before the change. Both are nil in a configuration that is settled.
	Old, Next []Member

	// Origin and Number name the call that asked for the change that the configuration belongs to, settled or not. They
	// are zero in the first one.
	Origin Origin
	Number uint64
	// Begun says that a part of that change stays, even if the rest is given up: a server's lost disk has been
	// replaced by the present one.
	Begun bool
	// Refusal says why that change was given up, on account of the server About. It is zero otherwise.
	Refusal Refusal
	About   ServerID

	// Level is what is in force; 0 stands for LevelFirst.
	Level Level

	// Recovered names the cluster that this one goes on from, after its majority was lost (package recovery).
	Recovered ClusterID
}

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

	// Start counts the starts of this server on this disk.
	Start uint64

	// MaxLease is the longest lease that this server ever promised to respect (§6.4.1).
	MaxLease Duration
}

// A TermRun says that the entries from First on are of Term, up to where the next run begins.
type TermRun struct {
	First Index
	Term  Term
}
