package wal_test

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

func TestRecordLargerThanASegment(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	want := commands(1, 3, 20*wal.MinSegmentSize)
	require.NoError(t, l.Write(raft.Write{Entries: want}))
	require.NoError(t, l.Write(raft.Write{Entries: commands(4, 1, 10)}))
	disk.Cut()
	l, saved := load(t, disk)
	require.EqualValues(t, 4, saved.Last)
	got, err := l.Entries(0, 4, 1)
	require.NoError(t, err)
	require.Equal(t, want[:1], got, "the first one comes whatever the limit")
	got, err = l.Entries(0, 3, 40*wal.MinSegmentSize)
	require.NoError(t, err)
	require.Equal(t, want, got, "the limit is for those beyond the first")
	require.NoError(t, l.Close())
}

func TestWriteThatChangesNothing(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	state := raft.DurableState{Start: 1}
	require.NoError(t, l.Write(raft.Write{State: state}))
	calls := disk.Calls()
	require.NoError(t, l.Write(raft.Write{State: state}))
	require.Equal(t, calls, disk.Calls())
	require.NoError(t, l.Close())
}

func TestImpossibleWrites(t *testing.T) {
	meta := func(index raft.Index) *raft.SnapshotMeta { return &raft.SnapshotMeta{Index: index, Term: 1} }
	gap := commands(21, 3, 1)
	gap[2].Index++
	for name, write := range map[string]raft.Write{
		"a gap behind the log":          {Entries: commands(22, 1, 1)},
		"a gap within":                  {Entries: gap},
		"index 0":                       {Entries: commands(0, 1, 1)},
		"forgotten entries":             {Entries: commands(3, 1, 1)},
		"the last forgotten entry":      {Entries: commands(4, 1, 1)},
		"an entry of the snapshot":      {Entries: commands(5, 1, 1)},
		"a snapshot that isn't there":   {Snapshot: meta(8)},
		"a snapshot older than another": {Snapshot: meta(4)},
		"compaction past the snapshot":  {Compact: 6},
		"repairs out of order":          {Repairs: []raft.Entry{commands(8, 1, 1)[0], commands(8, 1, 1)[0]}},
	} {
		t.Run(name, func(t *testing.T) {
			disk := simfs.New(1)
			l := open(t, disk)
			require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
			store(t, l, raft.SnapshotMeta{Index: 4, Term: 1}, nil)
			adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, nil)
			require.NoError(t, l.Write(raft.Write{Compact: 4}))
			store(t, l, raft.SnapshotMeta{Index: 4, Term: 1}, nil)
			require.ErrorIs(t, l.Write(write), wal.ErrWrite)
			require.ErrorIs(t, l.Write(raft.Write{Entries: commands(21, 1, 1)}), wal.ErrWrite, "as every later one")
			require.NoError(t, l.Close())
			require.ErrorIs(t, l.Write(raft.Write{}), fs.ErrClosed)
			_, saved := load(t, disk)
			require.EqualValues(t, 20, saved.Last)
		})
	}
}

// A write allocates nothing, however many entries it has.
func TestWriteAllocations(t *testing.T) {
	for _, n := range []int{1, 64} {
		l, err := wal.Open(t.TempDir(), wal.Options{FS: noSync{vfs.OS}})
		require.NoError(t, err)
		entries := commands(1, n, 128)
		last := raft.Index(0)
		got := testing.AllocsPerRun(100, func() {
			renumber(entries, last)
			require.NoError(t, l.Write(raft.Write{Entries: entries}))
			last += raft.Index(n)
		})
		require.Zero(t, got, "allocations for a write of %d entries", n)
		require.NoError(t, l.Close())
	}
}
