package rafttest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// stillLost returns what of some lost entries is still lost after a write.
func stillLost(lost []raft.Index, w *raft.Write) (left []raft.Index) {
	for _, index := range lost {
		repaired := slices.ContainsFunc(w.Repairs, func(e raft.Entry) bool { return e.Index == index })
		if !repaired && (len(w.Entries) == 0 || index < w.Entries[0].Index) {
			left = append(left, index)
		}
	}
	return left
}

// lostRanges returns what is lost behind a base.
func (m *storageModel) lostRanges(base raft.Index) (ranges []wire.Range) {
	for _, index := range m.lost {
		n := len(ranges)
		switch {
		case index <= base:
		case n > 0 && ranges[n-1].Last+1 == index:
			ranges[n-1].Last = index
		default:
			ranges = append(ranges, wire.Range{First: index, Last: index})
		}
	}
	return ranges
}

// soundAfter says whether the log holds an entry behind an index that isn't lost. How large lost
// entries are, a storage needn't know.
func (m *storageModel) soundAfter(index raft.Index) bool {
	for index++; index <= m.last(); index++ {
		if _, lost := slices.BinarySearch(m.lost, index); !lost {
			return true
		}
	}
	return false
}

// damagedAfter checks that a storage says that the entry after an index is lost.
func (m *storageModel) damagedAfter(storage raft.Storage, after raft.Index) {
	got, err := storage.Entries(after, m.last(), 1<<10)
	var damage *raft.DamagedError
	if !errors.As(err, &damage) || !errors.Is(err, raft.ErrCorrupt) {
		convict("Entries(%d, %d) returned %s and the error %v, want a DamagedError: the bytes of entry %d are lost",
			after, m.last(), describeEntries(got), err, after+1)
	}
	if damage.Lost.First != after+1 {
		convict("the DamagedError of Entries(%d, %d) begins at entry %d, want %d", after, m.last(), damage.Lost.First, after+1)
	}
	for index := damage.Lost.First; index <= damage.Lost.Last; index++ {
		if !slices.Contains(m.lost, index) {
			convict("the DamagedError of Entries(%d, %d) names entry %d, which isn't lost", after, m.last(), index)
		}
	}
}

// damage loses the bytes of entries.
func (s *storageSession) damage(first, last raft.Index) {
	s.note("damage to entries %d to %d", first, last)
	s.disk.Damage(first, last)
	for index := first; index <= last; index++ {
		if at, known := slices.BinarySearch(s.model.lost, index); !known {
			s.model.lost = slices.Insert(slices.Clone(s.model.lost), at, index)
		}
	}
}

// fill writes a configuration and commands behind it, nine entries in two terms, if the disk can
// damage entries. Otherwise it reports false.
func (s *storageSession) fill() bool {
	if s.lacks(s.disk.Damage != nil, "Damage") {
		return false
	}
	data := wire.AppendConfiguration(nil, &raft.Configuration{
		Cluster: raft.ClusterID{9}, Members: []raft.Member{{Server: raft.Server{ID: "a"}, Role: raft.Voter, Incarnation: 3}},
	})
	state := raft.DurableState{Server: "a", Incarnation: 3, Start: 1, Cluster: raft.ClusterID{9}, HardState: raft.HardState{Term: 1}}
	s.write(raft.Write{State: state, Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: data}}})
	for i := range 8 {
		s.append(raft.Term(1+i/4), raft.Index(1+i), fmt.Sprint("command ", i))
	}
	return true
}

// repair writes the entries at some indexes once more.
func (s *storageSession) repair(w raft.Write, indexes ...raft.Index) {
	w.State = s.model.state
	for _, index := range indexes {
		e := s.model.entry(index)
		e.Data = slices.Clone(e.Data)
		w.Repairs = append(w.Repairs, e)
	}
	s.write(w)
	for i := range w.Repairs {
		scribble(w.Repairs[i].Data)
	}
}

func checkDamageAtLoad(s *storageSession) {
	if !s.fill() {
		return
	}
	s.damage(3, 4)
	s.damage(9, 9)
	s.recover()
	s.damage(1, 1) // the configuration is known all the same
	s.reopen()
	s.damage(2, 8)
	s.recover()
}

func checkDamageOnReading(s *storageSession) {
	if !s.fill() {
		return
	}
	for _, r := range [][2]raft.Index{{5, 5}, {7, 8}, {1, 2}} {
		s.damage(r[0], r[1])
		s.model.differsIn(s.storage)
	}
	s.append(2, 9, "behind")
	s.both()
}

func checkRepairs(s *storageSession) {
	if !s.fill() {
		return
	}
	s.damage(2, 4)
	s.damage(7, 9)
	s.recover()
	s.repair(raft.Write{}, 3)
	s.both()
	s.repair(raft.Write{Entries: commands(2, 9, "new")}, 2, 7)
	s.both()
	s.repair(raft.Write{}, 4, 5, 8, 9) // 5 isn't lost
	s.both()
	s.damage(3, 3) // once more
	s.recover()
	s.repair(raft.Write{}, 3)
	s.both()
}

func checkLostGo(s *storageSession) {
	if !s.fill() {
		return
	}
	s.damage(2, 3)
	s.damage(6, 9)
	s.recover()
	s.append(3, 6, "another")
	s.both()
	meta := func(index raft.Index) raft.SnapshotMeta {
		term, _ := s.model.term(index)
		return raft.SnapshotMeta{Index: index, Term: term, ConfigurationIndex: 1}
	}
	s.snapshot(meta(4), raft.Write{Compact: 4})
	s.both()
	s.snapshot(raft.SnapshotMeta{Index: 20, Term: 3, ConfigurationIndex: 1}, raft.Write{Compact: 20})
	s.both()
}
