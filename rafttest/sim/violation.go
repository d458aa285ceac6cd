package sim

import (
	"fmt"
	"strings"
	"unicode"
)

// Names of what is checked, as the papers have them where they do.
const (
	// ElectionSafety: at most one leader in a term (Figure 3).
	ElectionSafety = "Election Safety"
	// LeaderAppendOnly: a leader never overwrites or deletes entries of its log (Figure 3).
	LeaderAppendOnly = "Leader Append-Only"
	// LogMatching: logs with an entry of the same index and term are equal up to there (Figure 3).
	LogMatching = "Log Matching"
	// LeaderCompleteness: what was committed in a term is in the logs of the leaders of later ones (Figure 3).
	LeaderCompleteness = "Leader Completeness"
	// StateMachineSafety: what one server applied at an index, no other applies differently (Figure 3).
	StateMachineSafety = "State Machine Safety"
	// OneVote: a disk votes for one candidate in a term, across restarts.
	OneVote = "One Vote"
	// Cursors: applied ≤ commit ≤ last and stable ≤ last; terms, commit and applied never fall in one life.
	Cursors = "Cursors"
	// StableIsDurable: what a core takes for stable is on its disk.
	StableIsDurable = "Stable Is Durable"
	// QuorumDurable: a leader commits what a quorum has on disk, and by an entry of its own term (§3.6.2).
	QuorumDurable = "Quorum Durable"
	// CommitKnown: nobody believes committed what no leader has committed.
	CommitKnown = "Commit Known"
	// Gate: what a message claims is durable when it leaves.
	Gate = "Gate"
	// WritesInOrder: writes are numbered without gaps, follow the log, and never move a term or a vote back.
	WritesInOrder = "Writes In Order"
	// ExactlyOnce: no command is applied twice, nor after its caller was told that it never will be.
	ExactlyOnce = "Exactly Once"
	// NothingLost: an acknowledged command is committed, at the index that was named.
	NothingLost = "Nothing Lost"
	// ReplicasEqual: every copy of the state machine gives the same results, and so do answers to callers.
	ReplicasEqual = "Replicas Equal"
	// FreshReads: a read sees everything that was acknowledged, or read, before it was called.
	FreshReads = "Fresh Reads"
	// Answers: a call is answered once, with an error that says whether the command may be applied.
	Answers = "Answers"
	// Sessions: a session's command is applied once, its copies get the first result, and all tables of sessions are equal (§6.3).
	Sessions = "Sessions"
	// Levels: nothing is in a log that its server doesn't know, and a level that all know is put in force.
	Levels = "Levels"
	// Stickiness: who hears a leader doesn't let a vote that is asked for raise its term (§4.2.3).
	Stickiness = "Stickiness"
	// CheckQuorum: a leader that no quorum answers steps down (§6.2).
	CheckQuorum = "Check Quorum"
	// StalledDisk: a leader whose disk stands still steps down.
	StalledDisk = "Stalled Disk"
	// Leases: nobody is elected while a leader holds a lease (§6.4.1).
	Leases = "Leases"
	// HandingOver: a leader that hands over takes no commands, and lets campaign who has the whole of its log (§3.10).
	HandingOver = "Handing Over"
	// Fences: a fenced command is appended in its term, by the server where it was proposed, or never.
	Fences = "Fences"
	// ArrivedFirst: time doesn't depose or unsettle a server while a message that forbids it has arrived.
	ArrivedFirst = "Arrived First"
	// Steps: of two neighbouring configurations any two quorums meet, a leader begins none before the one before is committed
	// (§4.3), and each counts as long as it is the last in the log (§4.1).
	Steps = "Configuration Steps"
	// CatchingUp: a change isn't given up while the first snapshot of a server that is to vote moves on (§4.2.1).
	CatchingUp = "Catching Up"
	// DeadlinesMove: who was woken up wants to be woken up later.
	DeadlinesMove = "Deadlines Move"
	// BoundedMemory: what a core keeps, and has on its way, stays within its limits.
	BoundedMemory = "Bounded Memory"
	// Convergence: without faults the cluster makes progress, and all copies become equal.
	Convergence = "Convergence"
	// Succession: once all is calm, a server of the highest priority leads.
	Succession = "Succession"
	// Starts: a server starts from what its disk holds.
	Starts = "Starts"
	// SnapshotSound: a snapshot covers what is committed, with the configuration that counted there; it is stored before
	// it is named, and nothing is forgotten that it doesn't cover.
	SnapshotSound = "Snapshot Sound"
	// LogBounded: in calm, the log since the last snapshot isn't longer than its limit.
	LogBounded = "Log Bounded"
	// Recovery: a log that is opened holds all that was reported as written, and of what wasn't the first writes or none.
	Recovery = "Recovery"
	// Assertion: no assertion of the core is broken, nor does it panic.
	Assertion = "Assertion"
	// CoreCheck: the core finds its own invariants intact (raft.Core.Check).
	CoreCheck = "Core Check"
	// Invariant: what the user of the simulator demands of the state machine holds (Options.Invariant).
	Invariant = "Invariant"
)

// A Violation says which invariant doesn't hold.
type Violation struct {
	Name   string
	Detail string
	Server int   // from 0; -1 when it is nobody's in particular
	At     int64 // nanoseconds since the start of the run
	Step   int   // events of the schedule that happened before

	macro int // the macro event in which it happened, not at the end of it; 0 for none
}

// Error implements error.
func (v *Violation) Error() string {
	if v.Server < 0 {
		return fmt.Sprintf("%s: %s", v.Name, v.Detail)
	}
	return fmt.Sprintf("%s at server %d: %s", v.Name, v.Server+1, v.Detail)
}

// kind says what two failures have in common that are one to a person: the name, and where many things go by one
// name, what was asserted or panicked with, whatever the numbers in it.
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
