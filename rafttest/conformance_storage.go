package rafttest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

// A Disk holds what one storage keeps. Its functions open that storage and make faults happen.
type Disk struct {
	// Open opens the storage. The first call opens an empty one. Each later call opens a storage
	// with what the one before it has left. The one before was closed or has died in a crash.
	Open func() (raft.Storage, error)

	// Crash, when not nil, ends the open storage as a power cut does: whatever was not made durable
	// may be lost or torn. A crash also ends all faults that were set.
	Crash func()

	// PowerOffAfter, when not nil, lets the given number of further calls to the disk succeed. All
	// calls after them fail until Crash is called.
	PowerOffAfter func(calls int)

	// FailAt, when not nil, makes one call to the disk fail with err: the call-th from now on,
	// counted from 1.
	FailAt func(call int, err error)
}

// SimDisk returns a Disk for a storage that keeps its files in a vfs.FS. A crash of it loses or
// tears what was not synced. open opens the storage on the file system.
func SimDisk(fs *simfs.FS, open func(vfs.FS) (raft.Storage, error)) Disk {
	return Disk{
		Open:          func() (raft.Storage, error) { return open(fs) },
		Crash:         fs.Cut,
		PowerOffAfter: func(calls int) { fs.PowerOffAfter(fs.Calls() + calls) },
		FailAt:        func(call int, err error) { fs.FailAt(fs.Calls()+call, err) },
	}
}

// MemoryDisk returns a Disk for a memory.Storage. Its writes are durable when they return.
func MemoryDisk() Disk {
	storage := memory.NewStorage()
	reopen := func() { storage = storage.Reopen() }
	return Disk{
		Open:  func() (raft.Storage, error) { reopen(); return storage, nil },
		Crash: reopen,
	}
}

// TestStorage checks a storage against the contract of raft.Storage. newDisk returns a new, empty
// disk on each call. Rules that need a crash or a failure are not checked on a Disk that can't
// crash or fail. TestStorage returns nil, or an error that says, for each broken rule, what was
// done, what was expected, and what was found.
//
// One rule can't be checked from outside and is left out: that a storage reports damage. Only the
// storage knows what damages it.
func TestStorage(newDisk func() Disk) error {
	var failures []error
	for _, c := range storageChecks {
		if err := guarded(func() error { return c.run(newDisk) }); err != nil {
			failures = append(failures, fmt.Errorf("rafttest: storage: %s: %w\n\tthe rule: %s", c.name, err, c.rule))
		}
	}
	return errors.Join(failures...)
}

// A storageCheck checks one rule of the contract. It takes a new disk for each session.
type storageCheck struct {
	name, rule string
	run        func(newDisk func() Disk) error
}

// once returns a check that takes one session.
func once(name, rule string, check func(*storageSession) error) storageCheck {
	return storageCheck{name, rule, func(newDisk func() Disk) error {
		s, err := newStorageSession(newDisk())
		if err != nil {
			return err
		}
		err = s.explain(guarded(func() error { return check(s) }))
		return errors.Join(err, guarded(s.end))
	}}
}

var storageChecks = []storageCheck{
	once("empty", "Load returns the zero Saved when nothing is stored, and there are neither entries nor a snapshot", checkEmpty),
	once("state", "State is the whole durable state as of a write", checkState),
	once("entries", "Write keeps every field of every entry; Load returns terms and configurations of what lies behind the snapshot", checkEntriesKept),
	once("truncation", "whatever the log holds from the first entry's index on is replaced", checkTruncation),
	once("limits", "Entries returns at least one entry of (after, last], and no more than fit into maxBytes of data beyond the first", checkLimits),
	once("compaction", "Compact allows the log up to and including its index to be forgotten, and nothing behind", checkCompaction),
	once("snapshot", "a snapshot is the current one only once a Write names it", checkSnapshotCurrent),
	once("snapshot bytes", "OpenSnapshot returns the bytes and the meta that were committed", checkSnapshotBytes),
	once("snapshot writer", "a SnapshotWriter ends with Commit or Abort; a second call of either does nothing", checkSnapshotWriter),
	once("snapshot reader", "a reader stays readable until it is closed, whatever is written meanwhile", checkSnapshotReader),
	once("snapshot and log", "a log that ends before the snapshot, or disagrees with it, is dropped as a whole; another one stays", checkSnapshotAndLog),
	once("snapshot with entries", "one Write may name a snapshot and hold the entries behind it", checkSnapshotWithEntries),
	once("lent memory", "nothing that was handed in is kept or changed after a call has returned", checkHandedIn),
	once("given memory", "nothing that was handed out is changed later", checkHandedOut),
	once("close", "Close may be called at any time, also twice; calls that come after it fail", checkClose),
	once("close under load", "a call that is under way ends before Close returns, and what it acknowledged is durable", checkCloseUnderLoad),
	once("concurrency", "Write, Entries and the snapshot methods may be called at the same time", checkConcurrency),
	{"random writes", "Write takes effect in the order of the calls and is durable when it returns nil", checkRandom},
	{"crash within", "Write is atomic: after a crash during it, either all of it is there or nothing, and every write before it", checkCrashWithin},
	{"failure", "after Write failed, the storage fails every further Write, and what it acknowledged stays", checkFailure},
}

// A storageSession is a storage on one disk, together with the model that says what the storage
// must hold.
type storageSession struct {
	disk    Disk
	storage raft.Storage
	model   storageModel
	number  raft.WriteNumber
	did     []string // the steps so far, for the explanation of a failure
}

// newStorageSession opens a new disk and checks that it is empty.
func newStorageSession(disk Disk) (*storageSession, error) {
	s := &storageSession{disk: disk}
	return s, s.explain(s.open())
}

// maxTold bounds the steps that an explanation tells: the last ones.
const maxTold = 12

// explain adds to an error the steps that led to it.
func (s *storageSession) explain(err error) error {
	if err == nil || len(s.did) == 0 {
		return err
	}
	told, more := s.did, ""
	if len(told) > maxTold {
		told, more = told[len(told)-maxTold:], "…, "
	}
	return fmt.Errorf("after %s%s: %w", more, strings.Join(told, ", "), err)
}

// note remembers a step for explain.
func (s *storageSession) note(format string, arguments ...any) {
	s.did = append(s.did, fmt.Sprintf(format, arguments...))
}

// open opens the storage and compares what it loads to the model.
func (s *storageSession) open() error {
	saved, err := s.load()
	if err != nil {
		return err
	}
	return s.model.differs(saved, s.storage)
}

// openEither opens the storage, which must hold what the model says or what next says. If it holds
// what next says, next becomes the model.
func (s *storageSession) openEither(next storageModel) error {
	saved, err := s.load()
	if err != nil {
		return err
	}
	if err = s.model.differs(saved, s.storage); err == nil {
		return nil
	}
	if other := next.differs(saved, s.storage); other != nil {
		return fmt.Errorf("the storage holds neither what it held before the last write (%w) nor what it should after it (%w)", err, other)
	}
	s.model = next
	return nil
}

// load opens the storage and calls its Load.
func (s *storageSession) load() (raft.Saved, error) {
	storage, err := s.disk.Open()
	if err != nil {
		return raft.Saved{}, fmt.Errorf("open failed: %w", err)
	}
	s.storage = storage
	saved, err := storage.Load()
	if err != nil {
		return raft.Saved{}, fmt.Errorf("the call of Load failed: %w", err)
	}
	return saved, nil
}

// reopen closes the storage and opens it again.
func (s *storageSession) reopen() error {
	s.note("Close and open")
	if err := s.storage.Close(); err != nil {
		return fmt.Errorf("Close failed: %w", err)
	}
	return s.open()
}

// crash cuts the power, if the disk can, and closes the storage otherwise. The caller must open it
// again.
func (s *storageSession) crash() error {
	if s.disk.Crash == nil {
		s.note("Close and open")
		if err := s.storage.Close(); err != nil {
			return fmt.Errorf("Close failed: %w", err)
		}
		return nil
	}
	s.note("a crash")
	s.disk.Crash()
	_ = s.storage.Close() // a dead storage may fail here; the error doesn't count
	return nil
}

// recover crashes, opens the storage again, and compares it to the model.
func (s *storageSession) recover() error {
	if err := s.crash(); err != nil {
		return err
	}
	return s.open()
}

// both compares the storage to the model three times: as it is, after a crash, and after closing
// and opening it.
func (s *storageSession) both() error {
	if err := s.model.differsIn(s.storage); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	return s.reopen()
}

// end closes the storage.
func (s *storageSession) end() error {
	if err := s.storage.Close(); err != nil {
		return s.explain(fmt.Errorf("Close failed: %w", err))
	}
	return nil
}

// write performs a write on the storage and on the model. w.State must be complete: it replaces the
// state of the model.
func (s *storageSession) write(w raft.Write) error {
	s.number++
	w.Number = s.number
	s.note("%s", describeWrite(&w))
	if err := s.storage.Write(w); err != nil {
		return fmt.Errorf("Write failed: %w", err)
	}
	s.model = s.model.after(w)
	return nil
}

// append writes commands behind the entry at index after, in the given term. It raises the term of
// the state to that term.
func (s *storageSession) append(term raft.Term, after raft.Index, data ...string) error {
	state := s.model.state
	state.Term = max(state.Term, term)
	return s.write(raft.Write{State: state, Entries: commands(term, after, data...)})
}

// snapshot stores a snapshot and performs the write w, which names it. The bytes of the snapshot
// follow from meta.
func (s *storageSession) snapshot(meta raft.SnapshotMeta, w raft.Write) error {
	if err := s.store(meta, snapshotBytes(meta)); err != nil {
		return err
	}
	w.State, w.Snapshot = s.model.state, &meta
	return s.write(w)
}

// store stores a snapshot. It becomes the current one only when a Write names it.
func (s *storageSession) store(meta raft.SnapshotMeta, data []byte) error {
	s.note("store snapshot %d of term %d", meta.Index, meta.Term)
	w, err := s.storage.CreateSnapshot(meta)
	if err != nil {
		return fmt.Errorf("CreateSnapshot failed: %w", err)
	}
	if err := writeSnapshot(w, data); err != nil {
		return err
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("the call of Commit failed: %w", err)
	}
	return nil
}
