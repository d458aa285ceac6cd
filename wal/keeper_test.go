package wal_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

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
