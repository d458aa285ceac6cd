package raft_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// Of three servers two are lost. What the third holds goes on as a cluster of its own, of which the old servers are no part.
func TestRecoverCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		_, err := c.nodes["a"].Propose(t.Context(), []byte("before"))
		require.NoError(t, err)
		c.leader()
		was := c.nodes["a"].Status()
		for _, id := range c.ids {
			c.close(id)
		}

		storage := c.disks["a"].Reopen()
		before, err := raft.InspectRecovery(storage)
		require.NoError(t, err)
		require.Equal(t, was.Last, before.Last)
		require.Zero(t, before.Record)
		require.Contains(t, before.String(), "b at at b, a voter")
		_, err = raft.RecoverCluster(storage.Reopen(), string(make([]byte, 2000)))
		require.ErrorIs(t, err, raft.ErrConfig)
		storage = storage.Reopen()
		recovered, err := raft.RecoverCluster(storage, "at a")
		require.NoError(t, err)
		require.Equal(t, was.Last+1, recovered.Record)
		require.Equal(t, was.Cluster, recovered.Cluster)
		require.Contains(t, recovered.String(), recovered.Recovered.String())

		c.disks["a"] = &disk{Storage: storage}
		a := c.start("a")
		_, err = a.Propose(t.Context(), []byte("after"))
		require.NoError(t, err)
		require.Equal(t, []string{"before", "after"}, c.machines["a"].applied())
		require.Equal(t, recovered.Recovered, a.Status().Cluster)
		require.Len(t, a.Status().Members, 1)

		// What comes back of the old cluster isn't heard, and can't be added as it is.
		b := c.start("b")
		time.Sleep(5 * electionTimeout)
		require.NoError(t, a.Read(t.Context()))
		_, err = a.AddServer(t.Context(), reached("b"))
		require.ErrorIs(t, err, raft.ErrForeignServer)
		require.NoError(t, b.Close(t.Context()))
		c.disks["b"] = &disk{Storage: memory.NewStorage()}
		b = c.start("b")
		_, err = a.AddServer(t.Context(), reached("b"))
		require.NoError(t, err)
		require.NoError(t, b.Read(t.Context()))
		require.Equal(t, []string{"before", "after"}, c.machines["b"].applied())
	})
}

func TestRecoverNothing(t *testing.T) {
	_, err := raft.RecoverCluster(memory.NewStorage(), "x")
	require.ErrorIs(t, err, raft.ErrNoCluster)
}
