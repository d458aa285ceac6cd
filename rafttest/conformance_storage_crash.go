package rafttest

import (
	"errors"
	"fmt"
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
func checkRandom(newDisk func() Disk) error {
	for seed := range uint64(randomRuns) {
		s, err := newStorageSession(newDisk())
		if err != nil {
			return err
		}
		r := rand.New(rand.NewPCG(seed, 1))
		for range randomSteps {
			if err = s.randomStep(r); err != nil {
				break
			}
		}
		if err == nil {
			err = s.both()
		}
		if err = errors.Join(s.explain(err), s.end()); err != nil {
			return err
		}
		if s.disk.Crash == nil && seed+1 == randomRunsSlow {
			break
		}
	}
	return nil
}

// randomStep writes, reads, or opens the storage again.
func (s *storageSession) randomStep(r *rand.Rand) error {
	switch r.IntN(10) {
	case 0:
		return s.reopen()
	case 1:
		return s.recover()
	case 2, 3:
		if s.model.last() == s.model.compacted {
			return nil
		}
		after := s.model.compacted + raft.Index(r.Uint64N(uint64(s.model.last()-s.model.compacted)))
		_, err := s.model.differsAfter(s.storage, after, after+1+raft.Index(r.IntN(9)), r.IntN(5000))
		return err
	}
	w, stored := s.randomWrite(r)
	if stored != nil {
		if err := s.store(*stored, snapshotBytes(*stored)); err != nil {
			return err
		}
	}
	if err := s.write(w); err != nil {
		return err
	}
	if r.IntN(4) == 0 {
		return s.recover()
	}
	return s.model.differsIn(s.storage)
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
// at the first failure and returns it. next is what the storage must hold if the write that failed
// took effect after all. If storing a snapshot failed, and not a write, the error is an errNoWrite
// and next is the model as it is.
func (s *storageSession) script(seed uint64) (next storageModel, err error) {
	r := rand.New(rand.NewPCG(seed, 2))
	for range scriptWrites {
		w, stored := s.randomWrite(r)
		if stored != nil {
			if err := s.store(*stored, snapshotBytes(*stored)); err != nil {
				return s.model, errNoWrite{err}
			}
		}
		next = s.model.after(w)
		if err := s.write(w); err != nil {
			return next, err
		}
	}
	return s.model, nil
}

// errNoWrite wraps the failure of a call that is no Write.
type errNoWrite struct{ error }

// eachFault runs each script on as many new disks as the script makes calls to the disk. Each run
// gets the number of another call, at which it makes a fault happen.
func eachFault(newDisk func() Disk, run func(s *storageSession, seed uint64, call int) error) error {
	for seed := range uint64(faultyRunsApart) {
		calls, err := callsOfScript(newDisk, seed)
		if err != nil {
			return err
		}
		for call := range calls {
			s, err := newStorageSession(newDisk())
			if err != nil {
				return err
			}
			if err := run(s, seed, call); err != nil {
				return s.explain(err)
			}
		}
	}
	return nil
}

// callsOfScript returns the number of calls to the disk that a script needs: it fails if fewer
// succeed.
func callsOfScript(newDisk func() Disk, seed uint64) (int, error) {
	low, high := 0, maxFaultyCalls
	for low < high {
		middle := (low + high) / 2
		s, err := newStorageSession(newDisk())
		if err != nil {
			return 0, err
		}
		s.disk.PowerOffAfter(middle)
		_, failure := s.script(seed)
		if err := s.crash(); err != nil {
			return 0, err
		}
		if failure == nil {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if high == maxFaultyCalls {
		return 0, fmt.Errorf("%d writes take %d calls to the disk or more", scriptWrites, maxFaultyCalls)
	}
	return high, nil
}

// checkCrashWithin runs scripts and cuts the power after each of their calls to the disk.
func checkCrashWithin(newDisk func() Disk) error {
	if disk := newDisk(); disk.PowerOffAfter == nil || disk.Crash == nil {
		return nil
	}
	return eachFault(newDisk, func(s *storageSession, seed uint64, call int) error {
		s.disk.PowerOffAfter(call)
		next, failure := s.script(seed)
		if failure != nil {
			s.note("the power off after call %d to the disk", call)
		}
		if err := s.crash(); err != nil {
			return err
		}
		if err := s.openEither(next); err != nil {
			return err
		}
		return s.goOn()
	})
}

var errDisk = errors.New("a failure that the check has made")

// checkFailure runs scripts and makes each of their calls to the disk fail once. A call for
// housekeeping may fail without an error of any Write.
func checkFailure(newDisk func() Disk) error {
	if disk := newDisk(); disk.FailAt == nil || disk.PowerOffAfter == nil || disk.Crash == nil {
		return nil
	}
	return eachFault(newDisk, func(s *storageSession, seed uint64, call int) error {
		s.disk.FailAt(call+1, errDisk)
		next, failure := s.script(seed)
		if failure != nil {
			s.note("whose call %d to the disk has failed", call+1)
			if _, other := errors.AsType[errNoWrite](failure); !other {
				if err := s.refusesWrites(); err != nil {
					return err
				}
			}
		}
		if err := s.crash(); err != nil {
			return err
		}
		if err := s.openEither(next); err != nil {
			return err
		}
		return s.goOn()
	})
}

// refusesWrites checks that all writes fail after one has failed, although the disk works again.
func (s *storageSession) refusesWrites() error {
	for range 3 {
		s.number++
		if s.storage.Write(raft.Write{Number: s.number, State: s.model.state}) == nil {
			return errors.New("a Write after one that had failed returned nil, want an error: what the disk holds is not known any more")
		}
	}
	return nil
}

// goOn checks that a storage that was opened after a crash keeps what is written to it now.
func (s *storageSession) goOn() error {
	if err := s.append(s.model.state.Term+1, s.model.last(), "after the crash"); err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	return s.end()
}
