package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// joining makes a cluster of a, b and c whose logs are forgotten, and lets b ask for d as a voter.
// It returns once a stream to d is open, with the number of the call.
func joining(t *testing.T) (c *cores, number uint64) {
	c = founded(t, 3)
	c.spare("d")
	for _, command := range []string{"two", "three"} {
		c.propose("a", command)
		c.pass(2 * heartbeat)
		for _, id := range []raft.ServerID{"a", "b", "c"} {
			c.snapshot(id)
		}
	}
	number = c.servers["b"].core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	c.drain("b")
	c.pass(6 * heartbeat)
	require.Len(t, c.streams, 1)
	require.Equal(t, "a b c d(joining) → a b c d", describe(c.status("a").Configuration))
	return c, number
}

// answered returns the answer to a call, or nil if there is none yet.
func (c *cores) answered(id raft.ServerID, number uint64) *raft.Answer {
	for i := range c.servers[id].answers {
		if a := &c.servers[id].answers[i]; a.Call && a.Number == number {
			return a
		}
	}
	return nil
}

// passUntilAnswered lets time pass until a call is answered, and returns how many election timeouts
// that took.
func (c *cores) passUntilAnswered(id raft.ServerID, number uint64, between func()) int {
	for n := range 200 {
		if c.answered(id, number) != nil {
			return n
		}
		between()
		c.pass(election)
	}
	require.Fail(c.t, "no answer", "to the call at %s", id)
	return 0
}

// A snapshot may take as long as it takes, while it moves on. The first round isn't given up
// (§4.2.1).
func TestLargeSnapshotTakesAsLongAsItTakes(t *testing.T) {
	c, number := joining(t)
	for range snapshotSize - 1 {
		c.bring("a", "d", 1)
		c.pass(election)
		require.Nil(t, c.answered("b", number))
	}
	c.bring("a", "d", 1)
	c.passUntilAnswered("b", number, func() {})
	require.NoError(t, c.answered("b", number).Err)
	require.Equal(t, "a b c d", describe(c.status("d").Configuration))
	require.Len(t, c.streams, 1)
}

// A snapshot moves on if its streams break now and then, and bring bytes now and then.
func TestSlowSnapshotOverABadConnection(t *testing.T) {
	c, number := joining(t)
	for range 8 {
		st := c.bring("a", "d", 10)
		c.pass(2 * election)
		c.breakStream(st)
		c.drain("a")
		c.drain("d")
		c.pass(3 * election) // and a new one comes
		require.Nil(t, c.answered("b", number))
	}
	c.bring("a", "d", snapshotSize)
	c.passUntilAnswered("b", number, func() {})
	require.NoError(t, c.answered("b", number).Err)
}

// A transfer that brings nothing is given up in time, even if streams are opened and broken, and
// the same bytes are written to them, again and again.
func TestSnapshotThatDoesNotMoveIsGivenUp(t *testing.T) {
	c, number := joining(t)
	c.bring("a", "d", 10)
	took := c.passUntilAnswered("b", number, func() {
		for _, st := range c.streams {
			if !st.finished {
				c.servers["a"].core.SnapshotMoved(c.now, st.send.Stream, 15) // on their way, and lost
				c.breakStream(st)
				c.drain("a")
				c.drain("d")
			}
		}
	})
	require.ErrorIs(t, c.answered("b", number).Err, raft.ErrNotApplied)
	require.ErrorIs(t, c.answered("b", number).Err, raft.ErrNotCaughtUp)
	require.ErrorContains(t, c.answered("b", number).Err, `"d"`)
	require.Greater(t, len(c.streams), 3)
	require.GreaterOrEqual(t, took, 10)
	require.LessOrEqual(t, took, 13)
	require.Equal(t, "a b c", describe(c.status("a").Configuration))
}

// A peer that is gone is given up in time, however far its snapshot had got.
func TestSnapshotToNobodyIsGivenUp(t *testing.T) {
	c, number := joining(t)
	for range 20 {
		c.bring("a", "d", 4)
		c.pass(election)
	}
	c.servers["d"].cut = true
	took := c.passUntilAnswered("b", number, func() {})
	require.ErrorIs(t, c.answered("b", number).Err, raft.ErrNotCaughtUp)
	require.ErrorContains(t, c.answered("b", number).Err, `"d"`)
	require.GreaterOrEqual(t, took, 10)
	require.LessOrEqual(t, took, 13)
}

// A server that has to begin anew with another snapshot again and again never catches up: each
// snapshot is a round (§4.2.1).
func TestSnapshotsThatReplaceEachOtherAreRounds(t *testing.T) {
	c, number := joining(t)
	took := c.passUntilAnswered("b", number, func() {
		c.bring("a", "d", 50)
		c.propose("a", "more")
		c.snapshot("a")
		for _, st := range c.streams {
			c.breakStream(st)
		}
		c.drain("a")
		c.drain("d")
		c.pass(2 * election)
	})
	require.ErrorIs(t, c.answered("b", number).Err, raft.ErrNotCaughtUp)
	require.ErrorContains(t, c.answered("b", number).Err, `"d"`)
	require.GreaterOrEqual(t, took, 9)
	require.LessOrEqual(t, took, 12)
}

// The new commands that one server gets don't hide that another gets nothing.
func TestServerThatGetsNothingIsNotHiddenByAnother(t *testing.T) {
	c := founded(t, 3)
	c.spare("d", "e")
	s := c.servers["b"]
	call := set("a", "b", "c", "d", "e")
	number := s.core.Call(c.now, call)
	c.drain("b")
	for c.status("a").Configuration.Next == nil {
		require.NotEmpty(t, c.network)
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
	c.servers["e"].cut = true
	took := c.passUntilAnswered("b", number, func() { c.propose("a", "more") })
	require.ErrorIs(t, c.answered("b", number).Err, raft.ErrNotCaughtUp)
	require.ErrorContains(t, c.answered("b", number).Err, `"e"`)
	require.LessOrEqual(t, took, 12)
}

// The next leader goes on with a change in the middle of a transfer. Its own snapshot may take as
// long as it takes.
func TestNextLeaderGoesOnWithALargeSnapshot(t *testing.T) {
	c, number := joining(t)
	for range 20 {
		c.bring("a", "d", 2)
		c.pass(election)
	}
	c.servers["a"].cut = true
	c.pass(4 * election)
	leader := c.leader()
	require.NotEqual(t, raft.ServerID("a"), leader)
	for range snapshotSize {
		c.bring(leader, "d", 1)
		c.pass(election)
	}
	c.passUntilAnswered("b", number, func() {})
	require.NoError(t, c.answered("b", number).Err)
	require.Equal(t, "a b c d", describe(c.status("d").Configuration))
}

// A server that doesn't catch up goes again.
func TestChangeIsGivenUp(t *testing.T) {
	c := founded(t, 3)
	c.spare("d")
	c.servers["d"].slowDisk = false
	a := c.servers["a"]
	a.core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	c.drain("a")
	for len(c.take(is(wire.KindIdentityResponse))) == 0 {
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
	c.servers["d"].core.Tick(c.now)
	c.deliver(wire.IdentityResponse{Level: wire.LatestLevel, Round: 1, AskedIn: c.status("a").Term}.Message().In(wire.Envelope{
		From: "d", To: "a", FromIncarnation: c.status("d").Incarnation,
	}))
	c.servers["d"].cut = true
	c.network = nil
	c.pass(15 * election)
	answers := a.answers[len(a.answers)-1:]
	require.True(t, answers[0].Call)
	require.ErrorIs(t, answers[0].Err, raft.ErrNotApplied)
	require.ErrorIs(t, answers[0].Err, raft.ErrNotCaughtUp)
	require.Equal(t, []string{"a b c", "a b c d(joining) → a b c d", "a b c"}, c.configurations("a"))
}
