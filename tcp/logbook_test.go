package tcp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// A failure that repeats in the same way gets a line in the log now and then only.
func TestLogIsQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		c.start("b")
		a := c.start("a")
		a.SetServers([]raft.Server{{ID: "c", Address: address("b")}, {ID: "d", Address: address("d")}})
		for range 1000 {
			a.tell("c", 1)
			a.tell("d", 1)
			pass(100 * time.Millisecond)
		}
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: can't connect" node=a peer=c`), "in 100 s")
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: can't connect" node=a peer=d`))
		require.Equal(t, 2, strings.Count(c.log.String(), `msg="tcp: drop a connection" node=b peer=a`))
	})
}

// noisy are the ways to make a line in the log over and over again, each time with another text.
var noisy = map[string]func(c *cluster) (*server, *server){
	"an expired certificate": func(c *cluster) (*server, *server) {
		authority := newAuthority(c.t)
		b := c.startTLS(authority.issue("b", time.Hour), "b", "a")         // before a, which finds it at once
		return c.startTLS(authority.issue("a", -time.Minute), "a", "b"), b // the error holds the time
	},
	"an error with the time": func(c *cluster) (*server, *server) {
		options := c.options
		options.Dial = func(_ context.Context, address string) (net.Conn, error) {
			return nil, fmt.Errorf("dial %s at %v: %w", address, time.Now(), errors.New(time.Now().String()))
		}
		return c.startWith(options, "a", "b"), c.start("b")
	},
	"strangers": func(c *cluster) (*server, *server) {
		a := c.start("a")
		go func() {
			for i := range 500 {
				conn := c.dial("a")
				hello := append(tcp.Preamble(), tcp.Hello(1, raft.Server{ID: raft.ServerID(fmt.Sprint("x", i))}, raft.ServerID(fmt.Sprint("y", i)))...)
				_, _ = conn.Write(hello)
				<-time.After(200 * time.Millisecond)
			}
		}()
		return a, c.start("b")
	},
	"a connection that breaks": func(c *cluster) (*server, *server) {
		go func() {
			for range 300 {
				<-time.After(time.Second / 3)
				c.network.Reset(address("b"))
			}
		}()
		return c.start("a", "b"), c.start("b")
	},
	"messages that are too large": func(c *cluster) (*server, *server) {
		options := c.options
		options.MaxFrame = 64 << 10
		a, b := c.startWith(options, "a", "b"), c.start("b")
		go func() {
			for i := range 300 {
				a.tellMuch("b", 100_000+i)
				<-time.After(time.Second / 3)
			}
		}()
		return a, b
	},
}

// What tells causes apart is the kind of the error. Its text may be new each time.
func TestLogIsQuietWhateverTheTexts(t *testing.T) {
	for name, start := range noisy {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				a, b := start(c)
				for range 1000 {
					a.tell("b", 1)
					b.tell("a", 1)
					pass(100 * time.Millisecond)
				}
				lines := map[string]int{}
				for line := range strings.Lines(c.log.String()) {
					text, _, _ := strings.Cut(line[strings.Index(line, "msg="):], " error")
					text, _, _ = strings.Cut(text, " peer=x")
					text, _, _ = strings.Cut(text, " took=")
					lines[text]++
				}
				limit := 2
				if name == "an expired certificate" {
					limit *= 2 // a refusal is read, or the connection has broken before that
				}
				for text, count := range lines {
					require.LessOrEqual(t, count, limit, "in 100 s: %s", text)
				}
				require.Contains(t, c.log.String(), "left_out=")
			})
		})
	}
}

// A hook is a logger, a Dial or a setting of TLS that misbehaves.
type hook func()

func (h hook) Enabled(context.Context, slog.Level) bool       { h(); return true }
func (h hook) Handle(context.Context, slog.Record) error      { h(); return nil }
func (h hook) WithAttrs([]slog.Attr) slog.Handler             { h(); return h }
func (h hook) WithGroup(string) slog.Handler                  { h(); return h }
func (h hook) dial(context.Context, string) (net.Conn, error) { h(); return nil, nil }
func (h hook) verify(tls.ConnectionState) error               { h(); return nil }

// What the user hands in may panic, or end its goroutine, whenever it is called. The process lives,
// the other servers are served, nothing leaks, and the log, if that isn't the one, says so.
func TestHooksThatFail(t *testing.T) {
	for how, fail := range map[string]hook{"panics": func() { panic("boom") }, "ends the goroutine": runtime.Goexit, "does nothing": func() {}} {
		for what, hand := range map[string]func(o *tcp.Options){
			"Logger": func(o *tcp.Options) { o.Logger = slog.New(fail) },
			"Dial": func(o *tcp.Options) {
				good := o.Dial
				o.Dial = func(ctx context.Context, to string) (net.Conn, error) {
					if to == address("c") {
						return good(ctx, to)
					}
					return fail.dial(ctx, to)
				}
			},
			"Conn": func(o *tcp.Options) {
				good := o.Dial
				o.Dial = func(ctx context.Context, to string) (net.Conn, error) {
					conn, err := good(ctx, to)
					if err == nil && to == address("b") {
						conn = failingConn{conn, fail}
					}
					return conn, err
				}
			},
			"Accept": func(o *tcp.Options) {
				good := o.Listen
				o.Listen = func(at string) (net.Listener, error) {
					l, err := good(at)
					return &failingListener{Listener: l, fail: fail}, err
				}
			},
		} {
			t.Run(what+" "+how, func(t *testing.T) {
				inBubble(t, func(t *testing.T, c *cluster) {
					options := c.options
					hand(&options)
					a := c.startWith(options, "a", "b", "c")
					b, good := c.start("b", "a"), c.start("c", "a")
					for range 50 {
						a.tell("b", 1)
						a.tell("c", 2)
						good.tell("a", 3)
						b.tell("a", 3)
						pass(100 * time.Millisecond)
					}
					require.NotEmpty(t, good.received())
					require.NotEmpty(t, a.received())
					if how == "panics" && what != "Logger" {
						require.Contains(t, c.log.String(), "panicked: boom")
					}
				})
			})
		}
	}
}

type failingConn struct {
	net.Conn
	fail hook
}

func (c failingConn) Write(b []byte) (int, error) {
	c.fail()
	return c.Conn.Write(b)
}

// A failingListener fails each second time.
type failingListener struct {
	net.Listener
	fail  hook
	calls int
}

func (l *failingListener) Accept() (net.Conn, error) {
	if l.calls++; l.calls%2 > 0 {
		l.fail()
	}
	return l.Listener.Accept()
}

// The functions in the settings of TLS are called in the middle of a handshake.
func TestTLSHooksThatFail(t *testing.T) {
	for how, fail := range map[string]hook{"panics": func() { panic("boom") }, "ends the goroutine": runtime.Goexit} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *cluster) {
				authority := newAuthority(t)
				config := authority.issue("a", time.Hour)
				config.VerifyConnection = fail.verify
				a := c.startTLS(config, "a", "b")
				b := c.startTLS(authority.issue("b", time.Hour), "b", "a")
				for range 50 {
					a.tell("b", 1)
					b.tell("a", 1)
					pass(100 * time.Millisecond)
				}
				require.Empty(t, a.received())
				require.Empty(t, b.received())
				require.Less(t, strings.Count(c.log.String(), "\n"), 20)
			})
		})
	}
}

// A logger that blocks holds up neither messages nor connections. Close waits a second for it.
func TestLoggerThatBlocks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		release := make(chan struct{})
		options := c.options
		options.Logger = slog.New(hook(func() { <-release }))
		a, b := c.startWith(options, "a", "b"), c.start("b", "a")
		pass(time.Second)
		for range 10 {
			a.tell("b", 1)
			b.tell("a", 1)
			require.Len(t, b.received(), 1)
			require.Len(t, a.received(), 1)
			c.network.Reset(address("a"))
			c.network.Reset(address("b"))
			pass(2 * time.Second)
		}
		start := time.Now()
		require.NoError(t, a.Close())
		require.Equal(t, time.Second, time.Since(start))
		close(release)
		synctest.Wait()
	})
}

// A Dial that doesn't end when it is told to holds up nobody else. Close waits a second for it.
func TestDialThatBlocks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster) {
		var hung atomic.Int64
		release, good := make(chan struct{}), c.options.Dial
		options := c.options
		options.Dial = func(ctx context.Context, to string) (net.Conn, error) {
			if to == address("b") {
				hung.Add(1)
				<-release
			}
			return good(ctx, to)
		}
		a, other := c.startWith(options, "a", "b", "c"), c.start("c", "a")
		c.start("b")
		pass(time.Second)
		for i := range uint64(1000) {
			a.tell("b", i)
			a.tell("c", i)
			require.Equal(t, []uint64{i}, other.received())
			if i%100 == 0 {
				c.network.Reset(address("c"))
			}
			pass(time.Second)
		}
		require.LessOrEqual(t, hung.Load(), int64(16), "it isn't called again and again")
		start := time.Now()
		require.NoError(t, a.Close())
		require.Equal(t, time.Second, time.Since(start))
		close(release)
		synctest.Wait()
	})
}
