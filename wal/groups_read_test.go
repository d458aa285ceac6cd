package wal_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// A countingFS counts the bytes that are read from its files.
type countingFS struct {
	vfs.FS
	read atomic.Int64
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f *countingFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	return &countingFile{file, f}, err
}

func (f *countingFS) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return &countingFile{file, f}, err
}

func (f *countingFile) ReadAt(p []byte, offset int64) (int, error) {
	n, err := f.File.ReadAt(p, offset)
	f.fs.read.Add(int64(n))
	return n, err
}

// What the log is read for one group isn't read for the others too: between its entries lie theirs,
// which may be many times as many.
func TestReadingAGroupReadsNoOtherGroups(t *testing.T) {
	const groups, entries = 100, 100
	dir := t.TempDir()
	manyGroups(t, dir, groups, entries, entries/4)
	fs := &countingFS{FS: vfs.OS}
	log, err := wal.Open(dir, wal.Options{Ahead: -1, FS: fs})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	group, err := log.Group("group/7")
	require.NoError(t, err)
	_, err = group.Load()
	require.NoError(t, err)
	before := fs.read.Load()
	got, err := group.Entries(0, entries, 1<<20)
	require.NoError(t, err)
	require.Len(t, got, entries)
	bytes := 0
	for i := range got {
		bytes += got[i].Size()
	}
	require.LessOrEqual(t, int(fs.read.Load()-before), 2*bytes)
}
