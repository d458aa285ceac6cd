package tcp_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// dial opens a bare connection to a server.
func (c *cluster) dial(id raft.ServerID) net.Conn {
	c.t.Helper()
	conn, err := c.network.Dial(c.t.Context(), address(id))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, conn.Close()) })
	return conn
}

// greeted opens a connection to a server as another server, past the handshake.
func (c *cluster) greeted(from, to raft.ServerID) net.Conn {
	c.t.Helper()
	conn := c.dial(to)
	require.NoError(c.t, tcp.GreetForMessages(conn, raft.Server{ID: from, Address: address(from)}, to))
	return conn
}

func write(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	_, err := conn.Write(b)
	require.NoError(t, err)
}

// requireEnded checks that the other side ends the connection, whatever it says before.
func requireEnded(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	for b := make([]byte, 4096); ; {
		if _, err := conn.Read(b); err != nil {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			return
		}
	}
}

func TestGarbageInPlaceOfAHandshake(t *testing.T) {
	b := raft.Server{ID: "b", Address: address("b")}
	lying := func(length uint32) []byte {
		frame := tcp.Preamble()
		frame = append(frame, 0, 0, 0, 0)
		return binary.LittleEndian.AppendUint32(frame, length)
	}
	version := func(at int) []byte {
		changed := tcp.Preamble()
		changed[at]++
		return changed
	}
	for _, test := range []struct {
		name, want string
		sent       []byte
	}{
		{"HTTP", "begins with", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"zeros", "begins with", make([]byte, 100)},
		{"other protocol", "speaks version 2 of the protocol, not 1", version(4)},
		{"other messages", "speaks version 2 of the messages, not 1", version(5)},
		{"lying frame", "malformed frame: 4294967295 bytes, more than 4096", lying(1<<32 - 1)},
		{"wrong checksum", "wrong checksum", append(lying(3), 1, 2, 3)},
		{"no hello", "malformed hello", append(tcp.Preamble(), tcp.Frame([]byte("x"))...)},
		{"lying text", "malformed hello", append(tcp.Preamble(), tcp.Frame([]byte{1, 255, 255, 'x'})...)},
		{"unknown purpose", "unknown purpose 9", append(tcp.Preamble(), tcp.Hello(9, b, "a")...)},
		{"nobody", `connection from \"\" itself`, append(tcp.Preamble(), tcp.Hello(1, raft.Server{}, "a")...)},
		{"itself", `connection from \"a\" itself`, append(tcp.Preamble(), tcp.Hello(1, raft.Server{ID: "a"}, "a")...)},
		{"somebody else", `the server \"c\" was meant`, append(tcp.Preamble(), tcp.Hello(1, b, "c")...)},
		{"silence", "timeout", tcp.Preamble()[:3]},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a, good := c.start("a", "good"), c.start("good", "a")
				conn := c.dial("a")
				write(t, conn, test.sent)
				requireEnded(t, conn)
				synctest.Wait()
				require.Contains(t, c.log.String(), test.want)
				good.tell("a", 1)
				require.Equal(t, []uint64{1}, a.received())
			})
		})
	}
}

func TestGarbageInPlaceOfMessages(t *testing.T) {
	message := func(from, to raft.ServerID) []byte {
		return tcp.Frame(raft.AppendMessage(nil, &raft.Message{Kind: raft.Heartbeat, From: from, To: to}))
	}
	for _, test := range []struct {
		name, want string
		sent       []byte
	}{
		{"lying frame", "malformed frame: 1073741824 bytes, more than 67108864", []byte{0, 0, 0, 0, 0, 0, 0, 0x40}},
		{"zeros", "wrong checksum", make([]byte, 1000)},
		{"no message", "raft: malformed: message: version: cut off", tcp.Frame(nil)},
		{"unknown message", "raft: malformed: message: unknown kind 255", tcp.Frame([]byte{raft.WireVersion, 255})},
		{"another's message", `a message from \"c\" to \"a\" came from \"b\" to \"a\"`, message("c", "a")},
		{"message for another", `a message from \"b\" to \"c\" came from \"b\" to \"a\"`, message("b", "c")},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a := c.start("a", "b")
				conn := c.greeted("b", "a")
				write(t, conn, message("b", "a"))
				write(t, conn, test.sent)
				requireEnded(t, conn)
				require.Equal(t, []uint64{0}, a.received(), "what came before counts")
				require.Contains(t, c.log.String(), test.want)
			})
		})
	}
}

// Half a frame, and then nothing: neither memory nor a message.
func TestTruncatedMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		frame := tcp.Frame(raft.AppendMessage(nil, &raft.Message{Kind: raft.Heartbeat, From: "b", To: "a"}))
		for n := range frame {
			conn := c.greeted("b", "a")
			write(t, conn, frame[:n])
			require.NoError(t, conn.Close())
			synctest.Wait()
		}
		require.Empty(t, a.received())
	})
}

// Who answers a dial is as little to be trusted as who dials.
func TestGarbageInPlaceOfAnAnswer(t *testing.T) {
	for _, test := range []struct {
		name, want string
		sent       []byte
	}{
		{"HTTP", "begins with", []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},
		{"other version", "speaks version 0 of the protocol, not 1", append([]byte("raft"), 0, 1)},
		{"no answer", "malformed answer", append(tcp.Preamble(), tcp.Frame([]byte{1})...)},
		{"unknown answer", "unknown answer 7", append(tcp.Preamble(), tcp.Frame([]byte{7, 1, 0, 'b', 0, 0})...)},
		{"another server", `the server there is \"c\", not \"b\"`, append(tcp.Preamble(), tcp.Frame([]byte{1, 1, 0, 'c', 0, 0})...)},
		{"refusal", `refused by the other side, which is \"b\": no`, append(tcp.Preamble(), tcp.Frame([]byte{2, 1, 0, 'b', 2, 0, 'n', 'o'})...)},
		{"silence", "timeout", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				listener, err := c.network.Listen(address("b"))
				require.NoError(t, err)
				a := c.start("a", "b")
				conn, err := listener.Accept()
				require.NoError(t, err)
				write(t, conn, test.sent)
				pass(4 * time.Second)
				require.Contains(t, c.log.String(), test.want)
				require.NoError(t, listener.Close())
				require.NoError(t, conn.Close())
				require.Empty(t, a.lostServers(), "it was never there")
			})
		})
	}
}

// hang is a server that shakes hands and then reads nothing. It returns the connections that it gets.
func (c *cluster) hang(id raft.ServerID) <-chan net.Conn {
	c.t.Helper()
	listener, err := c.network.Listen(address(id))
	require.NoError(c.t, err)
	conns := make(chan net.Conn, 100)
	c.t.Cleanup(func() { require.NoError(c.t, listener.Close()) })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if err := tcp.Welcome(conn, id); err != nil {
				c.t.Error(err)
				return
			}
			conns <- conn
		}
	}()
	return conns
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

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// A connection that idles for longer than the timeout of writes is as good as new.
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
		a.tell("b", 2)
		pass(5 * time.Second)
		require.Equal(t, []uint64{2}, b.received())
	})
}

// What goes wrong again and again in the same way is told now and then.
func TestLogIsQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("b")
		a := c.start("a")
		a.SetServers([]raft.Server{{ID: "c", Address: address("b")}, {ID: "d", Address: address("d")}})
		for range 1000 {
			a.tell("c", 1)
			a.tell("d", 1)
			pass(100 * time.Millisecond)
		}
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: can't connect" node=a peer=c`), "in 100 s")
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: can't connect" node=a peer=d`))
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: drop a connection" node=b peer=a`))
	})
}

// A server that takes connections and drops them is not dialled without a pause.
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
		write(t, newer, tcp.Frame(raft.AppendMessage(nil, &raft.Message{Kind: raft.Heartbeat, From: "b", To: "a", Number: 5})))
		require.Equal(t, []uint64{5}, a.received())
		require.Empty(t, a.lostServers())
	})
}

func TestLimitOfGuests(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "member")
		var guests []net.Conn
		for i := range tcp.MaxGuests {
			guests = append(guests, c.greeted(raft.ServerID(fmt.Sprint("guest", i)), "a"))
		}
		conn := c.dial("a")
		err := tcp.GreetForMessages(conn, raft.Server{ID: "another"}, "a")
		require.ErrorContains(t, err, "64 servers that are no members are connected already")
		c.greeted("member", "a") // is welcome all the same

		require.NoError(t, guests[0].Close())
		synctest.Wait()
		c.greeted("another", "a")
		require.Empty(t, a.received())
	})
}

func TestLimitOfHandshakes(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("a")
		for range tcp.MaxHandshakes {
			c.dial("a")
			synctest.Wait()
		}
		requireEnded(t, c.dial("a"))
		require.Contains(t, c.log.String(), "128 others haven't said yet who they are")
		pass(4 * time.Second) // past DialTimeout
		c.greeted("b", "a")
	})
}
