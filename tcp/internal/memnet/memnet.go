// Package memnet is a network in memory for tests. Its listeners and connections wait on channels.
// So they can be used inside a testing/synctest bubble, where real sockets can't.
package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// A Network is a set of addresses at which one can listen, and which one can dial. Its zero value
// is ready for use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*Listener
	// silent are the addresses that don't answer when they are dialled: packets to them are lost.
	silent map[string]bool
}

// Listen opens an address. If somebody listens there already, the error wraps syscall.EADDRINUSE.
func (n *Network) Listen(address string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[address] != nil {
		return nil, fmt.Errorf("listen at %s: %w", address, syscall.EADDRINUSE)
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*Listener)
	}
	l := &Listener{
		network: n, address: Address(address),
		backlog: make(chan *Conn, 128), closed: make(chan struct{}), conns: make(map[*Conn]struct{}),
	}
	n.listeners[address] = l
	return l, nil
}

// Dial connects to an address. Where nobody listens, the error wraps syscall.ECONNREFUSED. At a
// silent address, Dial waits until ctx ends.
func (n *Network) Dial(ctx context.Context, address string) (net.Conn, error) {
	n.mu.Lock()
	l, silent := n.listeners[address], n.silent[address]
	n.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, fmt.Errorf("dial %s: %w", address, ctx.Err())
	}
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	}
	near, far := Pipe("dialler", Address(address))
	l.mu.Lock()
	l.conns[far] = struct{}{}
	l.mu.Unlock()
	select {
	case l.backlog <- far:
		return near, nil
	case <-l.closed:
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return nil, fmt.Errorf("dial %s: %w", address, ctx.Err())
	}
}

// Silence makes an address silent, or ends its silence. New connections to a silent address get no
// answer; existing ones stay.
func (n *Network) Silence(address string, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.silent == nil {
		n.silent = make(map[string]bool)
	}
	n.silent[address] = silent
}

// Reset breaks all connections that were dialled to the address.
func (n *Network) Reset(address string) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Reset()
	}
	clear(l.conns)
}

// A Listener listens at one address.
type Listener struct {
	network *Network
	address Address
	backlog chan *Conn
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	conns map[*Conn]struct{} // all that were dialled since the last Reset
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends listening, and resets the connections that nobody has accepted.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.network.mu.Lock()
		delete(l.network.listeners, string(l.address))
		l.network.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.backlog:
				c.Reset()
			default:
				return
			}
		}
	})
	return nil
}

// Addr returns the address at which l listens.
func (l *Listener) Addr() net.Addr { return l.address }

// An Address is any text.
type Address string

// Network returns "memory".
func (a Address) Network() string { return "memory" }

// String returns the text.
func (a Address) String() string { return string(a) }
