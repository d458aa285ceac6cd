package wal_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

const (
	segmentOne   = "/log/0000000000000001.wal"
	segmentTwo   = "/log/0000000000000002.wal"
	segmentThree = "/log/0000000000000003.wal"
)

// filled returns commands whose data is all of one byte.
func filled(first raft.Index, n, size int, with byte) []raft.Entry {
	entries := commands(first, n, size)
	for i := range entries {
		entries[i].Data = []byte(strings.Repeat(string(with), size))
	}
	return entries
}

// A batch that followed another one, which was lost and written over, isn't taken for the continuation of
// what stands there now, though it is intact and begins where that ends.
func TestStaleRecordIsNotTheContinuation(t *testing.T) {
	one := simfs.New(1)
	l := open(t, one)
	require.NoError(t, l.Write(raft.Write{Entries: filled(1, 1, 100, 'a')}))
	first := one.Bytes(segmentOne)
	require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 100, 'b')}))
	both := one.Bytes(segmentOne)
	from := 0
	for first[from] == both[from] {
		from++
	}
	for _, with := range []byte{'a', 'c'} {
		other := simfs.New(1)
		require.NoError(t, open(t, other).Write(raft.Write{Entries: filled(1, 1, 100, with)}))
		require.True(t, other.Overwrite(segmentOne, int64(from), both[from:]))
		other.Kill()
		_, saved := load(t, other)
		if with == 'a' {
			require.EqualValues(t, 2, saved.Last, "it is the continuation")
		} else {
			require.EqualValues(t, 1, saved.Last)
		}
	}
}

// The head of a segment and its first batch are synced together, so that a power cut may keep the batch and
// lose the head. When the segment is begun anew, the batch must not come back behind the new head.
func TestStaleBatchBehindANewHead(t *testing.T) {
	for _, room := range []int{400, 90} { // with room for an open record, and without
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			disk := simfs.New(1)
			l := open(t, disk)
			used := 0
			for i, b := range disk.Bytes(segmentOne) {
				if b != 0 {
					used = i + 1
				}
			}
			require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, wal.MinSegmentSize-used-room-120)}))
			before := disk.Bytes(segmentTwo)
			require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 1000, 'a')}))
			stale := disk.Bytes(segmentTwo)
			require.Equal(t, "raft-wal", string(stale[:8]), "the second segment has begun")
			disk.Kill()
			require.NoError(t, disk.Remove(segmentThree), "it came after the sync")
			require.True(t, disk.Overwrite(segmentTwo, 0, before[:100]), "the head is lost")
			l, saved := load(t, disk)
			require.EqualValues(t, 1, saved.Last)
			if string(disk.Bytes(segmentTwo)[:8]) != "raft-wal" {
				require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 1000, 'b')}))
			}
			disk.Kill()
			now := disk.Bytes(segmentTwo)
			at := 0
			for i := range now[:200] {
				if now[i] != 0 && i < 112 {
					at = i + 1
				}
			}
			at = (at + 7) &^ 7
			require.True(t, disk.Overwrite(segmentTwo, int64(at), stale[at:]), "the head is there, its batch is lost")
			_, saved = load(t, disk)
			require.EqualValues(t, 1, saved.Last, "the batch was cut off once")
		})
	}
}

// A segment is the one that the next one continues, or the log is refused.
func TestSegmentOfAnotherHistoryIsRefused(t *testing.T) {
	var logs []*simfs.FS
	for _, with := range []byte{'a', 'b'} {
		disk := simfs.New(1)
		l := open(t, disk)
		require.NoError(t, l.Write(raft.Write{Entries: filled(1, 1, 3000, with)}))
		require.NoError(t, l.Write(raft.Write{Entries: filled(2, 1, 3000, 'c')}))
		require.NoError(t, l.Close())
		disk.Kill()
		logs = append(logs, disk)
	}
	require.True(t, logs[0].Overwrite(segmentOne, 0, logs[1].Bytes(segmentOne)))
	_, err := wal.Open(dir, small(logs[0]))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "continues another one")
}

// The newest segment without its head isn't taken for one that hasn't begun.
func TestNewestSegmentWithoutItsHeadIsRefused(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 3000)}))
	require.NoError(t, l.Write(raft.Write{Entries: commands(2, 1, 1500)}))
	once := disk.Clone()
	require.NoError(t, l.Write(raft.Write{Entries: commands(3, 1, 100)}))
	for name, fs := range map[string]*simfs.FS{"not proven": once, "proven by the next batch": disk} {
		fs.Kill()
		require.NoError(t, fs.Remove(segmentThree))
		for _, at := range []int64{3, 20, 50, 80} {
			fs := fs.Clone()
			require.True(t, fs.Rot(segmentTwo, at, 1))
			l, err := wal.Open(dir, small(fs))
			if fs := name == "not proven"; fs {
				require.NoError(t, err, "a torn head looks the same")
				saved, err := l.Load()
				require.NoError(t, err)
				require.EqualValues(t, 1, saved.Last)
				continue
			}
			require.ErrorIs(t, err, raft.ErrCorrupt, "byte %d", at)
			require.ErrorContains(t, err, segmentTwo)
		}
	}
}

// What was written after a sync that failed may be in the page cache alone. Nothing that it makes
// superfluous goes before it is durable: here the older snapshot, when an installed one is to take the
// place of the whole log.
func TestNothingIsRemovedOnTheWordOfThePageCache(t *testing.T) {
	for seed := range uint64(8) {
		disk := simfs.New(seed)
		l := open(t, disk)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
		adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
		store(t, l, raft.SnapshotMeta{Index: 100, Term: 2}, []byte("installed"))
		disk.FailAt(disk.Calls()+2, errFault)
		require.ErrorIs(t, l.Write(raft.Write{Snapshot: &raft.SnapshotMeta{Index: 100, Term: 2}}), errFault)
		disk.Kill()
		for calls := range 40 {
			fs := disk.Clone()
			fs.PowerOffAfter(fs.Calls() + calls)
			l, err := wal.Open(dir, small(fs))
			if err == nil {
				_ = l.Close()
			}
			fs.Cut()
			_, saved := load(t, fs)
			require.Contains(t, []raft.Index{5, 100}, saved.Snapshot.Index)
		}
	}
}

// After a directory sync that failed, no other segment is disposed of: a crash could keep the one and
// lose the other.
func TestFailedDirectorySyncLeavesNoGap(t *testing.T) {
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
