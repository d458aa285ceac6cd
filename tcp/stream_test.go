package tcp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// open opens a stream and returns both ends of it.
func open(t *testing.T, ctx context.Context, from, to *server) (io.WriteCloser, stream) {
	t.Helper()
	w, err := from.OpenStream(ctx, to.id)
	require.NoError(t, err)
	s := <-to.streams
	require.Equal(t, from.id, s.from)
	return w, s
}

func TestStreamCarriesEveryByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 300_000))
		sizes := rapid.SliceOfN(size, 0, 10).Draw(rt, "sizes of writes")
		chunk := rapid.IntRange(1, 2*tcp.StreamChunk).Draw(rt, "size of reads")
		inBubble(t, func(t *testing.T, c *cluster) {
			a, b := c.start("a", "b"), c.start("b", "a")
			pass(time.Second)
			w, s := open(t, t.Context(), a, b)
			var sent []byte
			for i, n := range sizes {
				sent = append(sent, bytes.Repeat([]byte{byte(i)}, n)...)
			}
			go func() {
				left := sent
				for _, n := range sizes {
					written, err := w.Write(left[:n])
					if err != nil || written != n {
						t.Errorf("wrote %d of %d: %v", written, n, err)
					}
					left = left[n:]
				}
				if err := errors.Join(w.Close(), w.Close()); err != nil {
					t.Error(err)
				}
			}()
			var got []byte
			for buffer := make([]byte, chunk); ; {
				n, err := s.reader.Read(buffer)
				got = append(got, buffer[:n]...)
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
			}
			require.True(t, bytes.Equal(sent, got))
			_, err := s.reader.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err, "it stays at the end")
			require.NoError(t, s.reader.Close())
			close(s.done)
			_, err = w.Write([]byte("late"))
			require.Error(t, err)
		})
	})
}

// However a stream breaks, its reader doesn't take that for the end.
func TestBrokenStream(t *testing.T) {
	for _, test := range []struct {
		name     string
		breaking func(c *cluster, cancel context.CancelFunc, a, b *server)
	}{
		{"context", func(_ *cluster, cancel context.CancelFunc, _, _ *server) { cancel() }},
		{"reset", func(c *cluster, _ context.CancelFunc, _, _ *server) { c.network.Reset(address("b")) }},
		{"writer's transport closed", func(c *cluster, _ context.CancelFunc, a, _ *server) { a.close(c.t) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a, b := c.start("a", "b"), c.start("b", "a")
				pass(time.Second)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				w, s := open(t, ctx, a, b)
				defer close(s.done)
				_, err := w.Write([]byte("hello"))
				require.NoError(t, err)
				synctest.Wait()

				result := make(chan error)
				go func() {
					_, err := w.Write(make([]byte, 10<<20)) // more than the buffers take: it blocks
					result <- err
				}()
				synctest.Wait()
				require.Empty(t, result)
				test.breaking(c, cancel, a, b)
				err = <-result
				require.Error(t, err)
				require.Error(t, w.Close(), "a stream that has broken can't be closed well")
				if ctx.Err() != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
				got, err := io.ReadAll(s.reader)
				require.Error(t, err)
				require.Less(t, len(got), 10<<20)
			})
		})
	}
}

func TestStreamBreaksWithItsReader(t *testing.T) {
	for _, test := range []struct {
		name     string
		breaking func(t *testing.T, b *server, s stream)
	}{
		{"closed", func(t *testing.T, _ *server, s stream) { require.NoError(t, s.reader.Close()) }},
		{"handler returned", func(t *testing.T, _ *server, s stream) { close(s.done) }},
		{"transport closed", func(t *testing.T, b *server, s stream) {
			go close(s.done) // Close waits for it
			b.close(t)
			_, err := s.reader.Read(make([]byte, 1))
			require.Error(t, err)
			require.NotEqual(t, io.EOF, err)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a, b := c.start("a", "b"), c.start("b", "a")
				pass(time.Second)
				w, s := open(t, t.Context(), a, b)
				result := make(chan error)
				go func() {
					_, err := w.Write(make([]byte, 10<<20))
					result <- err
				}()
				synctest.Wait()
				test.breaking(t, b, s)
				require.Error(t, <-result)
				select {
				case <-s.done:
				default:
					close(s.done)
				}
			})
		})
	}
}

func TestGarbageInAStream(t *testing.T) {
	for _, test := range []struct {
		name, want string
		sent       []byte
	}{
		{"zeros", "wrong checksum", make([]byte, 100)},
		{"large frame", "65537 bytes, more than 65536", tcp.Frame(make([]byte, tcp.StreamChunk+1))[:100]},
		{"nothing", "unexpected EOF", nil},
		{"half a header", "unexpected EOF", []byte{1, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a := c.start("a", "b")
				conn := c.dial("a")
				require.NoError(t, tcp.GreetForStream(conn, raft.Server{ID: "b"}, "a"))
				s := <-a.streams
				defer close(s.done)
				write(t, conn, tcp.Frame([]byte("hello")))
				write(t, conn, test.sent)
				require.NoError(t, conn.Close())
				got, err := io.ReadAll(s.reader)
				require.ErrorContains(t, err, test.want)
				require.Equal(t, "hello", string(got))
			})
		})
	}
}

func TestOpenStreamFails(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "absent", "silent", "wrong")
		c.network.Silence(address("silent"), true)
		_, err := a.OpenStream(t.Context(), "unknown")
		require.ErrorContains(t, err, `open a stream to "unknown": no such server is known`)
		_, err = a.OpenStream(t.Context(), "absent")
		require.ErrorContains(t, err, "connection refused")

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err = a.OpenStream(ctx, "silent")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))

		_, err = a.OpenStream(t.Context(), "silent") // DialTimeout ends it
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 4*time.Second, time.Since(start))

		a.close(t)
		_, err = a.OpenStream(t.Context(), "absent")
		require.ErrorContains(t, err, "use of closed network connection")
	})
}

func TestCloseEndsOpenStream(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		a := c.start("a", "silent")
		c.network.Silence(address("silent"), true)
		result := make(chan error)
		go func() {
			_, err := a.OpenStream(t.Context(), "silent")
			result <- err
		}()
		synctest.Wait()
		a.close(t)
		require.Error(t, <-result)
	})
}
