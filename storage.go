package raft

import (
	"fmt"
	"io"

	"github.com/e17579a5/raft/wire"
)

// Storage keeps what a server must not forget: its DurableState, its log and its snapshots.
// Packages wal and memory have one each.
//
// The contract, which rafttest checks:
//
//   - Load is called once, before anything else.
//   - Write is atomic, takes effect in the order of the calls, and is durable when it returns nil:
//     all of it survives a crash, together with every write before it. After a crash during Write,
//     either all of that write is there or nothing of it.
//   - After a Write has failed, the storage fails every further Write: nobody knows any more what
//     the disk holds, and a failed fsync is never retried. The node stops.
//   - Write, Entries and the snapshot methods may be called from different goroutines at the same
//     time. Write is never called by two of them at once.
//   - Once a call has returned, the storage neither keeps nor changes what was handed in. It never
//     changes what it has handed out.
//   - Close may be called at any time, and more than once. Calls that come after it fail.
//
// A storage that refuses every Write whose entries take more than some number of bytes has a method
// MaxWrite() int, which returns that number. Each entry counts for its data and 512 bytes. Start
// asks for it once. It refuses a Config whose commands such a Write couldn't hold, and cuts writes
// to fit.
//
// A storage that may have to wait for something else than its disk, such as a file descriptor, has
// a method Waiting() error, which returns what it waits for, or nil. The method returns at once.
// Status.Disk shows what it says.
//
// A storage that knows its room has a method Room() uint64. It returns for how many bytes of entries
// the storage has room that nobody else can take: each entry counts for its data and
// wire.EntryOverhead bytes. What a Write takes beside its entries is left out of that, so a Write of
// so many bytes fits. It is math.MaxUint64 for a room without end. The method returns at once.
// Only the storage's own writes make the room smaller; it gets larger when entries are forgotten, or
// when the storage gets hold of more. Such a storage never fails a Write for want of room: the Write
// waits until there is room, or Close is called, and changes nothing before. Its method Waiting says
// so. A snapshot for which there is no room fails as any other call may, and leaves no trace.
//
// Such a storage may have a method Reserve(bytes uint64) error. Start calls it once, after Load, and
// says how much room is needed, so that the disk doesn't count as full and each command fits. The
// storage gets hold of so much, and of it anew whenever it was used up, as far as the disk has it. A
// full disk is no error.
//
// A storage that may find out, between two calls, that it can't go on has a method Trouble() error,
// which says so and never blocks. Status.StorageTrouble shows what it returns.
type Storage interface {
	// Load returns what is stored. If nothing is, it returns the zero Saved and a nil error. If
	// what is stored is damaged, it returns an error that wraps ErrCorrupt, with two exceptions:
	// damage to the snapshot alone is reported in Saved.SnapshotDamage, and entries whose bytes are
	// lost though their terms are known are reported in Saved.Lost.
	Load() (Saved, error)

	// Write makes w durable, all of it or nothing. Any error is final.
	Write(w Write) error

	// Entries returns entries of (after, last], in order and without a gap, beginning at after+1.
	// It returns at least one, and after that one no more than fit into maxBytes bytes of data. It
	// returns ErrCompacted if the log holds no entry at after+1: it has been forgotten, or hasn't
	// been written yet. It returns a *DamagedError if the bytes of the entry at after+1 are lost,
	// whether Load has said so or the damage came later. Lost entries further on end what it
	// returns.
	Entries(after, last Index, maxBytes int) ([]Entry, error)

	// CreateSnapshot starts to store a snapshot. The storage only stores its bytes: the snapshot
	// becomes the current one by a later Write that names it.
	CreateSnapshot(meta SnapshotMeta) (SnapshotWriter, error)

	// OpenSnapshot opens the current snapshot. The reader reports damage as an error that wraps
	// ErrCorrupt, at the latest in place of io.EOF. It stays readable until it is closed, whatever
	// is written in the meantime. If there is no snapshot, the error is ErrNoSnapshot.
	OpenSnapshot() (SnapshotMeta, io.ReadCloser, error)

	// Close releases everything. It waits for the calls that are under way.
	Close() error
}

// A troubleTeller is a Storage that says what is wrong with it before a call fails.
type troubleTeller interface {
	Trouble() error
}

// A writeLimiter is a Storage that says how large a Write may be.
type writeLimiter interface {
	MaxWrite() int
}

// A roomyStorage is a Storage that says how much room it has.
type roomyStorage interface {
	Room() uint64
}

// A reservingStorage is a Storage that gets hold of room.
type reservingStorage interface {
	Reserve(bytes uint64) error
}

// A waitingStorage is a Storage that says what it waits for.
type waitingStorage interface {
	Waiting() error
}

// Saved is what Storage.Load finds.
type Saved struct {
	State DurableState

	// Snapshot describes the current snapshot. It is zero when there is none. SnapshotBytes is the
	// size of the snapshot in bytes.
	Snapshot      SnapshotMeta
	SnapshotBytes uint64
	// SnapshotDamage, when not nil, says that the snapshot's bytes are damaged, and that there is
	// no older snapshot to take its place. The log and the state are intact. So the server hasn't
	// forgotten what it promised, and can get another snapshot from the leader.
	SnapshotDamage error

	// Base is the index after which the log begins: every entry in (Base, Last] can be read.
	// BaseTerm is the term of the entry at Base. Base ≤ Snapshot.Index, since the snapshot stands
	// for the entries that are gone.
	Base     Index
	BaseTerm Term

	// Last is the index of the last entry. When the log is empty, it is that of the snapshot.
	Last Index

	// LogBytes is about how many bytes the entries in (Snapshot.Index, Last] take, and KeptBytes
	// those in (Base, Snapshot.Index]. Lost ones need not count.
	LogBytes, KeptBytes uint64

	// Runs say which terms the entries in (Base, Last] have, in order. The first run begins at
	// Base+1.
	Runs []TermRun

	// Configurations are the entries in (Snapshot.Index, Last] that hold configurations, in order.
	// None is missing: a storage that has lost one, and every copy of it, fails Load.
	Configurations []Entry

	// Lost are the entries in (Base, Last] whose bytes are damaged. Their terms are known (Runs),
	// so the server still keeps what it has promised by them, and others can give it their bytes.
	// The ranges are in order, and there is at least one sound entry between two of them.
	Lost []wire.Range
}

// Check returns an error that wraps ErrCorrupt if no storage that keeps its contract can hold this.
// It looks at everything but what Configuration decodes. A start checks the same.
func (s *Saved) Check() error {
	if s.State.Server == "" && (s.Last > 0 || s.State.Term > 0) {
		return fmt.Errorf("%w: there is a log or a term, but no server ID", ErrCorrupt)
	}
	next, term := s.Base+1, s.BaseTerm
	if s.Last < s.Snapshot.Index || s.Base > s.Snapshot.Index || (s.Last >= next) != (len(s.Runs) > 0) {
		return fmt.Errorf("%w: the log goes from %d to %d with %d terms, and the snapshot is at %d",
			ErrCorrupt, s.Base, s.Last, len(s.Runs), s.Snapshot.Index)
	}
	for i, run := range s.Runs {
		if i == 0 && run.First != next || i > 0 && run.First < next || run.First > s.Last ||
			run.Term < term || i > 0 && run.Term == term {
			return fmt.Errorf("%w: the log has a gap or falling terms at %d", ErrCorrupt, run.First)
		}
		next, term = run.First+1, run.Term
	}
	unfounded := s.Snapshot.founding() && s.Last == s.Snapshot.Index && s.State.Cluster == ClusterID{}
	if s.Last > 0 && !unfounded && (s.State.Cluster == ClusterID{} || s.Snapshot.Index == 0 && len(s.Configurations) == 0) {
		return fmt.Errorf("%w: the log goes to %d, but there is no cluster ID or no configuration", ErrCorrupt, s.Last)
	}
	after := s.Base
	for i, lost := range s.Lost {
		if lost.First > lost.Last || lost.Last > s.Last || lost.First <= after || i > 0 && lost.First == after+1 {
			return fmt.Errorf("%w: entries %d to %d are said to be lost, of a log that goes from %d to %d",
				ErrCorrupt, lost.First, lost.Last, s.Base, s.Last)
		}
		after = lost.Last
	}
	if term > s.State.Term {
		return fmt.Errorf("%w: the log holds an entry of term %d, but the server is only in term %d",
			ErrCorrupt, term, s.State.Term)
	}
	return nil
}

// Configuration returns the latest configuration that is stored, and the index of its entry. It
// returns nil when none is stored. The error wraps ErrCorrupt if one of Configurations can't be
// decoded.
func (s *Saved) Configuration() (*Configuration, Index, error) {
	log, err := newLog(s)
	if err != nil {
		return nil, 0, err
	}
	if latest := log.placed(); latest != nil {
		return latest.configuration, latest.index, nil
	}
	return nil, 0, nil
}

// LastTerm returns the term of the last entry. When the log is empty, it returns that of the
// snapshot. Of two servers' logs, the one with the higher LastTerm is more up to date; if the terms
// are equal, it is the one with the higher Last (§3.6.1).
func (s *Saved) LastTerm() Term {
	if n := len(s.Runs); n > 0 {
		return s.Runs[n-1].Term
	}
	return s.BaseTerm
}

// A Write holds all that becomes durable in one step.
type Write struct {
	// Number is the core's own number of the write: 1 for the first one after each start, and one
	// more for each that follows. It is there for traces; a storage need not keep it.
	Number WriteNumber

	// State is the whole durable state as of this write, whether it has changed or not.
	State DurableState

	// Snapshot, when not nil, becomes the current snapshot. Its bytes were committed before
	// (SnapshotWriter). The log is dropped as a whole if it ends before Snapshot.Index, or if its
	// entry at that index has another term than Snapshot.Term. The storage may forget the snapshots
	// before this one.
	Snapshot *SnapshotMeta

	// Entries go into the log. They are contiguous, and each stands at the index that it names.
	// From the index of the first one on, they replace whatever the log holds (truncate). They
	// follow the log or the snapshot without a gap.
	Entries []Entry

	// Repairs are entries whose bytes the storage has lost, once more: each has the index and the
	// term of an entry that the log holds before this write. They rise in index, may have gaps, and
	// change nothing of the log but that their bytes can be read again. Those of an entry that
	// isn't lost may be ignored.
	Repairs []Entry

	// Compact, when not 0, is an index: the storage may forget the log up to it, the entry there
	// included. It is never past the index of the snapshot.
	Compact Index
}

// A WriteNumber numbers the writes of a core, in order and without gaps, from 1 at each start.
type WriteNumber uint64

// SnapshotMeta describes a snapshot (§5.1): what it covers, and the members as of there.
type SnapshotMeta struct {
	Index         Index // of the last entry that the snapshot covers
	Term          Term  // of that entry
	Configuration Configuration
	// ConfigurationIndex is the index of the entry that holds Configuration.
	ConfigurationIndex Index
}

// A SnapshotWriter takes the bytes of a snapshot. It ends with Commit or Abort. A second call of
// either one does nothing.
type SnapshotWriter interface {
	io.Writer
	// Commit makes the bytes durable under the meta that the writer was created with.
	Commit() error
	// Abort throws the bytes away.
	Abort() error
}
