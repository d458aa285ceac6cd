package wal_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// kept opens a log whose keeper runs, on a simulated disk. It must be called in a bubble.
func kept(t *testing.T, system vfs.FS) *wal.Log {
	l, err := wal.Open(dir, wal.Options{SegmentSize: 16 << 10, FS: system, Salt: 1})
	require.NoError(t, err)
	return l
}

// segmentFiles returns the sizes of the segments in the order of their names.
func segmentFiles(disk *simfs.FS) (sizes []int) {
	for _, name := range disk.Names() {
		if strings.HasSuffix(name, ".wal") {
			sizes = append(sizes, disk.Size(name))
		}
	}
	return sizes
}

// The keeper prepares the next segment before it is needed: when three quarters of the active one
// are used, the whole of it is there.
func TestNextSegmentIsPrepared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l := kept(t, disk)
		index, size := raft.Index(0), 0
		for size < 15<<10 {
			index++
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 900)}))
			size += 1000
			synctest.Wait()
			if sizes := segmentFiles(disk); size > 13<<10 {
				require.Len(t, sizes, 2, "after %d bytes", size)
				require.Equal(t, sizes[0], sizes[1], "after %d bytes", size)
			}
		}
		require.NoError(t, l.Close())
	})
}

// Segments that a snapshot frees all at once don't stay for ever: a few of them may be used again,
// and the rest goes.
func TestFreedSegmentsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l := kept(t, disk)
		for index := raft.Index(1); index <= 500; index++ {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 900)}))
		}
		synctest.Wait()
		require.Greater(t, len(segmentFiles(disk)), 20)
		adopt(t, l, raft.SnapshotMeta{Index: 500, Term: 1}, nil)
		require.NoError(t, l.Write(raft.Write{Compact: 500}))
		synctest.Wait()
		require.LessOrEqual(t, len(segmentFiles(disk)), 4, "the active one, the next one, and two to be used again")
		require.NoError(t, l.Close())
	})
}

// Segments that aren't needed any more, and that somebody reads, go when the reading has ended, also
// when nothing is written afterwards.
func TestReadSegmentsGoAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		system := &hooked{FS: disk}
		l := kept(t, system)
		for index := raft.Index(1); index <= 300; index++ {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 900)}))
		}
		adopt(t, l, raft.SnapshotMeta{Index: 300, Term: 1}, nil)
		synctest.Wait()
		many := len(segmentFiles(disk))
		system.before = func() {
			require.NoError(t, l.Write(raft.Write{Compact: 300}))
			synctest.Wait()
			require.GreaterOrEqual(t, len(segmentFiles(disk)), many, "the oldest is read, and the others wait for it")
		}
		_, err := l.Entries(0, 5, 1<<20)
		require.NoError(t, err)
		synctest.Wait()
		require.LessOrEqual(t, len(segmentFiles(disk)), 4)
		require.NoError(t, l.Close())
	})
}

// A large snapshot is synced while it is written, so that its last sync doesn't keep the disk from
// the log for long.
func TestLargeSnapshotIsSyncedInPieces(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
	most, since := 0, 0
	disk.OnCall(func(c simfs.Call) error {
		switch {
		case !strings.Contains(c.Name, ".snapshot"):
		case c.Op == simfs.OpWrite:
			since += c.Length
			most = max(most, since)
		case c.Op == simfs.OpSync:
			since = 0
		}
		return nil
	})
	store(t, l, raft.SnapshotMeta{Index: 3, Term: 1}, make([]byte, 5<<20))
	require.Zero(t, since)
	require.LessOrEqual(t, most, 512<<10)
	require.NoError(t, l.Close())
}

// Of several snapshots before the current one, the newest stays: the current one may turn out to be
// damaged. The others go.
func TestNewestSnapshotBeforeTheCurrentOneStays(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 9, 10)}))
	for _, index := range []raft.Index{2, 4, 6, 8} {
		adopt(t, l, raft.SnapshotMeta{Index: index, Term: 1}, fmt.Append(nil, index))
	}
	names := snapshotFiles(disk)
	require.Len(t, names, 2)
	require.NoError(t, l.Close())
	require.True(t, disk.Rot(names[1], int64(disk.Size(names[1]))-10, 1))
	l, saved := load(t, disk)
	require.EqualValues(t, 6, saved.Snapshot.Index)
	require.NoError(t, l.Close())
}

// A reader of several stretches of the log returns nothing that was truncated meanwhile together
// with what has taken its place.
func TestEntriesBesideATruncation(t *testing.T) {
	disk := simfs.New(1)
	system := &hooked{FS: disk}
	options := small(disk)
	options.FS = system
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	for index := raft.Index(1); index <= 20; index++ {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 900)}))
	}
	system.before = func() {
		replaced := commands(3, 18, 900)
		for i := range replaced {
			replaced[i].Term = 2
		}
		for i := range replaced {
			require.NoError(t, l.Write(raft.Write{Entries: replaced[i : i+1]}))
		}
	}
	entries, err := l.Entries(0, 20, 1<<20)
	require.NoError(t, err)
	require.NotEmpty(t, entries)
	for i := 1; i < len(entries); i++ {
		require.Equal(t, entries[0].Term, entries[i].Term, "entry %d", entries[i].Index)
	}
	require.NoError(t, l.Close())
}

// A stubborn is a lock that can't be released.
type stubborn struct{ vfs.FS }

var errStubborn = errors.New("it sticks")

func (s stubborn) Lock(name string) (io.Closer, error) {
	_, err := s.FS.Lock(name)
	return closer(func() error { return errStubborn }), err
}

type closer func() error

func (c closer) Close() error { return c() }

// A file that can't be closed is no file that was written, and a lock that can't be released is
// told.
func TestErrorsOfClosing(t *testing.T) {
	disk := simfs.New(1)
	failing := ""
	disk.OnCall(func(c simfs.Call) error {
		if c.Op == simfs.OpClose && failing != "" && strings.HasSuffix(c.Name, failing) {
			return errFault
		}
		return nil
	})
	failing = ".wal.tmp"
	_, err := wal.Open(dir, small(disk))
	require.ErrorIs(t, err, errFault)
	failing = ""
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
	w, err := l.CreateSnapshot(raft.SnapshotMeta{Index: 3, Term: 1})
	require.NoError(t, err)
	failing = ".snapshot.tmp"
	require.ErrorIs(t, w.Commit(), errFault)
	require.Empty(t, snapshotFiles(disk))
	require.ErrorIs(t, l.Write(raft.Write{Snapshot: &raft.SnapshotMeta{Index: 3, Term: 1}}), wal.ErrWrite)
	failing = ""
	require.NoError(t, l.Close())

	options := small(simfs.New(1))
	options.FS = stubborn{options.FS}
	l, err = wal.Open(dir, options)
	require.NoError(t, err)
	require.ErrorIs(t, l.Close(), errStubborn)
	require.ErrorIs(t, l.Write(raft.Write{}), fs.ErrClosed, "it is closed all the same")
}
