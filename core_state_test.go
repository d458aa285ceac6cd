package raft_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Two states whose encodings are equal are taken for one: what only one of them leads to would be
// missed. A message names its round, so the same answer means another thing to a leader that is one
// round further.
func TestStatesDifferInTheirRounds(t *testing.T) {
	c := founded(t, 3)
	a := c.servers["a"].core
	round := func() []wire.Message { // begins a round and returns its answers
		c.tick("a")
		for _, beat := range c.take(is(wire.KindHeartbeat)) {
			c.deliver(beat)
		}
		answers := c.take(is(wire.KindHeartbeatResponse))
		require.Len(t, answers, 2)
		return answers
	}
	answer := func(answers []wire.Message) {
		for _, m := range answers {
			c.deliver(m)
		}
	}
	answer(round())
	late := round()
	earlier := a.Clone()
	answer(late)
	round()
	later := a.Clone()

	confirms := func(core *raft.Core) bool {
		after := core.Clone()
		after.Receive(c.now, late[0])
		return !bytes.Equal(core.AppendState(nil, letter), after.AppendState(nil, letter))
	}
	require.True(t, confirms(earlier))
	require.False(t, confirms(later))
	require.NotEqual(t, earlier.AppendState(nil, letter), later.AppendState(nil, letter))
}

func TestStatesDifferInTheirCommands(t *testing.T) {
	c := founded(t, 3)
	one, other := c.servers["b"].core.Clone(), c.servers["b"].core.Clone()
	one.Propose(c.now, []byte("one"))
	other.Propose(c.now, []byte("two"))
	require.NotEqual(t, one.AppendState(nil, letter), other.AppendState(nil, letter))
}

// A clone goes on as its original does, down to the last effect, even where the appends to a peer
// are split.
func TestCloneGoesOnLikeItsOriginal(t *testing.T) {
	c := founded(t, 3)
	original := c.servers["a"].core
	clone := original.Clone()
	require.Equal(t, original.AppendState(nil, letter), clone.AppendState(nil, letter))
	var ours, theirs raft.Effects
	for range 12 { // more than the first chunk of the log's tail holds
		for _, core := range []*raft.Core{original, clone} {
			core.Propose(c.now, []byte("one"))
			core.Propose(c.now, []byte("two"))
		}
		original.Drain(&ours)
		clone.Drain(&theirs)
		require.Equal(t, ours, theirs)
		require.NotEmpty(t, ours.Messages)
		require.Equal(t, original.AppendState(nil, letter), clone.AppendState(nil, letter))
		clone = clone.Clone()
	}
}
