package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSystemdIsTold: systemd hears when all servers are ready, that they live, and that they stop.
func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Skip("there are no datagrams between processes: ", err)
	}
	defer func() { require.NoError(t, systemd.Close()) }()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	next := func() string {
		line := make([]byte, 100)
		require.NoError(t, systemd.SetReadDeadline(time.Now().Add(time.Minute)))
		n, _, err := systemd.ReadFrom(line)
		require.NoError(t, err)
		return string(line[:n])
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	local := "127.0.0.1:0"
	go func() {
		ended <- run(ctx, []string{
			"-id", "a", "-peers", "a=" + local, "-listen", local, "-http", local, "-data", t.TempDir(), "-drain", "1ms",
		}, io.Discard)
	}()
	require.Equal(t, "READY=1", next())
	require.Equal(t, "WATCHDOG=1", next())
	require.Equal(t, "WATCHDOG=1", next())
	stop()
	for line := next(); line != "STOPPING=1"; line = next() {
		require.Equal(t, "WATCHDOG=1", line)
	}
	require.NoError(t, <-ended)

	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	err = run(t.Context(), []string{"-id", "a", "-peers", "a=" + local, "-http", local, "-data", t.TempDir()}, io.Discard)
	require.ErrorContains(t, err, "systemd's NOTIFY_SOCKET: ")
}
