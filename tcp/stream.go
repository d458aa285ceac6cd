package tcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/e17579a5/raft"
)

// streamChunk is the largest piece of a stream in one frame, in bytes.
const streamChunk = 64 << 10

// OpenStream implements raft.Transport. Closing the stream says that everything was written: only
// then does the receiver see io.EOF. The server must be one that SetServers names, or that has
// connected. When ctx ends, the stream breaks, and its errors wrap the cause.
func (t *Transport) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	w, err := t.openStream(ctx, to)
	if err != nil {
		return nil, fmt.Errorf("tcp: open a stream to %q: %w", to, err)
	}
	return w, nil
}

func (t *Transport) openStream(ctx context.Context, to raft.ServerID) (*streamWriter, error) {
	p := t.peer(to)
	switch {
	case t.ctx.Err() != nil:
		return nil, net.ErrClosed
	case p == nil:
		return nil, errors.New("no such server is known")
	}
	// Dialling ends when ctx or the transport ends. So does the stream later, since either of them
	// closes its connection.
	dialling, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()

	l, err := t.dial(dialling, forStream, p.server())
	if err != nil {
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), err)
		}
		return nil, err
	}
	t.lend(l.raw)
	return &streamWriter{
		transport: t, link: l, ctx: ctx,
		stop: context.AfterFunc(ctx, func() { abandon(l.raw) }),
	}, nil
}

// lend notes that the user has a connection. Close breaks it, and leaves it to the user to close
// it.
func (t *Transport) lend(conn net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, open := t.conns[conn]; open {
		t.conns[conn] = true
	}
}

// A streamWriter is the sending end of a stream to another server. One goroutine at a time uses it.
type streamWriter struct {
	transport *Transport
	link      *link
	ctx       context.Context
	stop      func() bool // keeps ctx from closing the connection
	frame     []byte
	err       error // why it has broken
	closed    bool
}

// Write writes b in frames.
func (w *streamWriter) Write(b []byte) (written int, err error) {
	if w.closed {
		return 0, fmt.Errorf("tcp: write to a stream: %w", net.ErrClosed)
	}
	for len(b) > 0 && w.err == nil {
		piece := b[:min(len(b), streamChunk)]
		if w.writeFrame(piece); w.err == nil {
			written += len(piece)
			b = b[len(piece):]
		}
	}
	return written, w.err
}

// writeFrame writes one frame, and notes in w.err if that has failed.
func (w *streamWriter) writeFrame(body []byte) {
	w.frame = append(w.frame[:0], make([]byte, frameHeader)...)
	w.frame = append(w.frame, body...)
	sealFrame(w.frame)
	if _, err := w.link.conn.Write(w.frame); err != nil {
		if w.ctx.Err() != nil {
			err = errors.Join(context.Cause(w.ctx), err)
		}
		w.err = fmt.Errorf("tcp: write to a stream: %w", err)
	}
}

// Close tells the receiver that everything was written. A stream that has broken stays broken: the
// error says why.
func (w *streamWriter) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	if w.err == nil {
		w.writeFrame(nil)
	}
	w.stop()
	w.transport.release(w.link.raw)
	return w.err
}

// A streamReader is the receiving end of a stream from another server.
type streamReader struct {
	transport *Transport
	link      *link
	arrival   *arrival
	left      []byte // what is left of the frame that was read last
	err       error  // returned by further reads
	patience  time.Duration
}

// Read returns io.EOF if the writer has closed the stream, and another error if the stream has
// broken.
func (r *streamReader) Read(b []byte) (int, error) {
	for len(r.left) == 0 && r.err == nil {
		r.err = r.link.raw.SetReadDeadline(time.Now().Add(r.patience))
		if r.err == nil {
			r.left, r.err = r.link.reader.read()
			r.patience = streamIdle
		}
		if r.err == nil {
			r.err = r.transport.moves(r.arrival)
		}
		if r.err != nil {
			r.left = nil
		}
		switch {
		case r.err != nil:
			r.err = fmt.Errorf("tcp: read from a stream: %w", unexpected(r.err))
		case len(r.left) == 0:
			r.err = io.EOF
		}
	}
	if len(r.left) == 0 && len(b) > 0 {
		return 0, r.err
	}
	n := copy(b, r.left)
	r.left = r.left[n:]
	return n, nil
}

// Close breaks the stream, if the writer hasn't closed it yet.
func (r *streamReader) Close() error {
	r.transport.release(r.link.raw)
	return nil
}
