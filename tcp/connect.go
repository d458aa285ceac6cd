package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
)

// A link is a connection past its handshake.
type link struct {
	// raw is the connection that was dialled or accepted. Closing it leaves out the end of TLS.
	// conn is raw, or TLS on it, for reading and writing.
	raw      net.Conn
	conn     net.Conn
	reader   *frameReader
	receipts *receipts     // where messages are received
	idle     time.Duration // how long nothing may come there; 0 if other deadlines see to that
	since    time.Time     // when it was connected

	session session
	shown   *keyring // on a connection that this side has dialled: the keys that it has proved
	// On a connection that was accepted: the proofs that came last, and whether one of them shows
	// the newest key that this side has now. The mu of the Transport guards the proofs.
	proofs []proof
	proved atomic.Bool
}

// A held is a connection that was dialled or accepted. It can be the key of a map, which the type
// that the user has chosen need not allow.
type held struct{ net.Conn }

// dial connects to a server and shakes hands with it. The raw connection of the link is adopted.
func (t *Transport) dial(ctx context.Context, purpose byte, to raft.Server) (*link, error) {
	deadline := time.Now().Add(t.options.DialTimeout)
	dialling, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	raw, err := t.connect(dialling, to.Address)
	if err != nil {
		return nil, err
	}
	if !t.adopt(raw) {
		return nil, net.ErrClosed
	}
	if ctx != t.ctx { // when t.ctx ends, Close closes what was adopted
		defer context.AfterFunc(ctx, func() { abandon(raw) })()
	}
	greeted := false
	defer func() {
		if !greeted { // also when a function of the user's has ended the goroutine
			t.release(raw)
		}
	}()
	l := &link{raw: raw, conn: t.identity.dialled(raw, to.ID), shown: t.keyring()}
	err = guard("TLS", func() error {
		return l.greet(deadline, hello{purpose: purpose, from: t.self, to: to.ID})
	})
	if err != nil {
		return nil, fmt.Errorf("shake hands: %w", err)
	}
	greeted = true
	return l, nil
}

// While nothing answers, another attempt to connect is begun every redialAfter. The system sends
// the first packet of a connection again only after a second, and then after two: by attempts of
// its own this side notices within redialAfter that packets come through again. maxAttempts bounds
// the attempts that are under way at a time to one address: a Dial that doesn't end when its
// context ends is not called without end, and holds up nobody else.
const (
	redialAfter = 250 * time.Millisecond
	maxAttempts = 16
)

// An attempt is how an attempt to connect has ended.
type attempt struct {
	conn net.Conn
	err  error
}

// connect opens a connection. The attempt that ends first decides.
func (t *Transport) connect(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the other attempts
	again := time.NewTicker(redialAfter)
	defer again.Stop()
	for results := make(chan attempt); ; {
		t.attempt(ctx, address, results)
		select {
		case a := <-results:
			return a.conn, a.err
		case <-again.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("dial %s: %w", address, ctx.Err())
		}
	}
}

// attempt starts one attempt, in a goroutine. Its result is closed if nobody waits for it any more.
func (t *Transport) attempt(ctx context.Context, address string, results chan<- attempt) {
	if !t.beginAttempt(address) {
		return
	}
	go func() {
		defer t.endAttempt(address)
		a := attempt{err: errEnded}
		defer func() {
			select {
			case results <- a:
			case <-ctx.Done():
				if a.conn != nil {
					abandon(a.conn)
				}
			}
		}()
		a.err = guard("Dial", func() error {
			conn, err := t.options.Dial(ctx, address)
			if err == nil && conn == nil {
				return errors.New("the function Dial has returned no connection")
			}
			if err == nil {
				a.conn = &held{conn}
			}
			return err
		})
	}()
}

// beginAttempt counts an attempt, or says that there are too many.
func (t *Transport) beginAttempt(address string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.attempts[address] >= maxAttempts {
		return false
	}
	t.attempts[address]++
	return true
}

func (t *Transport) endAttempt(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.attempts[address]--; t.attempts[address] == 0 {
		delete(t.attempts, address)
	}
	if len(t.attempts) == 0 && t.closed && t.dialled != nil {
		close(t.dialled)
		t.dialled = nil
	}
}

// awaitAttempts waits until no call of Dial is under way any more, at most until the deadline. No
// new one begins, since the transport is closed.
func (t *Transport) awaitAttempts(deadline <-chan time.Time) {
	t.mu.Lock()
	dialled := t.dialled
	if len(t.attempts) == 0 {
		dialled = nil
	}
	t.mu.Unlock()
	if dialled == nil {
		return
	}
	select {
	case <-dialled:
	case <-deadline:
	}
}

// greet shakes hands with the server that was dialled.
func (l *link) greet(deadline time.Time, h hello) (err error) {
	if err := l.raw.SetDeadline(deadline); err != nil {
		return err
	}
	if l.session, err = newSession(l, h.from.ID, h.to); err != nil {
		return err
	}
	h.proofs = l.shown.prove(&l.session)
	if l.reader, err = greet(l.conn, h); err != nil {
		return err
	}
	return l.raw.SetDeadline(time.Time{})
}
