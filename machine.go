package raft

import "io"

// A StateMachine is what the log drives: the user's state (§3.5.1, §5.1). It must be deterministic:
// the same entries in the same order give the same state, the same results and the same snapshots
// on every server. A clock, randomness, or an iteration over a map that shows in a result breaks that.
//
// All methods are called from one goroutine, one at a time. A method that panics or fails stops the
// node with the cause; an entry is never skipped.
type StateMachine interface {
	// Apply applies a batch of committed commands in order and puts the result of entries[i] into
	// results[i]. Both slices are as long as each other; every entry is an EntryCommand. An entry's
	// Data is valid during the call only, and a result is read before the next call: both may live in
	// buffers that are used again. A command that makes no sense must have a result that says so:
	// refusing is the state machine's business, not an error.
	Apply(entries []Entry, results [][]byte)

	// Snapshot captures the state as of the last Apply. What it returns is written by another
	// goroutine while Apply goes on, so it must not see what comes later.
	//
	// A capture that holds something, such as a read transaction, can be an io.Closer, too. Close is
	// called exactly once: after WriteTo has returned, or instead of it when the storage can't take
	// the snapshot. The same goroutine calls both, and calls Close also when WriteTo has failed or
	// panicked, and when the node stops. An error of Close fails the snapshot, as one of WriteTo
	// does. The next Snapshot is called after Close has returned. Only a crash leaves a capture open.
	Snapshot() (io.WriterTo, error)

	// Restore replaces the state by the one in a snapshot.
	Restore(io.Reader) error
}

// A DurableMachine is what a state machine adds that keeps its own durable state: it goes on from there at the next start, is
// neither replayed from the beginning nor restored without need, and is given only entries that are on this server's disk, so
// that it is never ahead of its log.
//
// What it keeps beside its state is an index and some bytes, which are to change with the state in one step: after a crash
// all three must be those of one call of Save. It may be an earlier call: what follows is then applied again.
type DurableMachine struct {
	// Load returns what Save was given last, as far as it is durable: zero and nil when it never was. It is called
	// once, by Start.
	Load func() (applied Index, beside []byte, err error)

	// Save is called after each batch and after each Restore, by the goroutine that calls the state machine: the state is now
	// that after the entry at applied. beside is nil when it is as it was at the call before; it is valid during the call.
	// An error stops the node.
	Save func(applied Index, beside []byte) error
}
