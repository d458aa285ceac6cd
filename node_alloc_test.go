package raft_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// TestCommandAllocations counts what one command allocates in three nodes in memory, from Propose
// to its answer. Nobody else proposes meanwhile, so no batch shares the cost. A greater number here
// is a greater cost of every command of a user who proposes one at a time.
func TestCommandAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools forget at random under the race detector")
	}
	// The clock of the bubble stands still while a goroutine works, so there are no heartbeats.
	synctest.Test(t, func(t *testing.T) {
		network := memory.NewNetwork(memory.Options{})
		servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
		nodes := make(map[raft.ServerID]*raft.Node)
		for _, server := range servers {
			node, err := raft.Start(raft.Config{
				ID: server.ID, Machine: &nothing{}, Storage: memory.NewStorage(), Transport: network.Join(server.ID),
				Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, node.Close(context.Background())) }()
			nodes[server.ID] = node
		}
		command := make([]byte, 128)
		_, err := nodes["a"].Propose(t.Context(), command)
		require.NoError(t, err)
		leader := nodes[nodes["a"].Status().Leader]
		propose := func() {
			if _, err := leader.Propose(t.Context(), command); err != nil {
				t.Error(err)
			}
		}
		for range 1000 {
			propose()
		}
		require.LessOrEqual(t, testing.AllocsPerRun(2000, propose), 2.0)
	})
}
