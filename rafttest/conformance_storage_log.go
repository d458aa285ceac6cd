package rafttest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func checkEmpty(s *storageSession) {
	for range 2 {
		s.model.differsIn(s.storage)
		s.reopen() // nothing was written, so the storage must still be empty
	}
	s.recover()
}

func checkState(s *storageSession) {
	states := []raft.DurableState{
		{Server: "a", Incarnation: 1<<63 + 5, Start: 1},
		{Server: "a", Incarnation: 1<<63 + 5, Start: 1, HardState: raft.HardState{Term: 7, Vote: "b"}},
		{
			Server: "a", Incarnation: 1<<63 + 5, Start: 2, Cluster: raft.ClusterID{1, 15: 16}, MaxLease: 900 * time.Millisecond,
			HardState: raft.HardState{Term: 1 << 61, Vote: raft.ServerID(strings.Repeat("long", 60))},
		},
		{Server: "a", Incarnation: 1<<63 + 5, Start: 3, Cluster: raft.ClusterID{1, 15: 16}, HardState: raft.HardState{Term: 1<<61 + 1}},
	}
	for _, state := range states {
		s.write(raft.Write{State: state})
		s.both()
	}
}

func checkEntriesKept(s *storageSession) {
	configuration := wire.AppendConfiguration(nil, &raft.Configuration{
		Cluster: raft.ClusterID{9}, Members: []raft.Member{{Server: raft.Server{ID: "a", Address: "a:1"}, Role: raft.Voter, Incarnation: 3}},
	})
	entries := []raft.Entry{
		{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: configuration},
		{Index: 2, Term: 1, Kind: wire.EntryNoOp},
		{Index: 3, Term: 1, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "b", Start: 1 << 40}, Number: 1 << 63, Data: []byte("x")},
		{Index: 4, Term: 3, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "a", Start: 2}, Number: 1, Data: []byte{}},
		{Index: 5, Term: 3, Kind: wire.EntryConfiguration, Data: configuration},
		{Index: 6, Term: 1 << 60, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "b", Start: 3}, Number: 7, Data: bytes.Repeat([]byte("large "), 50_000)},
	}
	for i := range entries {
		s.write(raft.Write{State: s.model.state, Entries: entries[i : i+1]})
	}
	s.both()
	for i := range entries {
		entries[i].Index += 6
		entries[i].Term += 1 << 60
	}
	s.write(raft.Write{State: s.model.state, Entries: entries}) // all of them in one write
	s.both()
}

func checkTruncation(s *storageSession) {
	s.append(1, 0, "one", "two", "three", "four", "five")
	for _, step := range []struct {
		term  raft.Term
		after raft.Index
		data  []string
	}{
		{2, 3, []string{"FOUR"}}, // shorter than before
		{3, 2, []string{"THREE", "FOUR", "FIVE", "SIX"}},
		{3, 6, []string{"SEVEN"}},
		{4, 6, []string{"seven"}}, // the last one alone
		{5, 0, []string{"1"}},     // all of it
		{6, 0, []string{"a", "b", "c"}},
	} {
		s.append(step.term, step.after, step.data...)
		s.both()
	}
	// The new entry has a term and an index that an earlier entry had, but it follows another
	// entry.
	s.append(7, 1, "B")
	s.both()
}

func checkLimits(s *storageSession) {
	sizes := []int{10, 0, 100, 3000, 1, 0, 70_000, 5, 5, 5}
	var data []string
	for i, size := range sizes {
		data = append(data, strings.Repeat(string(rune('a'+i)), size))
	}
	s.append(1, 0, data...)
	for range 2 {
		for after := range raft.Index(len(sizes)) {
			for last := after + 1; last <= raft.Index(len(sizes)); last++ {
				for _, maxBytes := range []int{0, 1, 99, 100, 3000, 3101, 1 << 20} {
					s.model.differsAfter(s.storage, after, last, maxBytes)
				}
			}
		}
		s.model.differsAfter(s.storage, 2, 99, 1<<20) // nothing is past the end: no error
		for _, after := range []raft.Index{10, 11, 1000} {
			absent(s.storage, after)
		}
		s.recover()
	}
}

func checkCompaction(s *storageSession) {
	s.append(1, 0, "one", "two", "three", "four", "five", "six", "seven")
	s.snapshot(raft.SnapshotMeta{Index: 5, Term: 1}, raft.Write{})
	for _, to := range []raft.Index{2, 1, 4, 5} { // an index that was already forgotten is no error
		s.write(raft.Write{State: s.model.state, Compact: to})
		s.both()
	}
	s.append(2, 5, "SIX", "SEVEN", "EIGHT")
	s.snapshot(raft.SnapshotMeta{Index: 8, Term: 2}, raft.Write{Compact: 8}) // no entry stays
	s.both()
	s.append(2, 8, "nine")
	s.both()
}

func checkHandedIn(s *storageSession) {
	w := raft.Write{State: s.model.state, Entries: commands(1, 0, "one", "two", "three")}
	w.Entries[1].Kind = wire.EntryConfiguration
	before := commands(1, 0, "one", "two", "three")
	s.write(w)
	for i := range w.Entries {
		if !bytes.Equal(w.Entries[i].Data, before[i].Data) {
			convict("Write has changed the data %q that it was lent to %q", before[i].Data, w.Entries[i].Data)
		}
		scribble(w.Entries[i].Data)
	}
	clear(w.Entries)
	s.note("change what Write was lent")
	s.model.differsIn(s.storage)
	meta := raft.SnapshotMeta{Index: 2, Term: 1}
	s.store(meta, snapshotBytes(meta)) // writeSnapshot overwrites the memory that it lends
	named := meta
	s.write(raft.Write{State: s.model.state, Snapshot: &named})
	named.Index, named.Term = 77, 77
	s.note("change what Write was lent")
	s.both()
}

func checkHandedOut(s *storageSession) {
	s.append(1, 0, "one", "two", "three", "four")
	config := raft.Entry{Index: 5, Term: 1, Kind: wire.EntryConfiguration, Data: []byte("configuration")}
	s.write(raft.Write{State: s.model.state, Entries: []raft.Entry{config}})
	s.crash()
	saved := s.load()
	got, err := s.storage.Entries(0, 5, 1<<10)
	must("Entries", err)
	want := s.model.entries
	for term := raft.Term(2); term < 40; term++ {
		s.append(term, raft.Index(term%3), "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX")
	}
	s.snapshot(raft.SnapshotMeta{Index: 6, Term: 39}, raft.Write{Compact: 6})
	s.model.differsIn(s.storage)
	for i := range got {
		if !sameEntry(got[i], want[i]) {
			convict("%s, which Entries had returned earlier, has become %s", describeEntry(want[i]), describeEntry(got[i]))
		}
	}
	if !slices.EqualFunc(saved.Configurations, []raft.Entry{config}, sameEntry) {
		convict("%s, which Load had returned, has become %s", describeEntry(config), describeEntries(saved.Configurations))
	}
}

func checkClose(s *storageSession) {
	s.append(1, 0, "one", "two")
	w := s.create(raft.SnapshotMeta{Index: 1, Term: 1})
	for i := range 2 {
		s.note("Close")
		must(fmt.Sprintf("the %d. call of Close", i+1), s.storage.Close())
	}
	write := s.storage.Write(raft.Write{Number: 9, State: s.model.state})
	_, entries := s.storage.Entries(0, 2, 1<<10)
	_, create := s.storage.CreateSnapshot(raft.SnapshotMeta{Index: 2, Term: 1})
	_, _, open := s.storage.OpenSnapshot()
	for _, call := range []struct {
		name string
		err  error
	}{
		{"Write", write}, {"Entries", entries}, {"CreateSnapshot", create}, {"OpenSnapshot", open},
		{"the Commit of a snapshot that was begun before", w.Commit()},
	} {
		if call.err == nil {
			convict("%s returned no error, want one", call.name)
		}
	}
	s.open()
}

func checkCloseUnderLoad(s *storageSession) {
	started := make(chan struct{})
	begin := sync.OnceFunc(func() { close(started) })
	var next storageModel // the model with the write that failed
	var closed atomic.Bool
	var failure error
	together(func() {
		defer begin()
		for i := raft.Index(0); !closed.Load(); i++ {
			w := raft.Write{Number: raft.WriteNumber(i + 1), State: s.model.state, Entries: commands(1, i, "x")}
			next = s.model.after(w)
			if s.storage.Write(w) != nil {
				return
			}
			s.model = next
			if i == 2 {
				begin()
			}
		}
	}, func() {
		<-started
		defer closed.Store(true)
		failure = s.storage.Close()
	})
	s.note("%d Writes, and Close meanwhile", len(s.model.entries))
	must("Close", failure)
	s.openEither(next)
}

// checkConcurrency writes, reads and uses snapshots at the same time. After half of the writes, the
// writer waits until the others have had a turn.
func checkConcurrency(s *storageSession) {
	const writes = 200
	s.append(1, 0, "0")
	s.snapshot(raft.SnapshotMeta{Index: 1, Term: 1}, raft.Write{})
	model := s.model
	var written atomic.Int64
	written.Store(1)
	stop := make(chan struct{})
	var turns sync.WaitGroup
	meanwhile := func(f func()) func() {
		turns.Add(1)
		had := sync.OnceFunc(turns.Done)
		return func() {
			defer had()
			for {
				select {
				case <-stop:
					return
				default:
					f()
					had()
				}
			}
		}
	}
	together(meanwhile(func() { readWritten(s.storage, raft.Index(written.Load())) }), meanwhile(func() { s.useSnapshots(model) }), func() {
		defer close(stop)
		for i := raft.Index(1); i < writes; i++ {
			if i == writes/2 {
				turns.Wait()
			}
			s.append(1, i, fmt.Sprint(i))
			written.Store(int64(i + 1))
		}
	})
	s.both()
}

// readWritten reads the last entry that was written and checks it.
func readWritten(storage raft.Storage, last raft.Index) {
	got, err := storage.Entries(last-1, last, 1<<10)
	must("Entries during Write", err)
	if want := commands(1, last-1, fmt.Sprint(last-1)); !slices.EqualFunc(got, want, sameEntry) {
		convict("Entries(%d, %d) returned %s during Write, want %s", last-1, last, describeEntries(got), describeEntries(want))
	}
}

// useSnapshots reads the current snapshot, which is that of the model, and begins another one.
func (s *storageSession) useSnapshots(model storageModel) {
	data := snapshotBytes(model.snapshot)
	readsAs("the snapshot", model.openSnapshot(s.storage), data)
	w := s.create(model.snapshot)
	must("Write of a snapshot", writeSnapshot(w, data))
	must("Abort of a snapshot", w.Abort())
}
