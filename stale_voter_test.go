package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
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

// A leader that has become the only voter, while a round of the time before was still open, confirms itself: it neither steps
// down nor wants to be woken for that again and again (§6.2).
func TestOnlyVoterConfirmsItself(t *testing.T) {
	c := newCoresWith(t, 2, func(config *raft.CoreConfig) { config.Heartbeat = election / 2 })
	c.elect("a")
	c.pass(election)
	a := c.servers["a"]
	settle := func() { // without answers to rounds
		for c.take(is(wire.KindHeartbeatResponse)); len(c.network) > 0; c.take(is(wire.KindHeartbeatResponse)) {
			m := c.network[0]
			c.network = c.network[1:]
			c.deliver(m)
		}
	}
	for a.core.Deadline() > c.now { // a round that is answered
		c.now = a.core.Deadline()
		a.core.Tick(c.now)
		c.drain("a")
		if len(c.take(is(wire.KindHeartbeat))) > 0 {
			break
		}
	}
	c.now += raft.Instant(election * 2 / 5)
	a.core.Read(c.now) // whose round puts off the next heartbeat
	a.core.Call(c.now, set("a"))
	c.drain("a")
	settle()
	require.Equal(t, "a", describe(c.status("a").Configuration))
	for end := c.now + raft.Instant(2*election); c.now < end; {
		c.now = max(c.now+1, a.core.Deadline())
		a.core.Tick(c.now)
		c.drain("a")
		settle()
		require.Equal(t, "leader", c.status("a").Role)
		require.Greater(t, a.core.Deadline(), c.now)
	}
}
