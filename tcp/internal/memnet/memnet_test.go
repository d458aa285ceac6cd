package memnet_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/tcp/internal/memnet"
)

func TestBytesArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe("a", "b")
		sent := bytes.Repeat([]byte("0123456789"), 100_000)
		result := make(chan error)
		go func() {
			_, err := near.Write(sent)
			if err == nil {
				err = near.Close()
			}
			result <- err
		}()
		synctest.Wait()
		require.Empty(t, result, "it waits for room")
		got, err := io.ReadAll(far)
		require.NoError(t, err)
		require.NoError(t, <-result)
		require.Equal(t, sent, got)
		_, err = far.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = near.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, _ := memnet.Pipe("a", "b")
		start := time.Now()
		require.NoError(t, near.SetReadDeadline(start.Add(time.Second)))
		_, err := near.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		_, err = near.Write([]byte("x"))
		require.NoError(t, err, "only reading has the deadline")

		require.NoError(t, near.SetDeadline(time.Now()))
		_, err = near.Write([]byte("x"))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "past, though there is room")
		require.NoError(t, near.SetDeadline(time.Time{}))
		_, err = near.Write([]byte("x"))
		require.NoError(t, err)

		result := make(chan error)
		go func() {
			_, err := near.Read(make([]byte, 1))
			result <- err
		}()
		synctest.Wait()
		require.NoError(t, near.SetReadDeadline(time.Now().Add(time.Second)), "while somebody waits")
		require.ErrorIs(t, <-result, os.ErrDeadlineExceeded)
	})
}

func TestRefusedResetAndSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		_, err := network.Dial(t.Context(), "a")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		listener, err := network.Listen("a")
		require.NoError(t, err)
		_, err = network.Listen("a")
		require.ErrorIs(t, err, syscall.EADDRINUSE)

		near, err := network.Dial(t.Context(), "a")
		require.NoError(t, err)
		far, err := listener.Accept()
		require.NoError(t, err)
		_, err = near.Write([]byte("lost"))
		require.NoError(t, err)
		network.Reset("a")
		for _, conn := range []net.Conn{near, far} {
			_, err = conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, syscall.ECONNRESET)
		}

		waiting, err := network.Dial(t.Context(), "a")
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		_, err = waiting.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET, "nobody accepts it any more")
		_, err = listener.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = network.Dial(t.Context(), "a")
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

// A connection that is cut takes what its buffer holds, brings nothing, and tells nobody anything.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe("near", "far")
		_, err := near.Write([]byte("lost"))
		require.NoError(t, err)
		near.Cut()
		_, err = near.Write(make([]byte, 1000))
		require.NoError(t, err)
		require.NoError(t, far.SetReadDeadline(time.Now().Add(time.Hour)))
		n, err := far.Read(make([]byte, 10))
		require.Zero(t, n)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		require.NoError(t, near.SetWriteDeadline(time.Now().Add(time.Hour)))
		n, err = near.Write(make([]byte, 1<<20))
		require.Less(t, n, 1<<20)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		require.NoError(t, near.Close())
		_, err = near.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = far.Write([]byte("x"))
		require.NoError(t, err, "the far end isn't told")
		require.NoError(t, far.SetReadDeadline(time.Time{}))
		require.NoError(t, far.Close())
		_, err = far.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
	})
}
