package raft

import "io"

// A StateMachine is the user's state, which the log drives (§3.5.1, §5.1). It must be
// deterministic: the same entries in the same order give the same state, the same results and the
// same snapshots on every server. It isn't if a result depends on a clock, on randomness, or on the
// order in which a map is iterated.
//
// One goroutine calls all methods, one at a time. If a method panics, or if Restore fails, the node
// stops with the cause. An entry is never skipped.
type StateMachine interface {
	// Apply applies a batch of committed commands in order, and puts the result of entries[i] into
	// results[i]. The two slices are equally long, and every entry is an EntryCommand. The Data of
	// an entry is valid during the call only. A result is read before the next call. So both may be
	// in buffers that are used again.
	//
	// A command that makes no sense must get a result that says so: it is for the state machine to
	// refuse a command, and there is no error for it. A command of a later version of the program is
	// another thing: other servers carry it out, so this one must not refuse it. Apply panics then.
	// docs/durable.md says how a machine tells the two apart, and how it never comes to that.
	Apply(entries []Entry, results [][]byte)

	// Snapshot captures the state as of the last Apply. What it returns is written by another
	// goroutine while Apply goes on, so it must not see what comes later.
	//
	// A capture that holds something, such as a read transaction, can be an io.Closer, too. Close
	// is called exactly once: after WriteTo has returned, or instead of it when the storage can't
	// take the snapshot. The same goroutine calls both, and calls Close also when WriteTo has
	// failed or panicked, and when the node stops. An error of Close fails the snapshot, as one of
	// WriteTo does. The next Snapshot is called after Close has returned. Only a crash leaves a
	// capture open.
	Snapshot() (io.WriterTo, error)

	// Restore replaces the whole state by the one that Snapshot wrote. An error stops the node.
	Restore(io.Reader) error
}

// A DurableMachine lets a state machine keep its state on a disk of its own. At the next start the
// state machine goes on from there: the node neither applies the log from the beginning, nor
// restores a snapshot without need. It hands over only entries that are on this server's disk, so
// the state machine is never ahead of the log.
//
// Beside its state the state machine keeps an index and some bytes. The three change in one step:
// after a crash, all of them must be from the same call of Save. That may be an earlier call than
// the last one; the entries that follow are then applied again, or a snapshot is restored.
//
// The bytes also say of which log the state is. So Start refuses a state machine that has applied
// what the log doesn't hold, with an error that wraps ErrConfig: the log's folder was emptied or put
// back to an older state, or the state is of another server.
type DurableMachine struct {
	// Load returns what Save was last given, as far as it is durable: 0 and nil if there is
	// nothing. Start calls it once. An error makes Start fail.
	Load func() (applied Index, beside []byte, err error)

	// Save says that the state is now the one after the entry at applied. It is called after each
	// batch and after each Restore, by the goroutine that calls the state machine. beside is what
	// to keep beside the state; it is nil if that is the same as at the call before, and valid
	// during the call only. If the error wraps syscall.ENOSPC, EDQUOT, EMFILE or ENFILE, Save is
	// called once more after a while, with the same arguments, and nothing is applied before it
	// succeeds (Status.Machine). Any other error stops the node.
	Save func(applied Index, beside []byte) error
}
