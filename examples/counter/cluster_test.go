package main

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// The counter keeps the contract of a state machine.
func TestCounterIsAStateMachine(t *testing.T) {
	newCounter := func() raft.StateMachine { return new(counter) }
	amount := func(r *rand.Rand) []byte { return encode(int64(r.Uint64())) }
	require.NoError(t, rafttest.TestStateMachine(newCounter, amount))
}

// Three servers, of which the leader crashes: what was acknowledged stays, and all of them get it.
func TestCounterSurvivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rafttest.NewCluster(t, 3, func() *counter { return new(counter) }, rafttest.ClusterOptions{})
		add := func(server int) {
			_, err := c.Node(server).Propose(t.Context(), encode(5))
			require.NoError(t, err)
		}
		leader := c.Leader()
		add(leader)
		c.Crash(leader)
		add((leader + 1) % 3)
		c.Restart(leader)
		add(leader)
		c.Converge()
		for server := range c.Len() {
			require.EqualValues(t, 15, c.Machine(server).Value())
		}
	})
}
