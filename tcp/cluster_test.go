package tcp_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/tcp/internal/memnet"
	"github.com/e17579a5/raft/wire"
)

// A cluster is a few servers on one network in memory. The address of a server is its ID and ":1".
type cluster struct {
	t       *testing.T
	network memnet.Network
	options tcp.Options
	log     logBuffer
}

// inBubble runs a test in a bubble, with a network of its own.
func inBubble(t *testing.T, f func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t}
		c.options = tcp.Options{
			Dial: c.network.Dial, Listen: c.network.Listen,
			Logger: slog.New(slog.NewTextHandler(&c.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		f(t, c)
	})
}

// A server is a transport, and the handler that records what it gets.
type server struct {
	*tcp.Transport
	id raft.ServerID

	messages chan wire.Message
	lost     chan raft.ServerID
	streams  chan stream
	closing  chan struct{}
}

type stream struct {
	from   raft.ServerID
	reader io.ReadCloser
	done   chan struct{} // closed by the test once it has used the reader
}

func address(id raft.ServerID) string { return string(id) + ":1" }

func peers(ids ...raft.ServerID) []raft.Server {
	var servers []raft.Server
	for _, id := range ids {
		servers = append(servers, raft.Server{ID: id, Address: address(id)})
	}
	return servers
}

// start starts a server that knows the others. The end of the test closes it.
func (c *cluster) start(id raft.ServerID, others ...raft.ServerID) *server {
	c.t.Helper()
	return c.startWith(c.options, id, others...)
}

func (c *cluster) startWith(options tcp.Options, id raft.ServerID, others ...raft.ServerID) *server {
	c.t.Helper()
	transport, err := tcp.Listen(address(id), options)
	require.NoError(c.t, err)
	s := newServer(transport, id)
	c.t.Cleanup(func() { s.close(c.t) })
	require.NoError(c.t, s.Start(raft.Server{ID: id, Address: address(id)}, s))
	s.SetServers(peers(others...))
	return s
}

func newServer(transport *tcp.Transport, id raft.ServerID) *server {
	return &server{
		Transport: transport, id: id,
		messages: make(chan wire.Message, 100_000), lost: make(chan raft.ServerID, 100),
		streams: make(chan stream), closing: make(chan struct{}),
	}
}

func (s *server) close(t *testing.T) {
	select {
	case <-s.closing:
	default:
		close(s.closing)
	}
	require.NoError(t, s.Close())
	require.NoError(t, s.AtRest())
}

// closeAtRest closes a node, and requires that its transport has given back whatever it counts.
func closeAtRest(t *testing.T, node *raft.Node, transport *tcp.Transport) {
	require.NoError(t, node.Close(context.Background()))
	require.NoError(t, transport.AtRest())
}

func (s *server) Receive(m wire.Message) { s.messages <- m }

func (s *server) Lost(id raft.ServerID) { s.lost <- id }

func (s *server) Stream(from raft.ServerID, reader io.ReadCloser) {
	st := stream{from: from, reader: reader, done: make(chan struct{})}
	select {
	case s.streams <- st:
		<-st.done
	case <-s.closing:
	}
}

// tell sends a message with a number.
func (s *server) tell(to raft.ServerID, number uint64) {
	s.Send(wire.Heartbeat{Round: number}.Message().In(wire.Envelope{From: s.id, To: to, Term: 1}))
}

// tellMuch sends a message with size bytes of data in one entry.
func (s *server) tellMuch(to raft.ServerID, size int) {
	s.Send(wire.AppendRequest{Entries: []raft.Entry{
		{Index: 1, Term: 1, Kind: wire.EntryCommand, Data: make([]byte, size)},
	}}.Message().In(wire.Envelope{From: s.id, To: to, Term: 1}))
}

// received returns the numbers of the messages that have arrived.
func (s *server) received() (numbers []uint64) {
	synctest.Wait()
	for {
		select {
		case m := <-s.messages:
			numbers = append(numbers, m.Heartbeat().Round)
		default:
			return numbers
		}
	}
}

// lostServers returns the servers that were reported as lost.
func (s *server) lostServers() (ids []raft.ServerID) {
	synctest.Wait()
	for {
		select {
		case id := <-s.lost:
			ids = append(ids, id)
		default:
			return ids
		}
	}
}

// A logBuffer is a log that a test can read.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// pass lets virtual time pass.
func pass(span time.Duration) {
	<-time.After(span)
	synctest.Wait()
}

func write(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	_, err := conn.Write(b)
	require.NoError(t, err)
}

// requireEnded requires that the other side ends the connection, whatever it sends before that.
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

// heap returns how many bytes of the heap are in use.
func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// dial opens a bare connection to a server.
func (c *cluster) dial(id raft.ServerID) net.Conn {
	c.t.Helper()
	conn, err := c.network.Dial(c.t.Context(), address(id))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, conn.Close()) })
	return conn
}

// greeted opens a connection to a server in the name of another server, past the handshake.
func (c *cluster) greeted(from, to raft.ServerID) net.Conn {
	c.t.Helper()
	conn := c.dial(to)
	require.NoError(c.t, tcp.GreetForMessages(conn, raft.Server{ID: from, Address: address(from)}, to))
	return conn
}

// hang starts a server that shakes hands and then reads nothing. It returns the connections that
// the server gets.
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

// encoded returns the bytes of a message.
func encoded(m wire.Message) []byte { return wire.AppendMessage(nil, &m) }
