package rafttest_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// TestSharedStorageOfThisModule demands that every shared storage of this module keeps the contract.
func TestSharedStorageOfThisModule(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, rafttest.TestSharedStorage(rafttest.MemorySharedDisk))
	})
	sim := func(options wal.Options) func() rafttest.SharedDisk {
		seed := uint64(0)
		return func() rafttest.SharedDisk {
			seed++
			fs := simfs.New(seed)
			disk := rafttest.SimSharedDisk(fs, func(fs vfs.FS) (raft.SharedStorage, error) {
				options := options
				options.FS = fs
				return wal.Open("/log", options)
			})
			if !options.Inline { // else nothing waits for room
				var full rafttest.Disk
				fills(&full, fs)
				disk.Fill = full.Fill
			}
			return disk
		}
	}
	t.Run("wal", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, rafttest.TestSharedStorage(sim(wal.Options{SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true})))
	})
	t.Run("wal with its keeper", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, rafttest.TestSharedStorage(sim(wal.Options{SegmentSize: wal.MinSegmentSize})))
	})
	t.Run("wal on a real disk", func(t *testing.T) {
		t.Parallel()
		dirs := 0
		require.NoError(t, rafttest.TestSharedStorage(func() rafttest.SharedDisk {
			dirs++
			dir := filepath.Join(t.TempDir(), fmt.Sprint(dirs))
			return rafttest.SharedDisk{
				Open: func() (raft.SharedStorage, error) {
					return wal.Open(dir, wal.Options{SegmentSize: wal.MinSegmentSize})
				},
			}
		}))
	})
}
