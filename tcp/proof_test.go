package tcp_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// keys returns keys of a cluster with these numbers.
func keys(numbers ...byte) (keys []wire.ClusterKey) {
	for _, number := range numbers {
		keys = append(keys, wire.ClusterKey(bytes.Repeat([]byte{number}, len(wire.ClusterKey{}))))
	}
	return keys
}

// A caller speaks the protocol in the name of a server, on a connection of its own.
type caller struct {
	t        *testing.T
	conn     net.Conn
	from, to raft.ServerID
	round    uint64
}

// call greets a server in a name, and proves keys. With a config it does so over TLS.
func (c *cluster) call(config *tls.Config, from, to raft.ServerID, proven ...wire.ClusterKey) *caller {
	c.t.Helper()
	conn := c.dial(to)
	if config != nil {
		config = config.Clone()
		config.InsecureSkipVerify = true // it doesn't matter to the caller whom it reaches
		conn = tls.Client(conn, config)
	}
	proofs, err := tcp.Prove(conn, from, to, proven...)
	require.NoError(c.t, err)
	require.NoError(c.t, tcp.GreetForMessages(conn, raft.Server{ID: from, Address: address(from)}, to, proofs...))
	return &caller{t: c.t, conn: conn, from: from, to: to}
}

// tell sends a message with the next number.
func (c *caller) tell() {
	c.t.Helper()
	c.round++
	write(c.t, c.conn, tcp.Frame(encoded(wire.Heartbeat{Round: c.round}.Message().In(wire.Envelope{From: c.from, To: c.to}))))
}

// prove proves other keys.
func (c *caller) prove(proven ...wire.ClusterKey) {
	c.t.Helper()
	proofs, err := tcp.Prove(c.conn, c.from, c.to, proven...)
	require.NoError(c.t, err)
	write(c.t, c.conn, tcp.Renewal(proofs...))
}

// requireHeard requires that one message has come, and that its sender is a stranger or not.
func (s *server) requireHeard(t *testing.T, from raft.ServerID, stranger bool) {
	t.Helper()
	synctest.Wait()
	require.Len(t, s.messages, 1)
	m := <-s.messages
	require.Equal(t, from, m.From)
	require.Equal(t, stranger, m.Stranger, "a message from %s", from)
}

// A stranger is whoever SetServers doesn't name, and who hasn't proved the receiver's newest key.
func TestStrangersAreMarked(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		for i, test := range []struct {
			from     raft.ServerID
			has      []wire.ClusterKey // what the receiver has
			proves   []wire.ClusterKey
			stranger bool
		}{
			{"member", nil, nil, false},
			{"member", keys(3, 2, 1), nil, false},
			{"member", keys(3, 2, 1), keys(1), false},
			{"x", nil, nil, true},
			{"x", nil, keys(1), true},
			{"x", []wire.ClusterKey{}, keys(0), true},
			{"x", keys(3, 2, 1), nil, true},
			{"x", keys(3, 2, 1), keys(9, 8), true},
			{"x", keys(3, 2, 1), keys(2, 1), true}, // it was removed
			{"x", keys(3, 2, 1), keys(3, 2, 1), false},
			{"x", keys(1), keys(3, 2, 1), false}, // the receiver was away
			{"x", keys(1), keys(16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1), false},
		} {
			id := raft.ServerID(fmt.Sprint("a", i))
			a := c.start(id, "member")
			if test.has != nil {
				a.SetKeys(test.has)
			}
			c.call(nil, test.from, id, test.proves...).tell()
			a.requireHeard(t, test.from, test.stranger)
		}
	})
}

// A connection that stands is judged at each message, by what its two sides know then.
func TestStrangersOnAStandingConnection(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		a.SetKeys(keys(1))
		b := c.call(nil, "b", "a", keys(1)...)
		for _, step := range []struct {
			what     string
			change   func()
			stranger bool
		}{
			{"a member", func() {}, false},
			{"no member, with the newest key", func() { a.SetServers(nil) }, false},
			{"removed: there is a newer key", func() { a.SetKeys(keys(2, 1)) }, true},
			{"proves what it has once more", func() { b.prove(keys(1)...) }, true},
			{"was told the newer key", func() { b.prove(keys(2, 1)...) }, false},
			{"proves nothing any more", func() { b.prove() }, true},
			{"named again", func() { a.SetServers(peers("b")) }, false},
			{"and not", func() { a.SetServers(nil) }, true},
			{"the receiver has gone back", func() { b.prove(keys(5, 4)...); a.SetKeys(keys(4)) }, false},
			{"the receiver has no key", func() { a.SetKeys([]wire.ClusterKey{}) }, true},
		} {
			step.change()
			b.tell()
			synctest.Wait()
			require.Len(t, a.messages, 1, step.what)
			require.Equal(t, step.stranger, (<-a.messages).Stranger, step.what)
		}
	})
}

// A server proves its keys when it connects, and when they change, on the connections that stand:
// ahead of the next message, so that its receivers never miss it.
func TestServersProveTheirKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		for _, encrypted := range []bool{false, true} {
			start := func(id raft.ServerID, others ...raft.ServerID) *server {
				if encrypted {
					return c.startTLS(authority.issue(string(id), time.Hour), id, others...)
				}
				return c.start(id, others...)
			}
			away, leader := start("away"), start("leader", "away")
			pass(time.Second)
			leader.tell("away", 1)
			away.requireHeard(t, "leader", true)
			away.SetKeys(keys(1))
			leader.SetKeys(keys(1))
			leader.tell("away", 2)
			away.requireHeard(t, "leader", false)
			for newest := byte(2); newest < 20; newest++ {
				var all []byte
				for number := newest; number > 0; number-- {
					all = append(all, number)
				}
				leader.SetKeys(keys(all...))
				leader.tell("away", 3)
				// Sixteen keys are proved: the receiver may have missed fifteen changes.
				away.requireHeard(t, "leader", newest > 16)
			}
			require.Empty(t, away.lostServers())
			leader.close(t)
			away.close(t)
		}
	})
}

// A message to an address of its own is judged too.
func TestStrangersThatAsk(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a, b := c.start("a"), c.start("b")
		ask := func() {
			b.Send(wire.IdentityRequest{}.Message().In(wire.Envelope{From: "b", To: "a", ToAddress: address("a")}))
		}
		a.SetKeys(keys(1))
		ask()
		a.requireHeard(t, "b", true)
		b.SetKeys(keys(2, 1))
		ask()
		a.requireHeard(t, "b", false)
		a.SetKeys(keys(3))
		ask()
		a.requireHeard(t, "b", true)
		a.SetServers(peers("b"))
		ask()
		a.requireHeard(t, "b", false)
	})
}

// Streams of strangers are refused once there is a key, and end when their sender becomes a
// stranger.
func TestStreamsOfStrangers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		defer close(a.closing)
		open := func(proofs ...tcp.Proof) error {
			return tcp.GreetForStream(c.dial("a"), raft.Server{ID: "x"}, "a", proofs...)
		}
		require.NoError(t, open(), "nobody can be told from a stranger")
		s := <-a.streams
		a.SetKeys(keys(1))
		require.ErrorContains(t, open(), "refused by the other side")
		synctest.Wait()
		require.Contains(t, c.log.String(), "the server is no member, and hasn't proved")
		old, err := tcp.Prove(nil, "x", "a", keys(9)...)
		require.NoError(t, err)
		require.ErrorContains(t, open(old...), "refused by the other side")
		proofs, err := tcp.Prove(nil, "x", "a", keys(2, 1)...)
		require.NoError(t, err)
		conn := c.dial("a")
		require.NoError(t, tcp.GreetForStream(conn, raft.Server{ID: "x"}, "a", proofs...))
		good := <-a.streams
		write(t, conn, tcp.Frame([]byte("one")))
		b := make([]byte, 3)
		_, err = io.ReadFull(good.reader, b)
		require.NoError(t, err)
		a.SetKeys(keys(3, 1))
		write(t, conn, tcp.Frame([]byte("two")))
		_, err = io.ReadFull(good.reader, b)
		require.ErrorContains(t, err, "the server is no member")
		close(good.done)
		close(s.done)
	})
}

// A proof is worth nothing on another connection, between two other servers, or in the other
// direction.
func TestProofsAreBound(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		authority := newAuthority(t)
		a := c.startTLS(authority.issue("a", time.Hour), "a")
		a.SetKeys(keys(1))
		b, x := authority.issue("b", time.Hour), authority.issue("x", time.Hour)
		for _, test := range []struct {
			what   string
			config *tls.Config
			name   raft.ServerID
			proofs func(seen *caller) ([]tcp.Proof, error)
		}{
			{"seen on another connection of the same two", b, "b", func(seen *caller) ([]tcp.Proof, error) {
				return tcp.Prove(seen.conn, "b", "a", keys(1)...)
			}},
			{"without TLS", b, "b", func(*caller) ([]tcp.Proof, error) { return tcp.Prove(nil, "b", "a", keys(1)...) }},
		} {
			seen := c.call(b, "b", "a", keys(1)...)
			seen.tell()
			a.requireHeard(t, "b", false)
			proofs, err := test.proofs(seen)
			require.NoError(t, err)
			replay := c.call(test.config, test.name, "a")
			write(t, replay.conn, tcp.Renewal(proofs...))
			replay.tell()
			a.requireHeard(t, test.name, true)
		}
		// What is proved in another name, to another server, or by the side that was dialled.
		replay := c.call(x, "x", "a")
		for _, pair := range [][2]raft.ServerID{{"b", "a"}, {"x", "b"}, {"a", "x"}, {"xa", ""}} {
			proofs, err := tcp.Prove(replay.conn, pair[0], pair[1], keys(1)...)
			require.NoError(t, err)
			write(t, replay.conn, tcp.Renewal(proofs...))
			replay.tell()
			a.requireHeard(t, "x", true)
		}
		replay.prove(keys(1)...)
		replay.tell()
		a.requireHeard(t, "x", false)
	})
}

// Proofs that are no proofs end the connection.
func TestMalformedProofs(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		a.SetKeys(keys(1))
		for _, body := range [][]byte{{0}, {0, 1}, {0, 1, 2}, append([]byte{0, 0}, make([]byte, 32)...), append([]byte{0, 17}, make([]byte, 17*32)...)} {
			conn := c.greeted("b", "a")
			write(t, conn, tcp.Frame(body))
			requireEnded(t, conn)
		}
		synctest.Wait()
		require.Contains(t, c.log.String(), "malformed proofs")
	})
}

// A server that has proved the newest key isn't shown out, however many strangers come, and may
// send as much as a member.
func TestWhoHasProvedKeepsItsPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a")
		a.SetKeys(keys(1))
		leader := c.call(nil, "leader", "a", keys(2, 1)...)
		removed := c.call(nil, "removed", "a", keys(9)...)
		pass(time.Millisecond)
		for i := range 3 * tcp.MaxGuests {
			write(t, c.guest(i, "a"), heartbeat(raft.ServerID(fmt.Sprint("guest", i)), "a"))
			require.True(t, (<-a.messages).Stranger)
			pass(time.Millisecond)
		}
		requireEnded(t, removed.conn)
		leader.tell()
		a.requireHeard(t, "leader", false)

		// One stranger has the place for large messages.
		large := c.guest(1000, "a")
		write(t, large, append(make([]byte, 4), 0, 0, 0, 1)) // a frame of 16 MiB
		entries := wire.AppendRequest{Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, 4<<20)}}}
		write(t, leader.conn, tcp.Frame(encoded(entries.Message().In(wire.Envelope{From: "leader", To: "a"}))))
		a.requireHeard(t, "leader", false)
	})
}

// Whatever the bytes of a hello are, they are taken for what they say, or refused.
func FuzzHello(f *testing.F) {
	b := raft.Server{ID: "b", Address: "b:1"}
	f.Add(tcp.Hello(1, b, "a")[8:])
	proofs, err := tcp.Prove(nil, "b", "a", keys(1, 2, 3)...)
	require.NoError(f, err)
	f.Add(tcp.Hello(2, b, "a", proofs...)[8:])
	f.Add([]byte{1, 255, 255, 'x'})
	f.Add([]byte{3, 0, 0, 0, 0, 0, 0, 17})
	f.Fuzz(func(t *testing.T, body []byte) {
		again, err := tcp.DecodeHello(body)
		if err == nil {
			require.Equal(t, body, again)
		}
	})
}
