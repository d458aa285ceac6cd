package tcp

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// ask sends a message to the address that the message names, on a connection of its own. That
// connection isn't one of the peer: the connections between the two servers stay as they are. While
// one message is on its way to a server at an address, another one to the same place is dropped. So
// is every message while maxAsking others are on their way, and one that is larger than a message
// of a guest may be.
func (t *Transport) ask(m *wire.Message) {
	to := raft.Server{ID: m.To, Address: m.ToAddress}
	if to.ID == t.self.ID || len(to.ID) > wire.MaxServerID || len(to.Address) > wire.MaxAddress {
		return
	}
	frame := wire.AppendMessage(make([]byte, frameHeader), m)
	if size := len(frame) - frameHeader; size > min(t.options.MaxFrame, maxGuestFrame) {
		t.log.put(line{level: slog.LevelWarn, text: "tcp: can't ask", err: errTooLarge, more: []slog.Attr{peerAttr(to.ID), slog.Int("bytes", size)}})
		return
	}
	sealFrame(frame)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.started || t.closed || t.asking[to] || len(t.asking) >= maxAsking {
		return
	}
	t.asking[to] = true
	t.expect(to.ID)
	t.running.Go(func() {
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			delete(t.asking, to)
		}()
		err := guard("Conn", func() error { return t.deliver(frame, to) })
		if err != nil && t.ctx.Err() == nil {
			t.log.put(line{level: slog.LevelWarn, text: "tcp: can't ask", err: err, more: []slog.Attr{peerAttr(to.ID), slog.String("address", to.Address)}})
		}
	})
}

// deliver takes a single message to a server. When the other side has received it, it closes the
// connection.
func (t *Transport) deliver(frame []byte, to raft.Server) error {
	l, err := t.dial(t.ctx, forAsking, to)
	if err != nil {
		return err
	}
	defer t.release(l.raw)
	if err := l.raw.SetDeadline(time.Now().Add(t.options.WriteTimeout)); err != nil {
		return err
	}
	if _, err := l.conn.Write(frame); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_ = watch(l) // received or not, the connection ends
	return nil
}

// watch reads from a connection on which the other side sends nothing, in order to notice when it
// breaks.
func watch(l *link) error {
	if _, err := l.reader.read(); err != nil {
		return unexpected(err)
	}
	return errors.New("the other side sent data on a connection on which it may only receive")
}
