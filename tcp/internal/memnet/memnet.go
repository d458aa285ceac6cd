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
	return n.dial(ctx, "dialler", address)
}

// DialFrom returns a function that is Dial, but for somebody whose own address is known. While that
// is silent, the function waits until ctx ends.
func (n *Network) DialFrom(own string) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) { return n.dial(ctx, own, address) }
}

func (n *Network) dial(ctx context.Context, own, address string) (net.Conn, error) {
	n.mu.Lock()
	l, silent := n.listeners[address], n.silent[address] || n.silent[own]
	n.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, fmt.Errorf("dial %s: %w", address, ctx.Err())
	}
	if l == nil {
		return nil, fmt.Errorf("dial %s: %w", address, syscall.ECONNREFUSED)
	}
	near, far := Pipe(Address(own), Address(address))
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
	defer n.mu.Unlock()
	n.listeners[address].each("", (*Conn).Reset)
}

// Cut swallows from now on what is sent on all connections that were dialled to the address, or
// from it, without a word to either end. New connections work, unless the address is silent too.
func (n *Network) Cut(address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for at, l := range n.listeners {
		from := address
		if at == address {
			from = "" // from anywhere
		}
		l.each(from, (*Conn).Cut)
	}
}

// each calls f with all connections that were dialled from an address, or from anywhere if it is
// empty, and forgets them.
func (l *Listener) each(from string, f func(*Conn)) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if from == "" || string(c.remote) == from {
			f(c)
			delete(l.conns, c)
		}
	}
}

// A Listener listens at one address.
type Listener struct {
	network *Network
	address Address
	backlog chan *Conn
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	conns map[*Conn]struct{} // all that were dialled since the last Reset or Cut
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
