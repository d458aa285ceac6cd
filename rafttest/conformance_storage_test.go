package rafttest_test

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// TestStorageOfThisModule demands that every storage of this module keeps the contract. Where it
// can, it takes a disk that loses what isn't synced.
func TestStorageOfThisModule(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, rafttest.TestStorage(rafttest.MemoryDisk))
	})
	t.Run("wal", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, rafttest.TestStorage(damagedLogs(false, openWAL)))
	})
	t.Run("wal with its keeper", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, rafttest.TestStorage(damagedLogs(true, func(fs vfs.FS) (raft.Storage, error) {
			return wal.Open("/log", wal.Options{FS: fs, SegmentSize: wal.MinSegmentSize})
		})))
	})
	t.Run("wal on a real disk", func(t *testing.T) {
		t.Parallel()
		var skipped []string
		dirs := 0
		require.NoError(t, rafttest.TestStorage(func() rafttest.Disk {
			dirs++
			dir := filepath.Join(t.TempDir(), fmt.Sprint(dirs))
			return rafttest.Disk{
				Open: func() (raft.Storage, error) {
					return wal.Open(dir, wal.Options{SegmentSize: wal.MinSegmentSize})
				},
				Skips: func(rule, without string) { skipped = append(skipped, rule+" without "+without) },
			}
		}))
		require.Equal(t, []string{
			"crash within without PowerOffAfter and Crash",
			"damage at Load without Damage", "damage on reading without Damage", "repairs without Damage", "lost entries that go without Damage",
			"failure without FailAt, PowerOffAfter and Crash",
		}, skipped)
	})
}

func openWAL(fs vfs.FS) (raft.Storage, error) {
	return wal.Open("/log", wal.Options{FS: fs, SegmentSize: wal.MinSegmentSize, Salt: 1, Inline: true})
}

// simulatedDisks returns disks with different seeds.
func simulatedDisks(open func(vfs.FS) (raft.Storage, error)) func() rafttest.Disk {
	seed := uint64(0)
	return func() rafttest.Disk {
		seed++
		return rafttest.SimDisk(simfs.New(seed), open)
	}
}

// fills lets the checks fill a disk in memory.
func fills(disk *rafttest.Disk, fs *simfs.FS) {
	disk.Fill = func(bytes uint64) {
		if bytes == math.MaxUint64 {
			fs.SetCapacity(0)
			return
		}
		fs.SetCapacity(fs.Used() + int64(bytes))
	}
}

// A storage that stands on a vfs.FS is checked on a disk in memory. At each crash, the disk loses
// some of what wasn't synced; its seed decides what. Give each disk another seed.
func ExampleTestStorage() {
	seed := uint64(0)
	err := rafttest.TestStorage(func() rafttest.Disk {
		seed++
		return rafttest.SimDisk(simfs.New(seed), func(fs vfs.FS) (raft.Storage, error) {
			return wal.Open("/log", wal.Options{FS: fs, SegmentSize: wal.MinSegmentSize})
		})
	})
	fmt.Println(err)
	// Output: <nil>
}
