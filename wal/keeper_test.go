package wal_test

import (
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// An anchor that can't be written fails the next write. The log says so before.
func TestAnchorThatFailsShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := small(disk)
		options.Inline, options.Logger = false, slog.New(slog.DiscardHandler)
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 10)}))
		synctest.Wait()
		require.NoError(t, l.Trouble())
		broken := errors.New("broken")
		disk.FailAt(disk.Calls()+1, broken)
		time.Sleep(10 * time.Millisecond)
		require.ErrorIs(t, l.Trouble(), broken)
		require.ErrorIs(t, l.Write(raft.Write{Entries: commands(2, 1, 10)}), broken)
		require.NoError(t, l.Close())
		require.NoError(t, l.Trouble())
	})
}

// The anchor is written 5 ms after the last batch, and each 10 ms while there are batches; it is
// synced once a second. An idle log sleeps.
func TestAnchorFollowsTheBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := small(disk)
		options.SegmentSize, options.Inline = 64<<10, false
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		time.Sleep(3 * time.Second)
		var writes, syncs atomic.Int64
		disk.OnCall(func(c simfs.Call) error {
			switch {
			case !strings.HasSuffix(c.Name, "ANCHOR"):
			case c.Op == simfs.OpWrite:
				writes.Add(1)
			case c.Op == simfs.OpSync:
				syncs.Add(1)
			}
			return nil
		})
		quiet := func(d time.Duration) (int, int) {
			writes.Store(0)
			syncs.Store(0)
			time.Sleep(d)
			synctest.Wait()
			return int(writes.Load()), int(syncs.Load())
		}
		expect := func(wantWrites, wantSyncs int, d time.Duration) {
			t.Helper()
			writes, syncs := quiet(d)
			require.Equal(t, [2]int{wantWrites, wantSyncs}, [2]int{writes, syncs})
		}
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 10)}))
		expect(0, 0, 4*time.Millisecond)
		expect(1, 0, 2*time.Millisecond)
		expect(1, 1, time.Second)
		expect(0, 0, time.Hour)
		all := 0
		for i := range raft.Index(100) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+2, 1, 10)}))
			writes, _ := quiet(time.Millisecond)
			all += writes
		}
		require.InDelta(t, 9, all, 2, "in a tenth of a second")
		require.NoError(t, l.Close())
	})
}
