package tcp_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// A throttle is the links from one server: each of them carries so many bytes a second, on all its
// connections together.
type throttle struct {
	rate  int
	dial  func(context.Context, string) (net.Conn, error)
	mu    sync.Mutex
	free  map[string]time.Time // when a link has carried what it was given
	dials map[string]int
}

func newThrottle(rate int, dial func(context.Context, string) (net.Conn, error)) *throttle {
	return &throttle{rate: rate, dial: dial, free: make(map[string]time.Time), dials: make(map[string]int)}
}

func (l *throttle) Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := l.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dials[address]++
	return &throttled{conn, l, address}, nil
}

func (l *throttle) dialled(address string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dials[address]
}

// take returns when the link has carried n bytes more.
func (l *throttle) take(address string, n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := time.Now()
	if free := l.free[address]; free.After(from) {
		from = free
	}
	l.free[address] = from.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	return l.free[address]
}

type throttled struct {
	net.Conn
	links   *throttle
	address string
}

func (c *throttled) Write(b []byte) (written int, err error) {
	for len(b) > 0 && err == nil {
		n := min(len(b), 8<<10)
		<-time.After(time.Until(c.links.take(c.address, n)))
		n, err = c.Conn.Write(b[:n])
		written, b = written+n, b[n:]
	}
	return written, err
}

// tellEntry sends an append with one entry, of that index and size.
func (s *server) tellEntry(to raft.ServerID, index raft.Index, size int) {
	s.Send(wire.AppendRequest{Entries: []raft.Entry{
		{Index: index, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, size)},
	}}.Message().In(wire.Envelope{From: s.id, To: to, Term: 1}))
}

// A large message holds up no heartbeat, and the appends behind it keep their place.
func TestLargeMessagesHoldUpNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b", "a")
		links := newThrottle(1<<20, c.network.Dial)
		c.options.Dial, c.options.QueueBytes = links.Dial, 64<<20
		a := c.start("a", "b")
		pass(time.Second)
		appends := func() (indexes []raft.Index) {
			synctest.Wait()
			for len(b.messages) > 0 {
				if m := <-b.messages; m.Kind() == wire.KindAppendRequest {
					indexes = append(indexes, m.Entries()[0].Index)
				}
			}
			return indexes
		}
		for range 2 {
			a.tellEntry("b", 1, 100)
			a.tellEntry("b", 2, 20<<20)
			pass(100 * time.Millisecond)
			require.Equal(t, []raft.Index{1}, appends())
			for round := range uint64(15) {
				a.tell("b", round)
				pass(100 * time.Millisecond)
				require.Equal(t, []uint64{round}, b.received())
				pass(time.Second)
				if round == 5 {
					a.tellEntry("b", 3, 100)
				}
			}
			require.Equal(t, 2, links.dialled(address("b")))
			pass(5 * time.Second)
			require.Equal(t, []raft.Index{2, 3}, appends())
			// Everything was read: the usual way is free again.
			a.tellEntry("b", 4, 100)
			pass(time.Second)
			require.Equal(t, []raft.Index{4}, appends())
		}
		require.Equal(t, 2, links.dialled(address("b")), "the connection was used again")
		pass(tcp.BulkIdle + time.Second)
		a.tellEntry("b", 5, 1<<20)
		pass(3 * time.Second)
		require.Equal(t, []raft.Index{5}, appends())
		require.Equal(t, 3, links.dialled(address("b")), "it was closed meanwhile")
	})
}

// A large message of one group holds up the appends behind it in that group, and those of no other
// group; and large messages of several groups share their connection.
func TestLargeMessagesHoldUpNoOtherGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b", "a")
		links := newThrottle(1<<20, c.network.Dial)
		c.options.Dial, c.options.QueueBytes = links.Dial, 64<<20
		a := c.start("a", "b")
		pass(time.Second)
		tell := func(group raft.GroupID, index raft.Index, size int) {
			a.Send(wire.AppendRequest{Entries: []raft.Entry{
				{Index: index, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, size)},
			}}.Message().In(wire.Envelope{From: "a", To: "b", Term: 1, Group: group}))
		}
		arrived := func() (appends []string) {
			synctest.Wait()
			for len(b.messages) > 0 {
				m := <-b.messages
				appends = append(appends, fmt.Sprint(m.Group, m.Entries()[0].Index))
			}
			return appends
		}
		tell("x", 1, 8<<20)
		pass(100 * time.Millisecond)
		tell("x", 2, 100)
		tell("y", 1, 100)
		tell("z", 1, 1<<20)
		tell("z", 2, 100)
		tell("w", 1, 8<<20)
		tell("w", 2, 1<<20)
		tell("v", 1, 1<<20)
		pass(time.Second)
		require.Equal(t, []string{"y1"}, arrived())
		pass(12 * time.Second)
		require.Equal(t, []string{"x1", "x2", "z1", "z2", "v1"}, arrived(), "small ones don't wait for the large ones of others")
		tell("x", 3, 100)
		tell("w", 3, 100)
		pass(time.Second)
		require.Equal(t, []string{"x3"}, arrived(), "the usual way is free again for x, and isn't for w")
		pass(9 * time.Second)
		require.Equal(t, []string{"w1", "w2", "w3"}, arrived())
		require.Equal(t, 2, links.dialled(address("b")))
	})
}

// A receipt that was asked for counts what was handled, and nothing that has come since.
func TestReceiptsCountWhatWasHandled(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("a")
		conn := c.greeted("b", "a")
		question := tcp.Frame(nil)
		write(t, conn, append(question, heartbeat("b", "a")...))
		receipt := make([]byte, len(question)+8)
		_, err := io.ReadFull(conn, receipt)
		require.NoError(t, err)
		require.Equal(t, uint64(len(question)), binary.LittleEndian.Uint64(receipt[len(question):]))
	})
}

// A connection for large messages that breaks takes with it what is on it, and the next large
// message gets another one.
func TestLargeMessagesAreLost(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b", "a")
		links := newThrottle(1<<20, c.network.Dial)
		c.options.Dial = links.Dial
		a := c.start("a", "b")
		pass(time.Second)
		a.tellEntry("b", 1, 8<<20)
		pass(time.Second)
		c.network.Reset(address("b"))
		pass(time.Minute)
		require.Empty(t, b.messages)
		require.Contains(t, c.log.String(), "tcp: large messages are lost")
		a.tellEntry("b", 2, 100)
		a.tellEntry("b", 3, 2<<20)
		pass(5 * time.Second)
		require.Len(t, b.messages, 2)
		first := <-b.messages
		require.Equal(t, raft.Index(2), first.Entries()[0].Index)
	})
}

// Strangers get no connection for large messages once there is a key.
func TestLargeMessagesOfStrangers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		greet := func(proofs ...tcp.Proof) error {
			return tcp.GreetForBulk(c.dial("a"), raft.Server{ID: "x"}, "a", proofs...)
		}
		require.NoError(t, greet())
		a.SetKeys(keys(1))
		require.ErrorContains(t, greet(), "the server is no member")
		proofs, err := tcp.Prove(nil, "x", "a", keys(2, 1)...)
		require.NoError(t, err)
		require.NoError(t, greet(proofs...))
		pass(tcp.GuestIdle + time.Second)
		_, known, _ := a.Places()
		require.Zero(t, known, "one on which nothing comes is closed")
	})
}

// A command that takes several election timeouts on its way costs the leader nothing, wherever it
// is proposed.
func TestLargeCommandCostsNoLeader(t *testing.T) {
	t.Run("TLS", func(t *testing.T) {
		inBubble(t, func(t *testing.T, c *cluster) { largeCommands(t, c, newAuthority(t)) })
	})
	t.Run("plain", func(t *testing.T) {
		inBubble(t, func(t *testing.T, c *cluster) { largeCommands(t, c, nil) })
	})
}

// largeCommands proposes a large command at the leader, and one at a follower. Each link carries so
// much a second that the command takes more than three election timeouts.
func largeCommands(t *testing.T, c *cluster, authority *authority) {
	const rate, size, timeout = 4 << 20, 8 << 20, 600 * time.Millisecond
	servers := peers("a", "b", "c")
	nodes := make(map[raft.ServerID]*raft.Node)
	for _, s := range servers {
		options := c.options
		options.Dial = newThrottle(rate, c.network.Dial).Dial
		if authority != nil {
			options.TLS = authority.issue(string(s.ID), time.Hour)
		}
		transport, err := tcp.Listen(s.Address, options)
		require.NoError(t, err)
		node, err := raft.Start(raft.Config{
			ID: s.ID, Address: s.Address, Machine: &tally{}, Storage: memory.NewStorage(), Transport: transport,
			Bootstrap: servers, ElectionTimeout: timeout, Heartbeat: timeout / 10, MaxCommandBytes: size,
			Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		nodes[s.ID] = node
		defer func() { require.NoError(t, node.Close(context.Background())) }()
	}
	propose := func(id raft.ServerID, command []byte) time.Duration {
		start := time.Now()
		_, err := nodes[id].Propose(t.Context(), command)
		require.NoError(t, err)
		return time.Since(start)
	}
	propose("a", []byte("1"))
	st := nodes["a"].Status()
	follower := raft.ServerID("a")
	if st.Leader == follower {
		follower = "b"
	}
	for _, id := range []raft.ServerID{st.Leader, follower} {
		took := propose(id, make([]byte, size))
		require.Greater(t, took, size/rate*time.Second)
		require.Greater(t, took, 3*timeout)
		for _, node := range nodes {
			require.Equal(t, st.Term, node.Status().Term, "nobody has campaigned while a command came from %s", id)
		}
	}
}
