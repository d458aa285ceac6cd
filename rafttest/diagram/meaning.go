package diagram

import "github.com/e17579a5/raft/rafttest/sim"

// meanings says what each invariant demands.
var meanings = map[string]string{
	sim.ElectionSafety:     "At most one server leads in a term (Figure 3).",
	sim.LeaderAppendOnly:   "A leader never overwrites or deletes entries of its own log (Figure 3).",
	sim.LogMatching:        "Logs with an entry of the same index and term are equal up to there (Figure 3).",
	sim.LeaderCompleteness: "What was committed in a term is in the logs of the leaders of all later terms (Figure 3).",
	sim.StateMachineSafety: "What one server applied at an index, no other server applies differently (Figure 3).",
	sim.OneVote:            "A disk votes for one candidate in a term, across restarts.",
	sim.Cursors:            "applied ≤ commit ≤ last and stable ≤ last; terms, commit and applied never fall while a server is up.",
	sim.StableIsDurable:    "What a core takes for stable is on its disk.",
	sim.QuorumDurable:      "A leader commits only what a quorum has on disk, and by an entry of its own term (§3.6.2, Figure 8).",
	sim.CommitKnown:        "Nobody believes committed what no leader has committed.",
	sim.Gate:               "What a message claims is durable at its sender when it leaves.",
	sim.WritesInOrder:      "Writes are numbered without gaps, follow the log, and never move a term or a vote back.",
	sim.ExactlyOnce:        "No command is applied twice, nor after its caller was told that it never will be.",
	sim.NothingLost:        "An acknowledged command is committed, at the index that was named.",
	sim.ReplicasEqual:      "Every copy of the state machine gives the same results, and so do the answers to callers.",
	sim.FreshReads:         "A read sees everything that was acknowledged, or read, before it was called.",
	sim.Answers:            "A call is answered once, with an error that says whether the command may be applied.",
	sim.Stickiness:         "A server that hears a leader doesn't let a vote that is asked for raise its term (§4.2.3).",
	sim.CheckQuorum:        "A leader that no quorum answers steps down (§6.2).",
	sim.StalledDisk:        "A leader whose disk stands still steps down.",
	sim.BoundedMemory:      "What a core keeps, and has on its way, stays within its limits.",
	sim.Convergence:        "Without faults the cluster makes progress, and all copies become equal.",
	sim.Assertion:          "No assertion of the core is broken, and neither it nor the state machine panics.",
	sim.CoreCheck:          "The core finds its own invariants intact.",
	sim.Invariant:          "The state machine's own invariant holds after every batch of commands.",
}
