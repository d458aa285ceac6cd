package tcp_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// A message that names its address leaves alone the connections between the two servers, wherever
// it goes.
func TestAskedElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		var dials atomic.Int64
		options := c.options
		options.Dial = countingDial(&dials, c.options.Dial)
		b, other := c.start("b", "a"), c.start("other")
		a := c.startWith(options, "a", "b") // the last one, so that its first dial succeeds
		pass(2 * time.Second)
		require.EqualValues(t, 1, dials.Swap(0))

		for i, place := range []string{"nowhere:1", address("other"), address("b")} {
			n := uint64(10 * i)
			a.Send(wire.Heartbeat{Round: n + 1}.Message().In(wire.Envelope{From: "a", To: "b", ToAddress: place}))
			a.tell("b", n+2)
			pass(10 * time.Second)
			if place == address("b") {
				require.ElementsMatch(t, []uint64{n + 1, n + 2}, b.received())
			} else {
				require.Equal(t, []uint64{n + 2}, b.received())
			}
		}
		require.Empty(t, other.received())
		require.EqualValues(t, 3, dials.Load(), "for each message that names its address, and for no other")
		require.Empty(t, a.lostServers())
		require.Empty(t, b.lostServers())

		a.Send(wire.Heartbeat{Round: 50}.Message().In(wire.Envelope{From: "a", To: "other", ToAddress: address("other")}))
		pass(time.Second)
		require.Equal(t, []uint64{50}, other.received())
		other.tell("a", 51)
		require.Equal(t, []uint64{51}, a.received(), "a server that is asked can answer")
	})
}

// A server that asks and can't be answered is forgotten.
func TestGuestThatCantBeAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		for i := range 2 * tcp.MaxGuests {
			conn := c.dial("a")
			from := raft.Server{ID: raft.ServerID(fmt.Sprint("guest", i)), Address: "nowhere:1"}
			require.NoError(t, tcp.GreetForAsking(conn, from, "a"))
			write(t, conn, tcp.Frame(encoded(wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{From: from.ID, To: "a"}))))
			requireEnded(t, conn)
			require.Equal(t, []uint64{1}, a.received())
		}
	})
}
