package wal_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
)

// A group that was large has gone, and nobody writes any more: the log cleans by itself what is left of
// the others in its segments, and sleeps then.
func TestIdleLogIsCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroupWriter(1)
		open := func() {
			log, err := wal.Open(dir, wal.Options{FS: f.fs, SegmentSize: 64 << 10, Ahead: -1, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			f.log = log
		}
		open()
		state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
		write := func(id raft.GroupID, index raft.Index, size int) {
			refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: id, Write: raft.Write{State: state, Entries: commands(index, 1, size)}}})
			require.NoError(t, err)
			require.Empty(t, refused)
		}
		for i := range raft.Index(100) {
			write("large", i+1, 20_000)
			write(raft.GroupID(fmt.Sprint("small ", i)), 1, 100)
		}
		require.Nil(t, f.log.Holders(), "the large group needs what the log takes")
		require.NoError(t, f.log.RemoveGroup("large"))
		holders := f.log.Holders()
		require.NotEmpty(t, holders)
		require.GreaterOrEqual(t, holders[0].Bytes, uint64(100))
		require.False(t, holders[0].Damaged)
		time.Sleep(10 * time.Second)
		require.Nil(t, f.log.Holders(), "the cleaner owes nothing any more")
		calls := f.fs.Calls()
		time.Sleep(time.Hour)
		require.Equal(t, calls, f.fs.Calls(), "it sleeps")
		require.Less(t, f.takes(), int64(12*64<<10))
		require.NoError(t, f.log.Close())
		f.fs.Kill()
		open()
		for i := range 100 {
			storage, err := f.log.Group(raft.GroupID(fmt.Sprint("small ", i)))
			require.NoError(t, err)
			saved, err := storage.Load()
			require.NoError(t, err)
			require.EqualValues(t, 1, saved.Last)
			require.Empty(t, saved.Lost)
			entries, err := storage.Entries(0, 1, 1)
			require.NoError(t, err)
			require.Len(t, entries[0].Data, 100)
		}
		require.NoError(t, f.log.Close())
	})
}

// The log of a group may begin in the middle of a record whose rest is moved. Then nothing of the record is
// needed, and the cleaner comes to an end.
func TestCleanerMovesTheRestOfARecord(t *testing.T) {
	f := newGroupWriter(1)
	f.open(t)
	state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
	write := func(id raft.GroupID, w raft.Write) {
		w.State = state
		refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: id, Write: w}})
		require.NoError(t, err)
		require.Empty(t, refused)
	}
	write("idle", raft.Write{Entries: commands(1, 10, 100)})
	idle, err := f.log.Group("idle")
	require.NoError(t, err)
	meta := raft.SnapshotMeta{Index: 8, Term: 1}
	s, err := idle.CreateSnapshot(meta)
	require.NoError(t, err)
	require.NoError(t, s.Commit())
	write("idle", raft.Write{Snapshot: &meta, Compact: 5})
	for i := range raft.Index(40) {
		write("gone", raft.Write{Entries: commands(i+1, 1, 1000)})
	}
	require.NoError(t, f.log.RemoveGroup("gone"))
	cleans := 0
	for moved := true; moved; cleans++ {
		require.Less(t, cleans, 20, "it moves what is needed once")
		moved, err = f.log.Clean()
		require.NoError(t, err)
	}
	require.Greater(t, cleans, 1)
	require.Nil(t, f.log.Holders())
	entries, err := idle.Entries(5, 10, 1<<20)
	require.NoError(t, err)
	require.Len(t, entries, 5)
	require.NoError(t, f.log.Close())
}

// What a log does without a clock follows from its calls: in which order groups are found doesn't matter.
func TestOpenedLogIsDeterministic(t *testing.T) {
	f := newGroupWriter(1)
	f.open(t)
	state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
	for i := range raft.Index(20) {
		for n, id := range []raft.GroupID{raft.GroupID(fmt.Sprint("idle ", i)), "gone"} {
			refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: id, Write: raft.Write{State: state, Entries: commands(1, 1, 200+n*2800)}}})
			require.NoError(t, err)
			require.Empty(t, refused)
		}
	}
	require.NoError(t, f.log.RemoveGroup("gone"))
	f.fs.Kill()
	f.fs.Flush()
	var first map[string][]byte
	for range 8 {
		disk, files := f.fs.Clone(), map[string][]byte{}
		log, err := wal.Open(dir, f.options(disk))
		require.NoError(t, err)
		moved, err := log.Clean()
		require.NoError(t, err)
		require.True(t, moved)
		require.NoError(t, log.Close())
		for _, name := range disk.Names() {
			files[name] = disk.Bytes(name)
		}
		if first == nil {
			first = files
		}
		require.True(t, maps.EqualFunc(first, files, bytes.Equal))
	}
}

// What is said of groups in each segment may take most of a segment of the size that was asked for. Then
// segments are larger, and the cleaner comes to an end.
func TestCleanerEndsWithLargeHeads(t *testing.T) {
	f := newGroupWriter(1)
	f.open(t)
	group, err := f.log.Group("large")
	require.NoError(t, err)
	state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
	meta := raft.SnapshotMeta{Index: 1, Term: 1}
	for i := range 7 {
		address := fmt.Sprintf("%0450d", i)
		meta.Configuration.Members = append(meta.Configuration.Members, raft.Member{Server: raft.Server{ID: raft.ServerID(fmt.Sprint(i)), Address: address}, Role: raft.Voter})
	}
	require.NoError(t, group.Write(raft.Write{State: state, Entries: commands(1, 1, 300)}))
	s, err := group.CreateSnapshot(meta)
	require.NoError(t, err)
	require.NoError(t, s.Commit())
	require.NoError(t, group.Write(raft.Write{State: state, Snapshot: &meta}))
	for i := range raft.Index(60) {
		require.NoError(t, group.Write(raft.Write{State: state, Entries: commands(i+2, 1, 300)}))
	}
	for cleans, moved := 0, true; moved; cleans++ {
		require.Less(t, cleans, 150, "it takes %d", f.takes())
		moved, err = f.log.Clean()
		require.NoError(t, err)
	}
	require.Nil(t, f.log.Holders())
	entries, err := group.Entries(0, 61, 1<<20)
	require.NoError(t, err)
	require.Len(t, entries, 61)
	require.NoError(t, f.log.Close())
}

// A group that can't be loaded keeps the segment in which it may be found, whatever goes on in the log:
// otherwise a later start would take it for one that has never been. RemoveGroup gives it up, if its
// name isn't lost.
func TestRefusedGroupKeepsItsSegment(t *testing.T) {
	for parts := range raft.Index(2) {
		f := newGroupWriter(1)
		f.open(t)
		state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
		write := func(id raft.GroupID, index raft.Index, size int) {
			refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: id, Write: raft.Write{State: state, Entries: commands(index, 1, size)}}})
			require.NoError(t, err)
			require.Empty(t, refused)
		}
		for i := range parts + 1 {
			write("idle", i+1, 10)
		}
		require.NoError(t, f.log.Close())
		f.fs.Kill()
		first := dir + "/0000000000000001.wal"
		head := bytes.LastIndex(f.fs.Bytes(first), []byte("idle")) // of the last part
		require.True(t, f.fs.Rot(first, int64(head), 1))
		f.open(t)
		for i := range raft.Index(60) {
			write("", i+1, 1000)
		}
		forget(t, f.log, 60, state)
		for i := range raft.Index(20) {
			write("", 61+i, 1000) // segments are removed meanwhile
		}
		require.NoError(t, f.log.Close())
		f.fs.Kill()
		f.open(t)
		_, err := f.log.Group("idle")
		require.ErrorIs(t, err, raft.ErrCorrupt)
		refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: "idle", Write: raft.Write{State: state}}})
		require.NoError(t, err)
		require.ErrorIs(t, refused["idle"], raft.ErrCorrupt)
		err = f.log.RemoveGroup("idle")
		if parts == 0 {
			require.ErrorIs(t, err, raft.ErrCorrupt, "its name is lost")
		} else {
			require.NoError(t, err)
			_, err = f.log.Group("idle")
			require.NoError(t, err, "it begins anew")
		}
		require.NoError(t, f.log.Close())
	}
}

// forget takes a snapshot of the group "" that covers its log up to an index, and compacts up to it.
func forget(t *testing.T, log *wal.Log, index raft.Index, state raft.DurableState) {
	meta := raft.SnapshotMeta{Index: index, Term: 1}
	s, err := log.CreateSnapshot(meta)
	require.NoError(t, err)
	require.NoError(t, s.Commit())
	require.NoError(t, log.Write(raft.Write{State: state, Snapshot: &meta, Compact: index}))
}
