package kv_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
)

// TestFullDisk: a Save or a Restore for which there is no room fails with ENOSPC, by which the node
// knows that it is to call again. When there is room, it does what it would have done before.
func TestFullDisk(t *testing.T) {
	for _, kind := range []string{"bolt", "sqlite"} { // pebble ends the process
		t.Run(kind, func(t *testing.T) {
			disk := t.TempDir()
			if err := syscall.Mount("durable", disk, "tmpfs", 0, "size=32m"); err != nil {
				t.Skip("a small file system needs the right to mount one: ", err)
			}
			defer func() { require.NoError(t, syscall.Unmount(disk, syscall.MNT_DETACH)) }()
			store := filled(t, kind, filepath.Join(disk, "store"), 10, 5, kv.Options{})
			same := filled(t, kind, folderInMemory(t), 10, 5, kv.Options{})
			filler := filepath.Join(disk, "filler")
			fill(t, filler)

			commands := values(t, 2000)
			for _, s := range []kv.Store{store, same} {
				s.Apply(commands, make([][]byte, len(commands)))
			}
			require.NoError(t, same.Durable().Save(20, []byte("later")))
			for range 3 {
				require.ErrorIs(t, store.Durable().Save(20, []byte("later")), syscall.ENOSPC)
			}
			_, _, want := shown(t, same)
			require.ErrorIs(t, store.Restore(bytes.NewReader(want)), syscall.ENOSPC)

			require.NoError(t, os.Remove(filler))
			require.NoError(t, store.Durable().Save(20, []byte("later")))
			index, beside, got := shown(t, store)
			require.Equal(t, raft.Index(20), index)
			require.Equal(t, "later", beside)
			require.Equal(t, want, got)
			require.NoError(t, store.Restore(bytes.NewReader(want)))
			require.NoError(t, store.Durable().Save(21, nil))
			require.NoError(t, store.Close())
		})
	}
}

// values returns commands that give so many keys values of 1 KiB.
func values(t *testing.T, n int) (entries []raft.Entry) {
	for i := range n {
		c := kv.Command{Op: "set", Key: []byte{byte(i >> 8), byte(i)}, Value: bytes.Repeat([]byte{byte(i)}, 1<<10)}
		data, err := c.Encode()
		require.NoError(t, err)
		entries = append(entries, raft.Entry{Index: 20, Data: data})
	}
	return entries
}

// fill writes a file until the disk is full.
func fill(t *testing.T, name string) {
	file, err := os.Create(name)
	require.NoError(t, err)
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	require.True(t, errors.Is(err, syscall.ENOSPC), err)
	require.NoError(t, file.Close())
}
