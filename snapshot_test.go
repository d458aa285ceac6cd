package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func TestSnapshotHoldsTheConfigurationOfItsIndex(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.propose("a", "one")
	c.servers["b"].cut, c.servers["c"].cut = true, true
	applied := c.status("a").Applied
	remove := raft.Member{Server: raft.Server{ID: "c"}, Role: raft.Voter}
	c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallRemove, Members: []raft.Member{remove}})
	c.drain("a")
	require.Greater(t, c.status("a").Last, applied, "a configuration is in the log, which counts, but isn't committed")
	c.snapshot("a")
	meta := c.servers["a"].current
	require.Equal(t, applied, meta.Index)
	require.EqualValues(t, 1, meta.ConfigurationIndex, "an uncommitted configuration isn't in a snapshot (§5.1)")
	require.Len(t, meta.Configuration.Members, 3)
}

func TestSnapshotIsNamedOnlyOnceTheLogIsStable(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.servers["a"].slowDisk = true
	c.propose("a", "one") // committed and applied, by b and c
	require.Greater(t, c.status("a").Applied, c.status("a").Stable)
	c.snapshot("a")
	require.NotEmpty(t, c.servers["a"].told, "it is taken")
	c.drain("a")
	for _, w := range c.servers["a"].writes {
		require.Nil(t, w.Snapshot, "a log that ends before its snapshot would be dropped")
	}
	c.finishWrites("a")
	c.finishWrites("a")
	require.Equal(t, c.status("a").Applied, c.servers["a"].current.Index)
	require.Len(t, c.servers["a"].done, 1)
	require.NoError(t, c.servers["a"].done[0].Err)
}

func TestFailedSnapshotIsToldToItsCallers(t *testing.T) {
	c := newCores(t, 1)
	c.elect("a")
	s := c.servers["a"]
	s.slow = true
	c.snapshot("a")
	c.snapshot("a")
	broken := fmt.Errorf("no room")
	s.core.SnapshotFailed(c.now, broken)
	c.drain("a")
	require.Equal(t, []raft.SnapshotAnswer{{Number: 1, Err: broken}, {Number: 2, Err: broken}}, s.done)
	c.snapshot("a")
	require.Len(t, s.told, 2, "a new call has it tried at once")
	s.core.CancelSnapshot(3)
	c.taken("a")
	c.drain("a")
	require.Len(t, s.done, 2, "a call that doesn't wait any more isn't answered")
	require.NotZero(t, c.status("a").Snapshot)
}
