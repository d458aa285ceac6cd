package rafttest

import (
	"errors"
	"math/rand/v2"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Bounds of the random checks. A disk that can't crash is most likely a real one, and slower.
const (
	randomRuns      = 20
	randomRunsSlow  = 3
	randomSteps     = 60
	scriptWrites    = 12
	maxFaultyCalls  = 4096 // in one script; the disk crashes or fails once at each of them
	faultyRunsApart = 3    // scripts, each with other random writes
)

// checkRandom performs random writes as a core might, with crashes in between.
func checkRandom(open func() *storageSession) {
	for seed := range uint64(randomRuns) {
		s := open()
		r := rand.New(rand.NewPCG(seed, 1))
		for range randomSteps {
			s.randomStep(r)
		}
		s.both()
		s.end()
		if s.disk.Crash == nil && seed+1 == randomRunsSlow {
			break
		}
	}
}

// randomStep writes, reads, or opens the storage again.
func (s *storageSession) randomStep(r *rand.Rand) {
	switch r.IntN(10) {
	case 0:
		s.reopen()
		return
	case 1:
		s.recover()
		return
	case 2, 3:
		if s.model.last() == s.model.compacted {
			return
		}
		after := s.model.compacted + raft.Index(r.Uint64N(uint64(s.model.last()-s.model.compacted)))
		s.model.differsAfter(s.storage, after, after+1+raft.Index(r.IntN(9)), r.IntN(5000))
		return
	}
	w, stored := s.randomWrite(r)
	if stored != nil {
		s.store(*stored, snapshotBytes(*stored))
	}
	s.write(w)
	if r.IntN(4) == 0 {
		s.recover()
	} else {
		s.model.differsIn(s.storage)
	}
}

// randomWrite makes up a write that keeps to the contract. If the write names a snapshot, the
// caller must store that snapshot first: stored is its meta.
func (s *storageSession) randomWrite(r *rand.Rand) (w raft.Write, stored *raft.SnapshotMeta) {
	m := &s.model
	w.State = m.state
	w.State.Server, w.State.Incarnation = "a", 1
	w.State.Term += raft.Term(r.IntN(2))
	w.State.Vote = raft.ServerID([]string{"", "a", "b"}[r.IntN(3)])
	next := *m
	if r.IntN(4) == 0 && m.last() > 0 {
		meta := raft.SnapshotMeta{Index: m.snapshot.Index + 1 + raft.Index(r.IntN(8)), Term: w.State.Term + 1}
		if term, known := m.term(meta.Index); known && r.IntN(3) > 0 {
			meta.Term = term
		}
		w.State.Term = max(w.State.Term, meta.Term)
		w.Snapshot, stored = &meta, &meta
		next = next.after(raft.Write{State: w.State, Snapshot: &meta})
	}
	if r.IntN(3) > 0 {
		from := max(next.before, next.snapshot.Index)
		if r.IntN(3) > 0 {
			from = next.last()
		} else if n := next.last() - from; n > 0 {
			from += raft.Index(r.Uint64N(uint64(n)))
		}
		data := make([]string, 1+r.IntN(5))
		for i := range data {
			data[i] = strings.Repeat(string(rune('a'+r.IntN(26))), []int{0, 1, 20, 500, 2000}[r.IntN(5)])
		}
		w.State.Term++
		w.Entries = commands(w.State.Term, from, data...)
		if r.IntN(4) == 0 {
			w.Entries[0].Kind = wire.EntryConfiguration
		}
	}
	if r.IntN(3) == 0 && next.snapshot.Index > 0 {
		w.Compact = 1 + raft.Index(r.Uint64N(uint64(next.snapshot.Index)))
	}
	return w, stored
}

// script performs the same random writes each time that it is called with the same seed. It stops
// at the first call that fails. next is what the storage must hold if that call took effect after
// all: the model as it is if storing a snapshot failed, and not a write.
func (s *storageSession) script(seed uint64) (next storageModel, o outcome) {
	r := rand.New(rand.NewPCG(seed, 2))
	for range scriptWrites {
		w, stored := s.randomWrite(r)
		if stored != nil && s.tryStore(*stored, snapshotBytes(*stored)) != nil {
			return s.model, storingFailed
		}
		next = s.model.after(w)
		if s.try(w) != nil {
			return next, writeFailed
		}
	}
	return s.model, allDone
}

// An outcome says how a script has ended.
type outcome int

const (
	allDone outcome = iota
	storingFailed
	writeFailed
)

// eachFault runs each script on as many new disks as the script makes calls to the disk. Each run
// gets the number of another call, at which it makes a fault happen. Then it crashes.
// What the storage holds after that must be what was written; and it must go on.
func eachFault(open func() *storageSession, run func(s *storageSession, seed uint64, call int) storageModel) {
	for seed := range uint64(faultyRunsApart) {
		for call := range callsOfScript(open, seed) {
			s := open()
			next := run(s, seed, call)
			s.crash()
			s.openEither(next)
			s.append(s.model.state.Term+1, s.model.last(), "after the crash")
			s.recover()
			s.end()
		}
	}
}

// callsOfScript returns the number of calls to the disk that a script needs: it fails if fewer
// succeed.
func callsOfScript(open func() *storageSession, seed uint64) int {
	low, high := 0, maxFaultyCalls
	for low < high {
		middle := (low + high) / 2
		s := open()
		s.disk.PowerOffAfter(middle)
		_, o := s.script(seed)
		s.crash()
		if o == allDone {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if high == maxFaultyCalls {
		convict("%d writes take %d calls to the disk or more", scriptWrites, maxFaultyCalls)
	}
	return high
}

// checkCrashWithin runs scripts and cuts the power after each of their calls to the disk.
func checkCrashWithin(open func() *storageSession) {
	s := open()
	s.end()
	if s.lacks(s.disk.PowerOffAfter != nil && s.disk.Crash != nil, "PowerOffAfter and Crash") {
		return
	}
	eachFault(open, func(s *storageSession, seed uint64, call int) storageModel {
		s.disk.PowerOffAfter(call)
		next, o := s.script(seed)
		if o != allDone {
			s.note("the power off after call %d to the disk", call)
		}
		return next
	})
}

var errDisk = errors.New("a failure that the check has made")

// checkFailure runs scripts and makes each of their calls to the disk fail once. A call for
// housekeeping may fail without an error of any Write.
func checkFailure(open func() *storageSession) {
	s := open()
	s.end()
	if s.lacks(s.disk.FailAt != nil && s.disk.PowerOffAfter != nil && s.disk.Crash != nil, "FailAt, PowerOffAfter and Crash") {
		return
	}
	eachFault(open, func(s *storageSession, seed uint64, call int) storageModel {
		s.disk.FailAt(call+1, errDisk)
		next, o := s.script(seed)
		if o != allDone {
			s.note("whose call %d to the disk has failed", call+1)
		}
		if o == writeFailed {
			s.refusesWrites()
		}
		return next
	})
}

// refusesWrites checks that all writes fail after one has failed, although the disk works again.
func (s *storageSession) refusesWrites() {
	for range 3 {
		s.number++
		if s.storage.Write(raft.Write{Number: s.number, State: s.model.state}) == nil {
			convict("a Write after one that had failed returned nil, want an error: what the disk holds is not known any more")
		}
	}
}
