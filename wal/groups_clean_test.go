package wal_test

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
)

// A group that was large has gone, and nobody writes any more: the log cleans by itself what is left of
// the others in its segments, and sleeps then.
func TestIdleLogIsCleaned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newGroupWriter(1)
		open := func() {
			log, err := wal.Open(dir, wal.Options{FS: f.fs, SegmentSize: 64 << 10, Ahead: -1, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			f.log = log
		}
		open()
		state := raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "server"}
		write := func(id raft.GroupID, index raft.Index, size int) {
			refused, err := f.log.WriteGroups([]raft.GroupWrite{{Group: id, Write: raft.Write{State: state, Entries: commands(index, 1, size)}}})
			require.NoError(t, err)
			require.Empty(t, refused)
		}
		for i := range raft.Index(100) {
			write("large", i+1, 20_000)
			write(raft.GroupID(fmt.Sprint("small ", i)), 1, 100)
		}
		require.Nil(t, f.log.Holders(), "the large group needs what the log takes")
		require.NoError(t, f.log.RemoveGroup("large"))
		holders := f.log.Holders()
		require.NotEmpty(t, holders)
		require.GreaterOrEqual(t, holders[0].Bytes, uint64(100))
		require.False(t, holders[0].Damaged)
		time.Sleep(10 * time.Second)
		require.Nil(t, f.log.Holders(), "the cleaner owes nothing any more")
		calls := f.fs.Calls()
		time.Sleep(time.Hour)
		require.Equal(t, calls, f.fs.Calls(), "it sleeps")
		require.Less(t, f.takes(), int64(12*64<<10))
		require.NoError(t, f.log.Close())
		f.fs.Kill()
		open()
		for i := range 100 {
			storage, err := f.log.Group(raft.GroupID(fmt.Sprint("small ", i)))
			require.NoError(t, err)
			saved, err := storage.Load()
			require.NoError(t, err)
			require.EqualValues(t, 1, saved.Last)
			require.Empty(t, saved.Lost)
			entries, err := storage.Entries(0, 1, 1)
			require.NoError(t, err)
			require.Len(t, entries[0].Data, 100)
		}
		require.NoError(t, f.log.Close())
	})
}
