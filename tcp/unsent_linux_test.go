package tcp_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/tcp"
)

// The system takes little more than the other side has room for: the rest waits in the queue, where
// what is urgent overtakes it.
func TestSystemTakesLittle(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	greeted := make(chan net.Conn, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			err = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		}
		if err == nil {
			err = tcp.Welcome(conn, "b") // and reads no more
		}
		if err != nil {
			t.Error(err)
		}
		greeted <- conn
	}()
	transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
	require.NoError(t, err)
	a := newServer(transport, "a")
	t.Cleanup(func() { a.close(t) })
	require.NoError(t, a.Start(raft.Server{ID: "a", Address: transport.Addr().String()}, a))
	a.SetServers([]raft.Server{{ID: "b", Address: listener.Addr().String()}})
	conn := within(t, greeted)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	for i := range 100 {
		a.appendIn("g", "b", raft.Index(i+1), 64<<10)
	}
	before := uint64(0)
	process.Await(t, func() bool {
		sent := a.Stats().Members[0].SentBytes
		settled := sent > 0 && sent == before
		before = sent
		return settled
	}, "it sends on and on")
	t.Logf("%d KiB were sent, of 6400", before>>10)
	require.Less(t, before, uint64(2<<20))
}
