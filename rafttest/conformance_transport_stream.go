package rafttest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// openStream opens a stream from one server to another and returns both its ends. The connection
// may fail a few times, but not for ever.
func (s *testServer) openStream(ctx context.Context, to *testServer) (w io.WriteCloser, stream *testStream) {
	n := s.network
	deadline := time.NewTimer(n.options.Patience)
	defer deadline.Stop()
	for {
		var err error
		n.within("OpenStream", func() { w, err = s.OpenStream(ctx, to.ID) })
		if err == nil {
			break
		}
		select {
		case <-time.After(n.options.Pause):
		case <-deadline.C:
			convict("OpenStream from %s to %s failed again and again: %w", s.ID, to.ID, err)
		}
	}
	// A transport may announce a stream only with its first bytes.
	n.within("the first Write to a stream, of one byte, or the handler's call,", func() {
		started := make(chan error, 1)
		go func() {
			_, err := w.Write([]byte{1})
			started <- err
		}()
		select {
		case stream = <-to.streams:
			_, err := io.ReadFull(stream.reader, make([]byte, 1))
			must("the first Read from a stream", err)
			must("the first Write to a stream", <-started)
		case <-n.over:
		}
	})
	if stream.from != s.ID {
		convict("the handler of %s got a stream from %s as one from %s", to.ID, s.ID, stream.from)
	}
	return w, stream
}

// A testReader is the reader of a stream, whichever goroutine reads. A panic of it is reported.
type testReader struct {
	io.ReadCloser
	watch *watch
}

func (r testReader) Read(b []byte) (n int, err error) {
	err = r.watch.reported(func() (err error) { n, err = r.ReadCloser.Read(b); return err })
	return n, err
}

func (r testReader) Close() error { return r.watch.reported(r.ReadCloser.Close) }

// A testWriter is the same for the writer of a stream.
type testWriter struct {
	io.WriteCloser
	watch *watch
}

func (w testWriter) Write(b []byte) (n int, err error) {
	err = w.watch.reported(func() (err error) { n, err = w.WriteCloser.Write(b); return err })
	return n, err
}

func (w testWriter) Close() error { return w.watch.reported(w.WriteCloser.Close) }

func checkStream(n *testNetwork) {
	servers := n.start("a", "b")
	for _, size := range []int{0, 1, 3 << 20} {
		w, stream := servers[0].openStream(context.Background(), servers[1])
		n.carries(w, stream, size)
	}
}

// checkStreams has several streams open at the same time, as the groups of two processes have. Each
// begins with a message that names its group.
func checkStreams(n *testNetwork) {
	servers := n.start("a", "b")
	const streams = 4
	var writers [streams]io.WriteCloser
	var readers [streams]*testStream
	for i := range streams {
		writers[i], readers[i] = servers[0].openStream(context.Background(), servers[1])
		defer readers[i].end()
	}
	for i := range streams {
		head := wire.SnapshotStream{Offset: 1 << 40}.Message().In(wire.Envelope{From: "a", To: "b", Term: 7, Group: raft.GroupID(fmt.Sprint("group ", i))})
		sent := wire.AppendMessage(nil, &head)
		n.within("the head of one of several streams", func() {
			wrote := make(chan error, 1)
			go func() {
				_, err := writers[i].Write(bytes.Clone(sent))
				wrote <- err
			}()
			got := make([]byte, len(sent))
			_, err := io.ReadFull(readers[i].reader, got)
			must("reading one of several streams", err)
			must("writing to one of several streams", <-wrote)
			if !bytes.Equal(got, sent) {
				convict("the head of one of several streams arrived as %x, want %x", got, sent)
			}
		})
	}
	for i := range streams {
		n.carries(writers[i], readers[i], i<<10)
	}
}

// carries checks that a stream carries every byte and that its reader ends when the writer closes
// it, and not before.
func (n *testNetwork) carries(w io.WriteCloser, stream *testStream, size int) {
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
	n.within("writing to a stream that is read", func() {
		for rest := sent; len(rest) > 0; {
			piece := bytes.Clone(rest[:min(len(rest), 100_001)])
			wrote, err := w.Write(piece)
			must("writing to a stream", err)
			if wrote != len(piece) {
				convict("writing to a stream: Write of %d bytes returned %d and no error", len(piece), wrote)
			}
			scribble(piece)
			rest = rest[len(piece):]
		}
	})
	n.pause()
	select {
	case got := <-read:
		convict("the reader of a stream that is still open ended after %d bytes with %v", len(got.bytes), got.err)
	default:
	}
	var got outcome
	n.within("Close of a stream, or its reader after that,", func() {
		must("Close of a stream", w.Close())
		got = <-read
	})
	must("reading a stream to its end", got.err)
	if !bytes.Equal(got.bytes, sent) {
		convict("a stream of %d bytes arrived as %d, which differ from byte %d on", len(sent), len(got.bytes), differAt(got.bytes, sent))
	}
}

func checkBrokenStream(n *testNetwork) {
	for _, broken := range []struct {
		what string
		by   func(a, b *testServer, cancel func(), stream *testStream)
	}{
		{"its context ended", func(_, _ *testServer, cancel func(), _ *testStream) { cancel() }},
		{"the writer's transport was closed", func(a, _ *testServer, _ func(), _ *testStream) { a.shut() }},
		{"the receiver's transport was closed", func(_, b *testServer, _ func(), stream *testStream) {
			// Close waits for the handler, which must see the stream break.
			go func() {
				_, _ = io.Copy(io.Discard, stream.reader) // until it breaks
				stream.end()
			}()
			b.shut()
		}},
		{"the reader was closed", func(_, _ *testServer, _ func(), stream *testStream) {
			n.within("Close of a stream's reader", func() { must("Close of a stream's reader", stream.reader.Close()) })
		}},
	} {
		n.breaks(broken.what, broken.by)
		n.suffix += "'"
	}
}

// breaks checks that both sides of a stream get an error when the stream breaks.
func (n *testNetwork) breaks(what string, by func(a, b *testServer, cancel func(), stream *testStream)) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, stream := a.openStream(ctx, b)
	defer stream.end()
	by(a, b, cancel, stream)
	var read error
	n.within("reading from a stream of which "+what, func() { _, read = io.Copy(io.Discard, stream.reader) })
	if read == nil {
		convict("the reader of a stream returned io.EOF when %s, want another error: the writer hasn't closed it", what)
	}
	n.within("a Write that fails, to a stream of which "+what, func() {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
			select { // the writer may learn of it only after a while
			case <-time.After(time.Millisecond):
			case <-n.over:
				return
			}
		}
	})
	n.within("Close of a stream of which "+what, func() { _ = w.Close() }) // its error would tell nothing new
}

// streamFlood is the number of bytes that are written to a stream that nobody reads.
const streamFlood = 256 << 20

func checkSlowStream(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w, stream := a.openStream(ctx, b)
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
	a.deliver(messageOf(wire.KindHeartbeat, 1), b) // the stream must not delay messages
	if total := written.Load(); total > int64(n.options.MaxMemory) {
		convict("%d MiB were written to a stream that nobody reads, want %d at most", total>>20, n.options.MaxMemory>>20)
	}
	select {
	case err := <-failed:
		convict("writing to a stream that nobody reads has ended after %d MiB with %v, want it to wait", written.Load()>>20, err)
	default:
	}
	cancel()
	var err error
	n.within("Write to a stream whose context has ended", func() { err = <-failed })
	if err == nil {
		convict("writing to a stream whose context has ended returned no error")
	}
}

func checkNoStream(n *testNetwork) {
	servers := n.start("a", "b")
	a, b := servers[0], servers[1]
	gone := n.server("gone")
	gone.close()
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
		var err error
		n.within("OpenStream "+attempt.what, func() {
			var w io.WriteCloser
			if w, err = attempt.from.OpenStream(attempt.ctx, attempt.to); err == nil {
				_, err = w.Write([]byte("x"))
				_ = w.Close()
			}
		})
		if err == nil {
			convict("OpenStream %s, and a Write to it, returned no error", attempt.what)
		}
	}
}
