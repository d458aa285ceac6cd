package raft_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// copied returns a copy of what a storage holds.
func copied(t *testing.T, s *memory.Storage) *memory.Storage {
	saved, err := s.Load()
	require.NoError(t, err)
	entries, err := s.Entries(0, saved.Last, 1<<20)
	require.NoError(t, err)
	n := memory.NewStorage()
	_, err = n.Load()
	require.NoError(t, err)
	require.NoError(t, n.Write(raft.Write{State: saved.State, Entries: entries}))
	return n
}

// A folder that is restored from a backup: no answer is another command's, the server says why it takes no part, and so
// does the leader. Replace is the cure, once the folder is empty.
func TestNodeWithARestoredFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		leader, others := c.leader()
		b := others[0].Status().ID
		_, err := others[0].Propose(t.Context(), []byte("zero"))
		require.NoError(t, err)
		c.close(b)
		backup := copied(t, c.disks[b].Reopen())
		c.start(b)
		for i := range 10 {
			_, err := c.nodes[b].Propose(t.Context(), fmt.Append(nil, "old ", i))
			require.NoError(t, err)
		}
		c.close(b)
		c.disks[b] = &disk{Storage: backup}
		c.start(b)
		for i := range 10 {
			command := fmt.Sprint("new ", i)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			result, err := c.nodes[b].Propose(ctx, []byte(command))
			cancel()
			require.ErrorIs(t, err, raft.ErrRolledBack, "%s", result)
		}
		require.ErrorIs(t, c.nodes[b].Status().Trouble, raft.ErrRolledBack)
		require.ErrorIs(t, c.nodes[b].Read(t.Context()), raft.ErrRolledBack)
		time.Sleep(electionTimeout)
		for _, p := range leader.Status().Peers {
			if p.ID == b {
				require.ErrorIs(t, p.Trouble, raft.ErrRolledBack)
			} else {
				require.NoError(t, p.Trouble)
			}
		}
		seen := false
		for event := range leader.Events(t.Context()) {
			if trouble, is := event.(raft.PeerTrouble); is {
				require.Equal(t, b, trouble.Server)
				require.ErrorIs(t, trouble.Err, raft.ErrRolledBack)
				seen = true
				break
			}
		}
		require.True(t, seen)

		_, err = leader.Replace(t.Context(), raft.Server{ID: b})
		require.ErrorIs(t, err, raft.ErrRolledBack)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		c.close(b)
		c.disks[b] = &disk{Storage: memory.NewStorage()}
		c.start(b)
		_, err = leader.Replace(t.Context(), raft.Server{ID: b})
		require.NoError(t, err)
		require.NoError(t, c.nodes[b].Read(t.Context()))
		require.NoError(t, c.nodes[b].Status().Trouble)
		require.Len(t, c.machines[b].applied(), 11)
	})
}
