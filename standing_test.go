package raft_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A Standing is equal to the one before as long as there is nothing to tell, and differs from it
// whenever there is.
func TestStandingChangesWithWhatIsWorthTelling(t *testing.T) {
	c := newCores(t, 3)
	core := c.servers["a"].core
	was := core.Standing()
	changes := func() bool {
		now := core.Standing()
		defer func() { was = now }()
		return now != was
	}
	require.Equal(t, "follower", was.Role)
	require.Nil(t, was.Configuration)

	c.elect("a")
	require.True(t, changes())
	require.Equal(t, raft.ServerID("a"), was.Leader)
	require.True(t, was.Leads)
	require.True(t, was.ConfigurationCommitted)
	require.Len(t, was.Configuration.Members, 3)
	require.Zero(t, was.Snapshot)

	committed := core.Committed()
	c.propose("a", "x")
	c.settle()
	c.pass(3 * time.Second)
	require.Equal(t, committed+1, core.Committed())
	require.False(t, changes(), "commands and heartbeats are nothing to tell")

	c.snapshot("a")
	require.True(t, changes())
	require.Equal(t, committed+1, was.Snapshot.Index)
	require.Equal(t, uint64(1), was.SnapshotSerial)
	require.False(t, changes())
}

// The loop waits for what was applied while that makes a difference. It doesn't at a follower
// without callers.
func TestAppliedIsAwaitedWhereItMatters(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(time.Second) // all have applied the configuration
	var e raft.Effects
	c.servers["a"].core.Drain(&e)
	require.True(t, e.AwaitsApplied, "the leader tells others, and makes room")
	follower := c.servers["b"].core
	follower.Drain(&e)
	require.False(t, e.AwaitsApplied)
	follower.Read(c.now)
	follower.Drain(&e)
	require.True(t, e.AwaitsApplied, "a reader waits")
}

// An explanation names the oldest call of each kind.
func TestExplainNamesTheOldestCalls(t *testing.T) {
	c := newCores(t, 3)
	core := c.servers["a"].core
	why := core.Explain()
	require.Equal(t, raft.NoLeaderTimeout, why.NoLeader.Reason)
	require.Nil(t, why.Command.Wait)
	number := core.Propose(c.now, []byte("x"))
	core.Propose(c.now, []byte("y"))
	why = core.Explain()
	require.Equal(t, raft.OldestCall{Number: number, Wait: &raft.Wait{On: raft.WaitLeader}}, why.Command)
	require.Nil(t, why.Read.Wait)
	require.Nil(t, why.Peers)
	c.elect("a")
	why = core.Explain()
	require.Nil(t, why.NoLeader)
	require.Nil(t, why.Command.Wait)
	require.Len(t, why.Peers, 2)
}
