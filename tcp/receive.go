package tcp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// accept takes connections until the transport is closed.
func (t *Transport) accept() {
	ended := true
	defer func() {
		if ended { // by a function of the user's
			t.wait(time.Second)
			t.again(t.accept)
		}
	}()
	for failures := 0; ; {
		var raw net.Conn
		err := guard("Listener", func() error {
			conn, err := t.listener.Accept()
			if err == nil {
				raw = &held{conn}
			}
			return err
		})
		switch {
		case t.ctx.Err() != nil:
			if err == nil {
				abandon(raw)
			}
			ended = false
			return
		case err != nil:
			// Most likely, there are no file descriptors left. That passes, or people have to mend
			// it.
			failures++
			t.log.put(line{level: slog.LevelError, text: "tcp: can't accept a connection", err: err})
			t.wait(min(time.Millisecond<<min(failures, 10), time.Second))
			continue
		}
		failures = 0
		t.receive(raw)
	}
}

// wait lets time pass, until the transport is closed at the latest.
func (t *Transport) wait(span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.ctx.Done():
	}
}

// receive starts a goroutine for a connection that was accepted, and gives it a place.
func (t *Transport) receive(raw net.Conn) {
	n := &newcomer{raw: raw, source: sourceOf(raw)}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		abandon(raw)
		return
	}
	displaced := t.enter(n)
	t.conns[raw] = false
	t.running.Go(func() { t.entertain(n) })
	t.mu.Unlock()
	if displaced != nil {
		abandon(displaced.raw)
		t.log.put(line{level: slog.LevelWarn, text: "tcp: a connection makes room that hasn't said yet whose it is", more: []slog.Attr{slog.String("source", displaced.source)}})
	}
}

// entertain serves a connection that was accepted, until it ends.
func (t *Transport) entertain(n *newcomer) {
	defer t.release(n.raw)
	var from raft.ServerID
	err := guard("Conn, TLS or Handler", func() (err error) {
		from, err = t.welcome(n)
		return err
	})
	if err == nil || t.ctx.Err() != nil || n.displaced {
		return
	}
	l := line{level: slog.LevelError, text: "tcp: drop a connection", err: err, more: []slog.Attr{peerAttr(from), slog.String("source", n.source)}}
	if p := t.peer(from); p != nil && p.member.Load() {
		l.about = from
	}
	t.log.put(l)
}

// welcome shakes hands with the server that has dialled. Then it receives the messages or the
// stream, until the connection ends. It returns the ID of that server, and an error if something
// was wrong besides the end of the connection.
func (t *Transport) welcome(n *newcomer) (raft.ServerID, error) {
	l := &link{raw: n.raw, conn: t.identity.received(n.raw)}
	h, err := t.admit(l, n)
	switch {
	case errors.Is(err, errNothingSaid):
		return "", nil
	case err != nil:
		return h.from.ID, fmt.Errorf("shake hands: %w", err)
	case h.purpose == forStream:
		return h.from.ID, t.welcomeStream(l, &h)
	}
	p, err := t.host(&h, l)
	if err != nil {
		return h.from.ID, errors.Join(err, answer(l.conn, t.self.ID, err))
	}
	defer p.detach(l)
	if err := answer(l.conn, t.self.ID, nil); err != nil {
		return h.from.ID, err
	}
	if h.purpose == forAsking {
		err = t.receiveAsked(l)
	} else {
		err = t.receiveMessages(l, p)
	}
	if !errors.Is(err, errFrame) && !errors.Is(err, errNoPlace) && !errors.Is(err, wire.ErrMalformed) {
		err = nil // it broke, which needs no line in the log
	}
	return h.from.ID, err
}

// welcomeStream hands a stream to the handler.
func (t *Transport) welcomeStream(l *link, h *hello) error {
	a, err := t.beginStream(l)
	if err != nil {
		return errors.Join(err, answer(l.conn, t.self.ID, err))
	}
	defer t.endStream(a)
	if err := answer(l.conn, t.self.ID, nil); err != nil {
		return err
	}
	if err := l.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	l.reader.max = streamChunk
	t.handler.Stream(h.from.ID, &streamReader{transport: t, link: l, arrival: a, patience: t.options.DialTimeout})
	return nil
}

// admit reads the hello of the server that has dialled, and refuses a server that isn't wanted.
// Then the place of the newcomer is free.
func (t *Transport) admit(l *link, n *newcomer) (hello, error) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.leave(n)
	}()
	if err := l.raw.SetDeadline(time.Now().Add(t.options.DialTimeout)); err != nil {
		return hello{}, err
	}
	h, reader, err := awaitHello(l.conn)
	l.reader = reader
	switch {
	case errors.Is(err, errVersion):
	case err != nil:
		return h, err
	case h.to != t.self.ID:
		err = fmt.Errorf("the connection is meant for the server %q", h.to)
	case h.from.ID == "":
		err = errors.New("the other side doesn't say which server it is")
	case h.from.ID == t.self.ID:
		err = fmt.Errorf("the other side claims to be this server, %q", h.from.ID)
	case h.purpose < forMessages || h.purpose > forBulk:
		err = fmt.Errorf("a connection for the unknown purpose %d", h.purpose)
	default:
		err = t.identity.proves(l.conn, h.from.ID)
	}
	if err == nil {
		l.proofs = h.proofs
		l.session, err = newSession(l, h.from.ID, t.self.ID)
	}
	if err != nil {
		// If the other side is gone already, there is nobody to tell.
		_ = answer(l.conn, t.self.ID, told(err))
	}
	return h, err
}

// told returns what the other side is told of an error. What the user's own function says of it is
// not for strangers.
func told(err error) error {
	if errors.Is(err, errUnauthorized) {
		return errUnauthorized
	}
	return err
}

// host attaches the connection to the peer that has dialled it. A server that isn't known becomes a
// guest. A connection for a single message isn't attached; the peer is dialled, so that it can be
// answered.
func (t *Transport) host(h *hello, l *link) (*peer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, net.ErrClosed
	}
	t.judge(l)
	p := t.peers[h.from.ID]
	if h.purpose == forBulk && !t.keys.empty() && p.isStranger(l) {
		return nil, errStranger
	}
	if p == nil {
		if !t.isExpected(h.from.ID) && !l.proved.Load() {
			t.makeRoomForGuest()
		}
		p = t.addPeer(h.from)
	}
	switch h.purpose {
	case forAsking:
		p.asks()
	case forBulk:
		p.attachBulk(l)
	default:
		p.attach(l)
	}
	return p, nil
}

// receiveMessages hands the messages that arrive to the handler, until the connection ends.
func (t *Transport) receiveMessages(l *link, p *peer) error {
	l.reader.shrink() // which is an enlargement after a handshake
	l.giveReceipts(t.options.WriteTimeout)
	defer t.endLarge(l)
	l.reader.larger = func(length uint64) error { return t.larger(l, p, length) }
	var decoder wire.Decoder
	if err := l.raw.SetWriteDeadline(time.Time{}); err != nil {
		return err
	}
	p.begin(l)
	for {
		l.reader.max = min(t.options.MaxFrame, maxGuestFrame)
		body, err := l.reader.read()
		if errors.Is(err, os.ErrDeadlineExceeded) && p.hears(l) {
			continue
		}
		if err != nil {
			return err
		}
		switch {
		case len(body) == 0:
			err = l.receipts.answer()
		case body[0] == renewal:
			err = t.renewed(l, body)
		default:
			err = t.deliverFrom(l, body, &decoder, p.spoken)
		}
		if len(body) > maxGuestFrame {
			t.endLarge(l)
		}
		if err != nil {
			return err
		}
	}
}

// larger decides on a frame that is larger than those of strangers may be. A stranger needs a place
// for it, and gets time.
func (t *Transport) larger(l *link, p *peer, length uint64) error {
	if length <= uint64(t.options.MaxFrame) && p.isStranger(l) {
		if err := t.beginLarge(l); err != nil {
			return err
		}
		span := guestIdle + time.Duration(length/(4<<20))*guestIdle
		if err := l.raw.SetReadDeadline(time.Now().Add(span)); err != nil {
			return err
		}
	}
	l.reader.max = t.options.MaxFrame
	return nil
}

// receiveAsked hands a single message to the handler.
func (t *Transport) receiveAsked(l *link) error {
	if err := l.raw.SetDeadline(time.Now().Add(t.options.WriteTimeout)); err != nil {
		return err
	}
	l.reader.max = min(t.options.MaxFrame, maxGuestFrame)
	body, err := l.reader.read()
	if err != nil {
		return err
	}
	return t.deliverFrom(l, body, &wire.Decoder{}, t.isStranger)
}

// deliverFrom hands a message to the handler. It asks whether the message comes from a stranger.
func (t *Transport) deliverFrom(l *link, body []byte, decoder *wire.Decoder, strange func(*link) bool) error {
	m, err := decoder.DecodeMessage(body)
	if err != nil {
		return err
	}
	if s := &l.session; m.From != s.from || m.To != s.to {
		return fmt.Errorf("%w: a message from %q to %q on the connection from %q to %q", errFrame, m.From, m.To, s.from, s.to)
	}
	if m.Stranger = strange(l); m.Stranger {
		*decoder = wire.Decoder{} // it remembers names, and strangers may send any number of them
	}
	if len(m.Entries()) > 0 {
		l.reader.keep() // the data of the entries is part of the body
	}
	if t.ctx.Err() != nil {
		return io.EOF
	}
	t.handler.Receive(m)
	return nil
}
