package main

import (
	"context"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testPatience bounds each wait for a real socket.
const testPatience = 30 * time.Second

// A link is a connection from server a to server b, and both ends of it.
type link struct {
	network *network
	dead    chan struct{} // closed when a's process is killed
	server  *listener
	a, b    net.Conn
}

// newLink connects a to b.
func newLink(t *testing.T) *link {
	t.Helper()
	l := &link{network: newNetwork(), dead: make(chan struct{})}
	t.Cleanup(l.network.end)
	var err error
	l.server, err = l.network.listen("b")
	require.NoError(t, err)
	t.Cleanup(l.server.kill)
	l.a, err = l.network.dial(t.Context(), "a", l.dead, "b")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.a.Close() })
	l.b, err = l.server.Accept()
	require.NoError(t, err)
	return l
}

// carries says that bytes get from one end to the other.
func carries(t *testing.T, from, to net.Conn) {
	t.Helper()
	sent := []byte("hello")
	require.NoError(t, from.SetWriteDeadline(time.Now().Add(testPatience)))
	_, err := from.Write(sent)
	require.NoError(t, err)
	arrives(t, to, sent)
}

// arrives says that bytes arrive.
func arrives(t *testing.T, at net.Conn, sent []byte) {
	t.Helper()
	got := make([]byte, len(sent))
	require.NoError(t, at.SetReadDeadline(time.Now().Add(testPatience)))
	_, err := io.ReadFull(at, got)
	require.NoError(t, err)
	require.Equal(t, sent, got)
}

// silent says that nothing arrives, and that the connection stands, for a while.
func silent(t *testing.T, at net.Conn) {
	t.Helper()
	require.NoError(t, at.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err := at.Read(make([]byte, 1))
	var late net.Error
	require.ErrorAs(t, err, &late)
	require.True(t, late.Timeout(), "%v", err)
}

// A line that is cut holds what is on its way, in both directions of the connection that was dialled
// along it, and nobody learns that the other side has gone.
func TestCutLine(t *testing.T) {
	l := newLink(t)
	carries(t, l.a, l.b)
	carries(t, l.b, l.a)
	line := l.network.line("a", "b")
	line.cut.set(true)
	_, err := l.a.Write([]byte("there"))
	require.NoError(t, err)
	_, err = l.b.Write([]byte("back"))
	require.NoError(t, err)
	require.NoError(t, l.b.(*acceptedConn).Conn.(*net.TCPConn).CloseWrite())
	silent(t, l.b)
	silent(t, l.a)
	line.cut.set(false)
	arrives(t, l.a, []byte("back"))
	_, err = l.a.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// The other direction is a line of its own, and so is each other pair of servers.
func TestLinesAreApart(t *testing.T) {
	l := newLink(t)
	l.network.line("b", "a").cut.set(true)
	l.network.line("a", "c").cut.set(true)
	carries(t, l.a, l.b)
	carries(t, l.b, l.a)
}

// A server that stands still gets nothing and sends nothing.
func TestFrozenServer(t *testing.T) {
	for _, frozen := range []string{"a", "b"} {
		l := newLink(t)
		l.network.freezer(l.server.id).set(false)
		gate := l.network.freezer("b")
		if frozen == "a" {
			gate = l.network.freezer("a")
		}
		gate.set(true)
		_, err := l.a.Write([]byte("there"))
		require.NoError(t, err)
		silent(t, l.b)
		gate.set(false)
		arrives(t, l.b, []byte("there"))
	}
}

// A slow line takes its time.
func TestSlowLine(t *testing.T) {
	l := newLink(t)
	l.network.line("a", "b").slow.Store(true)
	start := time.Now()
	carries(t, l.a, l.b)
	carries(t, l.b, l.a)
	require.GreaterOrEqual(t, time.Since(start), 2*slowLine)
}

// Where no process listens, a connection is refused, so that package tcp knows that the process is
// gone; where the line is cut, nobody says anything.
func TestDial(t *testing.T) {
	l := newLink(t)
	require.NoError(t, l.a.SetReadDeadline(time.Now().Add(testPatience)))
	l.server.kill()
	_, err := l.b.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed, "a killed process has nothing open")
	_, err = l.a.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	_, err = l.network.dial(t.Context(), "a", l.dead, "b")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	l.network.line("a", "b").cut.set(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = l.network.dial(ctx, "a", l.dead, "b")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	l.network.line("a", "b").cut.set(false)
	l.server, err = l.network.listen("b")
	require.NoError(t, err)
	again, err := l.network.dial(t.Context(), "a", l.dead, "b")
	require.NoError(t, err)
	require.NoError(t, again.Close())
	l.server.kill()
}

// On a line that is cut nobody learns that the other side has gone, also if nothing was on its way.
func TestCutLineHidesTheEnd(t *testing.T) {
	l := newLink(t)
	l.network.line("a", "b").cut.set(true)
	l.server.kill()
	silent(t, l.a)
	require.NoError(t, l.a.SetReadDeadline(time.Now().Add(testPatience)))
	l.network.line("a", "b").cut.set(false)
	_, err := l.a.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// When the process that has dialled is killed, its connections end, whether it closes them or not.
func TestKilledDiallerHangsUp(t *testing.T) {
	l := newLink(t)
	carries(t, l.a, l.b)
	close(l.dead)
	require.NoError(t, l.b.SetReadDeadline(time.Now().Add(testPatience)))
	_, err := l.b.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}

// When the process that has dialled is killed, nothing more of what it has sent arrives.
func TestKilledDialler(t *testing.T) {
	l := newLink(t)
	l.network.line("a", "b").slow.Store(true)
	_, err := l.a.Write([]byte("too late"))
	require.NoError(t, err)
	close(l.dead)
	require.NoError(t, l.b.SetReadDeadline(time.Now().Add(testPatience)))
	n, err := l.b.Read(make([]byte, 10))
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, n)
}
