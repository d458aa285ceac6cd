package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeadlinesPassByName(t *testing.T) {
	c := founded(t, 3)
	a, b := c.servers["a"].core, c.servers["b"].core
	require.Equal(t, []string{"quorum", "heartbeat", "succession"}, a.Armed(nil))
	require.Equal(t, []string{"elect", "sticky"}, b.Armed(nil))
	for _, other := range []string{"elect", "write", "no such deadline"} {
		require.False(t, a.Pass(other))
	}

	require.True(t, b.Pass("sticky"))
	require.False(t, b.Pass("sticky"), "it has passed")
	require.Equal(t, "follower", b.Status().Role)
	require.True(t, b.Pass("elect"))
	require.Equal(t, "pre-candidate", b.Status().Role)
	require.True(t, a.Pass("heartbeat"))
	require.Equal(t, []string{"quorum", "heartbeat", "succession"}, a.Armed(nil), "the next round is due")
	require.True(t, a.Pass("quorum"))
	require.Equal(t, "follower", a.Status().Role)
}
