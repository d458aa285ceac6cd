package wal_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

func TestDirectoryIsLocked(t *testing.T) {
	const variable = "WAL_TEST_LOCKED"
	if dir := os.Getenv(variable); dir != "" {
		_, err := wal.Open(dir, wal.Options{})
		require.ErrorIs(t, err, raft.ErrLocked, "from another process")
		return
	}
	dir := t.TempDir()
	l, err := wal.Open(dir, wal.Options{})
	require.NoError(t, err)
	_, err = wal.Open(dir, wal.Options{})
	require.ErrorIs(t, err, raft.ErrLocked)
	require.ErrorContains(t, err, dir)
	program, err := os.Executable()
	require.NoError(t, err)
	other := exec.Command(program, "-test.run=^TestDirectoryIsLocked$")
	other.Env = append(os.Environ(), variable+"="+dir)
	out, err := other.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, l.Close())
	l, err = wal.Open(dir, wal.Options{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// A write whose sync failed may be in the page cache alone. It makes other files superfluous, but
// none of them is removed before the write is durable: here the older snapshot, when an installed
// one is to replace the whole log.
func TestNothingIsRemovedOnTheWordOfThePageCache(t *testing.T) {
	for seed := range uint64(8) {
		disk := simfs.New(seed)
		l := open(t, disk)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
		adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
		store(t, l, raft.SnapshotMeta{Index: 100, Term: 2}, []byte("installed"))
		disk.FailAt(disk.Calls()+2, errFault)
		require.ErrorIs(t, l.Write(raft.Write{Snapshot: &raft.SnapshotMeta{Index: 100, Term: 2}}), errFault)
		disk.Kill()
		for calls := range 40 {
			fs := disk.Clone()
			fs.PowerOffAfter(fs.Calls() + calls)
			l, err := wal.Open(dir, small(fs))
			if err == nil {
				_ = l.Close()
			}
			fs.Cut()
			_, saved := load(t, fs)
			require.Contains(t, []raft.Index{5, 100}, saved.Snapshot.Index)
		}
	}
}

// Entries are lost when the oldest segments are gone, unless a snapshot covers them.
func TestOldestSegmentsAreMissing(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	var want model
	for index := raft.Index(1); index <= 6; index++ {
		e := commands(index, 1, 3000)
		want = want.after(raft.Write{Entries: e}, "")
		require.NoError(t, l.Write(raft.Write{Entries: e}))
	}
	adopt(t, l, raft.SnapshotMeta{Index: 1, Term: 1}, []byte("one"))
	want = want.after(raft.Write{Snapshot: &raft.SnapshotMeta{Index: 1, Term: 1}}, "one")
	require.NoError(t, l.Close())
	fs.Kill()
	require.NoError(t, fs.Remove(segmentOne))
	require.NoError(t, fs.Remove(segmentTwo))
	_, saved := load(t, fs.Clone())
	require.Equal(t, []wire.Range{{First: 1, Last: 2}}, saved.Lost)
	require.Equal(t, lossy, requireHonest(t, fs, want))
}
