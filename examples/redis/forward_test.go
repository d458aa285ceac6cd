package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/resp"
	"github.com/e17579a5/raft/examples/shards/shard"
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

// refuse answers what comes over a connection at once as a server does that has another shard, or none, and ends it.
func refuse(conn net.Conn, text string, came *atomic.Int64) {
	c := &connection{server: &server{limits: limits{write: time.Minute}}, net: conn}
	c.parser.Limits = resp.Limits{Bytes: 1 << 20, Arguments: 1 << 10}
	buffer := make([]byte, 0, 1<<16)
	for {
		n, err := conn.Read(buffer[len(buffer):cap(buffer)])
		if err != nil {
			return
		}
		buffer = buffer[:len(buffer)+n]
		for {
			args, took, err := c.parser.Next(buffer, nil)
			if took == 0 || err != nil {
				break
			}
			came.Add(1)
			switch reply := "-" + text + "\r\n"; {
			case strings.EqualFold(string(args[len(args)-1]), "multi"):
				c.out.Simple("OK")
			case strings.EqualFold(string(args[0]), "exec"):
				c.out.Error("EXECABORT Transaction discarded because of previous errors.")
			default:
				c.out.Buf = append(c.out.Buf, reply...)
			}
			buffer = buffer[:copy(buffer, buffer[took:])]
		}
		if len(c.out.Buf) > 0 {
			_ = c.flush() // if it fails, the other end is gone
			_ = conn.Close()
			return
		}
	}
}

// TestMisdirected: what the first servers don't carry out, because they don't have the shard or can't reach others,
// the next ones do, once.
func TestMisdirected(t *testing.T) {
	for _, refusal := range []string{"MOVED 7 nobody:1", "TRYAGAIN not carried out: no leader", unfounded} {
		synctest.Test(t, func(t *testing.T) {
			s := newSharded(t, 8)
			defer s.close()
			s.start("d")
			s.register("d")
			s.await(four)
			d := s.servers["d"][1]
			var refusing, came atomic.Int64
			d.upstreams.dial = func(_ context.Context, address string) (net.Conn, error) {
				if refusing.Add(-1) < 0 {
					return s.connect(address)
				}
				ours, theirs := net.Pipe()
				go refuse(theirs, refusal, &came)
				return ours, nil
			}
			key := s.keyAt("d", false)
			c := s.client(plainPort("d"))
			defer func() { _ = c.conn.Close() }()
			for _, step := range [][2]string{
				{"set KEY 1", "+OK"}, {"get KEY", `"1"`}, {"incr KEY", ":2"}, {"keys KEY", `*["KEY"]`}, {"watch KEY", "+OK"}, {"unwatch", "+OK"},
				{"multi", "+OK"}, {"incr KEY", "+QUEUED"}, {"exec", "*[:3]"}, {"get KEY", `"3"`},
			} {
				d.upstreams.forget()
				refusing.Store(5) // more than there are servers that have the shard
				require.Equal(t, strings.ReplaceAll(step[1], "KEY", key), c.must(t, strings.ReplaceAll(step[0], "KEY", key)), step[0])
			}
			d.upstreams.forget()
			refusing.Store(1)
			_, err := c.conn.Write(encode(encode(encode(nil, "incr", key), "get", key), "incr", key))
			require.NoError(t, err)
			for _, want := range []string{":4", `"4"`, ":5"} {
				got, err := c.reply()
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			d.upstreams.forget()
			d.limits.request = 10 // less than the pipeline has, so it can't be one transaction
			refusing.Store(1)
			came.Store(0)
			_, err = c.conn.Write(encode(encode(nil, "incr", key), "incr", key))
			require.NoError(t, err)
			for _, want := range []string{":6", ":7"} {
				got, err := c.reply()
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			require.EqualValues(t, 1, came.Load(), "the second command isn't sent before the first has its reply")
			d.upstreams.forget()
		})
	}
}

// forget ends the connections that nobody uses.
func (p *upstreams) forget() {
	p.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = false
}

// TestWatchedShardMoves: a transaction isn't carried out if a watched key has changed, also when its shard has come
// to the server of the client since WATCH, or has left it.
func TestWatchedShardMoves(t *testing.T) {
	for _, comes := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSharded(t, 8)
			defer s.close()
			s.start("d")
			s.register("d")
			s.await(four)
			key := s.keyAt("d", !comes)
			number := shard.Of(key, s.shards)
			from, to := raft.ServerID("d"), raft.ServerID("d")
			for _, id := range []raft.ServerID{"a", "b", "c"} {
				if has := s.hosts["a"].Table().Shards[number].Has(id); comes && has {
					from = id
				} else if !comes && !has {
					to = id
				}
			}
			c, other := s.client(plainPort("d")), s.client(plainPort("a"))
			for _, changes := range []bool{true, false} {
				require.Equal(t, "+OK", c.must(t, "set "+key+" 1"))
				require.Equal(t, "+OK", c.must(t, "watch "+key))
				require.NoError(t, s.hosts["a"].Place(t.Context(), shard.Placing{Shard: number, From: from, To: to}))
				s.await(func(table *shard.Table) bool { return table.Settled() && table.Shards[number].Has(to) })
				if changes {
					require.Equal(t, "+OK", other.must(t, "set "+key+" 2"))
				}
				require.Equal(t, "+OK", c.must(t, "multi"))
				require.Equal(t, "+QUEUED", c.must(t, "incr "+key))
				reply := c.must(t, "exec")
				carriedOut := reply == "*[:2]"
				require.False(t, changes && carriedOut, reply)
				require.True(t, carriedOut || reply == "nil*" || strings.HasPrefix(reply, "-TRYAGAIN "), reply)
				want := `"2"`
				if !changes && !carriedOut {
					want = `"1"`
				}
				require.Equal(t, want, c.must(t, "get "+key))
				from, to = to, from // and back
				require.NoError(t, s.hosts["a"].Place(t.Context(), shard.Placing{Shard: number, From: from, To: to}))
				s.await(func(table *shard.Table) bool { return table.Settled() && table.Shards[number].Has(to) })
				from, to = to, from
			}
			_, _ = c.conn.Close(), other.conn.Close()
		})
	}
}
