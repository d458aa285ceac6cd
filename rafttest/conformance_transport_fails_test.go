package rafttest_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

// errBroken is the failure of what fails for no reason.
var errBroken = errors.New("out of order")

// convicts demands that TestTransport convicts a crooked transport by an error with a text.
func convicts(t *testing.T, flaw func(*crooked), options rafttest.TransportOptions, want string) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network, ended := memory.NewNetwork(memory.Options{}), make(chan struct{})
		err = rafttest.TestTransport(func(id raft.ServerID) (raft.Transport, string, error) {
			transport := &crooked{Transport: network.Join(id), ended: ended}
			t.Cleanup(func() { require.NoError(t, transport.Transport.Close()) })
			flaw(transport)
			return transport, string(id), nil
		}, options)
		close(ended)
		require.ErrorContains(t, err, want)
	})
	return err
}

// TestTransportConvictsFailures demands that TestTransport convicts a transport of which a call
// fails that must not.
func TestTransportConvictsFailures(t *testing.T) {
	inline := rafttest.TransportOptions{Inline: true, MaxMemory: 8 << 20, Patience: time.Second}
	for name, c := range map[string]struct {
		flaw func(*crooked)
		want string
	}{
		"Start": {func(c *crooked) {
			c.start = func(raft.Server, raft.Handler) error { return errBroken }
		}, "messages: Start of a0 failed: out of order"},
		"Close before Start": {func(c *crooked) {
			c.close = func() error {
				if c.handler == nil {
					return errBroken
				}
				return c.Transport.Close()
			}
		}, "close: before Start: Close of unstarted10 failed: out of order"},
		"OpenStream": {func(c *crooked) {
			c.openStream = func(context.Context, raft.ServerID) (io.WriteCloser, error) { return nil, errBroken }
		}, "stream: OpenStream from a6 to b6 failed again and again: out of order"},
		"the first Write": {writes(func(s *scriptedStream, b []byte) (int, error) {
			n, err := s.writer.Write(b)
			if len(b) == 1 {
				err = errBroken
			}
			return n, err
		}), "stream: the first Write to a stream failed: out of order"},
		"the first Read": {reads(func(s *scriptedStream, b []byte) (int, error) { return 0, errBroken }),
			"stream: the first Read from a stream failed: out of order"},
		"a Write": {writes(func(s *scriptedStream, b []byte) (int, error) {
			if len(b) > 1 {
				return 0, errBroken
			}
			return s.writer.Write(b)
		}), "stream: writing to a stream failed: out of order"},
		"a Write that should wait": {writes(func(s *scriptedStream, b []byte) (int, error) {
			if len(b) == 1<<20 {
				return 0, errBroken
			}
			return s.writer.Write(b)
		}), "slow stream: writing to a stream that nobody reads has ended after 0 MiB with out of order"},
		"Close of a stream": {scripted(func(s *scriptedStream) {
			s.close = func() error { return errors.Join(errBroken, s.writer.Close()) }
		}), "stream: Close of a stream failed: out of order"},
		"the last Read": {reads(func(s *scriptedStream, b []byte) (int, error) {
			n, err := s.reader.Read(b)
			if err == io.EOF {
				err = errBroken
			}
			return n, err
		}), "stream: reading a stream to its end failed: out of order"},
		"a Read while the stream is open": {reads(func(s *scriptedStream, b []byte) (int, error) {
			if s.reads++; s.reads > 1 {
				return 0, errBroken
			}
			return s.reader.Read(b)
		}), "stream: the reader of a stream that is still open ended after 0 bytes with out of order"},
		"Close of a reader": {scriptedReader(func(s *scriptedStream) {
			s.close = func() error { return errors.Join(errBroken, s.reader.Close()) }
		}), "broken stream: Close of a stream's reader failed: out of order"},
	} {
		t.Run(name, func(t *testing.T) { convicts(t, c.flaw, inline, c.want) })
	}
	t.Run("a receiver that went on", func(t *testing.T) {
		convicts(t, givesUpHung, rafttest.TransportOptions{MaxMemory: 8 << 20, Patience: time.Second},
			"hung receiver: to a receiver that doesn't hang any more: a message from a3 to b3")
	})
}

// TestTransportMayPanic demands that a panic of a transport is a broken rule, with the stack,
// whichever goroutine of a check has called the transport.
func TestTransportMayPanic(t *testing.T) {
	inline := rafttest.TransportOptions{Inline: true, MaxMemory: 8 << 20, Patience: time.Second}
	bursts := func() { panic("no more pages") }
	for name, c := range map[string]struct {
		flaw  func(*crooked)
		check string
	}{
		"Start":      {func(c *crooked) { c.start = func(raft.Server, raft.Handler) error { bursts(); return nil } }, "messages"},
		"SetServers": {func(c *crooked) { c.setServers = func([]raft.Server) { bursts() } }, "messages"},
		"Send":       {func(c *crooked) { c.send = func(wire.Message) { bursts() } }, "messages"},
		"OpenStream": {func(c *crooked) {
			c.openStream = func(context.Context, raft.ServerID) (io.WriteCloser, error) { bursts(); return nil, nil }
		}, "stream"},
		"Close": {func(c *crooked) { c.close = func() error { bursts(); return nil } }, "messages"},
		"Write": {writes(func(*scriptedStream, []byte) (int, error) { bursts(); return 0, nil }), "stream"},
		"a Write that may fail": {writes(func(s *scriptedStream, b []byte) (int, error) {
			n, err := s.writer.Write(b)
			if err != nil {
				bursts()
			}
			return n, err
		}), "broken stream"},
		"Read":              {reads(func(*scriptedStream, []byte) (int, error) { bursts(); return 0, nil }), "stream"},
		"Close of a stream": {scripted(func(s *scriptedStream) { s.close = func() error { bursts(); return nil } }), "stream"},
		"Close of a reader": {scriptedReader(func(s *scriptedStream) { s.close = func() error { bursts(); return nil } }), "stream"},
	} {
		t.Run(name, func(t *testing.T) {
			err := convicts(t, c.flaw, inline, "rafttest: transport: "+c.check+": ")
			require.ErrorContains(t, err, "panic: no more pages\n")
			require.ErrorContains(t, err, "rafttest_test.TestTransportMayPanic.func1")
		})
	}
	t.Run("join", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			err := rafttest.TestTransport(func(raft.ServerID) (raft.Transport, string, error) { bursts(); return nil, "", nil }, inline)
			require.ErrorContains(t, err, "rafttest: transport: messages: panic: no more pages\n")
		})
	})
}

// TestTransportConvictsHangs demands that TestTransport names a method that hangs.
func TestTransportConvictsHangs(t *testing.T) {
	inline := rafttest.TransportOptions{Inline: true, MaxMemory: 8 << 20, Patience: time.Second}
	for name, c := range map[string]struct {
		flaw func(*crooked)
		want string
	}{
		"Start": {func(c *crooked) {
			c.start = func(raft.Server, raft.Handler) error { <-c.ended; return errBroken }
		}, "messages: Start of a0 hasn't returned within 1s"},
		"SetServers": {func(c *crooked) {
			c.setServers = func([]raft.Server) { <-c.ended }
		}, "messages: SetServers of a0 hasn't returned within 1s"},
		"Send": {func(c *crooked) {
			c.send = func(wire.Message) { <-c.ended }
		}, "messages: Send from a0 to b0 hasn't returned within 1s"},
		"OpenStream": {neverOpens, "stream: OpenStream hasn't returned within 1s"},
		"Write": {writes(func(s *scriptedStream, b []byte) (int, error) {
			<-s.ended
			return 0, errBroken
		}), "stream: the first Write to a stream, of one byte, or the handler's call, hasn't returned within 1s"},
		"a later Write": {writes(func(s *scriptedStream, b []byte) (int, error) {
			if len(b) > 1 {
				<-s.ended
			}
			return s.writer.Write(b)
		}), "stream: writing to a stream that is read hasn't returned within 1s"},
		"Read": {reads(func(s *scriptedStream, b []byte) (int, error) {
			<-s.ended
			return 0, errBroken
		}), "stream: the first Write to a stream, of one byte, or the handler's call, hasn't returned within 1s"},
		"Close of a stream": {neverEnds, "stream: Close of a stream, or its reader after that, hasn't returned within 1s"},
		"Close of a broken stream": {scripted(func(s *scriptedStream) {
			s.close = func() error {
				if s.failed {
					<-s.ended
				}
				return s.writer.Close()
			}
		}), "broken stream: Close of a stream of which its context ended hasn't returned within 1s"},
		"Close of a reader": {scriptedReader(func(s *scriptedStream) {
			s.close = func() error { <-s.ended; return s.reader.Close() }
		}), "transport: stream: Close of b6 hasn't returned within 1s: it hangs\nClose of a stream's reader hasn't returned within 1s"},
	} {
		t.Run(name, func(t *testing.T) { convicts(t, c.flaw, inline, c.want) })
	}
	t.Run("join", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan struct{})
			err := rafttest.TestTransport(func(raft.ServerID) (raft.Transport, string, error) {
				<-ended
				return nil, "", errBroken
			}, inline)
			close(ended)
			require.ErrorContains(t, err, "messages: joining a0 hasn't returned within 1s")
		})
	})
}

// A scriptedStream is one end of a stream, with functions in the place of its methods.
type scriptedStream struct {
	reader      io.ReadCloser  // or
	writer      io.WriteCloser // is set
	ended       chan struct{}
	read, write func(b []byte) (int, error)
	close       func() error
	reads       int
	failed      bool // a Write has failed
}

func (s *scriptedStream) Read(b []byte) (int, error) { return s.read(b) }

func (s *scriptedStream) Write(b []byte) (int, error) {
	n, err := s.write(b)
	s.failed = s.failed || err != nil
	return n, err
}

func (s *scriptedStream) Close() error { return s.close() }

// scripted lets change the writers of streams, before they are used.
func scripted(change func(*scriptedStream)) func(*crooked) {
	return func(c *crooked) {
		c.openStream = func(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
			w, err := c.Transport.OpenStream(ctx, to)
			if err != nil {
				return nil, err
			}
			s := &scriptedStream{writer: w, ended: c.ended, write: w.Write, close: w.Close}
			change(s)
			return s, nil
		}
	}
}

// scriptedReader lets change the readers of streams, before they are used.
func scriptedReader(change func(*scriptedStream)) func(*crooked) {
	return func(c *crooked) {
		c.stream = func(from raft.ServerID, reader io.ReadCloser) {
			s := &scriptedStream{reader: reader, ended: c.ended, read: reader.Read, close: reader.Close}
			change(s)
			c.handler.Stream(from, s)
		}
	}
}

func writes(write func(s *scriptedStream, b []byte) (int, error)) func(*crooked) {
	return scripted(func(s *scriptedStream) { s.write = func(b []byte) (int, error) { return write(s, b) } })
}

func reads(read func(s *scriptedStream, b []byte) (int, error)) func(*crooked) {
	return scriptedReader(func(s *scriptedStream) { s.read = func(b []byte) (int, error) { return read(s, b) } })
}

// givesUpHung queues messages for each receiver, and sends nothing more to a receiver whose queue
// was full.
func givesUpHung(c *crooked) {
	var mu sync.Mutex
	lanes := map[raft.ServerID]chan wire.Message{}
	c.send = func(m wire.Message) {
		mu.Lock()
		defer mu.Unlock()
		lane, known := lanes[m.To]
		if !known {
			lane = make(chan wire.Message, 3)
			lanes[m.To] = lane
			go func() {
				for {
					select {
					case m := <-lane:
						c.Transport.Send(m)
					case <-c.ended:
						return
					}
				}
			}()
		}
		select {
		case lane <- m:
		default:
			lanes[m.To] = nil // which takes nothing
		}
	}
}
