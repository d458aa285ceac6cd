package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/e17579a5/raft"
)

func checkSnapshotCurrent(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three"); err != nil {
		return err
	}
	first := raft.SnapshotMeta{Index: 1, Term: 1}
	if err := s.store(first, snapshotBytes(first)); err != nil {
		return err
	}
	if err := s.model.differsIn(s.storage); err != nil { // it is stored, but no Write has named it
		return err
	}
	if err := s.write(raft.Write{State: s.model.state}); err != nil { // this Write doesn't name it either
		return err
	}
	if err := s.model.differsIn(s.storage); err != nil {
		return err
	}
	if err := s.write(raft.Write{State: s.model.state, Snapshot: &first}); err != nil {
		return err
	}
	if err := s.both(); err != nil {
		return err
	}
	second := raft.SnapshotMeta{Index: 3, Term: 1}
	if err := s.store(second, snapshotBytes(second)); err != nil {
		return err
	}
	return s.both() // the first snapshot is still the current one
}

func checkSnapshotBytes(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three", "four", "five", "six"); err != nil {
		return err
	}
	configuration := raft.Configuration{
		Cluster: raft.ClusterID{1, 2, 3},
		Members: []raft.Member{
			{Server: raft.Server{ID: "a", Address: "a.example:1"}, Role: raft.Voter, Incarnation: 1<<63 + 1},
			{Server: raft.Server{ID: "b", Address: ""}, Role: raft.Learner},
		},
	}
	for _, meta := range []raft.SnapshotMeta{
		{Index: 2, Term: 1},
		{Index: 4, Term: 1, Configuration: configuration, ConfigurationIndex: 3},
		{Index: 6, Term: 1, Configuration: configuration, ConfigurationIndex: 3},
		{Index: 99, Term: 1 << 60, Configuration: configuration, ConfigurationIndex: 98}, // from another server
	} {
		if err := s.snapshot(meta, raft.Write{}); err != nil {
			return err
		}
		if err := s.both(); err != nil {
			return err
		}
	}
	return checkSnapshotSizes(s)
}

// checkSnapshotSizes stores snapshots with no bytes, with one, and with many.
func checkSnapshotSizes(s *storageSession) error {
	for i, data := range [][]byte{{}, {7}, bytes.Repeat([]byte("large snapshot "), 40_000)} {
		meta := raft.SnapshotMeta{Index: 100 + raft.Index(i), Term: 1 << 60}
		if err := s.store(meta, data); err != nil {
			return err
		}
		s.number++
		w := raft.Write{Number: s.number, State: s.model.state, Snapshot: &meta}
		s.note("%s", describeWrite(&w))
		if err := s.storage.Write(w); err != nil {
			return fmt.Errorf("Write failed: %w", err)
		}
		if err := s.crash(); err != nil {
			return err
		}
		if _, err := s.load(); err != nil {
			return err
		}
		_, reader, err := s.storage.OpenSnapshot()
		if err != nil {
			return fmt.Errorf("OpenSnapshot failed: %w", err)
		}
		if err := errors.Join(readsAs(reader, data), reader.Close()); err != nil {
			return err
		}
	}
	return nil
}

func checkSnapshotWriter(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three"); err != nil {
		return err
	}
	first := raft.SnapshotMeta{Index: 1, Term: 1}
	if err := s.snapshot(first, raft.Write{}); err != nil {
		return err
	}
	second := raft.SnapshotMeta{Index: 2, Term: 1}

	s.note("begin snapshot 2 and Abort it")
	w, err := s.storage.CreateSnapshot(second)
	if err != nil {
		return fmt.Errorf("CreateSnapshot failed: %w", err)
	}
	if err := writeSnapshot(w, []byte("this is thrown away")); err != nil {
		return err
	}
	for _, end := range []struct {
		name string
		call func() error
	}{{"Abort", w.Abort}, {"Abort after Abort", w.Abort}, {"Commit after Abort", w.Commit}} {
		if err := end.call(); err != nil {
			return fmt.Errorf("%s failed: %w", end.name, err)
		}
	}
	if n, err := w.Write([]byte("more")); err == nil {
		return fmt.Errorf("writing to a snapshot that was ended returned %d and no error", n)
	}
	if err := s.both(); err != nil {
		return err
	}

	s.note("begin snapshot 2 and Commit it")
	w, err = s.storage.CreateSnapshot(second)
	if err != nil {
		return fmt.Errorf("CreateSnapshot failed: %w", err)
	}
	if err := writeSnapshot(w, snapshotBytes(second)); err != nil {
		return err
	}
	for _, end := range []struct {
		name string
		call func() error
	}{{"Commit", w.Commit}, {"Commit after Commit", w.Commit}, {"Abort after Commit", w.Abort}} {
		if err := end.call(); err != nil {
			return fmt.Errorf("%s failed: %w", end.name, err)
		}
	}
	if err := s.write(raft.Write{State: s.model.state, Snapshot: &second}); err != nil { // the Abort did nothing
		return err
	}
	return s.both()
}

func checkSnapshotReader(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three", "four", "five"); err != nil {
		return err
	}
	type open struct {
		meta   raft.SnapshotMeta
		reader io.ReadCloser
		read   []byte
	}
	var readers []*open
	for index := raft.Index(1); index <= 5; index++ {
		meta := raft.SnapshotMeta{Index: index, Term: 1}
		if err := s.snapshot(meta, raft.Write{Compact: index}); err != nil {
			return err
		}
		got, reader, err := s.storage.OpenSnapshot()
		if err != nil {
			return fmt.Errorf("OpenSnapshot failed: %w", err)
		}
		if !sameMeta(got, meta) {
			return fmt.Errorf("OpenSnapshot returned the meta %+v, want %+v", got, meta)
		}
		s.note("open snapshot %d", index)
		readers = append(readers, &open{meta: meta, reader: reader})
		for _, r := range readers { // each reader reads a piece
			piece := make([]byte, 50)
			n, err := io.ReadFull(r.reader, piece)
			if err != nil {
				return fmt.Errorf("reading snapshot %d, which isn't the current one any more, failed: %w", r.meta.Index, err)
			}
			r.read = append(r.read, piece[:n]...)
		}
	}
	for _, r := range readers {
		rest, err := io.ReadAll(r.reader)
		if err != nil {
			return fmt.Errorf("reading snapshot %d, which isn't the current one any more, failed: %w", r.meta.Index, err)
		}
		if got, want := append(r.read, rest...), snapshotBytes(r.meta); !bytes.Equal(got, want) {
			return fmt.Errorf("snapshot %d, which was opened when it was the current one, reads as %s, want %s",
				r.meta.Index, describeBytes(got), describeBytes(want))
		}
		if err := r.reader.Close(); err != nil {
			return fmt.Errorf("closing the reader of snapshot %d failed: %w", r.meta.Index, err)
		}
	}
	return s.both()
}

func checkSnapshotAndLog(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three", "four"); err != nil {
		return err
	}
	for _, step := range []struct {
		what string
		meta raft.SnapshotMeta
	}{
		{"the log agrees with it, and goes on", raft.SnapshotMeta{Index: 2, Term: 1}},
		{"the log agrees with it, and ends there", raft.SnapshotMeta{Index: 4, Term: 1}},
		{"the log ends before it", raft.SnapshotMeta{Index: 9, Term: 2}},
		{"the log disagrees with it", raft.SnapshotMeta{Index: 11, Term: 3}},
	} {
		if step.meta.Index == 11 {
			if err := s.append(2, 9, "ten", "eleven", "twelve"); err != nil {
				return err
			}
		}
		s.note("(%s)", step.what)
		if err := s.snapshot(step.meta, raft.Write{}); err != nil {
			return err
		}
		if err := s.both(); err != nil {
			return err
		}
	}
	if err := s.append(3, 11, "TWELVE"); err != nil {
		return err
	}
	return s.both()
}

func checkSnapshotWithEntries(s *storageSession) error {
	if err := s.append(1, 0, "one", "two", "three"); err != nil {
		return err
	}
	for _, step := range []struct {
		meta raft.SnapshotMeta
		w    raft.Write
	}{
		{raft.SnapshotMeta{Index: 2, Term: 1}, raft.Write{Entries: commands(2, 3, "FOUR", "FIVE"), Compact: 1}},
		{raft.SnapshotMeta{Index: 4, Term: 2}, raft.Write{Entries: commands(3, 4, "5"), Compact: 4}}, // truncates the log, too
		{raft.SnapshotMeta{Index: 20, Term: 3}, raft.Write{Entries: commands(3, 20, "21", "22"), Compact: 20}},
		{raft.SnapshotMeta{Index: 21, Term: 4}, raft.Write{Entries: commands(4, 21, "other")}},
	} {
		if err := s.snapshot(step.meta, step.w); err != nil {
			return err
		}
		if err := s.both(); err != nil {
			return err
		}
	}
	return nil
}
