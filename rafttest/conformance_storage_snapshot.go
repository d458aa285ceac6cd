package rafttest

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/e17579a5/raft"
)

func checkSnapshotCurrent(s *storageSession) {
	s.append(1, 0, "one", "two", "three")
	first := raft.SnapshotMeta{Index: 1, Term: 1}
	s.store(first, snapshotBytes(first))
	s.model.differsIn(s.storage)              // it is stored, but no Write has named it
	s.write(raft.Write{State: s.model.state}) // this Write doesn't name it either
	s.model.differsIn(s.storage)
	s.write(raft.Write{State: s.model.state, Snapshot: &first})
	s.both()
	second := raft.SnapshotMeta{Index: 3, Term: 1}
	s.store(second, snapshotBytes(second))
	s.both() // the first snapshot is still the current one
}

func checkSnapshotBytes(s *storageSession) {
	s.append(1, 0, "one", "two", "three", "four", "five", "six")
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
		s.snapshot(meta, raft.Write{})
		s.both()
	}
	checkSnapshotSizes(s)
}

// checkSnapshotSizes stores snapshots with no bytes, with one, and with many.
func checkSnapshotSizes(s *storageSession) {
	for i, data := range [][]byte{{}, {7}, bytes.Repeat([]byte("large snapshot "), 40_000)} {
		meta := raft.SnapshotMeta{Index: 100 + raft.Index(i), Term: 1 << 60}
		s.store(meta, data)
		must("Write", s.try(raft.Write{State: s.model.state, Snapshot: &meta}))
		s.crash()
		s.load()
		readsAs("the snapshot", s.model.openSnapshot(s.storage), data)
	}
}

func checkSnapshotWriter(s *storageSession) {
	s.append(1, 0, "one", "two", "three")
	s.snapshot(raft.SnapshotMeta{Index: 1, Term: 1}, raft.Write{})
	second := raft.SnapshotMeta{Index: 2, Term: 1}
	var w raft.SnapshotWriter
	ended := func(calls ...string) { // the first call ends the snapshot; the others do nothing
		for _, call := range calls {
			end := w.Commit
			if strings.HasPrefix(call, "Abort") {
				end = w.Abort
			}
			must(call, end())
		}
		if n, err := w.Write([]byte("more")); err == nil {
			convict("writing to a snapshot that was ended returned %d and no error", n)
		}
	}

	s.note("begin snapshot 2, Abort it twice, and Commit it")
	w = s.create(second)
	must("Write of a snapshot", writeSnapshot(w, []byte("this is thrown away")))
	ended("Abort", "Abort after Abort", "Commit after Abort")
	s.both()

	s.note("begin snapshot 2, Commit it twice, and Abort it")
	w = s.create(second)
	must("Write of a snapshot", writeSnapshot(w, snapshotBytes(second)))
	ended("Commit", "Commit after Commit", "Abort after Commit")
	s.write(raft.Write{State: s.model.state, Snapshot: &second}) // the Abort did nothing
	s.both()
}

func checkSnapshotReader(s *storageSession) {
	s.append(1, 0, "one", "two", "three", "four", "five")
	type open struct {
		name   string
		bytes  []byte
		reader io.ReadCloser
		read   []byte // so far
	}
	var readers []*open
	for index := raft.Index(1); index <= 5; index++ {
		s.snapshot(raft.SnapshotMeta{Index: index, Term: 1}, raft.Write{Compact: index})
		readers = append(readers, &open{name: fmt.Sprintf("snapshot %d, which was opened when it was the current one,", index),
			bytes: snapshotBytes(s.model.snapshot), reader: s.model.openSnapshot(s.storage)})
		s.note("open snapshot %d", index)
		for _, r := range readers { // each reader reads a piece
			piece := make([]byte, 50)
			_, err := io.ReadFull(r.reader, piece)
			must("reading "+r.name, err)
			r.read = append(r.read, piece...)
		}
	}
	for _, r := range readers {
		readsAs(r.name, struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(r.read), r.reader), r.reader}, r.bytes)
	}
	s.both()
}

func checkSnapshotAndLog(s *storageSession) {
	s.append(1, 0, "one", "two", "three", "four")
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
			s.append(2, 9, "ten", "eleven", "twelve")
		}
		s.note("(%s)", step.what)
		s.snapshot(step.meta, raft.Write{})
		s.both()
	}
	s.append(3, 11, "TWELVE")
	s.both()
}

func checkSnapshotWithEntries(s *storageSession) {
	s.append(1, 0, "one", "two", "three")
	for _, step := range []struct {
		meta raft.SnapshotMeta
		w    raft.Write
	}{
		{raft.SnapshotMeta{Index: 2, Term: 1}, raft.Write{Entries: commands(2, 3, "FOUR", "FIVE"), Compact: 1}},
		{raft.SnapshotMeta{Index: 4, Term: 2}, raft.Write{Entries: commands(3, 4, "5"), Compact: 4}}, // truncates the log, too
		{raft.SnapshotMeta{Index: 20, Term: 3}, raft.Write{Entries: commands(3, 20, "21", "22"), Compact: 20}},
		{raft.SnapshotMeta{Index: 21, Term: 4}, raft.Write{Entries: commands(4, 21, "other")}},
	} {
		s.snapshot(step.meta, step.w)
		s.both()
	}
}
