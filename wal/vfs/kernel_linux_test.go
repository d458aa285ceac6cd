package vfs_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wal/internal/strace"
	"github.com/e17579a5/raft/wal/vfs"
)

// Each call of OS reaches the kernel, as the call that keeps its promise. What is durable when it
// returns has been synced by then.
func TestCallsReachTheKernel(t *testing.T) {
	folder := t.TempDir()
	calls, err := strace.Run("TestCallsUnderStrace", folder)
	if errors.Is(err, strace.ErrNot) {
		t.Skip(err)
	}
	require.NoError(t, err)
	var got []string
	for _, c := range calls {
		line := c.Name
		for _, path := range []string{c.Path, c.To} {
			if path != "" {
				line += " " + strings.TrimPrefix(strings.TrimPrefix(path, folder), "/")
			}
		}
		got = append(got, strings.ReplaceAll(strings.ReplaceAll(line, "renameat2", "renameat"), "unlinkat ", "unlink "))
	}
	require.Equal(t, strings.Split(strings.TrimSpace(`
step folders
mkdirat a
fsync `+`
mkdirat a/b
fsync a
step folders that are there
fsync a
step create
openat a/b/file
step write
pwrite64 a/b/file
step sync
fdatasync a/b/file
step sync the folder
fsync a/b
step rename
renameat a/b/file a/b/other
step remove
unlink a/b/other
step lock
openat a/b/LOCK
flock a/b/LOCK
step end`), "\n"), got)
}

// TestCallsUnderStrace makes the calls of TestCallsReachTheKernel.
func TestCallsUnderStrace(t *testing.T) {
	if strace.Folder() == "" {
		t.Skip("it is a part of another test")
	}
	folder := filepath.Join(strace.Folder(), "a", "b")
	name, other := filepath.Join(folder, "file"), filepath.Join(folder, "other")
	strace.Step("folders")
	require.NoError(t, vfs.OS.MkdirAll(folder))
	strace.Step("folders that are there")
	require.NoError(t, vfs.OS.MkdirAll(folder))
	strace.Step("create")
	file, err := vfs.OS.Create(name)
	require.NoError(t, err)
	strace.Step("write")
	_, err = file.WriteAt([]byte("hello"), 3)
	require.NoError(t, err)
	strace.Step("sync")
	require.NoError(t, file.Sync())
	strace.Step("sync the folder")
	require.NoError(t, vfs.OS.SyncDir(folder))
	require.NoError(t, file.Close())
	strace.Step("rename")
	require.NoError(t, vfs.OS.Rename(name, other))
	strace.Step("remove")
	require.NoError(t, vfs.OS.Remove(other))
	strace.Step("lock")
	lock, err := vfs.OS.Lock(filepath.Join(folder, "LOCK"))
	require.NoError(t, err)
	strace.Step("end")
	require.NoError(t, lock.Close())
}
