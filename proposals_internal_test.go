package raft

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// A leader for which most commands have to wait makes room in its log only for those that it takes.
func TestWaitingCommandsGetNoRoom(t *testing.T) {
	const size, taken, offered = 100, 10, 2000
	c, err := NewCore(CoreConfig{
		ID: "a", Incarnation: 1, Bootstrap: []Server{{ID: "a"}},
		MaxPending: 2 * offered, MaxUncommittedBytes: taken * (size + wire.EntryOverhead),
	})
	require.NoError(t, err)
	var now Instant
	var e Effects
	turn := func() {
		for c.Drain(&e); e.Write.Number != 0; c.Drain(&e) {
			c.Persisted(now, e.Write.Number)
		}
		for _, entries := range e.Apply {
			last := entries[len(entries)-1]
			c.Applied(now, Batch{Last: last.Index, Term: last.Term})
		}
	}
	for range 10 {
		now = max(now, c.Deadline())
		c.Tick(now)
		turn()
	}
	require.Equal(t, leaderRole, c.Status().Role)
	command := make([]byte, size)
	for range 100 {
		before := c.log.last
		for range offered {
			c.Propose(now, command)
		}
		c.Drain(&e)
		require.Equal(t, before+taken, c.log.last, "the others wait")
		for number := c.proposals.base(); c.proposals.count() > 0; number++ {
			c.Cancel(number, ErrClosed) // the test doesn't deliver its answers
		}
		c.Persisted(now, e.Write.Number)
		turn()
	}
	room := 0
	for i := range c.log.tail.chunks {
		room += cap(c.log.tail.chunks[i].entries)
	}
	require.LessOrEqual(t, room, 2*int(c.log.last)+maxChunk)
}
