package rules

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// pipes are a network for package tcp, in virtual time: each connection is a net.Pipe.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	conns     map[net.Conn][2]string // with the two ends
	cut       map[string]bool        // addresses that nobody reaches, and that reach nobody
	reading   *gate                  // holds up whoever reads from a connection
}

// A pipeConn is read when the gate is open.
type pipeConn struct {
	net.Conn
	gate *gate
}

func (c pipeConn) Read(b []byte) (int, error) {
	c.gate.pass()
	return c.Conn.Read(b)
}

type pipeListener struct {
	pipes   *pipes
	address string
	come    chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

type pipeAddress string

func (pipeAddress) Network() string  { return "pipe" }
func (a pipeAddress) String() string { return string(a) }

func (l *pipeListener) Addr() net.Addr { return pipeAddress(l.address) }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.come:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.pipes.mu.Lock()
		defer l.pipes.mu.Unlock()
		delete(l.pipes.listeners, l.address)
	})
	return nil
}

func (p *pipes) listen(address string) (net.Listener, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &pipeListener{pipes: p, address: address, come: make(chan net.Conn), closed: make(chan struct{})}
	p.listeners[address] = l
	return l, nil
}

// dialFrom returns the function by which a server dials.
func (p *pipes) dialFrom(own string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		p.mu.Lock()
		l := p.listeners[address]
		if l == nil || p.cut[own] || p.cut[address] {
			p.mu.Unlock()
			return nil, syscall.EHOSTUNREACH
		}
		near, far := net.Pipe()
		p.conns[near], p.conns[far] = [2]string{own, address}, [2]string{own, address}
		p.mu.Unlock()
		select {
		case l.come <- pipeConn{far, p.reading}:
			return pipeConn{near, p.reading}, nil
		case <-l.closed:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// isolate breaks all connections of an address, and lets none be made while it holds.
func (p *pipes) isolate(address string, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut[address] = is
	for conn, ends := range p.conns {
		if is && (ends[0] == address || ends[1] == address) {
			_ = conn.Close()
			delete(p.conns, conn)
		}
	}
}

// listenAs returns the transport of a server.
func (p *pipes) listenAs(t *testing.T, id string) *tcp.Transport {
	transport, err := tcp.Listen(id, tcp.Options{Listen: p.listen, Dial: p.dialFrom(id), QueueMessages: 64, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return transport
}

// overPipes has the servers talk by package tcp.
func overPipes(c *cluster) {
	p := &pipes{listeners: map[string]*pipeListener{}, conns: map[net.Conn][2]string{}, cut: map[string]bool{}, reading: &gate{}}
	c.pipes = p
	c.join = func(id raft.ServerID) raft.Transport { return p.listenAs(c.t, string(id)) }
}

// connectionsBreak cuts a server off whose queue is full then, and has a stranger come.
func connectionsBreak(t *testing.T, c *cluster) {
	leader, others := c.leader()
	stop := c.load(leader, 10)
	c.pass(10 * time.Second)
	c.pipes.reading.shut()
	time.Sleep(1500 * time.Millisecond) // in the bubble's time
	c.scrape()
	c.pipes.reading.open()
	c.pass(10 * time.Second)
	c.pipes.isolate(string(c.servers[others[0]].id), true)
	c.pass(time.Minute)
	c.pipes.isolate(string(c.servers[others[0]].id), false)
	stop()
	c.pass(time.Minute)

	stranger := c.pipes.listenAs(t, "z")
	require.NoError(t, stranger.Start(raft.Server{ID: "z", Address: "z"}, nobody{}))
	stranger.SetServers([]raft.Server{{ID: "a", Address: "a"}})
	time.Sleep(time.Second) // in the bubble's time
	c.scrape()
	require.NoError(t, stranger.Close())
	c.pass(10 * time.Second)
}
