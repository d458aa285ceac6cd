package memory

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/e17579a5/raft"
)

// A stream carries bytes from one server to another.
type stream struct {
	network  *Network
	from, to raft.ServerID
	reader   *io.PipeReader
	writer   *io.PipeWriter
	stop     func() bool // ends the watch over the writer's context
}

// OpenStream implements raft.Transport. A stream is refused with the probability with which a
// message is lost, and opens after as long as a message travels. It breaks when one of its
// directions is cut.
func (e *endpoint) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("memory: stream to %q: %w", to, err)
	}
	n := e.network
	n.mu.Lock()
	defer n.mu.Unlock()
	other := n.servers[to]
	switch {
	case e.closed || !e.started:
		return nil, errNetworkClosed
	case other == nil:
		return nil, fmt.Errorf("memory: no server %q", to)
	}
	l := n.link(e.id, to)
	l.sent++
	if l.faults.Cut || n.cut(to, e.id) || l.chance(luckStream, l.faults.Loss) {
		return nil, fmt.Errorf("memory: no way to server %q", to)
	}
	s := &stream{network: n, from: e.id, to: to}
	s.reader, s.writer = io.Pipe()
	s.stop = context.AfterFunc(ctx, func() { s.sever(context.Cause(ctx)) })
	e.streams[s], other.streams[s] = struct{}{}, struct{}{}
	time.AfterFunc(l.delay(luckStream), func() { other.serve(s) })
	return &streamWriter{s}, nil
}

// serve hands a stream to the handler.
func (e *endpoint) serve(s *stream) {
	if e.begin() {
		e.handler.Stream(s.from, &streamReader{s})
		e.end()
	}
}

// sever breaks the stream for both sides.
func (s *stream) sever(err error) {
	_ = s.writer.CloseWithError(err) // these two never fail
	_ = s.reader.CloseWithError(err)
	s.forget()
}

// forget takes the stream off the books.
func (s *stream) forget() {
	s.network.mu.Lock()
	for _, id := range [...]raft.ServerID{s.from, s.to} {
		if e := s.network.servers[id]; e != nil {
			delete(e.streams, s)
		}
	}
	stop := s.stop
	s.network.mu.Unlock()
	stop()
}

// A streamWriter is the sending side of a stream.
type streamWriter struct{ *stream }

func (w *streamWriter) Write(b []byte) (int, error) { return w.writer.Write(b) }

// Close ends the stream: the reader finds io.EOF.
func (w *streamWriter) Close() error {
	w.forget()
	return w.writer.Close()
}

// A streamReader is the receiving side of a stream.
type streamReader struct{ *stream }

func (r *streamReader) Read(b []byte) (int, error) { return r.reader.Read(b) }

// Close ends the stream: the writer fails.
func (r *streamReader) Close() error {
	r.forget()
	return r.reader.CloseWithError(errStreamBroken)
}
