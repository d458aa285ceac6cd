package tcp_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

func TestGarbageInPlaceOfMessages(t *testing.T) {
	message := func(from, to raft.ServerID) []byte {
		return tcp.Frame(encoded(wire.Heartbeat{}.Message().In(wire.Envelope{From: from, To: to})))
	}
	for _, test := range []struct {
		name, want string
		sent       []byte
	}{
		{"lying frame", "malformed frame: 1073741824 bytes, more than 67108864", []byte{0, 0, 0, 0, 0, 0, 0, 0x40}},
		{"zeros", "wrong checksum", make([]byte, 1000)},
		{"half a message", "raft: malformed: message: kind: cut off", tcp.Frame([]byte{wire.Version})},
		{"unknown message", "raft: malformed: message: unknown kind 255", tcp.Frame([]byte{wire.Version, 255})},
		{"another's message", `a message from \"c\" to \"a\" on the connection from \"b\" to \"a\"`, message("c", "a")},
		{"message for another", `a message from \"b\" to \"c\" on the connection from \"b\" to \"a\"`, message("b", "c")},
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

// Half a frame with nothing behind it is no message.
func TestTruncatedMessage(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "b")
		frame := tcp.Frame(encoded(wire.Heartbeat{}.Message().In(wire.Envelope{From: "b", To: "a"})))
		for n := range frame {
			conn := c.greeted("b", "a")
			write(t, conn, frame[:n])
			require.NoError(t, conn.Close())
			synctest.Wait()
		}
		require.Empty(t, a.received())
	})
}
