package tcp_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

// A connection that has lost its other end without a word is given up within WriteTimeout of the
// first message that nobody reads, however much is sent, and another one is dialled at once.
func TestConnectionWhoseOtherEndIsGone(t *testing.T) {
	const timeout = 5 * time.Second
	for _, test := range []struct {
		name  string
		every time.Duration // between two messages; 0 for a single one
		size  int
		tls   bool
	}{
		{"heartbeats", 100 * time.Millisecond, 0, false},
		{"heartbeats over TLS", 100 * time.Millisecond, 0, true},
		{"a single message", 0, 0, false},
		{"more than the buffer takes", 50 * time.Millisecond, 10 << 10, false},
		{"much more than the buffer takes", 50 * time.Millisecond, 1 << 20, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				authority := newAuthority(t)
				start := func(id, other raft.ServerID) *server {
					options := c.options
					if test.tls {
						options.TLS = authority.issue(string(id), time.Hour)
					}
					return c.startWith(options, id, other)
				}
				a, b := start("a", "b"), start("b", "a")
				pass(time.Second)
				for range 20 {
					a.tell("b", 1)
					pass(100 * time.Millisecond)
				}
				require.Len(t, b.received(), 20)
				c.network.Cut(address("b"))
				for cut := time.Now(); time.Since(cut) < timeout-time.Millisecond; {
					if first := time.Now() == cut; test.size > 0 {
						a.tellMuch("b", test.size)
					} else if first || test.every > 0 {
						a.tell("b", 2)
					}
					pass(max(test.every, time.Millisecond))
				}
				pass(2 * time.Millisecond)
				for len(b.messages) > 0 {
					<-b.messages // what went over the new connection
				}
				a.tell("b", 3)
				require.Equal(t, []uint64{3}, b.received())
				require.Contains(t, c.log.String(), "the other side has read nothing for 5s of what was sent to it")
				require.Empty(t, a.lostServers(), "its process answers")
			})
		})
	}
}

// Whatever is written, and whenever: a server that reads keeps its connection.
func TestServerThatReadsIsNotGivenUp(t *testing.T) {
	for _, gap := range []time.Duration{time.Millisecond, time.Second, 1250 * time.Millisecond, 1300 * time.Millisecond, 6 * time.Second} {
		inBubble(t, func(t *testing.T, c *cluster) {
			a, b := c.start("a", "b"), c.start("b", "a")
			pass(time.Second)
			for count := 1; count <= 5; count++ {
				for range count {
					a.tell("b", 1)
					pass(gap)
				}
				require.Len(t, b.received(), count)
				pass(time.Minute)
			}
			require.NotContains(t, c.log.String(), "lost")
		})
	}
}

// A network that drops everything for a while is noticed to work again soon, however long it was
// silent.
func TestSilentHostIsReachedSoonAfterwards(t *testing.T) {
	for _, silence := range []time.Duration{4 * time.Second, 15 * time.Second, 31300 * time.Millisecond, time.Minute} {
		inBubble(t, func(t *testing.T, c *cluster) {
			a, b := c.start("a", "b"), c.start("b")
			pass(time.Second)
			c.network.Silence(address("b"), true)
			c.network.Cut(address("b"))
			for range silence / (100 * time.Millisecond) {
				a.tell("b", 1)
				pass(100 * time.Millisecond)
			}
			c.network.Silence(address("b"), false)
			require.Empty(t, b.received())
			healed := time.Now()
			for len(b.messages) == 0 {
				a.tell("b", 2)
				pass(10 * time.Millisecond)
				if given := 5*time.Second - silence; time.Since(healed) > max(given, 0)+time.Second/2 {
					require.Fail(t, "still silent", "half a second after %v of silence", silence)
				}
			}
		})
	}
}

// A server that reads slowly, but all the time, keeps its connection, even within one message.
func TestSlowReaderIsNotGivenUp(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		slow := c.options
		slow.Listen = func(address string) (net.Listener, error) {
			l, err := c.network.Listen(address)
			return slowListener{l}, err
		}
		a, b := c.start("a", "b"), c.startWith(slow, "b")
		pass(time.Second)
		a.tellMuch("b", 8<<20)
		a.tell("b", 1)
		start := time.Now()
		for range 2 {
			<-b.messages
		}
		require.Greater(t, time.Since(start), 30*time.Second)
		require.NotContains(t, c.log.String(), "lost")
	})
}

type slowListener struct{ net.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return slowConn{conn}, err
}

// A slowConn is read at 32 KiB in a quarter of a second.
type slowConn struct{ net.Conn }

func (c slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), 32<<10)])
	if n > 100 {
		<-time.After(250 * time.Millisecond)
	}
	return n, err
}

// A receipt for what was never sent, or anything else than a receipt, ends the connection.
func TestGarbageInPlaceOfAReceipt(t *testing.T) {
	number := func(n uint64) []byte { return tcp.Frame(binary.LittleEndian.AppendUint64(nil, n)) }
	for name, garbage := range map[string][]byte{
		"too much": number(1 << 40), "no number": tcp.Frame([]byte("x")), "zeros": make([]byte, 16), "falls": append(number(1), number(0)...),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				conns := c.hang("b")
				a := c.start("a", "b")
				a.tell("b", 1)
				conn := <-conns
				write(t, conn, garbage)
				requireEnded(t, conn)
				synctest.Wait()
				require.Contains(t, c.log.String(), "malformed frame")
			})
		})
	}
}

// startNodes starts three nodes.
func startNodes(t *testing.T, c *cluster) ([]raft.Server, []*raft.Node) {
	servers := peers("a", "b", "c")
	var nodes []*raft.Node
	for _, server := range servers {
		options := c.options
		options.Dial = c.network.DialFrom(server.Address)
		transport, err := tcp.Listen(server.Address, options)
		require.NoError(t, err)
		node, err := raft.Start(raft.Config{
			ID: server.ID, Machine: &tally{}, Storage: memory.NewStorage(), Transport: transport,
			Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		t.Cleanup(func() { closeAtRest(t, node, transport) })
		nodes = append(nodes, node)
	}
	return servers, nodes
}

// The network drops everything, to all servers or to one of them, and heals after a while. Then the
// cluster works again as soon as an election allows: within two election timeouts if all were cut
// off, and within one if a single follower was.
func TestNodesAfterASilentCut(t *testing.T) {
	const electionTimeout = time.Second // the default
	for _, cut := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute} {
		for _, all := range []bool{true, false} {
			inBubble(t, func(t *testing.T, c *cluster) {
				servers, nodes := startNodes(t, c)
				_, err := nodes[0].Propose(t.Context(), []byte("1"))
				require.NoError(t, err)
				leader := nodes[0].Status().Leader
				lone := 0 // a follower
				if servers[0].ID == leader {
					lone = 1
				}
				for i, s := range servers {
					if all || i == lone {
						c.network.Cut(s.Address)
						c.network.Silence(s.Address, true)
					}
				}
				pass(cut)
				for _, s := range servers {
					c.network.Silence(s.Address, false)
				}
				healed, bound := time.Now(), electionTimeout
				if all {
					bound *= 2
				}
				ctx, cancel := context.WithTimeout(t.Context(), bound)
				defer cancel()
				_, err = nodes[lone].Propose(ctx, []byte("1"))
				require.NoError(t, err, "after a cut of %v, of all: %v", cut, all)
				t.Logf("cut for %v, all %v: works after %v", cut, all, time.Since(healed))
			})
		}
	}
}
