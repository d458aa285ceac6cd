package tcp_test

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

func TestReconnectsAfterAReset(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, b.received())
		c.network.Reset(address("b"))
		synctest.Wait()
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received(), "at once: the connection had lasted, so b is dialled again without a pause")
		require.Empty(t, a.lostServers(), "the process answers")
	})
}

func TestReconnectsWithBackoff(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		var attempts atomic.Int64
		options := c.options
		options.Dial = countingDial(&attempts, c.options.Dial)
		a := c.startWith(options, "a", "b") // nobody listens at b
		for range 10_000 {
			a.tell("b", 1)
			pass(time.Millisecond)
		}
		// 10 s: the pause doubles from 10 ms to 1 s, and up to a half of it is left out.
		require.GreaterOrEqual(t, int(attempts.Load()), 12)
		require.LessOrEqual(t, int(attempts.Load()), 30)

		b := c.start("b", "a") // b connects by itself, and this ends the pause
		synctest.Wait()
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received())
	})
}

type dialFunc = func(ctx context.Context, address string) (net.Conn, error)

func countingDial(attempts *atomic.Int64, dial dialFunc) dialFunc {
	return func(ctx context.Context, address string) (conn net.Conn, err error) {
		attempts.Add(1)
		return dial(ctx, address)
	}
}

func TestUnknownServerIsAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		leader := c.start("leader", "fresh")
		fresh := c.start("fresh") // it knows nobody
		pass(time.Second)
		leader.tell("fresh", 1)
		require.Equal(t, []uint64{1}, fresh.received())
		fresh.tell("leader", 2)
		require.Equal(t, []uint64{2}, leader.received())
		fresh.tell("nobody", 3) // dropped

		leader.close(t)
		pass(time.Minute)
		require.Empty(t, fresh.lostServers(), "it was no member")
	})
}

func TestDismissedServer(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		a.SetServers(nil)
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, b.received(), "while it is connected, it can be told that it was removed")
		b.close(t)
		pass(time.Minute)
		require.Empty(t, a.lostServers())
		b = c.start("b")
		a.tell("b", 2)
		pass(time.Minute)
		require.Empty(t, b.received(), "it is forgotten")
	})
}

func TestServerMoves(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		old := c.start("b")
		pass(2 * time.Second)
		a.tell("b", 1)
		require.Equal(t, []uint64{1}, old.received())

		transport, err := tcp.Listen("elsewhere:1", c.options)
		require.NoError(t, err)
		b := newServer(transport, "b")
		t.Cleanup(func() { b.close(t) })
		require.NoError(t, b.Start(raft.Server{ID: "b", Address: "elsewhere:1"}, b))
		a.SetServers([]raft.Server{{ID: "b", Address: "elsewhere:1"}})
		synctest.Wait()
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received())
		require.Empty(t, old.received())
	})
}

func TestLost(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(2 * time.Second)
		b.close(t)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers(), "at once, and once")
		for range 1000 {
			a.tell("b", 1)
			pass(10 * time.Millisecond)
		}
		require.Empty(t, a.lostServers())
		require.Empty(t, b.lostServers(), "never for one's own Close")

		b = c.start("b", "a")
		pass(2 * time.Second)
		b.close(t)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers(), "it had come back")
	})
}

// The process of a host that falls silent may live on.
func TestSilenceIsNoLoss(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		c.start("b", "a")
		pass(2 * time.Second)
		c.network.Silence(address("b"), true)
		c.network.Silence(address("a"), true)
		c.network.Reset(address("a"))
		c.network.Reset(address("b"))
		pass(time.Minute)
		require.Empty(t, a.lostServers())
	})
}

// Only b has connected. The server a notices all the same that the process of b is gone.
func TestLostWithoutAConnectionOfOnesOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		dials := 0
		options := c.options
		options.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			if dials++; dials < 3 {
				return nil, fmt.Errorf("no route")
			}
			return c.network.Dial(ctx, address)
		}
		a := c.startWith(options, "a", "b")
		synctest.Wait()
		b := c.start("b", "a")
		pass(2 * time.Second)
		require.Equal(t, 2, dials)
		b.close(t)
		pass(20 * time.Millisecond)
		require.Equal(t, []raft.ServerID{"b"}, a.lostServers())
	})
}

func TestServerThatStopsReading(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		hung := c.hang("b")
		options := c.options
		options.QueueBytes = 1 << 20
		a, good := c.startWith(options, "a", "b", "c"), c.start("c", "a")
		pass(time.Second)
		<-hung

		const messages, size = 1000, 50_000
		before := heap()
		start := time.Now()
		for i := range messages {
			a.tellMuch("b", size) // returns at once
			a.tell("c", uint64(i))
			require.Equal(t, []uint64{uint64(i)}, good.received(), "nobody else is delayed")
		}
		require.Equal(t, start, time.Now(), "no time passed")
		require.Less(t, int64(heap()-before), int64(10<<20), "of 50 MB")
		require.Contains(t, c.log.String(), "too much waits to be sent")

		pass(6 * time.Second) // past WriteTimeout
		require.Contains(t, c.log.String(), `msg="tcp: connection lost" node=a peer=b`)
		a.tell("b", 1)
		pass(time.Second)
		require.NotEmpty(t, hung, "dialled again")
	})
}

// A connection that was idle for longer than the timeout of writes is as good as new.
func TestWritingAfterALongIdleTime(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a", "b"), c.start("b", "a")
		pass(time.Second)
		a.tell("b", 1)
		pass(time.Hour)
		a.tell("b", 2)
		require.Equal(t, []uint64{1, 2}, b.received())
		require.NotContains(t, c.log.String(), "lost")
	})
}

func TestSilentHost(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.network.Silence(address("b"), true)
		a, good := c.start("a", "b", "c"), c.start("c", "a")
		pass(time.Second)
		for i := range 100 {
			a.tell("b", 1)
			a.tell("c", uint64(i))
			require.Equal(t, []uint64{uint64(i)}, good.received())
			pass(100 * time.Millisecond)
		}
		require.Empty(t, a.lostServers())
		c.network.Silence(address("b"), false)
		b := c.start("b")
		pass(5 * time.Second)
		for len(b.messages) > 0 {
			<-b.messages // what waited while b was dialled
		}
		a.tell("b", 2)
		require.Equal(t, []uint64{2}, b.received())
	})
}

// A server that accepts connections and drops them is not dialled without a pause.
func TestConnectionsThatDontLast(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		conns := c.hang("b")
		a := c.start("a", "b")
		accepted := 0
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			select {
			case conn := <-conns:
				accepted++
				require.NoError(t, conn.Close())
			case <-time.After(100 * time.Millisecond):
			}
		}
		require.GreaterOrEqual(t, accepted, 12)
		require.LessOrEqual(t, accepted, 30)
		require.Empty(t, a.lostServers(), "its process is there")
	})
}

func TestOneConnectionForEachPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		older := c.greeted("b", "a")
		newer := c.greeted("b", "a")
		requireEnded(t, older)
		write(t, newer, tcp.Frame(encoded(wire.Heartbeat{Round: 5}.Message().In(wire.Envelope{From: "b", To: "a"}))))
		require.Equal(t, []uint64{5}, a.received())
		require.Empty(t, a.lostServers())
	})
}
