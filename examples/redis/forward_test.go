package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A losing connection loses what comes back, once it has come, and ends.
type losing struct {
	net.Conn
	left *atomic.Int64 // how many replies are still to be lost
}

func (l losing) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if err == nil && l.left.Add(-1) >= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// TestLostReplies: what may have been carried out elsewhere isn't sent again, and the client is told so; what only
// reads is asked of another server.
func TestLostReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSharded(t, 8)
		defer s.close()
		s.start("d")
		s.register("d")
		s.await(four)
		var left atomic.Int64
		d := s.servers["d"][1]
		d.upstreams.dial = func(_ context.Context, address string) (net.Conn, error) {
			conn, err := s.connect(address)
			return losing{conn, &left}, err
		}
		key := s.keyAt("d", false)
		c := s.client(plainPort("d"))
		require.Equal(t, "+OK", c.must(t, "set "+key+" 0"))
		left.Store(1)
		require.Equal(t, `"0"`, c.must(t, "get "+key))
		for i, lines := range []string{"incr KEY", "incr KEY\nincr KEY\nincr KEY", "multi\nincr KEY\nincr KEY\nexec"} {
			var sent []byte
			for line := range strings.SplitSeq(strings.ReplaceAll(lines, "KEY", key), "\n") {
				sent = encode(sent, strings.Fields(line)...)
			}
			left.Store(1)
			_, err := c.conn.Write(sent)
			require.NoError(t, err)
			got := "+"
			for strings.HasPrefix(got, "+") { // what MULTI answers
				got, err = c.reply()
				require.NoError(t, err)
			}
			require.Regexp(t, "^-UNKNOWN the command, and those sent with it, may be carried out or not", got)
			_, err = c.reply()
			require.ErrorIs(t, err, io.EOF)
			c = s.client(plainPort("d"))
			require.Equal(t, []string{`"1"`, `"4"`, `"6"`}[i], c.must(t, "get "+key))
		}
		_ = c.conn.Close()
	})
}
