package tcp_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStats(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.startWith(c.options, "a", "b", "c") // nobody listens at c
		b := c.start("b", "a")
		pass(2 * time.Second)
		before := a.Stats()
		require.Len(t, before.Members, 2)
		for range 10 {
			a.tell("b", 1)
			a.tell("c", 1)
		}
		synctest.Wait()
		require.Len(t, b.received(), 10)
		s := a.Stats()
		toB, toC := s.Members[0], s.Members[1]
		require.EqualValues(t, "b", toB.ID)
		require.True(t, toB.Connected)
		require.True(t, toB.Heard)
		require.Positive(t, toB.Connects)
		require.Zero(t, toB.Dropped)
		require.EqualValues(t, 10, toB.SentMessages-before.Members[0].SentMessages)
		require.Greater(t, toB.SentBytes, before.Members[0].SentBytes+10)
		require.Zero(t, toB.QueuedMessages)
		require.Positive(t, s.Connections)
		require.Zero(t, s.Guests)

		require.False(t, toC.Connected)
		require.False(t, toC.Heard)
		require.Positive(t, toC.Failures)
		require.Zero(t, toC.Connects)
		pass(2 * time.Second)
		require.EqualValues(t, 10, a.Stats().Members[1].Dropped, "each that wasn't sent is counted once")
		a.tell("c", 1)
		synctest.Wait() // this attempt has failed, and the next one isn't due
		for range 5 {
			a.tell("c", 1)
		}
		require.EqualValues(t, 16, a.Stats().Members[1].Dropped, "so are those that aren't even queued")

		c.network.Silence(address("b"), true)
		for range 5 {
			a.tellMuch("b", 1<<20)
		}
		synctest.Wait()
		require.Positive(t, a.Stats().Members[0].QueuedBytes, "b reads nothing any more")
		require.Positive(t, a.Stats().Members[0].QueuedMessages)
	})
}

// A server that connects without being a member is a guest.
func TestStatsCountGuests(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		b := c.start("b", "a")
		pass(time.Second)
		b.tell("a", 1)
		synctest.Wait()
		require.Equal(t, []uint64{1}, a.received())
		s := a.Stats()
		require.Empty(t, s.Members)
		require.Equal(t, 1, s.Guests)
		a.close(t)
		require.Zero(t, a.Stats().Connections, "it may be asked after the end")
	})
}
