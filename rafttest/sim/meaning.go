package sim

// Meaning returns a sentence that says what the invariant with this name demands. It returns "" if
// there is no such invariant.
func Meaning(name string) string { return meanings[name] }

var meanings = map[string]string{
	ElectionSafety:     "At most one server leads in a term (Figure 3).",
	LeaderAppendOnly:   "A leader never overwrites or deletes entries of its own log (Figure 3).",
	LogMatching:        "Logs with an entry of the same index and term are equal up to there (Figure 3).",
	LeaderCompleteness: "What was committed in a term is in the logs of the leaders of all later terms (Figure 3).",
	StateMachineSafety: "What one server applied at an index, no other server applies differently (Figure 3).",
	OneVote:            "A disk votes for one candidate in a term, across restarts.",
	Cursors:            "applied ≤ commit ≤ last and stable ≤ last; terms, commit and applied never fall while a server is up.",
	StableIsDurable:    "What a core takes for stable is on its disk.",
	QuorumDurable:      "A leader commits only what a quorum has on disk, and by an entry of its own term (§3.6.2, Figure 8).",
	CommitKnown:        "No server takes an entry for committed that no leader has committed.",
	Gate:               "What a message claims is durable at its sender when it leaves.",
	WritesInOrder:      "Writes are numbered without gaps, follow the log, and never move a term or a vote back.",
	ExactlyOnce:        "No command is applied twice, nor after its caller was told that it never will be.",
	NothingLost:        "An acknowledged command is committed, at the index that was named.",
	ReplicasEqual:      "Every copy of the state machine gives the same results, and so do the answers to callers.",
	FreshReads:         "A read sees everything that was acknowledged, or read, before it was called.",
	Answers:            "A call is answered once, with an error that says whether the command may be applied.",
	Sessions:           "A session's command is applied once, each copy is answered with its result or refused, and all tables of sessions are equal (§6.3).",
	Levels:             "Nothing gets into the log of a server that its version doesn't know, and what all servers know is put in force.",
	Stickiness:         "A request for its vote doesn't raise the term of a server that hears a leader (§4.2.3).",
	CheckQuorum:        "A leader that no quorum answers steps down (§6.2).",
	StalledDisk:        "A leader whose disk stands still steps down.",
	LeadershipLasts:    "A leadership ends only for a reason, and a slow disk or too many commands are none.",
	Leases:             "Nobody is elected while a leader holds a lease (§6.4.1).",
	HandingOver:        "A leader that hands over takes no commands, and lets only a server campaign that has its whole log (§3.10).",
	Fences:             "A fenced command is appended in its term, by the server where it was proposed, or never.",
	Steps: "Any quorums of two neighbouring configurations meet, a leader begins none before the previous one is committed, " +
		"and the last configuration in a log is the one that counts (§4.1, §4.3).",
	CatchingUp:    "A change isn't given up while a server that is to vote still receives its first snapshot (§4.2.1).",
	ArrivedFirst:  "A server doesn't campaign or step down because time has passed, while a message that forbids it has arrived.",
	DeadlinesMove: "A server that is woken up at a deadline asks to be woken up later, not at once again.",
	BoundedMemory: "What a core keeps, and has on its way, stays within its limits.",
	Convergence:   "Without faults the cluster makes progress, and all copies become equal.",
	Succession:    "Once all is calm, no healthy voter has a higher priority than the leader.",
	Starts:        "A server starts from what its disk holds.",
	SnapshotSound: "A snapshot covers what is committed, is stored before it becomes the current one, and the log forgets nothing that it doesn't cover (§5.1).",
	LogBounded:    "Once all is calm, the log since the last snapshot isn't longer than its limit (§5.1.2).",
	Recovery:      "A log that is opened holds every write that was reported as durable, and of the later ones whole writes, in order.",
	Assertion:     "No assertion of the core is broken, and neither it nor the state machine panics.",
	CoreCheck:     "The core finds its own invariants intact.",
	Invariant:     "The state machine's own invariant holds after every batch of commands.",
}
