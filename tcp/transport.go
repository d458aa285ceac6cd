package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A Transport is a raft.Transport over TCP. Its methods may be called by any goroutines at any time,
// except Close from within a Handler, which would wait for itself.
type Transport struct {
	options  Options
	identity *identity
	listener net.Listener

	// ctx ends with Close, and with it every attempt to connect.
	ctx    context.Context
	cancel context.CancelFunc
	// running counts the goroutines. It grows only under mu, and not once closed is set.
	running sync.WaitGroup

	// self, handler and log are set by Start, before any goroutine is started that uses them.
	self    raft.Server
	handler raft.Handler
	log     *slog.Logger
	logged  remarks

	// mu is locked before that of a peer.
	mu         sync.RWMutex
	started    bool
	closed     bool
	peers      map[raft.ServerID]*peer
	conns      map[net.Conn]struct{} // all that are open
	handshakes int                   // accepted, and not known yet
	streams    int                   // being received
	asking     map[raft.Server]bool  // who is dialled for a single message
}

var _ raft.Transport = (*Transport)(nil)

// Listen opens the address, which may have port 0 (see Addr), and returns a transport that receives
// there from its Start on. An address in use is an error here. Who doesn't Start it closes it.
func Listen(address string, options Options) (*Transport, error) {
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(options.TLS)
	if err != nil {
		return nil, err
	}
	listener, err := options.Listen(address)
	if err != nil {
		return nil, fmt.Errorf("tcp: listen at %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Transport{
		options: options, identity: identity, listener: listener,
		ctx: ctx, cancel: cancel,
		peers: make(map[raft.ServerID]*peer), conns: make(map[net.Conn]struct{}),
		asking: make(map[raft.Server]bool),
	}, nil
}

// Addr returns the address that the transport listens at.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// Start implements raft.Transport. Self.Address is where other servers reach this one.
func (t *Transport) Start(self raft.Server, handler raft.Handler) error {
	switch {
	case self.ID == "" || len(self.ID) > raft.MaxServerID:
		return fmt.Errorf("%w: tcp: a server ID of %d bytes, not from 1 to %d", raft.ErrConfig, len(self.ID), raft.MaxServerID)
	case len(self.Address) > raft.MaxAddress:
		return fmt.Errorf("%w: tcp: an address of %d bytes, more than %d", raft.ErrConfig, len(self.Address), raft.MaxAddress)
	case handler == nil:
		return fmt.Errorf("%w: tcp: no handler", raft.ErrConfig)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fmt.Errorf("tcp: start: %w", net.ErrClosed)
	}
	if t.started {
		return errors.New("tcp: started twice")
	}
	t.started = true
	t.self, t.handler = self, handler
	t.log = t.options.Logger.With("node", string(self.ID))
	t.running.Go(t.accept)
	return nil
}

// SetServers implements raft.Transport. It connects to the servers that are new.
func (t *Transport) SetServers(servers []raft.Server) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.started || t.closed {
		return
	}
	named := make(map[raft.ServerID]bool, len(servers))
	for _, s := range servers {
		if s.ID == t.self.ID {
			continue
		}
		if s.ID == "" || len(s.ID) > raft.MaxServerID || len(s.Address) > raft.MaxAddress {
			t.log.Error("tcp: ignore a server that exceeds the limits", "peer", string(s.ID), "address", s.Address)
			continue
		}
		named[s.ID] = true
		p := t.peers[s.ID]
		if p == nil {
			p = t.addPeer(s)
		}
		p.appoint(s.Address)
	}
	for id, p := range t.peers {
		if !named[id] {
			p.dismiss()
		}
	}
}

// addPeer starts a peer. The caller holds mu and has checked that the transport isn't closed.
func (t *Transport) addPeer(s raft.Server) *peer {
	p := newPeer(t, s)
	t.peers[s.ID] = p
	t.running.Go(p.run)
	return p
}

// peer returns the peer of that name, or nil.
func (t *Transport) peer(id raft.ServerID) *peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.peers[id]
}

// Send implements raft.Transport.
func (t *Transport) Send(m raft.Message) {
	if m.At != "" {
		t.ask(&m)
		return
	}
	if p := t.peer(m.To); p != nil {
		p.send(&m)
	}
}

// Close implements raft.Transport. It waits for calls of the handler that are under way.
func (t *Transport) Close() error {
	t.mu.Lock()
	var err error
	if !t.closed {
		t.closed = true
		t.cancel()
		// The listener goes first: others see the connections break, dial again, and are refused.
		err = t.listener.Close()
		for conn := range t.conns {
			abandon(conn)
		}
	}
	t.mu.Unlock()
	t.running.Wait()
	return err
}

// adopt has Close close the connection. It reports false, and has closed it, when Close was called already.
func (t *Transport) adopt(conn net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		abandon(conn)
		return false
	}
	t.conns[conn] = struct{}{}
	return true
}

// release closes a connection that was adopted.
func (t *Transport) release(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, conn)
	abandon(conn)
}

// abandon closes a connection that is of no more use: its error would tell nothing.
func abandon(conn net.Conn) { _ = conn.Close() }

// A link is a connection past its handshake.
type link struct {
	raw    net.Conn // what was dialled or accepted: it is closed without the ceremonies of TLS
	conn   net.Conn // what is read and written: raw, or TLS on it
	reader *frameReader
	since  time.Time // when it was dialled
}

// dial connects to a server and shakes hands with it. The link's raw connection is adopted.
func (t *Transport) dial(ctx context.Context, purpose byte, to raft.Server) (*link, error) {
	deadline := time.Now().Add(t.options.DialTimeout)
	dialling, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	raw, err := t.options.Dial(dialling, to.Address)
	if err != nil {
		return nil, err
	}
	if !t.adopt(raw) {
		return nil, net.ErrClosed
	}
	if ctx != t.ctx { // whose end closes what was adopted
		defer context.AfterFunc(ctx, func() { abandon(raw) })()
	}
	l := &link{raw: raw, conn: t.identity.dialled(raw, to.ID)}
	if err := l.greet(deadline, hello{purpose: purpose, from: t.self, to: to.ID}); err != nil {
		t.release(raw)
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	return l, nil
}

// greet shakes hands with who was dialled.
func (l *link) greet(deadline time.Time, h hello) (err error) {
	if err := l.raw.SetDeadline(deadline); err != nil {
		return err
	}
	if l.reader, err = greet(l.conn, h); err != nil {
		return err
	}
	return l.raw.SetDeadline(time.Time{})
}
