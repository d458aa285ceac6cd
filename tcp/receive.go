package tcp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// accept takes connections until the transport is closed.
func (t *Transport) accept() {
	for failures := 0; ; {
		raw, err := t.listener.Accept()
		switch {
		case t.ctx.Err() != nil:
			if err == nil {
				abandon(raw)
			}
			return
		case err != nil:
			// Most likely, there are no file descriptors left. That passes, or people have to mend
			// it.
			failures++
			t.log.Error("tcp: can't accept a connection", "error", err)
			t.wait(min(time.Millisecond<<min(failures, 10), time.Second))
			continue
		}
		failures = 0
		if err := t.receive(raw); err != nil {
			if t.logged.isNew("accept", "", err) {
				t.log.Error("tcp: refuse a connection", "remote", raw.RemoteAddr().String(), "error", err)
			}
			abandon(raw)
		}
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

// receive starts a goroutine for a connection that was accepted.
func (t *Transport) receive(raw net.Conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	if t.handshakes >= maxHandshakes {
		return fmt.Errorf("%d other connections haven't said yet who they are", t.handshakes)
	}
	t.handshakes++
	t.conns[raw] = struct{}{}
	t.running.Go(func() {
		defer t.release(raw)
		from, err := t.welcome(raw)
		if err != nil && t.ctx.Err() == nil && t.logged.isNew("receive", string(from), err) {
			t.log.Error("tcp: drop a connection", "peer", string(from), "remote", raw.RemoteAddr().String(), "error", err)
		}
	})
	return nil
}

// welcome shakes hands with the server that has dialled. Then it receives the messages or the
// stream, until the connection ends. It returns the ID of that server, and an error if something
// was wrong besides the end of the connection.
func (t *Transport) welcome(raw net.Conn) (raft.ServerID, error) {
	l := &link{raw: raw, conn: t.identity.received(raw)}
	h, err := t.admit(l)
	t.mu.Lock()
	t.handshakes--
	t.mu.Unlock()
	if err != nil {
		return h.from.ID, fmt.Errorf("shake hands: %w", err)
	}
	if h.purpose == forStream {
		defer t.endStream()
		if err := l.accept(t.self.ID); err != nil {
			return h.from.ID, err
		}
		l.reader.max = streamChunk
		t.handler.Stream(h.from.ID, &streamReader{transport: t, link: l})
		return h.from.ID, nil
	}
	p, err := t.host(&h, l)
	if err != nil {
		return h.from.ID, errors.Join(err, answer(l.conn, t.self.ID, err))
	}
	if err := l.accept(t.self.ID); err != nil {
		p.detach(l)
		return h.from.ID, err
	}
	if h.purpose == forAsking {
		err = t.receiveMessage(l, h.from.ID, &wire.Decoder{})
	} else {
		l.giveReceipts(t.options.WriteTimeout)
		err = t.receiveMessages(l, h.from.ID)
	}
	p.detach(l)
	if !errors.Is(err, errFrame) && !errors.Is(err, raft.ErrMalformed) {
		err = nil // it broke, which needs no line in the log
	}
	return h.from.ID, err
}

// admit reads the hello of the server that has dialled, and refuses a server that isn't wanted. For
// a stream it also makes room.
func (t *Transport) admit(l *link) (hello, error) {
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
	case h.purpose < forMessages || h.purpose > forAsking:
		err = fmt.Errorf("a connection for the unknown purpose %d", h.purpose)
	default:
		err = t.identity.proves(l.conn, h.from.ID)
	}
	if err == nil && h.purpose == forStream {
		err = t.beginStream()
	}
	if err != nil {
		// If the other side is gone already, there is nobody to tell.
		_ = answer(l.conn, t.self.ID, err)
	}
	return h, err
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
	p := t.peers[h.from.ID]
	if p == nil {
		guests := 0
		for _, other := range t.peers {
			if !other.isMember() {
				guests++
			}
		}
		if guests >= maxGuests {
			return nil, fmt.Errorf("%d servers that are no members are connected already", guests)
		}
		p = t.addPeer(h.from)
	}
	if h.purpose == forAsking {
		p.asks()
	} else {
		p.attach(l)
	}
	return p, nil
}

// accept tells the other side that its connection is accepted.
func (l *link) accept(self raft.ServerID) error {
	if err := answer(l.conn, self, nil); err != nil {
		return err
	}
	return l.raw.SetDeadline(time.Time{})
}

// receiveMessages hands the messages that arrive to the handler, until the connection ends.
func (t *Transport) receiveMessages(l *link, from raft.ServerID) error {
	var decoder wire.Decoder
	for {
		if err := t.receiveMessage(l, from, &decoder); err != nil {
			return err
		}
	}
}

// receiveMessage hands the next message to the handler, or answers a question.
func (t *Transport) receiveMessage(l *link, from raft.ServerID, decoder *wire.Decoder) error {
	l.reader.max = t.options.MaxFrame
	body, err := l.reader.read()
	if err != nil {
		return err
	}
	if len(body) == 0 && l.receipts != nil {
		return l.receipts.tell()
	}
	m, err := decoder.DecodeMessage(body)
	if err != nil {
		return err
	}
	if m.From != from || m.To != t.self.ID {
		return fmt.Errorf("%w: a message from %q to %q on the connection from %q to %q", errFrame, m.From, m.To, from, t.self.ID)
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
