package rafttest

import (
	"cmp"
	"errors"
	"math"
	"time"

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

	// Patience is how long a call of the storage may take. A call that takes longer hangs: it ends
	// the checks with an error that names it. In a testing/synctest bubble that takes no real time.
	// The default is one minute.
	Patience time.Duration

	// Damage, when not nil, loses the bytes of the entries from first to last, and of no others, in a
	// way that the storage can find out: it still knows their terms. The log holds all of them. The
	// storage may be open or not.
	Damage func(first, last raft.Index)

	// Skips, when not nil, is told of each rule that isn't checked, because the Disk has no function
	// for the fault that it takes.
	Skips func(rule, without string)

	// FailAt, when not nil, makes one call to the disk fail with err: the call-th from now on,
	// counted from 1.
	FailAt func(call int, err error)

	// Fill, when not nil, leaves the disk room for about so many bytes more, as if others had filled
	// the rest, and for any number if bytes is math.MaxUint64. It is for a storage that knows its room
	// (method Room).
	Fill func(bytes uint64)
}

// patience returns how long a call may take.
func (d *Disk) patience() time.Duration { return cmp.Or(d.Patience, callPatience) }

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
		Open:   func() (raft.Storage, error) { reopen(); return storage, nil },
		Crash:  reopen,
		Damage: func(first, last raft.Index) { storage.Damage(first, last) },
		Fill:   func(bytes uint64) { fillMemory(storage, bytes) },
	}
}

// fillMemory leaves a storage in memory room for so many bytes.
func fillMemory(storage *memory.Storage, bytes uint64) {
	storage.SetSize(math.MaxUint64 - 1)
	if used := math.MaxUint64 - 1 - storage.Room(); bytes < math.MaxUint64-used {
		bytes += used
	}
	storage.SetSize(bytes)
}

// TestStorage checks a storage against the contract of raft.Storage. newDisk returns a new, empty
// disk on each call. Rules that need a crash, a failure or damage are not checked on a Disk that
// can't make them; Disk.Skips is told of each. TestStorage returns nil, or an error that says, for each broken rule, what was
// done, what was expected, and what was found. A call that hangs is the last that TestStorage
// makes.
//
// The rules about damage are checked on a Disk that can lose the bytes of entries. That a storage
// reports any other damage can't be checked from outside: only the storage knows what damages it.
func TestStorage(newDisk func() Disk) error {
	failures, _ := perform("storage", storageChecks, func(w *watch, rule string) *storageSession {
		return &storageSession{watch: w, disk: newDisk(), rule: rule}
	})
	return errors.Join(failures...)
}

var storageChecks = []check[*storageSession]{
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
	once("room", "a Write of as many bytes as Room says doesn't wait, and takes no more than its entries count for", checkRoom),
	once("full", "a Write for which there is no room waits until there is, and Waiting says so", checkFull),
	once("close while full", "Close ends a Write that waits for room; nothing of it is there", checkCloseFull),
	once("snapshot while full", "a snapshot for which there is no room fails, and leaves no trace", checkSnapshotFull),
	{"random writes", "Write takes effect in the order of the calls and is durable when it returns nil", checkRandom},
	{"crash within", "Write is atomic: after a crash during it, either all of it is there or nothing, and every write before it", checkCrashWithin},
	once("damage at Load", "Load returns in Lost the entries whose bytes are damaged, and no others, and all the rest as if nothing were", checkDamageAtLoad),
	once("damage on reading", "Entries returns a DamagedError if the bytes of the first entry are lost, and no lost entries else", checkDamageOnReading),
	once("repairs", "Repairs make lost entries readable again, and are as durable as the rest of a Write", checkRepairs),
	once("lost entries that go", "a truncation, a compaction and a snapshot in the place of the log take lost entries away", checkLostGo),
	{"failure", "after Write failed, the storage fails every further Write, and what it acknowledged stays", checkFailure},
}

// A storageSession is a storage on one disk, together with the model that says what the storage
// must hold.
type storageSession struct {
	*watch
	disk    Disk
	storage raft.Storage // watched
	model   storageModel
	number  raft.WriteNumber
	rule    string // the name of the one that is checked
}

// lacks says whether the disk hasn't got what a check takes, and tells that.
func (s *storageSession) lacks(has bool, what string) bool {
	if !has && s.disk.Skips != nil {
		s.disk.Skips(s.rule, what)
	}
	return !has
}

// open opens the storage and compares what it loads to the model.
func (s *storageSession) open() { s.model.differs(s.load(), s.storage) }

// openEither opens the storage, which must hold what the model says or what next says. If it holds
// what next says, next becomes the model.
func (s *storageSession) openEither(next storageModel) {
	saved := s.load()
	err := guarded(func() { s.model.differs(saved, s.storage) })
	if err == nil {
		return
	}
	if other := guarded(func() { next.differs(saved, s.storage) }); other != nil {
		convict("the storage holds neither what it held before the last write (%w) nor what it should after it (%w)", err, other)
	}
	s.model = next
}

// load opens the storage and calls its Load.
func (s *storageSession) load() raft.Saved {
	var storage raft.Storage
	var err error
	s.within("opening the storage", func() { storage, err = s.disk.Open() })
	must("opening the storage", err)
	s.storage = watchedStorage{storage, s}
	saved, err := s.storage.Load()
	must("the call of Load", err)
	return saved
}

// reopen closes the storage and opens it again.
func (s *storageSession) reopen() {
	s.note("Close and open")
	s.end()
	s.open()
}

// crash cuts the power, if the disk can, and closes the storage otherwise. The caller must open it
// again.
func (s *storageSession) crash() {
	if s.disk.Crash == nil {
		s.note("Close and open")
		s.end()
		return
	}
	s.note("a crash")
	s.disk.Crash()
	_ = s.storage.Close() // a dead storage may fail here; the error doesn't count
}

// recover crashes, opens the storage again, and compares it to the model.
func (s *storageSession) recover() {
	s.crash()
	s.open()
}

// both compares the storage to the model three times: as it is, after a crash, and after closing
// and opening it.
func (s *storageSession) both() {
	s.model.differsIn(s.storage)
	s.recover()
	s.reopen()
}

// drop implements session.
func (s *storageSession) drop() { _ = s.storage.Close() }

// end closes the storage.
func (s *storageSession) end() { must("Close", s.storage.Close()) }

// write performs a write on the storage and on the model. w.State must be complete: it replaces the
// state of the model.
func (s *storageSession) write(w raft.Write) { must("Write", s.try(w)) }

// try performs a write that may fail. Then the model stays as it is.
func (s *storageSession) try(w raft.Write) error {
	s.number++
	w.Number = s.number
	s.note("%s", describeWrite(&w))
	if err := s.storage.Write(w); err != nil {
		return err
	}
	s.model = s.model.after(w)
	return nil
}

// append writes commands behind the entry at index after, in the given term. It raises the term of
// the state to that term.
func (s *storageSession) append(term raft.Term, after raft.Index, data ...string) {
	state := s.model.state
	state.Term = max(state.Term, term)
	s.write(raft.Write{State: state, Entries: commands(term, after, data...)})
}

// snapshot stores a snapshot and performs the write w, which names it. The bytes of the snapshot
// follow from meta.
func (s *storageSession) snapshot(meta raft.SnapshotMeta, w raft.Write) {
	s.store(meta, snapshotBytes(meta))
	w.State, w.Snapshot = s.model.state, &meta
	s.write(w)
}

// store stores a snapshot. It becomes the current one only when a Write names it.
func (s *storageSession) store(meta raft.SnapshotMeta, data []byte) {
	must("storing a snapshot", s.tryStore(meta, data))
}

// tryStore stores a snapshot, which may fail.
func (s *storageSession) tryStore(meta raft.SnapshotMeta, data []byte) error {
	s.note("store snapshot %d of term %d", meta.Index, meta.Term)
	w, err := s.storage.CreateSnapshot(meta)
	if err != nil {
		return err
	}
	if err := writeSnapshot(w, data); err != nil {
		return err
	}
	return w.Commit()
}

// create begins a snapshot.
func (s *storageSession) create(meta raft.SnapshotMeta) raft.SnapshotWriter {
	w, err := s.storage.CreateSnapshot(meta)
	must("CreateSnapshot", err)
	return w
}
