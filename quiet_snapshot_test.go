package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
)

// A member needs a snapshot, and its process is gone. It keeps the leader from nothing: it is asked where
// to begin when it answers again, and then it is given the snapshot.
func TestGoneMemberThatNeedsASnapshotLeavesTheGroupQuiet(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"].core
	var quiet coalesce.Quiet
	require.False(t, a.Quiet(&quiet), "c is there, and is sent a snapshot")
	for range 2 { // it is gone, comes back and is asked, and is gone with an open stream
		c.servers["c"].cut = true
		c.pass(12 * election)
		was := 0
		for range 20 {
			c.pass(heartbeat / 2)
			if a.Quiet(&quiet) {
				was++
			}
		}
		require.NotZero(t, was)
		for _, other := range quiet.Others {
			require.Equal(t, other.ID == "b", other.Level, "server %s", other.ID)
		}
		c.servers["c"].cut = false
		streams := len(c.streams)
		c.pass(2 * election)
		require.Greater(t, len(c.streams), streams)
	}
	c.bring("a", "c", snapshotSize)
	c.pass(2 * election)
	require.Equal(t, c.status("a").Last, c.status("c").Last)
}
