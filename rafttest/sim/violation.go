package sim

import (
	"fmt"
	"strings"
	"unicode"
)

// The names of the invariants. The papers' names are used where there are any.
const (
	// ElectionSafety: at most one leader in a term (Figure 3).
	ElectionSafety = "Election Safety"
	// LeaderAppendOnly: a leader never overwrites or deletes entries of its log (Figure 3).
	LeaderAppendOnly = "Leader Append-Only"
	// LogMatching: logs with an entry of the same index and term are equal up to that entry
	// (Figure 3).
	LogMatching = "Log Matching"
	// LeaderCompleteness: what was committed in a term is in the logs of the leaders of all later
	// terms (Figure 3).
	LeaderCompleteness = "Leader Completeness"
	// StateMachineSafety: what one server applied at an index, no other applies differently
	// (Figure 3).
	StateMachineSafety = "State Machine Safety"
	// OneVote: a disk votes for one candidate in a term, across restarts.
	OneVote = "One Vote"
	// Cursors: applied ≤ commit ≤ last and stable ≤ last; terms, commit and applied never fall
	// while a server is up.
	Cursors = "Cursors"
	// StableIsDurable: what a core takes for stable is on its disk.
	StableIsDurable = "Stable Is Durable"
	// QuorumDurable: a leader commits only what a quorum has on disk, and by an entry of its own
	// term (§3.6.2).
	QuorumDurable = "Quorum Durable"
	// CommitKnown: no server takes an entry for committed that no leader has committed.
	CommitKnown = "Commit Known"
	// Gate: what a message claims is durable at its sender when it leaves.
	Gate = "Gate"
	// WritesInOrder: writes are numbered without gaps, follow the log, and never move a term or a
	// vote back.
	WritesInOrder = "Writes In Order"
	// ExactlyOnce: no command is applied twice, nor after its caller was told that it never will
	// be.
	ExactlyOnce = "Exactly Once"
	// NothingLost: an acknowledged command is committed, at the index that was named.
	NothingLost = "Nothing Lost"
	// ReplicasEqual: every copy of the state machine gives the same results, and so do the answers
	// to callers.
	ReplicasEqual = "Replicas Equal"
	// OwnAnswers: what answers a command is the result of this very command at its server, whatever
	// disk went back.
	OwnAnswers = "Own Answers"
	// BytesKept: an entry that other servers give back is the one that was lost.
	BytesKept = "Bytes Kept"
	// SoundAcknowledged: a server acknowledges nothing behind an entry that it knows to be lost, and
	// doesn't know to be committed.
	SoundAcknowledged = "Sound Acknowledged"
	// NothingGivenUp: no log replaces an entry that was committed in its server's term or before.
	NothingGivenUp = "Nothing Given Up"
	// AskedFirst: a server that has started takes part when the others have told it what they know of
	// its disk, and not if its disk has forgotten any of that.
	AskedFirst = "Asked First"
	// NoFalseAlarm: a server says that its disk went back only if it did.
	NoFalseAlarm = "No False Alarm"
	// FreshReads: a read sees everything that was acknowledged, or read, before it was called.
	FreshReads = "Fresh Reads"
	// Answers: a call is answered once, with an error that says whether the command may be applied.
	Answers = "Answers"
	// Sessions: a session's command is applied once, its copies get the first result, and all
	// tables of sessions are equal (§6.3).
	Sessions = "Sessions"
	// Levels: nothing gets into the log of a server that its version doesn't know, and a level that
	// all servers know is put in force.
	Levels = "Levels"
	// Strangers: a message of a server that doesn't belong to the cluster changes nothing at a
	// member, and is told nothing. A member demands the cluster's key of others.
	Strangers = "Strangers"
	// LeadersHeard: no member takes a leader of its cluster for a stranger, however far it lags
	// behind.
	LeadersHeard = "Leaders Heard"
	// KeysStayInside: nobody but members has the present key of the cluster, and it is a key that no
	// server has that has left.
	KeysStayInside = "Keys Stay Inside"
	// NoContradiction: no server refuses a message of a member as one that can't be.
	NoContradiction = "No Contradiction"
	// Stickiness: a request for its vote doesn't raise the term of a server that hears a leader
	// (§4.2.3).
	Stickiness = "Stickiness"
	// CheckQuorum: a leader that no quorum answers steps down (§6.2).
	CheckQuorum = "Check Quorum"
	// StalledDisk: a leader whose disk stands still steps down.
	StalledDisk = "Stalled Disk"
	// LeadershipLasts: a leadership ends only for a reason, and nobody campaigns who hears its
	// leader. That messages or a disk are slow, or that clients want more than the cluster does, is
	// none.
	LeadershipLasts = "Leadership Lasts"
	// Leases: nobody is elected while a leader holds a lease (§6.4.1).
	Leases = "Leases"
	// InTime: while nothing is wrong, a command that was accepted and a read are answered in the
	// time that it takes to answer them and what was ahead of them. Nobody waits for a heartbeat.
	InTime = "In Time"
	// SentOnce: while nothing is lost, no entry is sent to a server twice.
	SentOnce = "Sent Once"
	// HandingOver: a leader that hands over takes no commands, and lets only a server campaign that
	// has its whole log (§3.10).
	HandingOver = "Handing Over"
	// Fences: a fenced command is appended in its term, by the server where it was proposed, or
	// never.
	Fences = "Fences"
	// ArrivedFirst: a server doesn't campaign or step down because time has passed, while a message
	// that forbids it has arrived.
	ArrivedFirst = "Arrived First"
	// Steps: any quorums of two neighbouring configurations meet, a leader begins none before the
	// previous one is committed (§4.3), and the last configuration in a log is the one that counts
	// (§4.1).
	Steps = "Configuration Steps"
	// CatchingUp: a change isn't given up while a server that is to vote still receives its first
	// snapshot (§4.2.1).
	CatchingUp = "Catching Up"
	// DeadlinesMove: a server that is woken up at a deadline asks to be woken up later, not at once
	// again.
	DeadlinesMove = "Deadlines Move"
	// BoundedMemory: what a core keeps, and has on its way, stays within its limits.
	BoundedMemory = "Bounded Memory"
	// Convergence: without faults the cluster makes progress, and all copies become equal.
	Convergence = "Convergence"
	// Succession: once all is calm, no healthy voter has a higher priority than the leader.
	Succession = "Succession"
	// Starts: a server starts from what its disk holds.
	Starts = "Starts"

	// Candidates: no voter is without a leader for longer than one and a half election timeouts without
	// asking for votes, though nobody asks it anything.
	Candidates = "Candidates In Time"
	// IdleIsFree: once all is calm, groups in which nothing happens cost their processes nothing.
	IdleIsFree = "Idle Is Free"
	// RemovedIsSilent: a process lists only groups that it serves and leads, and of a group that was
	// removed nothing is sent and nothing comes back by itself.
	RemovedIsSilent = "Removed Is Silent"
	// RemovedStaysAway: when a group was removed from a process, nothing of it is found in the process's log
	// any more, whatever fails.
	RemovedStaysAway = "Removed Stays Away"
	// LogCleaned: the log that the groups of a process share takes no more than twice what they need, and
	// some segments, once its cleaner has done what it owes.
	LogCleaned = "Log Cleaned"
	// Belongs: a server doesn't start with a durable state machine that has applied what the log
	// doesn't hold.
	Belongs = "Machine Belongs to the Log"
	// RoomKept: a leader takes no command for which no quorum has room beside its reserve.
	RoomKept = "Room Kept"
	// RefusedWhenFull: while no quorum has room, commands are refused, and don't wait.
	RefusedWhenFull = "Refused When Full"
	// GoesOn: once there is room again, no command is refused for want of it.
	GoesOn = "Goes On"
	// SnapshotSound: a snapshot covers what is committed, with the configuration that counted
	// there; it is stored before a write names it; and the log forgets nothing that it doesn't
	// cover (§5.1).
	SnapshotSound = "Snapshot Sound"
	// LentEntries: a state machine changes no entry that it is lent (raft.StateMachine).
	LentEntries = "Lent Entries"
	// DurableState: a durable state machine goes on from one of the states that it was told to
	// save, with the index and the bytes that belong to it (raft.DurableMachine).
	DurableState = "Durable State"
	// LogBounded: once all is calm, the log since the last snapshot isn't longer than its limit
	// (§5.1.2).
	LogBounded = "Log Bounded"
	// Recovery: a log that is opened holds all writes that were reported as durable, and of the
	// others the first few, all, or none.
	Recovery = "Recovery"
	// Assertion: no assertion of the core is broken, and neither the core nor the state machine
	// panics.
	Assertion = "Assertion"
	// CoreCheck: the core finds its own invariants intact (raft.Core.Check).
	CoreCheck = "Core Check"
	// Invariant: what the user of the simulator demands of the state machine holds
	// (Options.Invariant).
	Invariant = "Invariant"
)

// A Violation says which invariant doesn't hold, and how. It is an error.
type Violation struct {
	Name   string
	Detail string
	Server int   // from 0; -1 for none in particular
	At     int64 // nanoseconds since the start of the run
	Step   int   // number of events of the schedule up to it

	// Stack is the part of a panic's stack that isn't the simulator's. It is "" if nothing
	// panicked.
	Stack string

	// macro is the number of the macro event during which it happened. It is 0 if it happened in
	// none, or showed at the end of one.
	macro int
}

// Error implements error.
func (v *Violation) Error() string {
	if v.Server < 0 {
		return fmt.Sprintf("%s: %s", v.Name, v.Detail)
	}
	return fmt.Sprintf("%s at server %d: %s", v.Name, v.Server+1, v.Detail)
}

// kind returns what two failures have in common that a person would call the same failure: the name
// of the invariant. Under a few names many failures are found. For those, kind adds what was
// asserted, or the text of the panic, without its numbers.
func (v *Violation) kind() string {
	switch v.Name {
	case Assertion, CoreCheck, Starts:
	default:
		return v.Name
	}
	detail := strings.TrimPrefix(v.Detail, "raft: broken invariant: ")
	detail, _, _ = strings.Cut(detail, ":")
	return v.Name + ": " + strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, detail)
}

func newViolation(name string, server int, at int64, format string, args ...any) *Violation {
	return &Violation{Name: name, Detail: fmt.Sprintf(format, args...), Server: server, At: at}
}
