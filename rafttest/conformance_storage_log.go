package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func checkEmpty(s *storageSession) error {
	for range 2 {
		if err := s.model.differsIn(s.storage); err != nil {
			return err
		}
		if err := s.reopen(); err != nil { // nothing was written, so the storage must still be empty
			return err
		}
	}
	return s.recover()
}

func checkState(s *storageSession) error {
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
		if err := s.write(raft.Write{State: state}); err != nil {
			return err
		}
		if err := s.both(); err != nil {
			return err
		}
	}
	return nil
}

func checkEntriesKept(s *storageSession) error {
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
		if err := s.write(raft.Write{State: s.model.state, Entries: entries[i : i+1]}); err != nil {
			return err
		}
	}
	if err := s.both(); err != nil {
		return err
	}
	for i := range entries {
		entries[i].Index += 6
		entries[i].Term += 1 << 60
	}
	if err := s.write(raft.Write{State: s.model.state, Entries: entries}); err != nil { // all of them in one write
		return err
	}
	return s.both()
}

func checkTruncation(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three", "four", "five"); err != nil {
		return err
	}
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
		if err := s.append(step.term, step.after, step.data...); err != nil {
			return err
		}
		if err := s.both(); err != nil {
			return err
		}
	}
	// The new entry has a term and an index that an earlier entry had, but it follows another
	// entry.
	if err := s.append(7, 1, "B"); err != nil {
		return err
	}
	return s.both()
}

func checkLimits(s *storageSession) error {
	sizes := []int{10, 0, 100, 3000, 1, 0, 70_000, 5, 5, 5}
	var data []string
	for i, size := range sizes {
		data = append(data, strings.Repeat(string(rune('a'+i)), size))
	}
	if err := s.append(1, 0, data...); err != nil {
		return err
	}
	for range 2 {
		for after := range raft.Index(len(sizes)) {
			for last := after + 1; last <= raft.Index(len(sizes)); last++ {
				for _, maxBytes := range []int{0, 1, 99, 100, 3000, 3101, 1 << 20} {
					if _, err := s.model.differsAfter(s.storage, after, last, maxBytes); err != nil {
						return err
					}
				}
			}
		}
		if _, err := s.model.differsAfter(s.storage, 2, 99, 1<<20); err != nil { // nothing is past the end: no error
			return err
		}
		for _, after := range []raft.Index{10, 11, 1000} {
			if err := absent(s.storage, after); err != nil {
				return err
			}
		}
		if err := s.recover(); err != nil {
			return err
		}
	}
	return nil
}

func checkCompaction(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three", "four", "five", "six", "seven"); err != nil {
		return err
	}
	if err := s.snapshot(raft.SnapshotMeta{Index: 5, Term: 1}, raft.Write{}); err != nil {
		return err
	}
	for _, to := range []raft.Index{2, 1, 4, 5} { // an index that was already forgotten is no error
		if err := s.write(raft.Write{State: s.model.state, Compact: to}); err != nil {
			return err
		}
		if err := s.both(); err != nil {
			return err
		}
	}
	if err := s.append(2, 5, "SIX", "SEVEN", "EIGHT"); err != nil {
		return err
	}
	if err := s.snapshot(raft.SnapshotMeta{Index: 8, Term: 2}, raft.Write{Compact: 8}); err != nil { // no entry stays
		return err
	}
	if err := s.both(); err != nil {
		return err
	}
	if err := s.append(2, 8, "nine"); err != nil {
		return err
	}
	return s.both()
}

func checkHandedIn(s *storageSession) error {
	w := raft.Write{State: s.model.state, Entries: commands(1, 0, "one", "two", "three")}
	w.Entries[1].Kind = wire.EntryConfiguration
	before := commands(1, 0, "one", "two", "three")
	if err := s.write(w); err != nil {
		return err
	}
	for i := range w.Entries {
		if !bytes.Equal(w.Entries[i].Data, before[i].Data) {
			return fmt.Errorf("Write has changed the data %q that it was lent to %q", before[i].Data, w.Entries[i].Data)
		}
		scribble(w.Entries[i].Data)
	}
	clear(w.Entries)
	s.note("change what Write was lent")
	if err := s.model.differsIn(s.storage); err != nil {
		return err
	}
	meta := raft.SnapshotMeta{Index: 2, Term: 1}
	if err := s.store(meta, snapshotBytes(meta)); err != nil { // writeSnapshot overwrites the memory that it lends
		return err
	}
	named := meta
	if err := s.write(raft.Write{State: s.model.state, Snapshot: &named}); err != nil {
		return err
	}
	named.Index, named.Term = 77, 77
	s.note("change what Write was lent")
	return s.both()
}

func checkHandedOut(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three", "four"); err != nil {
		return err
	}
	config := raft.Entry{Index: 5, Term: 1, Kind: wire.EntryConfiguration, Data: []byte("configuration")}
	if err := s.write(raft.Write{State: s.model.state, Entries: []raft.Entry{config}}); err != nil {
		return err
	}
	if err := s.crash(); err != nil {
		return err
	}
	saved, err := s.load()
	if err != nil {
		return err
	}
	got, err := s.storage.Entries(0, 5, 1<<10)
	if err != nil {
		return err
	}
	want := s.model.entries
	for term := raft.Term(2); term < 40; term++ {
		if err := s.append(term, raft.Index(term%3), "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX"); err != nil {
			return err
		}
	}
	if err := s.snapshot(raft.SnapshotMeta{Index: 6, Term: 39}, raft.Write{Compact: 6}); err != nil {
		return err
	}
	if _, err := s.storage.Entries(6, 7, 1<<10); err != nil && !errors.Is(err, raft.ErrCompacted) {
		return err
	}
	for i := range got {
		if !sameEntry(got[i], want[i]) {
			return fmt.Errorf("%s, which Entries had returned earlier, has become %s", describeEntry(want[i]), describeEntry(got[i]))
		}
	}
	if len(saved.Configurations) != 1 || !sameEntry(saved.Configurations[0], config) {
		return fmt.Errorf("%s, which Load had returned, has become %s", describeEntry(config), describeEntries(saved.Configurations))
	}
	return nil
}

func checkClose(s *storageSession) error {
	if err := s.append(1, 0, "one", "two"); err != nil {
		return err
	}
	w, err := s.storage.CreateSnapshot(raft.SnapshotMeta{Index: 1, Term: 1})
	if err != nil {
		return fmt.Errorf("CreateSnapshot failed: %w", err)
	}
	for i := range 2 {
		s.note("Close")
		if err := s.storage.Close(); err != nil {
			return fmt.Errorf("Close failed the %d. time: %w", i+1, err)
		}
	}
	if s.storage.Write(raft.Write{Number: 9, State: s.model.state}) == nil {
		return errors.New("Write returned nil, want an error")
	}
	if _, err := s.storage.Entries(0, 2, 1<<10); err == nil {
		return errors.New("the call of Entries returned no error, want one")
	}
	if _, err := s.storage.CreateSnapshot(raft.SnapshotMeta{Index: 2, Term: 1}); err == nil {
		return errors.New("CreateSnapshot returned no error, want one")
	}
	if _, _, err := s.storage.OpenSnapshot(); err == nil {
		return errors.New("OpenSnapshot returned no error, want one")
	}
	if w.Commit() == nil {
		return errors.New("the Commit of a snapshot that was begun before returned nil, want an error")
	}
	return s.open()
}

func checkCloseUnderLoad(s *storageSession) error {
	started := make(chan struct{})
	begin := sync.OnceFunc(func() { close(started) })
	var next storageModel // the model with the write that failed
	var closed atomic.Bool
	var done sync.WaitGroup
	var panicked error
	write := func() error {
		for i := raft.Index(0); !closed.Load(); i++ {
			w := raft.Write{Number: raft.WriteNumber(i + 1), State: s.model.state, Entries: commands(1, i, "x")}
			next = s.model.after(w)
			if s.storage.Write(w) != nil {
				return nil
			}
			s.model = next
			if i == 2 {
				begin()
			}
		}
		return nil
	}
	done.Go(func() {
		defer begin()
		panicked = guarded(write)
	})
	<-started
	err := s.storage.Close()
	closed.Store(true)
	done.Wait()
	s.note("%d Writes, and Close meanwhile", len(s.model.entries))
	if panicked != nil {
		return panicked
	}
	if err != nil {
		return fmt.Errorf("Close failed: %w", err)
	}
	return s.openEither(next)
}

func checkConcurrency(s *storageSession) error {
	const writes = 200
	if err := s.append(1, 0, "0"); err != nil {
		return err
	}
	if err := s.snapshot(raft.SnapshotMeta{Index: 1, Term: 1}, raft.Write{}); err != nil {
		return err
	}
	written := atomic.Int64{}
	written.Store(1)
	errs := make(chan error, 3)
	stop := make(chan struct{})
	write := func() error {
		for i := raft.Index(1); i < writes; i++ {
			if err := s.append(1, i, fmt.Sprint(i)); err != nil {
				return err
			}
			written.Store(int64(i + 1))
		}
		return nil
	}
	go func() { // the only goroutine that writes
		defer close(stop)
		errs <- guarded(write)
	}()
	until := func(f func() error) {
		for {
			select {
			case <-stop:
				errs <- nil
				return
			default:
				if err := guarded(f); err != nil {
					errs <- err
					return
				}
			}
		}
	}
	go until(func() error { return readWritten(s.storage, raft.Index(written.Load())) })
	go until(func() error { return useSnapshots(s.storage) })
	err := errors.Join(<-errs, <-errs, <-errs)
	if err != nil {
		return err
	}
	return s.both()
}

// readWritten reads the last entry that was written and checks it.
func readWritten(storage raft.Storage, last raft.Index) error {
	got, err := storage.Entries(last-1, last, 1<<10)
	if err != nil {
		return fmt.Errorf("Entries(%d, %d) failed during Write: %w", last-1, last, err)
	}
	if want := commands(1, last-1, fmt.Sprint(last-1))[0]; len(got) != 1 || !sameEntry(got[0], want) {
		return fmt.Errorf("Entries(%d, %d) returned %s during Write, want %s", last-1, last, describeEntries(got), describeEntry(want))
	}
	return nil
}

// useSnapshots reads the current snapshot and begins another one.
func useSnapshots(storage raft.Storage) error {
	meta, reader, err := storage.OpenSnapshot()
	if err != nil {
		return fmt.Errorf("OpenSnapshot failed during Write: %w", err)
	}
	if err := errors.Join(readsAs(reader, snapshotBytes(meta)), reader.Close()); err != nil {
		return err
	}
	w, err := storage.CreateSnapshot(raft.SnapshotMeta{Index: 1, Term: 1})
	if err != nil {
		return fmt.Errorf("CreateSnapshot failed during Write: %w", err)
	}
	return errors.Join(writeSnapshot(w, snapshotBytes(meta)), w.Abort())
}
