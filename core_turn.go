package raft

// A Turn is what gathered for a core while it was at something else, or while its whole process stood still. HandIn
// decides in which order the core gets the parts of it.
type Turn interface {
	// Reports hands in what disk and state machine have done.
	Reports(now Instant)
	// Messages hands in what came from other servers, and word that one of them is gone.
	Messages(now Instant)
	// Calls hands in what callers want.
	Calls(now Instant)
	// Tick lets the time pass, up to now.
	Tick(now Instant)
}

// HandIn hands in a turn. The clock was read after everything was taken, and time passes last: or else a process that stood
// still for an election timeout would depose a leader whose answers have come meanwhile, and let a follower campaign that has
// heard from its leader. Messages come before calls, so that what is proposed goes to the leader that is known by now.
func HandIn(now Instant, t Turn) {
	t.Reports(now)
	t.Messages(now)
	t.Calls(now)
	t.Tick(now)
}
