package wal_test

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// A mark that can't be written fails the next write. The log says so before.
func TestMarkThatFailsShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := small(disk)
		options.Inline, options.Logger = false, slog.New(slog.DiscardHandler)
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 10)}))
		synctest.Wait()
		require.NoError(t, l.Trouble())
		broken := errors.New("broken")
		disk.FailAt(disk.Calls()+1, broken)
		time.Sleep(2 * wal.DefaultMarkAfter)
		require.ErrorIs(t, l.Trouble(), broken)
		require.ErrorIs(t, l.Write(raft.Write{Entries: commands(2, 1, 10)}), broken)
		require.NoError(t, l.Close())
		require.NoError(t, l.Trouble())
	})
}

func TestMarkFollowsWhenNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := small(disk)
		options.Inline = false
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		quiet := func(d time.Duration) (calls int) {
			synctest.Wait()
			before := disk.Calls()
			time.Sleep(d)
			synctest.Wait()
			return disk.Calls() - before
		}
		quiet(time.Second)
		for i := range raft.Index(10) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+1, 1, 10)}))
			require.Zero(t, quiet(wal.DefaultMarkAfter/2), "while there are writes, there is no mark")
		}
		require.Equal(t, 1, quiet(2*wal.DefaultMarkAfter), "one write, no sync")
		require.Zero(t, quiet(time.Hour), "an idle log sleeps")
		require.NoError(t, l.Close())
	})
}
