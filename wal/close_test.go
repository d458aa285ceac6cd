package wal_test

import (
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// A closings is a file system that calls a function before the file of a snapshot is closed.
type closings struct {
	vfs.FS
	before func()
}

type closingFile struct {
	vfs.File
	system *closings
}

func (c *closings) Open(name string) (vfs.File, error) {
	file, err := c.FS.Open(name)
	if err == nil && strings.HasSuffix(name, ".snapshot") {
		file = closingFile{file, c}
	}
	return file, err
}

func (f closingFile) Close() error {
	f.system.before()
	return f.File.Close()
}

// While a log closes, somebody may close a reader of its snapshot. The file is closed once, by one
// of the two, and the other has nothing to do.
func TestReaderClosesWhileTheLogCloses(t *testing.T) {
	closed := 0
	system := &closings{FS: simfs.New(1), before: func() { closed++ }}
	l, err := wal.Open(dir, wal.Options{FS: system, Inline: true})
	require.NoError(t, err)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
	adopt(t, l, raft.SnapshotMeta{Index: 3, Term: 1}, []byte("three"))
	var readers []io.Closer
	for range 10 {
		_, r, err := l.OpenSnapshot()
		require.NoError(t, err)
		readers = append(readers, r)
	}
	require.NoError(t, readers[0].Close())
	require.Equal(t, 1, closed)

	// The log closes the other nine. Each time, all readers are closed: here, and by another
	// goroutine, which the race detector watches.
	var others sync.WaitGroup
	system.before = func() {
		closed++
		for _, r := range readers {
			require.NoError(t, r.Close())
			others.Go(func() { _ = r.Close() })
		}
	}
	require.NoError(t, l.Close())
	others.Wait()
	require.Equal(t, 10, closed)
}

// A beforeLock is a file system that calls a function before it takes a lock.
type beforeLock struct {
	vfs.FS
	before func()
}

func (b *beforeLock) Lock(name string) (io.Closer, error) {
	b.before()
	return b.FS.Lock(name)
}

// What a server does until Inspect holds the lock doesn't confuse Inspect: it looks at the folder
// as it is afterwards.
func TestInspectLooksUnderTheLock(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 30, 100)}))
	require.NoError(t, l.Close())
	options := small(disk)
	options.FS = &beforeLock{disk, func() {
		l := open(t, disk)
		for index := raft.Index(31); index < 500; index += 10 {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
			adopt(t, l, raft.SnapshotMeta{Index: index + 9, Term: 1}, nil)
			require.NoError(t, l.Write(raft.Write{Compact: index + 5}))
		}
		require.NoError(t, l.Close())
	}}
	report, err := wal.Inspect(dir, options, nil)
	require.NoError(t, err)
	require.NoError(t, report.Err)
	require.Empty(t, report.Damage)
	require.EqualValues(t, 500, report.Saved.Last)
}
