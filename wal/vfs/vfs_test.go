package vfs_test

import (
	"bytes"
	"io"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal/vfs"
)

// both runs a test on the files of the operating system and on simulated ones: the two must not
// differ.
func both(t *testing.T, test func(t *testing.T, files vfs.FS, dir string)) {
	t.Run("os", func(t *testing.T) { test(t, vfs.OS, t.TempDir()) })
	t.Run("simulated", func(t *testing.T) {
		files := simfs.New(1)
		require.NoError(t, files.MkdirAll("/dir"))
		test(t, files, "/dir")
	})
}

func TestFiles(t *testing.T) {
	both(t, func(t *testing.T, files vfs.FS, dir string) {
		name := filepath.Join(dir, "file")
		_, err := files.Open(name)
		require.ErrorIs(t, err, fs.ErrNotExist)
		f, err := files.Create(name)
		require.NoError(t, err)
		_, err = files.Create(name)
		require.ErrorIs(t, err, fs.ErrExist)

		n, err := f.WriteAt([]byte("world"), 6)
		require.NoError(t, err)
		require.Equal(t, 5, n)
		_, err = f.WriteAt([]byte("hello"), 0)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 11, size)
		require.NoError(t, f.Sync())

		b := make([]byte, 20)
		n, err = f.ReadAt(b, 0)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "hello\x00world", string(b[:n]))
		n, err = f.ReadAt(b[:3], 2)
		require.NoError(t, err)
		require.Equal(t, "llo", string(b[:n]))
		_, err = f.ReadAt(b, 11)
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, f.Close())
		require.Error(t, f.Close())
		require.Error(t, f.Sync())

		f, err = files.Open(name)
		require.NoError(t, err)
		_, err = f.WriteAt(bytes.Repeat([]byte("x"), 3), 0)
		require.NoError(t, err, "Open is for writing too")
		require.NoError(t, f.Close())
	})
}

func TestDirectories(t *testing.T) {
	both(t, func(t *testing.T, files vfs.FS, dir string) {
		below := filepath.Join(dir, "a", "b", "c")
		_, err := files.List(below)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = files.Create(filepath.Join(below, "x"))
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.NoError(t, files.MkdirAll(below))
		require.NoError(t, files.MkdirAll(below), "it is there already")
		for _, name := range []string{"c", "a", "b"} {
			f, err := files.Create(filepath.Join(below, name))
			require.NoError(t, err)
			_, err = f.WriteAt([]byte(name), 0)
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		require.NoError(t, files.SyncDir(below))
		names, err := files.List(below)
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b", "c"}, names)

		require.NoError(t, files.Rename(filepath.Join(below, "a"), filepath.Join(below, "b")))
		require.NoError(t, files.Remove(filepath.Join(below, "c")))
		require.ErrorIs(t, files.Remove(filepath.Join(below, "c")), fs.ErrNotExist)
		require.ErrorIs(t, files.Rename(filepath.Join(below, "c"), filepath.Join(below, "d")), fs.ErrNotExist)
		names, err = files.List(below)
		require.NoError(t, err)
		require.Equal(t, []string{"b"}, names)
		f, err := files.Open(filepath.Join(below, "b"))
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, 0)
		require.NoError(t, err)
		require.Equal(t, "a", string(b))
		require.NoError(t, f.Close())
		names, err = files.List(dir)
		require.NoError(t, err)
		require.Empty(t, names, "directories aren't files")
	})
}

func TestLocks(t *testing.T) {
	both(t, func(t *testing.T, files vfs.FS, dir string) {
		name := filepath.Join(dir, "LOCK")
		l, err := files.Lock(name)
		require.NoError(t, err)
		_, err = files.Lock(name)
		require.ErrorIs(t, err, vfs.ErrLocked)
		require.NoError(t, l.Close())
		l, err = files.Lock(name)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		_, err = files.Lock(filepath.Join(dir, "nowhere", "LOCK"))
		require.ErrorIs(t, err, fs.ErrNotExist)
	})
}
