package raft

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// explained returns a new core of server a, which is to found a cluster with b and c.
func explained(t *testing.T) *Core {
	c, err := NewCore(CoreConfig{ID: "a", Incarnation: 1, Seed: 1, Bootstrap: []Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}})
	require.NoError(t, err)
	return c
}

// A voter that refuses is told apart from one that is silent. That doesn't change what the core
// does.
func TestRefusalsAreExplained(t *testing.T) {
	c := explained(t)
	c.Tick(Instant(10 * time.Second))
	var e Effects
	c.Drain(&e)
	before := c.AppendState(nil, func(id ServerID) byte { return (id + "\x00")[0] })
	refusal := wire.PreVoteResponse{}.Message().In(wire.Envelope{From: "b", To: "a", FromIncarnation: 2})
	c.Receive(Instant(10*time.Second), refusal)
	c.Receive(Instant(10*time.Second), refusal)
	require.Equal(t, &NoLeader{
		Reason: NoLeaderVotes, Granted: []ServerID{"a"}, Refused: []ServerID{"b"}, Silent: []ServerID{"c"},
	}, c.noLeader())
	require.Equal(t, before, c.AppendState(nil, func(id ServerID) byte { return (id + "\x00")[0] }))
	clone := c.Clone()
	c.Receive(Instant(10*time.Second), wire.PreVoteResponse{}.Message().In(wire.Envelope{From: "c", To: "a", FromIncarnation: 3}))
	require.Equal(t, []ServerID{"c"}, clone.noLeader().Silent)
	require.Empty(t, c.noLeader().Silent)
}

// A command whose leader is gone may be in the log of the next one.
func TestCommandsOfAnEarlierTermAreExplained(t *testing.T) {
	c := explained(t)
	number := c.Propose(0, []byte("x"))
	got, wait := c.commandWaits()
	require.Equal(t, number, got)
	require.Equal(t, WaitLeader, wait.On)
	c.state.Term = 5
	for _, state := range []pendingState{pendingForwarded, pendingLogged} {
		item := c.proposals.find(number)
		item.state, item.term = state, 4
		_, wait = c.commandWaits()
		require.Equal(t, &Wait{On: WaitNextTerm}, wait)
	}
}
