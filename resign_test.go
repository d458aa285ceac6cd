package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// Resign hands over, and waits until the next leader has the vote that it may need. In a cluster of
// two it needs that vote.
func TestResignWaitsForTheNextLeader(t *testing.T) {
	c := newCores(t, 2)
	c.elect("a")
	c.pass(3 * heartbeat)
	a := c.servers["a"].core
	require.True(t, a.Resigned())
	a.Resign(c.now)
	require.False(t, a.Resigned())
	c.drain("a")
	c.settle()
	require.True(t, a.Resigned())
	require.Equal(t, raft.ServerID("b"), c.leader())
	c.pass(3 * heartbeat)
	c.servers["b"].core.Resign(c.now)
	c.drain("b")
	c.settle()
	require.Equal(t, raft.ServerID("a"), c.leader())

	c.servers["b"].core.Resign(c.now)
	require.True(t, c.servers["b"].core.Resigned(), "who doesn't lead has nothing to wait for")
}

// A server that doesn't lead waits for the answers to the commands that it has forwarded, as long as an
// election timeout, and forwards no more.
func TestResignWaitsForForwardedCommands(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	b := c.servers["b"]
	b.core.Propose(c.now, []byte("forwarded"))
	c.drain("b")
	b.core.Resign(c.now)
	require.False(t, b.core.Resigned())
	b.core.Propose(c.now, []byte("late"))
	c.drain("b")
	c.settle()
	require.True(t, b.core.Resigned())
	require.Equal(t, []string{"forwarded"}, c.commands("b"))

	cut := c.servers["c"]
	cut.core.Propose(c.now, []byte("cut off"))
	cut.cut = true
	c.drain("c")
	cut.core.Resign(c.now)
	require.False(t, cut.core.Resigned())
	c.pass(election + heartbeat)
	require.True(t, cut.core.Resigned())
}

// A leader that finds nobody to hand over to waits for the answers to its commands, and takes no more.
func TestLastLeaderAnswersBeforeItStops(t *testing.T) {
	c := newCores(t, 2)
	c.elect("a")
	c.pass(3 * heartbeat)
	a := c.servers["a"].core
	c.servers["b"].cut = true
	a.Lost(c.now, "b")
	a.Propose(c.now, []byte("x"))
	c.drain("a")
	a.Resign(c.now)
	require.Empty(t, c.status("a").HandingOver)
	require.False(t, a.Resigned())
	c.servers["b"].cut = false
	c.pass(heartbeat + heartbeat/2)
	require.True(t, a.Resigned())
	require.Equal(t, []string{"x"}, c.commands("a"))
}

// If no server takes over, Resign is in vain, and over after an election timeout.
func TestResignIsBounded(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	c.servers["a"].core.Resign(c.now)
	c.servers["a"].cut = true
	c.drain("a")
	require.False(t, c.servers["a"].core.Resigned())
	c.pass(election + heartbeat)
	require.True(t, c.servers["a"].core.Resigned())
}

// A leader that is about to stop doesn't wait for a server whose process is gone.
func TestResigningLeaderDoesNotWaitForTheLost(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	a := c.servers["a"].core
	c.servers["b"].cut, c.servers["c"].cut = true, true
	a.Resign(c.now)
	first := c.status("a").HandingOver
	require.NotEmpty(t, first)
	a.Lost(c.now, first)
	second := c.status("a").HandingOver
	require.NotEmpty(t, second, "there is another one")
	require.NotEqual(t, first, second)
	require.False(t, a.Resigned())
	a.Lost(c.now, second)
	require.True(t, a.Resigned())
	require.Empty(t, c.status("a").HandingOver)
	require.ErrorIs(t, c.transfer("a", ""), raft.ErrTransferTarget, "nobody is fit")
	c.servers["b"].cut, c.servers["c"].cut = false, false
	c.pass(3 * heartbeat)
	require.NoError(t, c.transfer("a", ""), "they have answered again")
}
