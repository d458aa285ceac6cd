package raft_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// leaderOf returns the server that leads a group, and its node.
func (h *hosts) leaderOf(group raft.GroupID) (raft.ServerID, *raft.Node) {
	time.Sleep(3 * time.Second)
	for id, host := range h.running {
		node, err := host.Group(group)
		require.NoError(h.t, err)
		if node.Leadership().Role == "leader" {
			return id, node
		}
	}
	h.t.Fatal("nobody leads")
	return "", nil
}

// §3.10: a leader that hands over learns at once that the process of the next leader is gone, and goes
// on, whoever asked for it.
func TestHeirOfAGroupIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		h.propose("a", "g", "1")
		leader, node := h.leaderOf("g")
		heir := raft.ServerID("a")
		if leader == heir {
			heir = "b"
		}
		h.network.Cut(leader, heir) // it isn't told to campaign
		handed := make(chan error, 1)
		go func() { handed <- node.TransferLeadership(t.Context(), heir) }()
		time.Sleep(50 * time.Millisecond)
		since := time.Now()
		require.NoError(t, h.running[heir].Close(t.Context()))
		h.running[heir] = nil
		require.ErrorIs(t, <-handed, raft.ErrTransferGivenUp)
		h.propose(leader, "g", "2")
		require.Less(t, time.Since(since), 10*time.Millisecond)
	})
}
