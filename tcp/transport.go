package tcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/logbook"
	"github.com/e17579a5/raft/wire"
)

// A Transport is a raft.Transport over TCP. Any goroutine may call its methods at any time, with
// one exception: a Handler must not call Close, which would wait for that call itself.
type Transport struct {
	options  Options
	identity *identity
	listener net.Listener

	// dialsOtherwise says that Options.Dial takes the place of TCP.
	dialsOtherwise bool

	// Close ends ctx, and thereby every attempt to connect.
	ctx    context.Context
	cancel context.CancelFunc
	// running counts the goroutines, except heed, which its sender waits for, and those that only
	// call a function of the user's. It grows only under mu, and only while closed isn't set.
	running sync.WaitGroup

	// Start sets self, handler and log.book.Attrs before it starts a goroutine that uses them.
	self    raft.Server
	handler raft.Handler
	log     log

	// mu is locked before the mutex of a peer.
	mu      sync.RWMutex
	started bool
	closed  bool
	keys    *keyring
	peers   map[raft.ServerID]*peer
	conns   map[net.Conn]bool // all that are open; true for one of which the user has the end of a stream

	// The places, and who has them (places.go).
	newcomers []*newcomer // in the order in which they came
	arrivals  map[*arrival]struct{}
	large     *link                       // the guest that sends a large frame
	expected  map[raft.ServerID]time.Time // servers that were asked, and until when they are expected

	asking   map[raft.Server]bool // the servers that are dialled for a single message
	attempts map[string]int       // by address, how many calls of Options.Dial are under way
	dialled  chan struct{}        // closed when there are none any more after Close; nil from then on
}

var _ raft.Transport = (*Transport)(nil)

// Listen opens the address and returns a transport that receives there from its Start on. The
// address may have port 0; Addr then says which port it is. An address that is in use is an error
// here, and so is an option that is wrong: that error wraps raft.ErrConfig. A transport that isn't
// started must be closed.
func Listen(address string, options Options) (*Transport, error) {
	dialsOtherwise := options.Dial != nil
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(options.TLS, options.Authorize)
	if err != nil {
		return nil, err
	}
	var listener net.Listener
	err = guard("Listen", func() (err error) {
		listener, err = options.Listen(address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("tcp: listen at %s: %w", address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Transport{
		options: options, dialsOtherwise: dialsOtherwise, identity: identity, listener: listener, log: log{logbook.New(options.Logger)},
		ctx: ctx, cancel: cancel,
		peers: make(map[raft.ServerID]*peer), conns: make(map[net.Conn]bool),
		attempts: make(map[string]int), asking: make(map[raft.Server]bool), arrivals: make(map[*arrival]struct{}), expected: make(map[raft.ServerID]time.Time),
		dialled: make(chan struct{}),
	}, nil
}

// Addr returns the address at which the transport listens.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// MaxMessage returns the size in bytes of the largest encoded message that is carried, which is
// Options.MaxFrame. A larger one is dropped where it would be sent, however often it is sent. So
// whoever makes messages should know the limit before they are in a log.
func (t *Transport) MaxMessage() int { return t.options.MaxFrame }

// Start implements raft.Transport. Other servers reach this one at self.Address. A self that
// exceeds the limits, or a nil handler, is an error that wraps raft.ErrConfig. After Close the
// error wraps net.ErrClosed. A second Start fails.
func (t *Transport) Start(self raft.Server, handler raft.Handler) error {
	switch {
	case self.ID == "" || len(self.ID) > wire.MaxServerID:
		return fmt.Errorf("%w: tcp: the server ID has %d bytes, not from 1 to %d", raft.ErrConfig, len(self.ID), wire.MaxServerID)
	case len(self.Address) > wire.MaxAddress:
		return fmt.Errorf("%w: tcp: the address has %d bytes, more than %d", raft.ErrConfig, len(self.Address), wire.MaxAddress)
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
	t.log.book.Attrs = []slog.Attr{slog.String("node", string(self.ID))}
	t.running.Go(t.accept)
	return nil
}

// SetServers implements raft.Transport. It dials servers that are new, or that have moved, at once.
// A server whose ID or address exceeds the limits is logged and left out.
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
		if s.ID == "" || len(s.ID) > wire.MaxServerID || len(s.Address) > wire.MaxAddress {
			t.log.put(line{level: slog.LevelError, text: "tcp: ignore a server whose ID or address has an invalid length", more: []slog.Attr{peerAttr(s.ID), slog.String("address", s.Address)}})
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

// peer returns the peer with that ID, or nil.
func (t *Transport) peer(id raft.ServerID) *peer {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.peers[id]
}

// Send implements raft.Transport. A message to a server that isn't known is dropped.
func (t *Transport) Send(m wire.Message) {
	if m.ToAddress != "" {
		t.ask(&m)
		return
	}
	if p := t.peer(m.To); p != nil {
		p.send(&m)
	}
}

// Close implements raft.Transport. It waits for calls of the handler that are under way, and of the
// functions in Options.TLS. For calls of Options.Dial and Options.Logger it waits up to a second.
func (t *Transport) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	conns := slices.Collect(maps.Keys(t.conns))
	t.mu.Unlock()
	var err error
	if first {
		t.cancel()
		// The listener is closed first. When other servers see their connections break, they dial
		// again, and are refused.
		err = guard("Listener", t.listener.Close)
		for _, conn := range conns {
			abandon(conn)
		}
	}
	t.running.Wait()
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	t.awaitAttempts(patience.C)
	t.log.book.Close(patience.C)
	return err
}

// adopt puts a connection among those that Close closes. If Close was called already, it closes the
// connection and returns false.
func (t *Transport) adopt(conn net.Conn) bool {
	t.mu.Lock()
	closed := t.closed
	if !closed {
		t.conns[conn] = false
	}
	t.mu.Unlock()
	if closed {
		abandon(conn)
	}
	return !closed
}

// release closes a connection that was adopted.
func (t *Transport) release(conn net.Conn) {
	t.mu.Lock()
	delete(t.conns, conn)
	t.mu.Unlock()
	abandon(conn)
}

// again runs f in another goroutine, in the place of one that a function of the user's has ended.
func (t *Transport) again(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.running.Go(f)
	}
}

// abandon closes a connection that is of no more use. Its error would tell nothing.
func abandon(conn net.Conn) { _ = guard("Conn", conn.Close) }
