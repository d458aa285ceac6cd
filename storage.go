package raft

import (
	"fmt"
	"io"
)

// Storage keeps what a server must not forget: its DurableState, its log and its snapshots.
//
// The contract, which rafttest checks:
//
//   - Load is called once, before anything else.
//   - Write is atomic, takes effect in the order of the calls, and is durable when it returns nil: the
//     whole of it survives a crash, together with every write before it. After a crash during Write,
//     either all of it is there or nothing.
//   - After Write failed, the storage fails every further Write: what the disk holds is not known any
//     more (a failed fsync is never retried). The node stops.
//   - Write, Entries and the snapshot methods may be called from different goroutines at the same
//     time; Write is never called by two at once.
//   - Nothing that was handed in is kept or changed after a call has returned; nothing that was handed out is
//     changed later.
//   - Close may be called at any time, also twice. Calls that come after it fail.
type Storage interface {
	// Load returns what is stored; the zero Saved (with a nil error) when nothing is. It returns an
	// error that wraps ErrCorrupt when what is stored is damaged, unless it is the snapshot alone.
	Load() (Saved, error)

	// Write makes w durable.
	Write(w Write) error

	// Entries returns entries of (after, last] in order and without a gap, beginning at after+1: at
	// least one, and no more than fit into maxBytes of data beyond the first. It returns ErrCompacted
	// when after+1 isn't in the log any more, or not yet.
	Entries(after, last Index, maxBytes int) ([]Entry, error)

	// CreateSnapshot starts to store a snapshot. It only stores bytes: what makes the snapshot the
	// current one is a Write that names it.
	CreateSnapshot(meta SnapshotMeta) (SnapshotWriter, error)

	// OpenSnapshot reads the current snapshot. The reader reports damage as an error that wraps
	// ErrCorrupt, at the latest in place of io.EOF; it stays readable until it is closed, whatever
	// is written meanwhile. Without a snapshot it returns ErrNoSnapshot.
	OpenSnapshot() (SnapshotMeta, io.ReadCloser, error)

	// Close releases everything. A call that is under way ends first.
	Close() error
}

// Saved is what Storage.Load finds.
type Saved struct {
	State DurableState

	// Snapshot describes the current snapshot; zero when there is none. SnapshotBytes is how many bytes it has.
	Snapshot      SnapshotMeta
	SnapshotBytes uint64
	// SnapshotDamage says that its bytes are damaged, and that there is no older one to take its place. The log and the
	// state are intact: so the server hasn't forgotten what it promised, and can get another snapshot from the leader.
	SnapshotDamage error

	// Base is the entry after which the log begins, BaseTerm its term: everything in (Base, Last] can be read.
	// It is at most Snapshot.Index, since the snapshot stands for what is gone.
	Base     Index
	BaseTerm Term

	// Last is the index of the last entry, or that of the snapshot when the log is empty.
	Last Index

	// LogBytes is about what the entries in (Snapshot.Index, Last] take.
	LogBytes uint64

	// Runs are the terms of the entries in (Base, Last], in order: the first run begins at Base+1.
	Runs []TermRun

	// Configurations are the configuration entries in (Snapshot.Index, Last], in order.
	Configurations []Entry
}

// Configuration returns the latest configuration that is stored, and the index of its entry. It is nil
// when none is stored. The error wraps ErrCorrupt if any of Configurations can't be decoded.
func (s *Saved) Configuration() (*Configuration, Index, error) {
	log, err := newLog(s)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if latest := log.placed(); latest != nil {
		return latest.configuration, latest.index, nil
	}
	return nil, 0, nil
}

// LastTerm returns the term of the last entry, or that of the snapshot when the log is empty. Of two
// servers' logs, the one with the higher LastTerm is the more up-to-date one, and among equals the one
// with the higher Last (§3.6.1).
func (s *Saved) LastTerm() Term {
	if n := len(s.Runs); n > 0 {
		return s.Runs[n-1].Term
	}
	return s.BaseTerm
}

// A Write is what becomes durable together.
type Write struct {
	// Number is the core's own number of the write, beginning at 1 with each start. It is for those
	// who trace; a storage need not keep it.
	Number WriteNumber

	// State is the whole durable state as of this write, whether it has changed or not.
	State DurableState

	// Snapshot, when not nil, becomes the current snapshot: its bytes were stored and committed before. A
	// log that ends before it, or holds an entry of another term at its index, is dropped as a whole; the
	// snapshots before it may go.
	Snapshot *SnapshotMeta

	// Entries go into the log, at the index that each of them names; they are contiguous. Whatever the
	// log holds from the first one's index on is replaced (truncated). They follow the log or the
	// snapshot without a gap.
	Entries []Entry

	// Compact, when not 0, allows the log up to and including this index to be forgotten. It is never
	// past the snapshot.
	Compact Index
}

// A WriteNumber numbers the writes of a core, in order and without gaps, from 1 at each start.
type WriteNumber uint64

// SnapshotMeta describes a snapshot (§5.1).
type SnapshotMeta struct {
	Index         Index // of the last entry that the snapshot covers
	Term          Term  // of that entry
	Configuration Configuration
	// ConfigurationIndex is the index of the entry that Configuration came with.
	ConfigurationIndex Index
}

// A SnapshotWriter takes the bytes of a snapshot. It ends with Commit or Abort; a second call of
// either does nothing.
type SnapshotWriter interface {
	io.Writer
	// Commit makes the bytes durable under the meta that the writer was created with.
	Commit() error
	// Abort throws them away.
	Abort() error
}
