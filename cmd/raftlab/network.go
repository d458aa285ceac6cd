package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/e17579a5/raft"
)

// slowLine is how much longer bytes take on a slow line, in each direction.
const slowLine = 120 * time.Millisecond

// A network is what the servers' connections go through. Each server listens at a port of the
// loopback interface that it gets anew at each start; the address by which the others know it is its
// ID. The bytes of each connection go through a proxy, which belongs to the line from the server
// that has dialled to the one that was dialled. In package tcp, a server's messages to another one
// travel only on connections that it has dialled itself. So nothing that a sends to b arrives while
// the line from a to b is cut, whatever becomes of the other direction.
//
// A line that is cut is a black hole: bytes that are on their way are held, and arrive when the line
// is whole again, if somebody still waits for them. Nobody is told, nor that the other side has gone
// in the meantime. A connection can't be made; the attempt waits, as long as it wants to.
type network struct {
	ended chan struct{} // closed when the lab ends
	once  sync.Once

	mu        sync.Mutex
	lines     map[[2]raft.ServerID]*line
	listening map[raft.ServerID]*listener
	frozen    map[raft.ServerID]*gate // of servers that stand still
}

func newNetwork() *network {
	return &network{
		ended: make(chan struct{}), lines: map[[2]raft.ServerID]*line{},
		listening: map[raft.ServerID]*listener{}, frozen: map[raft.ServerID]*gate{},
	}
}

// end ends all connections.
func (n *network) end() { n.once.Do(func() { close(n.ended) }) }

// A line carries what one server sends to another.
type line struct {
	cut  gate // shut while the line is cut
	slow atomic.Bool

	sent atomic.Uint64 // messages that the sender has handed to its transport
	mu   sync.Mutex
	seen []string // the kinds of the latest ones, for the page: at most maxSeen since the last look
}

// maxSeen is how many messages of a line the page shows in one tick.
const maxSeen = 2

// note counts a message, and keeps its kind for the page.
func (l *line) note(kind string) {
	l.sent.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.seen) < maxSeen {
		l.seen = append(l.seen, kind)
	}
}

// look returns the kinds of messages since the last look, and forgets them.
func (l *line) look() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	return seen
}

// line returns the line from a server to another.
func (n *network) line(from, to raft.ServerID) *line {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := [2]raft.ServerID{from, to}
	l := n.lines[key]
	if l == nil {
		l = &line{}
		n.lines[key] = l
	}
	return l
}

// freezer returns the gate that is shut while a server stands still.
func (n *network) freezer(id raft.ServerID) *gate {
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.frozen[id]
	if g == nil {
		g = &gate{}
		n.frozen[id] = g
	}
	return g
}

// forget forgets a server that won't come back. What its lines held goes where it was going to.
func (n *network) forget(id raft.ServerID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if g := n.frozen[id]; g != nil {
		g.set(false)
	}
	delete(n.frozen, id)
	for key, l := range n.lines {
		if key[0] == id || key[1] == id {
			l.cut.set(false)
			delete(n.lines, key)
		}
	}
}

// A listener accepts the connections of one process of a server.
type listener struct {
	net.Listener
	network *network
	id      raft.ServerID

	mu    sync.Mutex
	gone  bool
	conns map[net.Conn]struct{}
}

// listen makes a server reachable. It is Options.Listen of package tcp.
func (n *network) listen(id raft.ServerID) (*listener, error) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, network: n, id: id, conns: map[net.Conn]struct{}{}}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listening[id] = l
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	accepted := &acceptedConn{conn, l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return nil, net.ErrClosed // the connection is closed with the process
	}
	l.conns[conn] = struct{}{}
	return accepted, nil
}

func (l *listener) Close() error {
	l.network.mu.Lock()
	if l.network.listening[l.id] == l {
		delete(l.network.listening, l.id)
	}
	l.network.mu.Unlock()
	return l.Listener.Close()
}

// kill closes what a process has open, all at once.
func (l *listener) kill() {
	_ = l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for conn := range l.conns {
		_ = conn.Close()
	}
}

// An acceptedConn is a connection that a process has accepted.
type acceptedConn struct {
	net.Conn
	listener *listener
}

func (c *acceptedConn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.conns, c.Conn)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}

// listenerOf returns where a server listens; nil while it doesn't.
func (n *network) listenerOf(id raft.ServerID) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listening[id]
}

// dial connects a process of a server to the server whose ID the address is. dead is closed when the
// process is killed. It is Options.Dial of package tcp.
func (n *network) dial(ctx context.Context, from raft.ServerID, dead <-chan struct{}, address string) (net.Conn, error) {
	to := raft.ServerID(address)
	l := n.line(from, to)
	p := &proxy{line: l, gates: []*gate{&l.cut, n.freezer(from), n.freezer(to)}, dead: dead, ended: n.ended}
	if !pass(ctx.Done(), p.gates...) {
		return nil, fmt.Errorf("raftlab: dial %s: %w", to, context.Cause(ctx))
	}
	there := n.listenerOf(to)
	if there == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	var dialer net.Dialer
	outer, err := dialer.DialContext(ctx, "tcp", there.Addr().String())
	if err != nil {
		return nil, err
	}
	near, inner := net.Pipe()
	go p.carry(outer, inner)
	go p.carry(inner, outer)
	return near, nil
}

// A proxy carries the bytes of one connection, when the gates are open.
type proxy struct {
	line  *line
	gates []*gate
	dead  <-chan struct{} // closed when the process that has dialled is killed
	ended <-chan struct{}
}

// Bytes on their way in one direction of a connection: at most maxParcels pieces.
const (
	parcelBytes = 32 << 10
	maxParcels  = 64
)

// A parcel is a piece of what is on its way, and when it arrives.
type parcel struct {
	bytes []byte
	due   time.Time
}

// carry carries bytes in one direction until one side closes. Then it closes the other side, when
// that can be known there.
func (p *proxy) carry(to, from net.Conn) {
	way := make(chan parcel, maxParcels)
	stop := make(chan struct{}) // closed when nothing more can be delivered
	go func() {
		defer close(way)
		buffer := make([]byte, parcelBytes)
		for {
			n, err := from.Read(buffer)
			due := time.Now()
			if p.line.slow.Load() {
				due = due.Add(slowLine)
			}
			if n > 0 {
				select {
				case way <- parcel{append([]byte(nil), buffer[:n]...), due}:
				case <-stop:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for p.deliver(to, way) {
	}
	close(stop)
	pass(p.ended, p.gates...) // while a line is cut, nobody learns that the other side has gone
	_ = to.Close()
	_ = from.Close()
}

// deliver delivers the next parcel. It returns false when there is none any more, or nobody to take
// it.
func (p *proxy) deliver(to net.Conn, way <-chan parcel) bool {
	var next parcel
	select {
	case parcel, more := <-way:
		if !more {
			return false
		}
		next = parcel
	case <-p.dead:
		return false
	case <-p.ended:
		return false
	}
	if wait := time.Until(next.due); wait > 0 {
		<-time.After(wait)
	}
	if !pass(p.dead, p.gates...) {
		return false
	}
	_, err := to.Write(next.bytes)
	return err == nil
}
