package raft

// A Turn is what has gathered for a core while it did something else, or while its whole process
// stood still. HandIn decides in which order the core gets the parts of the turn.
type Turn interface {
	// Reports hands in what the disk and the state machine have done.
	Reports(now Instant)
	// Messages hands in the messages of other servers, and the news that a server's process is
	// gone.
	Messages(now Instant)
	// Calls hands in what callers want.
	Calls(now Instant)
	// Tick lets the time pass, up to now.
	Tick(now Instant)
}

// HandIn hands in a turn. The caller reads the clock, now, after it has taken everything that the
// turn holds.
//
// The time passes last. Otherwise a process that stood still for an election timeout would depose a
// leader whose answers have come meanwhile. And a follower would campaign though it has heard from
// its leader.
//
// Messages come before calls, so that a proposal goes to the leader that is known by now.
func HandIn(now Instant, t Turn) {
	t.Reports(now)
	t.Messages(now)
	t.Calls(now)
	t.Tick(now)
}
