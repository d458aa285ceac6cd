package rafttest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

// A SharedDisk holds what one shared storage keeps. Its functions are those of Disk, for all groups
// together.
type SharedDisk struct {
	Open          func() (raft.SharedStorage, error)
	Crash         func()
	PowerOffAfter func(calls int)
	FailAt        func(call int, err error)
	Fill          func(bytes uint64)
	Patience      time.Duration
	Skips         func(rule, without string)
}

// SimSharedDisk returns a SharedDisk for a storage that keeps its files in a vfs.FS. See SimDisk.
func SimSharedDisk(fs *simfs.FS, open func(vfs.FS) (raft.SharedStorage, error)) SharedDisk {
	return SharedDisk{
		Open:          func() (raft.SharedStorage, error) { return open(fs) },
		Crash:         fs.Cut,
		PowerOffAfter: func(calls int) { fs.PowerOffAfter(fs.Calls() + calls) },
		FailAt:        func(call int, err error) { fs.FailAt(fs.Calls()+call, err) },
	}
}

// MemorySharedDisk returns a SharedDisk for a memory.Storage.
func MemorySharedDisk() SharedDisk {
	storage := memory.NewStorage()
	reopen := func() { storage = storage.Reopen() }
	return SharedDisk{
		Open:  func() (raft.SharedStorage, error) { reopen(); return storage, nil },
		Crash: reopen,
		Fill:  func(bytes uint64) { fillMemory(storage, bytes) },
	}
}

// TestSharedStorage checks a storage of several groups against the contract of raft.SharedStorage, with
// Holders if it has that method, and the storage of a group in it against that of raft.Storage. newDisk returns a new, empty disk on each
// call. Like TestStorage, it returns nil, or an error that says, for each broken rule, what was done,
// what was expected, and what was found.
func TestSharedStorage(newDisk func() SharedDisk) error {
	failures, hung := perform("shared storage", sharedChecks, func(w *watch, rule string) *sharedSession {
		return &sharedSession{watch: w, disk: newDisk(), rule: rule}
	})
	if hung {
		return errors.Join(failures...)
	}
	for _, group := range []raft.GroupID{"g", ""} {
		if err := TestStorage(groupDisks(newDisk, group)); err != nil {
			failures = append(failures, fmt.Errorf("rafttest: shared storage: the storage of group %q: %w", group, err))
		}
	}
	return errors.Join(failures...)
}

var sharedChecks = []check[*sharedSession]{
	once("no groups", "Groups returns nothing when nothing is stored, and Group an empty storage", checkNoGroups),
	once("groups", "Groups returns the groups of which something is stored, in the order of their names", checkGroups),
	once("several writes of a group", "writes of one group take effect in their order", checkSeveralWrites),
	once("refused write", "a write that breaks the contract is refused, with the later ones of its group; those of other groups take effect", checkRefused),
	once("closed group", "Close of a group's storage releases the group alone", checkClosedGroup),
	once("closed storage", "Close closes the storages of all groups", checkClosedShared),
	once("removed group", "nothing is found of a group that was removed, nor by a group of the same name", checkRemoved),
	once("groups at the same time", "storages of groups may be called while WriteGroups runs", checkGroupsAtOnce),
	once("holders", "Holders names the groups that hold up the log, with what they need there, and none any more when they have shortened theirs", checkHolders),
	once("removed holders", "Holders doesn't name a group that was removed", checkRemovedHolders),
	once("holders at the same time", "Holders may be called at any time", checkHoldersAtOnce),
	{"random writes of groups", "WriteGroups takes effect in each group, and is durable when it returns", checkRandomGroups},
	{"crash within WriteGroups", "after a crash, each write is there or not, and all before it in its group", checkCrashWithinGroups},
	{"failure of WriteGroups", "after WriteGroups has failed, every write of every group fails", checkSharedFailure},
}

// A groupStorage is the storage of a group whose Close closes all.
type groupStorage struct {
	raft.Storage
	shared raft.SharedStorage
}

func (s groupStorage) Close() error { return errors.Join(s.Storage.Close(), s.shared.Close()) }

// A roomyGroup is a groupStorage that knows its room.
type roomyGroup struct {
	groupStorage
	roomyStorage
}

// groupDisks returns disks for the storage of one group, beside which another group is there.
func groupDisks(newDisk func() SharedDisk, group raft.GroupID) func() Disk {
	return func() Disk {
		d := newDisk()
		var last raft.SharedStorage
		return Disk{
			Patience: d.Patience, PowerOffAfter: d.PowerOffAfter, FailAt: d.FailAt, Fill: d.Fill,
			Crash: crashOf(&d, &last),
			Skips: d.Skips,
			Open: func() (raft.Storage, error) {
				shared, err := d.Open()
				if err != nil {
					return nil, err
				}
				last = shared
				storage, err := shared.Group(group)
				if roomy, ok := storage.(roomyStorage); ok {
					return roomyGroup{groupStorage{storage, shared}, roomy}, err
				}
				return groupStorage{storage, shared}, err
			},
		}
	}
}

// crashOf returns how a disk crashes, with the storage on it: a dead one may be closed.
func crashOf(d *SharedDisk, last *raft.SharedStorage) func() {
	if d.Crash == nil {
		return nil
	}
	return func() {
		d.Crash()
		if *last != nil {
			_ = (*last).Close()
		}
	}
}

// A sharedSession is a shared storage on one disk, together with the models of its groups.
type sharedSession struct {
	*watch
	disk    SharedDisk
	storage raft.SharedStorage
	groups  map[raft.GroupID]*storageSession // those that were asked for since the storage was opened
	models  map[raft.GroupID]storageModel    // of the groups of which something is stored
	rule    string
}

func (s *sharedSession) within(call string, f func()) {
	s.watch.within(cmp.Or(s.disk.Patience, callPatience), call, f)
}

// open opens the storage, and compares which groups are stored.
func (s *sharedSession) open() {
	s.start()
	s.stored()
}

// start opens the storage.
func (s *sharedSession) start() {
	var err error
	s.within("opening the storage", func() { s.storage, err = s.disk.Open() })
	must("opening the storage", err)
	s.groups = map[raft.GroupID]*storageSession{}
	if s.models == nil {
		s.models = map[raft.GroupID]storageModel{}
	}
}

// stored compares Groups to the models.
func (s *sharedSession) stored() {
	got, err := s.storage.Groups()
	must("Groups", err)
	var want []raft.GroupID
	for group := range s.models {
		want = append(want, group)
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		convict("Groups returned %q, want %q", got, want)
	}
}

// group returns the session of a group, whose storage is opened if it isn't open, and compared to what
// it must hold.
func (s *sharedSession) group(group raft.GroupID) *storageSession {
	if g := s.groups[group]; g != nil {
		g.model = s.models[group]
		return g
	}
	storage, err := s.storage.Group(group)
	must(fmt.Sprintf("Group(%q)", group), err)
	g := &storageSession{watch: s.watch, disk: Disk{Patience: s.disk.Patience}, rule: s.rule, model: s.models[group]}
	g.storage = watchedStorage{storage, g}
	saved, err := g.storage.Load()
	must(fmt.Sprintf("Load of group %q", group), err)
	during(fmt.Sprintf("group %q", group), func() { g.model.differs(saved, g.storage) })
	s.groups[group] = g
	return g
}

// all compares every group to its model.
func (s *sharedSession) all() {
	s.stored()
	for group, model := range s.models {
		g := s.group(group)
		during(fmt.Sprintf("group %q", group), func() { model.differsIn(g.storage) })
	}
}

// try performs writes. For those of groups that aren't refused, the models follow.
func (s *sharedSession) try(writes ...raft.GroupWrite) (refused map[raft.GroupID]error, err error) {
	for _, w := range writes {
		s.note("group %q: %s", w.Group, describeWrite(&w.Write))
	}
	s.within("WriteGroups", func() { refused, err = s.storage.WriteGroups(writes) })
	if err != nil {
		return refused, err
	}
	for _, w := range writes {
		if refused[w.Group] == nil {
			s.models[w.Group] = s.models[w.Group].after(w.Write)
		}
	}
	return refused, nil
}

// write performs writes, of which none may be refused.
func (s *sharedSession) write(writes ...raft.GroupWrite) {
	refused, err := s.try(writes...)
	must("WriteGroups", err)
	for group, err := range refused {
		convict("WriteGroups refused the write of group %q: %w", group, err)
	}
}

// remove removes a group.
func (s *sharedSession) remove(group raft.GroupID) {
	s.note("remove group %q", group)
	if g := s.groups[group]; g != nil {
		must("Close of a group", g.storage.Close())
		delete(s.groups, group)
	}
	var err error
	s.within("RemoveGroup", func() { err = s.storage.RemoveGroup(group) })
	must("RemoveGroup", err)
	delete(s.models, group)
}

// recover crashes, if the disk can, and opens the storage again.
func (s *sharedSession) recover() {
	s.crash()
	s.open()
	s.all()
}

func (s *sharedSession) crash() {
	if s.disk.Crash == nil {
		s.note("Close and open")
		s.end()
		return
	}
	s.note("a crash")
	s.disk.Crash()
	_ = s.storage.Close() // a dead storage may fail here; the error doesn't count
}

// drop implements session.
func (s *sharedSession) drop() { _ = s.storage.Close() }

func (s *sharedSession) end() {
	var err error
	s.within("Close", func() { err = s.storage.Close() })
	must("Close", err)
}
