package wal_test

import (
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

func TestFullDisk(t *testing.T) {
	disk := simfs.New(1)
	disk.SetCapacity(96<<10 + 3*wal.MinSegmentSize + 8<<10 + 100)
	l := open(t, disk)
	var err error
	index := raft.Index(1)
	for ; err == nil; index++ {
		require.Less(t, index, raft.Index(1000))
		err = l.Write(raft.Write{Entries: commands(index, 1, 100)})
	}
	last := index - 2
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Greater(t, last, raft.Index(50), "what was preallocated is used")
	require.Error(t, l.Write(raft.Write{Entries: commands(last+1, 1, 100)}))
	require.NoError(t, l.Close())
	for range 3 {
		l, saved := load(t, disk)
		require.Equal(t, last, saved.Last, "a log on a full disk opens")
		require.NoError(t, l.Close())
	}
	disk.SetCapacity(0)
	l = open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(last+1, 100, 100)}))
	require.NoError(t, l.Close())
}

func TestSegmentsAreUsedAgain(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	renamed, created := 0, 0
	count := func(c simfs.Call) error {
		if c.Op == simfs.OpRename && strings.HasSuffix(c.Name, ".wal") {
			renamed++
		}
		if c.Op == simfs.OpCreate && strings.HasSuffix(c.Name, ".wal") {
			created++
		}
		return nil
	}
	disk.OnCall(count)
	for index := raft.Index(1); index < 2000; index += 10 {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
		adopt(t, l, raft.SnapshotMeta{Index: index + 9, Term: 1}, nil)
		require.NoError(t, l.Write(raft.Write{Compact: index + 5}))
		if index%100 == 1 {
			disk.Kill()
			l = open(t, disk)
			disk.OnCall(count)
		}
	}
	require.Greater(t, renamed, 40)
	require.Less(t, created, 30)
	require.Less(t, len(disk.Names()), 10)
	require.NoError(t, l.Close())
	_, saved := load(t, disk)
	require.EqualValues(t, 2000, saved.Last)
}

// A hooked is a file system that calls a function once, before it reads from a file.
type hooked struct {
	vfs.FS
	before func()
}

type hookedFile struct {
	vfs.File
	system *hooked
}

func (h *hooked) Open(name string) (vfs.File, error) {
	file, err := h.FS.Open(name)
	return hookedFile{file, h}, err
}

func (h *hooked) Create(name string) (vfs.File, error) {
	file, err := h.FS.Create(name)
	return hookedFile{file, h}, err
}

func (f hookedFile) ReadAt(b []byte, at int64) (int, error) {
	if before := f.system.before; before != nil {
		f.system.before = nil
		before()
	}
	return f.File.ReadAt(b, at)
}

// A segment that the log doesn't need would be used again, but not while somebody reads it.
func TestSegmentThatIsReadStays(t *testing.T) {
	disk := simfs.New(1)
	system := &hooked{FS: disk}
	options := small(disk)
	options.FS = system
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	write := func(from, to raft.Index) {
		for index := from; index < to; index += 10 {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
		}
	}
	write(1, 300)
	renamed := 0
	disk.OnCall(func(c simfs.Call) error {
		if c.Op == simfs.OpRename && strings.HasSuffix(c.Name, ".wal") {
			renamed++
		}
		return nil
	})
	advance := func(from, to raft.Index) {
		for index := from; index < to; index += 10 {
			write(index, index+10)
			adopt(t, l, raft.SnapshotMeta{Index: index + 9, Term: 1}, nil)
			require.NoError(t, l.Write(raft.Write{Compact: index + 5}))
		}
	}
	system.before = func() {
		advance(301, 1501)
		require.Zero(t, renamed, "the first segment is the oldest, and the others wait for it")
	}
	entries, err := l.Entries(0, 20, 1<<20)
	require.NoError(t, err)
	require.Equal(t, commands(1, 10, 100), entries[:10])
	advance(1501, 1601)
	require.Positive(t, renamed)
	require.Less(t, len(disk.Names()), 10)
	require.NoError(t, l.Close())
}

// A busy disk makes segments smaller than they were to be. They are used again all the same.
func TestSmallSegmentsAreUsedAgain(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	advance := func(from, to raft.Index) {
		for index := from; index < to; index += 10 {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
		}
		adopt(t, l, raft.SnapshotMeta{Index: to - 1, Term: 1}, nil)
		require.NoError(t, l.Write(raft.Write{Compact: to - 1}))
	}
	for index := raft.Index(1); index < 91; index += 10 {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
	}
	require.NoError(t, l.Close())

	options.SegmentSize *= 2
	l, err = wal.Open(dir, options)
	require.NoError(t, err)
	again, removed := 0, 0
	disk.OnCall(func(c simfs.Call) error {
		if c.Op == simfs.OpRename && strings.HasSuffix(c.Name, ".wal") {
			again++
		}
		if c.Op == simfs.OpRemove && strings.HasSuffix(c.Name, ".wal") {
			removed++
		}
		return nil
	})
	advance(91, 101)
	advance(101, 201)
	require.Positive(t, again)
	require.Zero(t, removed)
	require.NoError(t, l.Close())
}

// After the sync of a directory has failed, no other segment is disposed of: a crash could keep the
// one and lose the other.
func TestFailedDirectorySyncLeavesNoGap(t *testing.T) {
	oneGoroutine(t)
	history := func(disk *simfs.FS) error {
		l, err := wal.Open(dir, small(disk))
		if err != nil {
			return err
		}
		for index := raft.Index(1); index < 25; index++ {
			if err := l.Write(raft.Write{Entries: commands(index, 1, 2500)}); err != nil {
				return err
			}
			if index%8 != 0 {
				continue
			}
			meta := raft.SnapshotMeta{Index: index, Term: 1}
			w, err := l.CreateSnapshot(meta)
			if err == nil {
				err = w.Commit()
			}
			if err != nil {
				return err
			}
			if err := l.Write(raft.Write{Snapshot: &meta, Compact: index}); err != nil {
				return err
			}
		}
		return l.Close()
	}
	whole := simfs.New(1)
	var disposals []int
	disposed := false
	whole.OnCall(func(c simfs.Call) error {
		if disposed {
			disposals = append(disposals, c.Number)
		}
		disposed = strings.HasSuffix(c.Name, ".wal") && (c.Op == simfs.OpRemove || c.Op == simfs.OpRename && c.Number > 20)
		return nil
	})
	require.NoError(t, history(whole))
	require.Greater(t, len(disposals), 5)
	for _, failing := range disposals {
		for after := range 8 {
			for seed := range uint64(3) {
				disk := simfs.New(seed)
				disk.OnCall(func(c simfs.Call) error {
					switch {
					case c.Number == failing:
						return errFault
					case c.Number > failing+after:
						return simfs.ErrPower
					}
					return nil
				})
				_ = history(disk)
				disk.Cut()
				_, saved := load(t, disk)
				require.NotZero(t, saved.Last)
			}
		}
	}
}

// The segments of a young log are small, so that the first ones are soon free to be used again.
func TestSegmentsOfAYoungLogAreSmall(t *testing.T) {
	disk := simfs.New(1)
	l, err := wal.Open(dir, wal.Options{FS: disk, Salt: 1, Inline: true})
	require.NoError(t, err)
	for index := raft.Index(1); index <= 130; index++ {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 1<<20-200)}))
	}
	all, largest := 0, 0
	for i, size := range segmentFiles(disk) {
		require.LessOrEqual(t, size, max(16<<20, all/4+4095), "segment %d, behind %d bytes", i+1, all)
		all += size
		largest = max(largest, size)
	}
	require.Greater(t, largest, 16<<20)
	require.NoError(t, l.Close())
}

// When there are old segments to use again, the next one needn't be filled to its end.
func TestNextSegmentIsNotFilledBesideOldOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l, err := wal.Open(dir, wal.Options{SegmentSize: 4 << 20, FS: disk, Salt: 1, Ahead: -1})
		require.NoError(t, err)
		index := raft.Index(0)
		writeUntil := func(enough func([]int) bool) []int {
			for {
				index++
				require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 50_000)}))
				synctest.Wait()
				if files := segmentFiles(disk); enough(files) {
					return files
				}
			}
		}
		files := writeUntil(func(files []int) bool { return len(files) == 8 && files[7] >= 2<<20 })
		require.Equal(t, 4<<20, files[6])
		require.Less(t, files[7], 3<<20)
		adopt(t, l, raft.SnapshotMeta{Index: index, Term: 1}, nil)
		require.NoError(t, l.Write(raft.Write{Compact: index}))
		small := files[7]
		most := 0
		for range 60 {
			writeUntil(func(files []int) bool {
				most = max(most, disk.Size(dir+"/0000000000000008.wal"))
				return true
			})
		}
		require.Equal(t, small, most)
		require.NoError(t, l.Close())
	})
}

// When the sync of the folder fails after a segment has got its name, or has lost it, nothing is written
// any more: nobody knows whether a later sync makes good what this one has missed.
func TestFailedSyncOfNamesIsTheEnd(t *testing.T) {
	seen := map[simfs.Op]int{}
	for n := 1; ; n++ {
		disk := simfs.New(1)
		l, err := wal.Open("/log", small(disk))
		require.NoError(t, err)
		var before simfs.Call
		syncs, failed := 0, simfs.Op("")
		disk.OnCall(func(c simfs.Call) error {
			name := before.Name
			if before.Op == simfs.OpRename {
				name = before.To
			}
			op := before.Op
			before = c
			if c.Op != simfs.OpSyncDir || !strings.HasSuffix(name, ".wal") {
				return nil
			}
			if syncs++; syncs != n {
				return nil
			}
			failed = op
			return errFault
		})
		for index := raft.Index(1); err == nil && failed == "" && index < 500; index += 10 {
			if err = l.Write(raft.Write{Entries: commands(index, 10, 100)}); err != nil || failed != "" {
				break
			}
			adopt(t, l, raft.SnapshotMeta{Index: index + 9, Term: 1}, nil)
			if index > 100 {
				err = l.Write(raft.Write{Compact: index - 50})
			}
		}
		if failed == "" {
			break // there are no more
		}
		seen[failed]++
		require.ErrorIs(t, l.Write(raft.Write{State: raft.DurableState{Start: 99}}), errFault, "sync %d, after %s", n, failed)
		require.NoError(t, l.Close())
	}
	require.Positive(t, seen[simfs.OpCreate])
	require.Positive(t, seen[simfs.OpRename])
}
