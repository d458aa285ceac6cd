package rafttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// openStream opens a stream from one server to another and returns both its ends. The connection
// may fail a few times, but not for ever.
func (s *testServer) openStream(ctx context.Context, to *testServer) (w io.WriteCloser, stream *testStream, err error) {
	options := &s.network.options
	deadline := time.NewTimer(options.Patience)
	defer deadline.Stop()
	for w == nil {
		late := s.network.within("OpenStream", func() { w, err = s.OpenStream(ctx, to.ID) })
		if late != nil {
			return nil, nil, late
		}
		if err == nil {
			break
		}
		w = nil
		select {
		case <-time.After(options.Pause):
		case <-deadline.C:
			return nil, nil, fmt.Errorf("OpenStream from %s to %s failed again and again: %w", s.ID, to.ID, err)
		}
	}
	givenUp := make(chan struct{}) // closed when nobody waits for the stream any more
	defer close(givenUp)
	// A transport may announce a stream only with its first bytes.
	if late := s.network.within("the first Write to a stream, of one byte, or the handler's call,", func() {
		started := make(chan error, 1)
		go func() {
			_, err := w.Write([]byte{1})
			started <- err
		}()
		select {
		case stream = <-to.streams:
		case <-givenUp:
			return
		}
		first := make([]byte, 1)
		if _, err = io.ReadFull(stream.reader, first); err == nil {
			err = <-started
		}
	}); late != nil {
		return nil, nil, late
	}
	if err == nil && stream.from != s.ID {
		err = fmt.Errorf("the handler of %s got a stream from %s as one from %s", to.ID, s.ID, stream.from)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("a stream that was just opened: %w", err)
	}
	return w, stream, nil
}

func checkStream(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	for _, size := range []int{0, 1, 3 << 20} {
		w, stream, err := servers[0].openStream(context.Background(), servers[1])
		if err != nil {
			return err
		}
		if err := n.carries(w, stream, size); err != nil {
			return err
		}
	}
	return nil
}

// carries checks that a stream carries every byte and that its reader ends when the writer closes
// it, and not before.
func (n *testNetwork) carries(w io.WriteCloser, stream *testStream, size int) error {
	defer stream.end()
	sent := make([]byte, size)
	for i := range sent {
		sent[i] = byte(i ^ i>>8 ^ i>>16)
	}
	type outcome struct {
		bytes []byte
		err   error
	}
	read := make(chan outcome, 1)
	go func() {
		b, err := io.ReadAll(stream.reader)
		read <- outcome{b, err}
	}()
	var written error
	late := n.within("writing to a stream that is read", func() {
		for rest := sent; len(rest) > 0 && written == nil; {
			piece := bytes.Clone(rest[:min(len(rest), 100_001)])
			var wrote int
			if wrote, written = w.Write(piece); written == nil && wrote != len(piece) {
				written = fmt.Errorf("Write of %d bytes returned %d and no error", len(piece), wrote)
			}
			scribble(piece)
			rest = rest[len(piece):]
		}
	})
	if err := errors.Join(late, written); err != nil {
		return fmt.Errorf("writing to a stream: %w", err)
	}
	n.pause()
	select {
	case got := <-read:
		return fmt.Errorf("the reader of a stream that is still open ended after %d bytes with %v", len(got.bytes), got.err)
	default:
	}
	var got outcome
	if late := n.within("Close of a stream, or its reader after that,", func() {
		written = w.Close()
		got = <-read
	}); late != nil {
		return late
	}
	if err := errors.Join(written, got.err); err != nil {
		return fmt.Errorf("the end of a stream: %w", err)
	}
	if !bytes.Equal(got.bytes, sent) {
		return fmt.Errorf("a stream of %d bytes arrived as %d, which differ from byte %d on", len(sent), len(got.bytes), differAt(got.bytes, sent))
	}
	return nil
}

func checkBrokenStream(n *testNetwork) error {
	for _, broken := range []struct {
		what string
		by   func(a, b *testServer, cancel func(), stream *testStream) error
	}{
		{"its context ended", func(_, _ *testServer, cancel func(), _ *testStream) error { cancel(); return nil }},
		{"the writer's transport was closed", func(a, _ *testServer, _ func(), _ *testStream) error { return a.Transport.Close() }},
		{"the receiver's transport was closed", func(_, b *testServer, _ func(), stream *testStream) error {
			// Close waits for the handler, which must see the stream break.
			go func() {
				_, _ = io.Copy(io.Discard, stream.reader) // until it breaks
				stream.end()
			}()
			return b.Transport.Close()
		}},
		{"the reader was closed", func(_, _ *testServer, _ func(), stream *testStream) error { return stream.reader.Close() }},
	} {
		if err := n.breaks(broken.what, broken.by); err != nil {
			return err
		}
		n.suffix += "'"
	}
	return nil
}

// breaks checks that both sides of a stream get an error when the stream breaks.
func (n *testNetwork) breaks(what string, by func(a, b *testServer, cancel func(), stream *testStream) error) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, stream, err := a.openStream(ctx, b)
	if err != nil {
		return err
	}
	defer stream.end()
	if late := n.within("breaking a stream because "+what, func() { err = by(a, b, cancel, stream) }); late != nil || err != nil {
		return fmt.Errorf("%s: %w", what, errors.Join(late, err))
	}
	var read, written error
	late := n.within("reading from a stream of which "+what, func() { _, read = io.Copy(io.Discard, stream.reader) })
	if late != nil {
		return late
	}
	if read == nil {
		return fmt.Errorf("the reader of a stream returned io.EOF when %s, want another error: the writer hasn't closed it", what)
	}
	var stop atomic.Bool
	late = n.within("a Write that fails, to a stream of which "+what, func() {
		for written == nil && !stop.Load() { // the writer may learn of it only after a while
			_, written = w.Write(make([]byte, 64<<10))
			<-time.After(time.Millisecond)
		}
	})
	stop.Store(true)
	closing := n.within("Close of a stream of which "+what, func() { _ = w.Close() }) // its error would tell nothing new
	return errors.Join(late, closing)
}

// streamFlood is the number of bytes that are written to a stream that nobody reads.
const streamFlood = 256 << 20

func checkSlowStream(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, stream, err := a.openStream(ctx, b)
	if err != nil {
		return err
	}
	defer stream.end()
	var written atomic.Int64
	failed := make(chan error, 1)
	go func() {
		piece := make([]byte, 1<<20)
		for written.Load() < streamFlood {
			if _, err := w.Write(piece); err != nil {
				failed <- err
				return
			}
			written.Add(int64(len(piece)))
		}
		failed <- nil
	}()
	n.pause()
	if _, err := a.deliver(messageOf(wire.KindHeartbeat, 1), b); err != nil { // the stream must not delay messages
		return err
	}
	if total := written.Load(); total > int64(n.options.MaxMemory) {
		return fmt.Errorf("%d MiB were written to a stream that nobody reads, want %d at most", total>>20, n.options.MaxMemory>>20)
	}
	select {
	case err := <-failed:
		return fmt.Errorf("writing to a stream that nobody reads has ended after %d MiB with %v, want it to wait", written.Load()>>20, err)
	default:
	}
	cancel()
	if late := n.within("Write to a stream whose context has ended", func() { err = <-failed }); late != nil {
		return late
	}
	if err == nil {
		return errors.New("writing to a stream whose context has ended returned no error")
	}
	return nil
}

func checkNoStream(n *testNetwork) error {
	servers, err := n.start("a", "b")
	if err != nil {
		return err
	}
	a, b := servers[0], servers[1]
	gone, err := n.server("gone")
	if err != nil {
		return err
	}
	if err := gone.close(); err != nil {
		return err
	}
	a.SetServers([]raft.Server{b.Server, gone.Server})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, attempt := range []struct {
		what string
		from *testServer
		ctx  context.Context
		to   raft.ServerID
	}{
		{"to a server that is gone", a, context.Background(), gone.ID},
		{"to a server that nobody has named", a, context.Background(), "nobody"},
		{"with a context that has ended", a, ended, b.ID},
		{"from a transport that is closed", gone, context.Background(), b.ID},
	} {
		late := n.within("OpenStream "+attempt.what, func() {
			var w io.WriteCloser
			if w, err = attempt.from.OpenStream(attempt.ctx, attempt.to); err == nil {
				_, err = w.Write([]byte("x"))
				_ = w.Close()
			}
		})
		if late != nil {
			return late
		}
		if err == nil {
			return fmt.Errorf("OpenStream %s, and a Write to it, returned no error", attempt.what)
		}
	}
	return nil
}
