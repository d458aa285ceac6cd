package memory_test

import (
	"math"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// oneEntry returns a write of one entry of 100 bytes, as they count against the size.
func oneEntry(index raft.Index) raft.Write {
	return raft.Write{
		State:   raft.DurableState{Server: "a", Cluster: raft.ClusterID{1}, HardState: raft.HardState{Term: 1}},
		Entries: []raft.Entry{{Index: index, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, 100-wire.EntryOverhead)}},
	}
}

// The size counts the entries that the log holds: not those that are truncated, forgotten or
// replaced by a snapshot, and not the snapshots.
func TestRoomIsWhatIsLeftOfTheSize(t *testing.T) {
	s := memory.NewStorage()
	require.Equal(t, uint64(math.MaxUint64), s.Room(), "a new storage has no bound")
	s.SetSize(1000)
	require.EqualValues(t, 1000, s.Room())
	for index := raft.Index(1); index <= 4; index++ {
		require.NoError(t, s.Write(oneEntry(index)))
	}
	require.EqualValues(t, 600, s.Room())
	require.NoError(t, s.Write(oneEntry(3)))
	require.EqualValues(t, 700, s.Room())
	write := oneEntry(4)
	write.Snapshot, write.Compact = store(t, s, raft.SnapshotMeta{Index: 3, Term: 1}, 150), 2
	require.EqualValues(t, 700, s.Room())
	require.NoError(t, s.Write(write))
	require.EqualValues(t, 800, s.Room())
	s = s.Reopen()
	require.EqualValues(t, 800, s.Room(), "the size outlives the storage")
	s.SetSize(100)
	require.Zero(t, s.Room())
	state := oneEntry(1)
	state.Entries, state.Snapshot = nil, store(t, s, raft.SnapshotMeta{Index: 9, Term: 1}, 50)
	require.NoError(t, s.Write(state), "the snapshot takes the place of the log")
	require.EqualValues(t, 100, s.Room())
}

// store stores a snapshot of so many bytes.
func store(t *testing.T, s *memory.Storage, meta raft.SnapshotMeta, bytes int) *raft.SnapshotMeta {
	w, err := s.CreateSnapshot(meta)
	require.NoError(t, err)
	_, err = w.Write(make([]byte, bytes))
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	return &meta
}

// A Write for which there is no room waits, and is done when there is. Nothing of it is there
// before.
func TestWriteWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.NewStorage()
		s.SetSize(150)
		require.NoError(t, s.Write(oneEntry(1)))
		require.NoError(t, s.Waiting())
		done := make(chan error, 1)
		go func() { done <- s.Write(oneEntry(2)) }()
		synctest.Wait()
		require.Error(t, s.Waiting())
		require.Empty(t, done)
		_, err := s.Entries(1, 2, 1000)
		require.ErrorIs(t, err, raft.ErrCompacted)
		s.SetSize(199)
		synctest.Wait()
		require.Empty(t, done, "not enough yet")
		s.SetSize(200)
		require.NoError(t, <-done)
		require.NoError(t, s.Waiting())
		entries, err := s.Entries(1, 2, 1000)
		require.NoError(t, err)
		require.Len(t, entries, 1)
	})
}

// Close ends a Write that waits. Nothing of it is stored.
func TestCloseEndsAWriteThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.NewStorage()
		s.SetSize(100)
		require.NoError(t, s.Write(oneEntry(1)))
		done := make(chan error, 1)
		go func() { done <- s.Write(oneEntry(2)) }()
		synctest.Wait()
		require.NoError(t, s.Close())
		require.Error(t, <-done)
		saved, err := s.Reopen().Load()
		require.NoError(t, err)
		require.EqualValues(t, 1, saved.Last)
	})
}

// A write that takes no more room than it frees never waits: the state alone, or a compaction.
func TestWriteThatFreesRoomDoesNotWait(t *testing.T) {
	s := memory.NewStorage()
	s.SetSize(200)
	require.NoError(t, s.Write(oneEntry(1)))
	require.NoError(t, s.Write(oneEntry(2)))
	require.Zero(t, s.Room())
	state := oneEntry(1)
	state.Entries, state.State.Term = nil, 2
	require.NoError(t, s.Write(state))
	write := oneEntry(3)
	write.Snapshot, write.Compact = store(t, s, raft.SnapshotMeta{Index: 2, Term: 1}, 50), 1
	require.NoError(t, s.Write(write), "one goes, and one comes")
	require.Zero(t, s.Room())
}

// A snapshot for which there is no room fails, and leaves nothing behind.
func TestSnapshotWithoutRoomFails(t *testing.T) {
	s := memory.NewStorage()
	s.SetSize(100)
	w, err := s.CreateSnapshot(raft.SnapshotMeta{Index: 1, Term: 1})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 80))
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 21))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, w.Abort())
	require.EqualValues(t, 100, s.Room())
	store(t, s, raft.SnapshotMeta{Index: 1, Term: 1}, 100)
}
