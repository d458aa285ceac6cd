package rafttest

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/e17579a5/raft"
)

// appends returns a write of commands behind the entry at index after.
func appends(group raft.GroupID, term raft.Term, after raft.Index, data ...string) raft.GroupWrite {
	state := raft.DurableState{HardState: raft.HardState{Term: term}, Server: "a", Incarnation: 1}
	return raft.GroupWrite{Group: group, Write: raft.Write{State: state, Entries: commands(term, after, data...)}}
}

func checkNoGroups(s *sharedSession) {
	for _, group := range []raft.GroupID{"a", ""} {
		s.group(group)
	}
	s.stored()
	s.crash()
	s.open()
}

func checkGroups(s *sharedSession) {
	s.write(appends("b", 1, 0, "of b"), appends("a", 1, 0, "of a", "more of a"))
	s.write(appends("", 2, 0, "of none"))
	s.write(appends("c", 1, 0))
	s.all()
	s.recover()
	s.end()
	s.open()
	s.all()
}

func checkSeveralWrites(s *sharedSession) {
	s.write(appends("a", 1, 0, "1", "2", "3"), appends("b", 1, 0, "1"), appends("a", 2, 1, "two"), appends("a", 3, 2, "three", "four"))
	s.write(appends("a", 4, 2, "3"), appends("a", 5, 0, "1"))
	s.recover()
	meta := raft.SnapshotMeta{Index: 1, Term: 5}
	second := raft.SnapshotMeta{Index: 2, Term: 6}
	a := s.group("a")
	a.store(meta, snapshotBytes(meta))
	a.store(second, snapshotBytes(second))
	state := s.models["a"].state
	named := func(meta raft.SnapshotMeta) raft.GroupWrite {
		state.Term = meta.Term
		return raft.GroupWrite{Group: "a", Write: raft.Write{State: state, Snapshot: &meta}}
	}
	s.write(named(meta), appends("a", 6, 1, "2"), named(second), appends("b", 2, 1, "2"), appends("a", 6, 2, "3"))
	s.all()
	s.recover()
}

func checkRefused(s *sharedSession) {
	s.write(appends("a", 1, 0, "1"), appends("b", 1, 0, "1"))
	before := s.models["a"]
	refused, err := s.try(appends("b", 1, 1, "2"), appends("a", 1, 7, "a gap"), appends("c", 1, 0, "1"), appends("a", 1, 1, "2"))
	must("WriteGroups with a write that leaves a gap", err)
	if refused["a"] == nil || len(refused) != 1 {
		convict("WriteGroups refused %v, want the write of group a that leaves a gap", refused)
	}
	s.models["a"] = before
	refused, err = s.try(appends("a", 1, 1, "2"), appends("b", 1, 2, "3"))
	must("WriteGroups after a refused write", err)
	if refused["a"] == nil || len(refused) != 1 {
		convict("WriteGroups refused %v, want the write of group a, of which an earlier one was refused", refused)
	}
	if s.group("a").storage.Write(appends("a", 1, 1, "2").Write) == nil && s.storage != nil {
		s.models["a"] = s.models["a"].after(appends("a", 1, 1, "2").Write) // it was asked for again
	}
	good, bad := appends("d", 1, 0, "1"), appends("d", 1, 1, "2")
	bad.Write.Compact = 1
	refused, err = s.try(good, bad)
	must("WriteGroups with a write that compacts what no snapshot covers", err)
	if refused["d"] == nil || len(refused) != 1 {
		convict("WriteGroups refused %v, want the second write of group d, which compacts what no snapshot covers", refused)
	}
	s.models["d"] = s.models["d"].after(good.Write) // the first one took effect
	s.all()
	s.recover()
	s.write(appends("a", 2, s.group("a").model.last(), "after the crash"))
	s.recover()
}

func checkClosedGroup(s *sharedSession) {
	s.write(appends("a", 1, 0, "1"), appends("b", 1, 0, "1"))
	a := s.group("a")
	s.group("b")
	must("Close of a group", a.storage.Close())
	must("a second Close of a group", a.storage.Close())
	delete(s.groups, "a")
	if _, err := a.storage.Entries(0, 1, 1<<10); err == nil {
		convict("Entries of a closed group returned no error")
	}
	if a.storage.Write(appends("a", 1, 1, "2").Write) == nil {
		convict("Write of a closed group returned no error")
	}
	s.write(appends("b", 1, 1, "2"))
	s.all()
	s.write(appends("a", 2, 1, "2"))
	s.recover()
}

func checkClosedShared(s *sharedSession) {
	s.write(appends("a", 1, 0, "1"))
	a := s.group("a")
	s.end()
	s.end()
	if _, err := a.storage.Entries(0, 1, 1<<10); err == nil {
		convict("Entries of a group returned no error after Close of all")
	}
	if _, err := s.storage.WriteGroups([]raft.GroupWrite{appends("a", 1, 1, "2")}); err == nil {
		convict("WriteGroups returned no error after Close")
	}
	if _, err := s.storage.Group("b"); err == nil {
		convict("Group returned no error after Close")
	}
	s.open()
	s.all()
}

func checkRemoved(s *sharedSession) {
	s.write(appends("a", 3, 0, "1", "2", "3"), appends("b", 1, 0, "1"))
	meta := raft.SnapshotMeta{Index: 2, Term: 3}
	a := s.group("a")
	a.store(meta, snapshotBytes(meta))
	state := s.models["a"].state
	s.write(raft.GroupWrite{Group: "a", Write: raft.Write{State: state, Snapshot: &meta}})
	s.remove("a")
	s.remove("never stored")
	s.all()
	s.recover()
	s.group("a")
	s.write(appends("a", 1, 0, "of another"), appends("b", 1, 1, "2"))
	s.recover()
	s.remove("a")
	s.write(appends("a", 1, 0, "x", "y"))
	s.all()
	s.recover()
}

func checkGroupsAtOnce(s *sharedSession) {
	const writes = 100
	s.write(appends("a", 1, 0, "0"), appends("b", 1, 0, "0"))
	s.group("a").snapshot(raft.SnapshotMeta{Index: 1, Term: 1}, raft.Write{})
	s.models["a"] = s.group("a").with(raft.SnapshotMeta{Index: 1, Term: 1})
	a, b := s.group("a"), s.group("b")
	model := a.model
	stop := make(chan struct{})
	meanwhile := func(f func()) func() {
		return func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
				}
			}
		}
	}
	read := func(storage raft.Storage) func() { return meanwhile(func() { readWritten(storage, 1) }) }
	together(read(a.storage), read(b.storage), meanwhile(func() { a.useSnapshots(model) }), func() {
		defer close(stop)
		for i := raft.Index(1); i < writes; i++ {
			s.write(appends("b", 1, i, fmt.Sprint(i)), appends("a", 1, i, fmt.Sprint(i)), appends("c", 1, i-1, fmt.Sprint(i-1)))
		}
	})
	s.all()
	s.recover()
}

// with returns the model with a snapshot as the current one.
func (s *storageSession) with(meta raft.SnapshotMeta) storageModel {
	return s.model.after(raft.Write{State: s.model.state, Snapshot: &meta})
}

// someGroups are the names that random writes take.
var someGroups = []raft.GroupID{"", "a", "b", "c", "a group with a longer name"}

// checkRandomGroups performs random writes of several groups, with crashes and removals in between.
func checkRandomGroups(open func() *sharedSession) {
	for seed := range uint64(randomRuns) {
		s := open()
		r := rand.New(rand.NewPCG(seed, 3))
		for range randomSteps {
			switch r.IntN(12) {
			case 0:
				s.recover()
			case 1:
				s.end()
				s.open()
			case 2:
				s.remove(someGroups[1+r.IntN(len(someGroups)-1)])
			case 3:
				s.all()
				s.holders()
			default:
				s.write(s.randomWrites(r)...)
			}
		}
		s.all()
		s.recover()
		s.end()
		if s.disk.Crash == nil && seed+1 == randomRunsSlow {
			break
		}
	}
}

// randomWrites makes up writes of several groups, several of some, and stores the snapshots that they
// name.
func (s *sharedSession) randomWrites(r *rand.Rand) (writes []raft.GroupWrite) {
	models := map[raft.GroupID]storageModel{}
	for range 1 + r.IntN(5) {
		group := someGroups[r.IntN(len(someGroups))]
		g := s.group(group)
		model, known := models[group]
		if !known {
			model = s.models[group]
		}
		g.model = model
		w, stored := g.randomWrite(r)
		if stored != nil {
			if g.tryStore(*stored, snapshotBytes(*stored)) != nil {
				return writes
			}
		}
		models[group] = model.after(w)
		writes = append(writes, raft.GroupWrite{Group: group, Write: w})
	}
	return writes
}

// checkCrashWithinGroups cuts the power after each call to the disk that some random writes take.
func checkCrashWithinGroups(open func() *sharedSession) {
	s := open()
	s.end()
	if s.disk.PowerOffAfter == nil || s.disk.Crash == nil {
		s.skips("PowerOffAfter and Crash")
		return
	}
	s.eachCall(open, func(s *sharedSession, call int) { s.disk.PowerOffAfter(call) }, nil)
}

// checkSharedFailure makes each call to the disk fail once that some random writes take.
func checkSharedFailure(open func() *sharedSession) {
	s := open()
	s.end()
	if s.disk.FailAt == nil || s.disk.Crash == nil {
		s.skips("FailAt and Crash")
		return
	}
	s.eachCall(open, func(s *sharedSession, call int) { s.disk.FailAt(call+1, errDisk) }, func(s *sharedSession) {
		for _, group := range someGroups {
			refused, err := s.storage.WriteGroups([]raft.GroupWrite{appends(group, 99, 0, "1")})
			if err == nil && refused[group] == nil {
				convict("WriteGroups of group %q returned nil after one that had failed", group)
			}
		}
	})
}

func (s *sharedSession) skips(what string) {
	if s.disk.Skips != nil {
		s.disk.Skips(s.rule, what)
	}
}

// maxCalls bounds the calls to the disk at each of which a fault happens.
const maxCalls = 400

// eachCall performs the same random writes on new disks, with a fault at another call on each of them,
// until none happens. afterwards is called when a write has failed.
func (s *sharedSession) eachCall(open func() *sharedSession, fault func(*sharedSession, int), afterwards func(*sharedSession)) {
	for seed := range uint64(2) {
		for call := 0; call < maxCalls; call++ {
			s := open()
			r := rand.New(rand.NewPCG(seed, 4))
			for _, group := range someGroups {
				s.group(group)
			}
			fault(s, call)
			before, failed := s.models, false
			var writes []raft.GroupWrite
			for range 8 {
				before = s.copied()
				writes = s.randomWrites(r)
				if _, err := s.try(writes...); err != nil {
					failed = true
					break
				}
			}
			if failed && afterwards != nil {
				afterwards(s)
			}
			s.crash()
			s.start()
			s.either(before, writes, failed)
			s.all()
			s.write(appends("a", 100, s.last("a"), "after the crash"))
			s.recover()
			s.end()
			if !failed && call > 20 {
				break
			}
		}
	}
}

// last returns the index of the last entry of a group.
func (s *sharedSession) last(group raft.GroupID) raft.Index {
	model := s.models[group]
	return model.last()
}

func (s *sharedSession) copied() map[raft.GroupID]storageModel {
	models := make(map[raft.GroupID]storageModel, len(s.models))
	for group, model := range s.models {
		models[group] = model
	}
	return models
}

// either finds out how many of the last writes took effect in each group, if they failed, and makes that
// the model.
func (s *sharedSession) either(before map[raft.GroupID]storageModel, writes []raft.GroupWrite, failed bool) {
	if !failed {
		return
	}
	stored, err := s.storage.Groups()
	must("Groups", err)
	s.models = before
	for _, group := range someGroups {
		var own []raft.Write
		for _, w := range writes {
			if w.Group == group {
				own = append(own, w.Write)
			}
		}
		s.oneOf(group, slices.Contains(stored, group), own)
	}
}

// oneOf finds out how many of a group's writes took effect.
func (s *sharedSession) oneOf(group raft.GroupID, isStored bool, writes []raft.Write) {
	model, known := s.models[group]
	storage, err := s.storage.Group(group)
	must("Group", err)
	g := &storageSession{watch: s.watch, disk: Disk{Patience: s.disk.Patience}, rule: s.rule}
	g.storage = watchedStorage{storage, g}
	saved, err := g.storage.Load()
	must("Load", err)
	s.groups[group] = g
	var failures []error
	for n := 0; n <= len(writes); n++ {
		if n > 0 {
			model, known = model.after(writes[n-1]), true
		}
		err := guarded(func() { model.differs(saved, g.storage) })
		if err == nil && known == isStored {
			if known {
				s.models[group] = model
			}
			g.model = model
			return
		}
		failures = append(failures, err)
	}
	convict("group %q holds none of what it may hold after %d of its last writes: %v", group, len(writes), failures)
}
