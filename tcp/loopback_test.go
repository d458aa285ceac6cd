package tcp_test

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
)

// within receives from a channel on which something is due soon. The sockets of these tests are
// real, and so is the time.
func within[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(time.Minute):
		require.Fail(t, "nothing came within a minute")
	}
	return v
}

// startReal starts two servers that know each other, on real sockets, at ports that the system
// chooses.
func startReal(t *testing.T, options tcp.Options) (a, b *server) {
	t.Helper()
	var started []*server
	var servers []raft.Server
	for _, id := range []raft.ServerID{"a", "b"} {
		transport, err := tcp.Listen("127.0.0.1:0", options)
		require.NoError(t, err)
		s := newServer(transport, id)
		t.Cleanup(func() { s.close(t) })
		started = append(started, s)
		servers = append(servers, raft.Server{ID: id, Address: transport.Addr().String()})
	}
	for i, s := range started {
		require.NoError(t, s.Start(servers[i], s))
	}
	for _, s := range started {
		s.SetServers(servers)
	}
	return started[0], started[1]
}

func TestLoopback(t *testing.T) {
	a, b := startReal(t, tcp.Options{})
	for i := range uint64(1000) {
		a.tell("b", i)
		got := within(t, b.messages)
		require.Equal(t, i, got.Heartbeat().Round)
		b.tell("a", i)
		got = within(t, a.messages)
		require.Equal(t, i, got.Heartbeat().Round)
	}
	w, err := a.OpenStream(t.Context(), "b")
	require.NoError(t, err)
	s := within(t, b.streams)
	defer close(s.done)
	sent := make([]byte, 5<<20)
	result := make(chan error, 1)
	go func() {
		_, err := w.Write(sent)
		result <- errors.Join(err, w.Close())
	}()
	got, err := io.ReadAll(s.reader)
	require.NoError(t, err)
	require.NoError(t, within(t, result))
	require.Equal(t, sent, got)
}

func TestLostOnLoopback(t *testing.T) {
	a, b := startReal(t, tcp.Options{})
	a.tell("b", 1)
	within(t, b.messages)
	b.tell("a", 1)
	within(t, a.messages)
	start := time.Now()
	b.close(t)
	require.Equal(t, raft.ServerID("b"), within(t, a.lost))
	t.Logf("after %v", time.Since(start))
}

func TestPortInUse(t *testing.T) {
	a, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
	require.NoError(t, err)
	_, err = tcp.Listen(a.Addr().String(), tcp.Options{})
	require.ErrorContains(t, err, "tcp: listen at "+a.Addr().String())
	require.NoError(t, a.Close())
}
