package tcp

import (
	"fmt"
	"time"

	"github.com/e17579a5/raft"
)

// ask sends a message to the address that it names, on a connection of its own, which is no connection of the peer: what
// connects the two otherwise stays as it is. While one is on its way there, another is dropped.
func (t *Transport) ask(m *raft.Message) {
	to := raft.Server{ID: m.To, Address: m.At}
	if to.ID == t.self.ID || len(to.ID) > raft.MaxServerID || len(to.Address) > raft.MaxAddress {
		return
	}
	frame := raft.AppendMessage(make([]byte, frameHeader), m)
	sealFrame(frame)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.started || t.closed || t.asking[to] || len(t.asking) >= maxAsking {
		return
	}
	t.asking[to] = true
	t.running.Go(func() {
		if err := t.deliver(frame, to); err != nil && t.ctx.Err() == nil && t.logged.isNew("ask", string(to.ID), err) {
			t.log.Warn("tcp: can't ask", "peer", string(to.ID), "address", to.Address, "error", err)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.asking, to)
	})
}

// deliver takes a single message to a server. When it was received, the other side closes the connection.
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
	_ = watch(l) // it ends, one way or the other
	return nil
}
