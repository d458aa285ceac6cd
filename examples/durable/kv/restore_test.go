package kv_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/examples/durable/state"
)

// filled returns a store in which keys have values, saved with an index and a few bytes.
func filled(t *testing.T, kind, dir string, index raft.Index, values int, options kv.Options) kv.Store {
	store, err := kv.Open(kind, dir, options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() }) // or else the test has closed it
	apply(t, store, index, values, fmt.Sprint(index))
	return store
}

// apply gives keys values, and saves that.
func apply(t *testing.T, store kv.Store, index raft.Index, values int, text string) {
	var entries []raft.Entry
	for i := range values {
		c := kv.Command{Op: "set", Key: fmt.Appendf(nil, "key %d", i), Value: bytes.Repeat([]byte(text), 20)}
		data, err := c.Encode()
		require.NoError(t, err)
		entries = append(entries, raft.Entry{Index: index, Data: data})
	}
	store.Apply(entries, make([][]byte, len(entries)))
	require.NoError(t, store.Durable().Save(index, fmt.Appendf(nil, "beside %d", index)))
}

// shown returns the index, the bytes beside the state, and the state.
func shown(t *testing.T, store kv.Store) (raft.Index, string, []byte) {
	index, beside, err := store.Durable().Load()
	require.NoError(t, err)
	return index, string(beside), written(t, store)
}

func written(t *testing.T, store kv.Store) []byte {
	captured, err := store.Snapshot()
	require.NoError(t, err)
	var b bytes.Buffer
	_, err = captured.WriteTo(&b)
	require.NoError(t, err)
	if closer, ok := captured.(io.Closer); ok {
		require.NoError(t, closer.Close())
	}
	return b.Bytes()
}

// copyFiles copies a folder, while a database may remove files that it doesn't need any more.
func copyFiles(t *testing.T, from string) string {
	for {
		to := t.TempDir()
		err := os.CopyFS(to, os.DirFS(from))
		if !errors.Is(err, fs.ErrNotExist) {
			require.NoError(t, err)
			return to
		}
	}
}

// TestCrashAtEachPointOfARestore: after a crash at any point, the state is the old one or the new one,
// each with its index and its bytes; and once it is the new one, it stays that.
func TestCrashAtEachPointOfARestore(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			type image struct{ dir, step string }
			var images []image
			dir := folderInMemory(t)
			observed := false
			store := filled(t, kind, dir, 10, 5, kv.Options{State: state.Options{Step: func(step string) {
				if observed {
					images = append(images, image{copyFiles(t, dir), step})
				}
			}}})
			_, _, old := shown(t, store)
			next := filled(t, kind, folderInMemory(t), 20, 3000, kv.Options{})
			_, _, fresh := shown(t, next)
			require.NotEqual(t, old, fresh)

			observed = true
			require.NoError(t, store.Restore(bytes.NewReader(fresh)))
			require.NoError(t, store.Durable().Save(20, []byte("beside 20")))
			observed = false
			require.Greater(t, len(images), 10)
			steps := map[string]bool{}
			switched := false
			for _, i := range images {
				steps[i.step] = true
				after, err := kv.Open(kind, i.dir, kv.Options{})
				require.NoError(t, err, i.step)
				index, beside, state := shown(t, after)
				if index == 20 || switched {
					switched = true
					require.Equal(t, raft.Index(20), index, i.step)
					require.Equal(t, "beside 20", beside, i.step)
					require.Equal(t, fresh, state, i.step)
				} else {
					require.Equal(t, raft.Index(10), index, i.step)
					require.Equal(t, "beside 10", beside, i.step)
					require.Equal(t, old, state, i.step)
				}
				apply(t, after, 30, 1, "goes on")
				require.NoError(t, after.Close(), i.step)
				folders, err := filepath.Glob(filepath.Join(i.dir, "state-*"))
				require.NoError(t, err)
				require.Len(t, folders, 1, "what a crash has left is removed: %s", i.step)
			}
			require.True(t, switched)
			for _, step := range []string{"records filled", "database checked", "index saved", "CURRENT renamed", "folder removed"} {
				require.True(t, steps[step], step)
			}
			require.NoError(t, store.Close())
		})
	}
}

// TestCrashAtEachPointOfTheFirstStart: after it, the state is empty, and the next start goes on.
func TestCrashAtEachPointOfTheFirstStart(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			var images []string
			dir := folderInMemory(t)
			store, err := kv.Open(kind, dir, kv.Options{State: state.Options{Step: func(string) { images = append(images, copyFiles(t, dir)) }}})
			require.NoError(t, err)
			require.NoError(t, store.Close())
			require.NotEmpty(t, images)
			for _, image := range images {
				store, err := kv.Open(kind, image, kv.Options{})
				require.NoError(t, err)
				index, _, _ := shown(t, store)
				require.Zero(t, index)
				require.NoError(t, store.Close())
			}
		})
	}
}

// TestDamagedSnapshotIsRefused: the state stays what it was, and nothing is left of the attempt.
func TestDamagedSnapshotIsRefused(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			dir := folderInMemory(t)
			store := filled(t, kind, dir, 10, 5, kv.Options{})
			_, _, old := shown(t, store)
			_, _, fresh := shown(t, filled(t, kind, folderInMemory(t), 20, 2, kv.Options{}))
			for at := 0; at < len(fresh); at += 9 {
				damaged := bytes.Clone(fresh)
				damaged[at] ^= 4
				require.Error(t, store.Restore(bytes.NewReader(damaged)), "byte %d", at)
				require.ErrorIs(t, store.Restore(bytes.NewReader(fresh[:at])), state.ErrCopy, "%d bytes", at)
			}
			require.ErrorIs(t, store.Restore(bytes.NewReader(append(bytes.Clone(fresh), 0))), state.ErrCopy)
			index, _, now := shown(t, store)
			require.Equal(t, raft.Index(10), index)
			require.Equal(t, old, now)
			folders, err := filepath.Glob(filepath.Join(dir, "state-*"))
			require.NoError(t, err)
			require.Len(t, folders, 1)
			require.NoError(t, store.Restore(bytes.NewReader(fresh)))
			require.NoError(t, store.Durable().Save(20, nil))
			index, beside, now := shown(t, store)
			require.Equal(t, raft.Index(20), index)
			require.Equal(t, "beside 10", beside, "the bytes stay what they were")
			require.Equal(t, fresh, now)
			require.NoError(t, store.Close())
		})
	}
}

// TestCaptureOutlivesItsDatabase: a capture shows what was there when it was taken, while commands are
// applied, and after a snapshot was restored in the place of its database.
func TestCaptureOutlivesItsDatabase(t *testing.T) {
	for _, kind := range kv.Kinds {
		t.Run(kind, func(t *testing.T) {
			dir := folderInMemory(t)
			store := filled(t, kind, dir, 10, 500, kv.Options{})
			_, _, old := shown(t, store)
			captured, err := store.Snapshot()
			require.NoError(t, err)
			for index := range raft.Index(50) { // more than the database has had so far
				apply(t, store, 11+index, 500, "later")
			}
			_, _, fresh := shown(t, filled(t, kind, folderInMemory(t), 100, 5, kv.Options{}))
			require.NoError(t, store.Restore(bytes.NewReader(fresh)))
			require.NoError(t, store.Durable().Save(100, nil))
			value, found, err := store.Get([]byte("key 1"))
			require.NoError(t, err)
			require.True(t, found)
			require.Equal(t, bytes.Repeat([]byte("100"), 20), value)

			var b bytes.Buffer
			_, err = captured.WriteTo(&b)
			require.NoError(t, err)
			require.Equal(t, old, b.Bytes())
			folders, err := filepath.Glob(filepath.Join(dir, "state-*"))
			require.NoError(t, err)
			require.Len(t, folders, 2, "the old one is still read")
			require.NoError(t, captured.(io.Closer).Close())
			folders, err = filepath.Glob(filepath.Join(dir, "state-*"))
			require.NoError(t, err)
			require.Len(t, folders, 1)
			require.NoError(t, store.Close())
			_, _, err = store.Get([]byte("key 1"))
			require.ErrorContains(t, err, "closed")
		})
	}
}
