package vfs_test

import (
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal/vfs"
)

func TestReadOnly(t *testing.T) {
	both(t, func(t *testing.T, files vfs.FS, dir string) {
		name, read := filepath.Join(dir, "file"), vfs.ReadOnly(files)
		f, err := files.Create(name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("hello"), 0)
		require.NoError(t, err)
		require.NoError(t, f.Close())

		f, err = read.Open(name)
		require.NoError(t, err)
		b := make([]byte, 5)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "hello", string(b))
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 5, size)
		_, err = f.WriteAt(b, 0)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorIs(t, f.Sync(), fs.ErrPermission)
		require.NoError(t, f.Close())

		_, err = read.Create(filepath.Join(dir, "new"))
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorIs(t, read.MkdirAll(filepath.Join(dir, "below")), fs.ErrPermission)
		require.ErrorIs(t, read.Rename(name, filepath.Join(dir, "new")), fs.ErrPermission)
		require.ErrorIs(t, read.Remove(name), fs.ErrPermission)
		require.ErrorIs(t, read.SyncDir(dir), fs.ErrPermission)
		_, err = read.Open(filepath.Join(dir, "new"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		names, err := read.List(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"file"}, names)

		lock := filepath.Join(dir, "LOCK")
		free, err := read.Lock(lock)
		require.NoError(t, err)
		require.NoError(t, free.Close())
		names, err = read.List(dir)
		require.NoError(t, err)
		require.Equal(t, []string{"file"}, names, "no lock is made")
		held, err := files.Lock(lock)
		require.NoError(t, err)
		_, err = read.Lock(lock)
		require.ErrorIs(t, err, vfs.ErrLocked)
		require.NoError(t, held.Close())
		mine, err := read.Lock(lock)
		require.NoError(t, err)
		_, err = files.Lock(lock)
		require.ErrorIs(t, err, vfs.ErrLocked)
		require.NoError(t, mine.Close())
	})
}
