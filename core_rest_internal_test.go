package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// restingCore returns the core of a leader that is alone and has nothing to do.
func restingCore(t *testing.T) (*Core, *Effects) {
	c, err := NewCore(CoreConfig{ID: "a", Incarnation: 1, Seed: 1, Bootstrap: []Server{{ID: "a", Address: "a"}}, Coalesced: true})
	require.NoError(t, err)
	e := new(Effects)
	c.Tick(0)
	c.MayCampaign(0)
	for c.Tick(0); ; {
		c.Drain(e)
		if e.Write.Number == 0 && len(e.Apply) == 0 {
			break
		}
		if e.Write.Number > 0 {
			c.Persisted(0, e.Write.Number)
		}
		for _, entries := range e.Apply {
			last := entries[len(entries)-1]
			c.Applied(0, Batch{Last: last.Index, Term: last.Term})
		}
	}
	require.True(t, c.Leads())
	require.True(t, c.still())
	return c, e
}

// A core that rests is the one that it was. It lets go of what is empty, and of nothing else.
func TestRestingCoreIsTheSame(t *testing.T) {
	state := func(c *Core) []byte { return c.AppendState(nil, func(id ServerID) byte { return byte(len(id)) }) }
	c, _ := restingCore(t)
	c.rest()
	require.Nil(t, c.aside)
	require.Zero(t, c.log.tail.count())
	before := state(c) // which wakes the core
	c.rest()
	require.Nil(t, c.aside)
	require.Equal(t, before, state(c))

	c.courtesy = courtesy{to: "b", times: 2}
	before = state(c)
	c.rest()
	require.NotNil(t, c.aside)
	require.Equal(t, before, state(c))
	require.NoError(t, c.Check())
}

// What has an end leaves nothing behind in a core that rests: no read, and no call of Snapshot that was
// taken back.
func TestRestingCoreForgetsWhatHasEnded(t *testing.T) {
	c, e := restingCore(t)
	c.rest()
	number := c.Read(0)
	c.Drain(e)
	require.Len(t, e.Answers, 1)
	require.Equal(t, number, e.Answers[0].Number)
	c.CancelSnapshot(c.Snapshot(0))
	c.Drain(e)
	require.Empty(t, e.SnapshotAnswers)
	c.rest()
	require.Nil(t, c.aside)
	require.Greater(t, c.Read(0), number)
	require.NotZero(t, c.waitingReads())
	require.NotZero(t, c.Snapshot(0))
}

// While something happens, a core doesn't rest: the entries in memory are nowhere else yet.
func TestBusyCoreDoesNotRest(t *testing.T) {
	c, e := restingCore(t)
	c.rest()
	c.Propose(0, []byte("command"))
	c.Drain(e)
	require.Len(t, e.Write.Entries, 1)
	c.rest()
	require.NoError(t, c.Check())
	require.EqualValues(t, 1, c.log.tail.count())
	c.Persisted(0, e.Write.Number)
	c.Drain(e)
	require.Len(t, e.Apply, 1, "it comes from memory")
}
