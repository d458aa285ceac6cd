package tcp_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wire"
)

// moments are the states of a transport in which it is closed.
var moments = []struct {
	name  string
	setUp func(c *cluster) *server
}{
	{"alone", func(c *cluster) *server { return c.start("a") }},
	{"connected", func(c *cluster) *server {
		a := c.start("a", "b")
		c.start("b", "a")
		pass(time.Second)
		return a
	}},
	{"just told of others", func(c *cluster) *server {
		c.start("b", "a")
		return c.start("a", "b", "c")
	}},
	{"backing off", func(c *cluster) *server {
		a := c.start("a", "b")
		pass(time.Second)
		a.tell("b", 1)
		pass(time.Millisecond)
		return a
	}},
	{"dialling a silent host", func(c *cluster) *server {
		c.network.Silence(address("b"), true)
		a := c.start("a", "b")
		synctest.Wait()
		return a
	}},
	{"waiting for an answer", func(c *cluster) *server {
		listener, err := c.network.Listen(address("b"))
		require.NoError(c.t, err)
		c.t.Cleanup(func() { require.NoError(c.t, listener.Close()) })
		a := c.start("a", "b")
		synctest.Wait()
		return a
	}},
	{"waiting for a hello", func(c *cluster) *server {
		a := c.start("a")
		c.dial("a")
		synctest.Wait()
		return a
	}},
	{"writing to a server that doesn't read", func(c *cluster) *server {
		c.hang("b")
		a := c.start("a", "b")
		synctest.Wait()
		a.tellMuch("b", 10<<20)
		synctest.Wait()
		return a
	}},
	{"receiving a stream", func(c *cluster) *server {
		a := c.start("a", "b")
		require.NoError(c.t, tcp.GreetForStream(c.dial("a"), raft.Server{ID: "b"}, "a"))
		s := <-a.streams
		go func() {
			defer close(s.done)
			if _, err := io.ReadAll(s.reader); err == nil {
				c.t.Error("the stream ended well")
			}
		}()
		synctest.Wait()
		return a
	}},
}

// Close ends everything, whatever is going on. The bubble sees to it that no goroutine is left.
func TestCloseAtAnyMoment(t *testing.T) {
	for _, test := range moments {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a := test.setUp(c)
				start := time.Now()
				var closing sync.WaitGroup
				for range 3 {
					closing.Go(func() {
						if err := a.Close(); err != nil {
							t.Error(err)
						}
					})
				}
				closing.Wait()
				require.Equal(t, start, time.Now(), "at once")
				a.tell("b", 1)
				a.SetServers(peers("d"))
				synctest.Wait()
				require.Empty(t, a.lostServers())
			})
		})
	}
}

// A lateListener has one more connection to hand out when it is closed.
type lateListener struct {
	net.Listener
	late net.Conn // nil once it was handed out; only one goroutine accepts
}

func (l *lateListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil && l.late != nil {
		conn, l.late = l.late, nil
		return conn, nil
	}
	return conn, err
}

// A connection that comes while the transport closes is closed, and Close doesn't wait for what it
// might say.
func TestConnectionThatComesWhileTheTransportCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		near, far := net.Pipe()
		options := c.options
		options.Listen = func(address string) (net.Listener, error) {
			listener, err := c.network.Listen(address)
			return &lateListener{listener, near}, err
		}
		a := c.startWith(options, "a")
		synctest.Wait()
		start := time.Now()
		require.NoError(t, a.Close())
		require.Equal(t, start, time.Now(), "at once")
		_, err := far.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
	})
}

// A closedCheck is a handler that must not be called once it is closed.
type closedCheck struct {
	closed  atomic.Bool
	late    atomic.Int64
	calls   atomic.Int64
	enough  int64 // how many calls close reached
	reached chan struct{}
}

func (c *closedCheck) call() {
	if c.closed.Load() {
		c.late.Add(1)
	}
	if c.calls.Add(1) == c.enough {
		close(c.reached)
	}
}

func (c *closedCheck) Receive(wire.Message) { c.call() }

func (c *closedCheck) Lost(raft.ServerID) { c.call() }

func (c *closedCheck) Stream(_ raft.ServerID, stream io.ReadCloser) {
	c.call()
	_, _ = io.Copy(io.Discard, stream) // it breaks, most likely
	c.call()
}

// On real sockets, servers that talk all the time are closed at random moments.
func TestCloseUnderLoad(t *testing.T) {
	ids := []raft.ServerID{"a", "b", "c"}
	var transports []*tcp.Transport
	var servers []raft.Server
	for _, id := range ids {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond})
		require.NoError(t, err)
		transports = append(transports, transport)
		servers = append(servers, raft.Server{ID: id, Address: transport.Addr().String()})
	}
	var handlers []*closedCheck
	for i, transport := range transports {
		handlers = append(handlers, &closedCheck{enough: 1 + rand.N[int64](2000), reached: make(chan struct{})})
		require.NoError(t, transport.Start(servers[i], handlers[i]))
		transport.SetServers(servers)
	}
	stop := make(chan struct{})
	var talking sync.WaitGroup
	for i, transport := range transports {
		talking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				to := ids[rand.N(len(ids))]
				transport.Send(wire.AppendRequest{Entries: make([]raft.Entry, 10)}.Message().In(wire.Envelope{From: ids[i], To: to}))
				if rand.N(1000) == 0 {
					if w, err := transport.OpenStream(t.Context(), to); err == nil {
						_, _ = w.Write(make([]byte, 1000)) // the transport may be closed by now
						_ = w.Close()
					}
				}
			}
		})
	}
	for i, transport := range transports {
		if i < 2 { // the last one has nobody left to hear
			select {
			case <-handlers[i].reached:
			case <-time.After(time.Minute):
				require.Fail(t, "too few messages", "server %d got %d", i, handlers[i].calls.Load())
			}
		}
		require.NoError(t, transport.Close())
		handlers[i].closed.Store(true)
	}
	close(stop)
	talking.Wait()
	for _, handler := range handlers {
		require.Zero(t, handler.late.Load(), "calls after Close")
	}
}
