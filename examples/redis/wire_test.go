package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/memory"
)

// A plainClient speaks the protocol byte by byte.
type plainClient struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(address string) (*plainClient, error) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return newPlainClient(conn), nil
}

func newPlainClient(conn net.Conn) *plainClient { return &plainClient{conn, bufio.NewReader(conn)} }

// mustDial connects a client for the length of a test. It waits at most a minute for an answer.
func mustDial(t *testing.T, address string) *plainClient {
	c, err := dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.conn.Close() })
	require.NoError(t, c.conn.SetDeadline(time.Now().Add(patience)))
	return c
}

// do sends a command and returns the reply.
func (c *plainClient) do(args ...string) (string, error) {
	if _, err := c.conn.Write(encode(nil, args...)); err != nil {
		return "", err
	}
	return c.reply()
}

// must sends a line of words and returns the reply.
func (c *plainClient) must(t *testing.T, line string) string {
	t.Helper()
	reply, err := c.do(strings.Fields(line)...)
	require.NoError(t, err, line)
	return reply
}

// reply reads a reply. A string is quoted; *[a | b] is an array, ~[a | b] a set, %[a | b] a map.
func (c *plainClient) reply() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', '-', ':', ',', '_':
		return strings.TrimSuffix(line, "\r\n"), nil
	case '$', '*', '~', '%':
	default:
		return "", fmt.Errorf("a reply of type %q", kind)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return "", err
	}
	if n < 0 {
		return "nil" + string(kind), nil
	}
	if kind == '$' {
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.in, b)
		return fmt.Sprintf("%q", b[:n]), err
	}
	if kind == '%' {
		n *= 2
	}
	items := make([]string, n)
	for i := range items {
		if items[i], err = c.reply(); err != nil {
			return "", err
		}
	}
	return string(kind) + "[" + strings.Join(items, " | ") + "]", nil
}

// sorted returns a reply that is an array or a set of strings in order.
func sorted(reply string) string {
	if len(reply) < 3 || !strings.HasSuffix(reply, "]") || reply[1] != '[' {
		return reply
	}
	items := strings.Split(reply[2:len(reply)-1], " | ")
	slices.Sort(items)
	return reply[:2] + strings.Join(items, " | ") + "]"
}

// alone is a cluster of one server in memory.
type alone struct {
	*server
	address string
}

// startAlone starts a server on storage, for the length of a test.
func startAlone(t *testing.T, storage raft.Storage, change func(*limits)) *alone {
	return startAloneWith(t, kv.New(&kv.Memory{}), storage, change)
}

// startAloneWith is startAlone with a machine.
func startAloneWith(t *testing.T, machine *kv.Machine, storage raft.Storage, change func(*limits)) *alone {
	o, err := parseOptions([]string{"-dir", t.TempDir()}, io.Discard)
	require.NoError(t, err)
	if change != nil {
		change(&o.limits)
	}
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: machine, Durable: machine.Durable(), Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler), MaxCommandBytes: 16 << 20,
		ElectionTimeout: time.Minute, Heartbeat: time.Second, // also while a test holds up the disk
	})
	require.NoError(t, err)
	require.NoError(t, node.Read(t.Context()))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := newServer(node, machine, raft.Server{ID: "a"}, listener, o.limits)
	ended := make(chan error, 1)
	go func() { ended <- s.serve() }()
	t.Cleanup(func() {
		err := stopServer(s, o)
		if !errors.Is(err, net.ErrClosed) { // the test has stopped it before
			require.NoError(t, err)
		}
		<-ended
	})
	return &alone{s, listener.Addr().String()}
}
