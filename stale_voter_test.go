package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A voter whose configuration is an old one votes for a candidate that it doesn't know: it may be the one whose vote is
// needed (§4.1, "servers process incoming RPC requests without consulting their current configurations").
func TestStaleVoterVotesForWhomItDoesNotKnow(t *testing.T) {
	c := founded(t, 3)
	c.spare("d")
	require.EqualValues(t, "a", c.leader())
	c.servers["b"].cut = true
	answer := c.change("a", set("a", "b", "d"))
	require.NoError(t, answer.Err)
	require.Less(t, c.status("b").ConfigurationIndex, answer.Index)

	c.servers["a"].cut, c.servers["c"].cut = true, true
	c.servers["b"].cut = false
	c.pass(10 * election)
	require.Equal(t, "d", string(c.leader()), "it and b are a majority")
	require.Equal(t, answer.Index, c.status("b").ConfigurationIndex)
	require.NoError(t, c.status("d").Trouble)
}
