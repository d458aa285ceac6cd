package tcp_test

import (
	"encoding/binary"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

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
		{"other protocol", "speaks version 4 of the protocol, not 3", version(4)},
		{"other messages", "speaks version 2 of the messages, not 1", version(5)},
		{"lying frame", "malformed frame: 4294967295 bytes, more than 4096", lying(1<<32 - 1)},
		{"wrong checksum", "wrong checksum", append(lying(3), 1, 2, 3)},
		{"no hello", "malformed hello", append(tcp.Preamble(), tcp.Frame([]byte("x"))...)},
		{"lying text", "malformed hello", append(tcp.Preamble(), tcp.Frame([]byte{1, 255, 255, 'x'})...)},
		{"unknown purpose", "unknown purpose 9", append(tcp.Preamble(), tcp.Hello(9, b, "a")...)},
		{"nobody", "the other side doesn't say which server it is", append(tcp.Preamble(), tcp.Hello(1, raft.Server{}, "a")...)},
		{"itself", `the other side claims to be this server, \"a\"`, append(tcp.Preamble(), tcp.Hello(1, raft.Server{ID: "a"}, "a")...)},
		{"somebody else", `the connection is meant for the server \"c\"`, append(tcp.Preamble(), tcp.Hello(1, b, "c")...)},
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

// A server that answers a dial is trusted as little as one that dials.
func TestGarbageInPlaceOfAnAnswer(t *testing.T) {
	for _, test := range []struct {
		name, want string
		sent       []byte
	}{
		{"HTTP", "begins with", []byte("HTTP/1.1 400 Bad Request\r\n\r\n")},
		{"other version", "speaks version 0 of the protocol, not 3", append([]byte("raft"), 0, 1)},
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

func TestWrongReceiverIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		b := c.start("b")
		a := c.start("a")
		a.SetServers([]raft.Server{{ID: "c", Address: address("b")}})
		a.tell("c", 1)
		pass(time.Second)
		require.Empty(t, b.received())
		require.Contains(t, c.log.String(), `refused by the other side, which is \"b\": the connection is meant for the server \"c\"`)
		require.Contains(t, c.log.String(), `shake hands: the connection is meant for the server \"c\"`)
	})
}

func TestConnectionFromItselfIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("b")
		twin, err := tcp.Listen("twin:1", c.options)
		require.NoError(t, err)
		b := newServer(twin, "b")
		t.Cleanup(func() { b.close(t) })
		require.NoError(t, b.Start(raft.Server{ID: "b", Address: "twin:1"}, b))
		b.SetServers(peers("b")) // itself: ignored
		_, err = b.OpenStream(t.Context(), "b")
		require.ErrorContains(t, err, "no such server is known")
	})
}
