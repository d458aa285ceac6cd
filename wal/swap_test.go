package wal_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// put makes a file hold other bytes, durably.
func put(t *testing.T, fs *simfs.FS, name string, data []byte) {
	require.NoError(t, fs.Remove(name))
	f, err := fs.Create(name)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	fs.Flush()
}

// requireSame requires that a log is refused as damaged, or holds what it held. A snapshot that
// can't be used any more is damage, too.
func requireSame(t *testing.T, fs *simfs.FS, want model, about string) (refused bool) {
	t.Helper()
	l, err := wal.Open(dir, small(fs))
	if err != nil {
		require.ErrorIs(t, err, raft.ErrCorrupt, about)
		return true
	}
	saved, err := l.Load()
	require.NoError(t, err, about)
	if saved.SnapshotDamage != nil || saved.Snapshot.Index < want.snapshot.Index {
		require.NoError(t, l.Close())
		return true
	}
	err = want.differsIn(l)
	require.NoError(t, l.Close())
	if err != nil {
		require.ErrorIs(t, err, raft.ErrCorrupt, about) // it shows when it is read
	}
	return err != nil
}

// Files that are intact, but not where they belong, are no log, whichever two files of a log are
// exchanged.
func TestFilesThatWereExchanged(t *testing.T) {
	refused := 0
	for seed := range uint64(8) {
		fs := simfs.New(seed)
		w := newWriter(seed)
		require.NoError(t, w.run(fs, 60))
		require.NoError(t, w.log.Close())
		fs.Flush()
		names := fs.Names()
		for i, name := range names {
			for _, second := range names[:i] {
				if bytes.Equal(fs.Bytes(name), fs.Bytes(second)) || alike(fs, name, fs, second) {
					continue
				}
				swapped := fs.Clone()
				put(t, swapped, name, fs.Bytes(second))
				put(t, swapped, second, fs.Bytes(name))
				if requireSame(t, swapped, w.now, fmt.Sprintf("seed %d: %s and %s", seed, name, second)) {
					refused++
				}
			}
		}
	}
	require.Greater(t, refused, 50)
}

// A snapshot of another cluster is refused, although it ends with the same index of the same term
// and is intact.
func TestSnapshotOfAnotherClusterIsNoSnapshot(t *testing.T) {
	logOf := func(cluster byte) *simfs.FS {
		fs := simfs.New(1)
		l := open(t, fs)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
		meta := raft.SnapshotMeta{Index: 3, Term: 1, ConfigurationIndex: 1}
		meta.Configuration.Cluster = raft.ClusterID{cluster}
		meta.Configuration.Members = []raft.Member{{Server: raft.Server{ID: "a", Address: "x:1"}, Role: raft.Voter, Incarnation: 7}}
		adopt(t, l, meta, []byte{cluster})
		require.NoError(t, l.Close())
		fs.Flush()
		return fs
	}
	one, other := logOf(1), logOf(2)
	names := snapshotFiles(one)
	require.Equal(t, names, snapshotFiles(other))
	put(t, one, names[0], other.Bytes(names[0]))
	l, saved := load(t, one)
	require.ErrorIs(t, saved.SnapshotDamage, raft.ErrCorrupt)
	require.ErrorContains(t, saved.SnapshotDamage, "another configuration")
	_, _, err := l.OpenSnapshot()
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.NoError(t, l.Close())
}

// Nor does an older snapshot of another cluster take the place of one that is damaged, though the log
// goes on from its index and its term.
func TestOlderSnapshotOfAnotherClusterIsNoSnapshot(t *testing.T) {
	logOf := func(cluster byte) *simfs.FS {
		fs := simfs.New(1)
		l := open(t, fs)
		state := raft.DurableState{Cluster: raft.ClusterID{cluster}}
		require.NoError(t, l.Write(raft.Write{State: state, Entries: commands(1, 7, 10)}))
		for _, index := range []raft.Index{3, 5} {
			meta := raft.SnapshotMeta{Index: index, Term: 1, ConfigurationIndex: 1}
			meta.Configuration.Cluster = raft.ClusterID{cluster}
			meta.Configuration.Members = []raft.Member{{Server: raft.Server{ID: "a", Address: "x:1"}, Role: raft.Voter, Incarnation: 7}}
			store(t, l, meta, []byte{cluster})
			require.NoError(t, l.Write(raft.Write{State: state, Snapshot: &meta}))
		}
		require.NoError(t, l.Close())
		fs.Flush()
		return fs
	}
	one, other := logOf(1), logOf(2)
	names := snapshotFiles(one)
	require.Len(t, names, 2)
	require.True(t, one.Rot(names[1], 20, 1))
	l, saved := load(t, one.Clone())
	require.EqualValues(t, 3, saved.Snapshot.Index, "the older one takes its place")
	require.NoError(t, saved.SnapshotDamage)
	require.NoError(t, l.Close())
	put(t, one, names[0], other.Bytes(names[0]))
	l, saved = load(t, one)
	require.ErrorIs(t, saved.SnapshotDamage, raft.ErrCorrupt)
	require.EqualValues(t, 5, saved.Snapshot.Index)
	require.NoError(t, l.Close())
}
