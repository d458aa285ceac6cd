package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

// server is the name of the program itself, for tests that run it in processes.
const server = "server"

func TestMain(m *testing.M) { process.Main(m, map[string]func(){server: main}) }

// TestRunWithPortInUse: the error names a port that is in use, and nothing is stored.
func TestRunWithPortInUse(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, used.Close()) }()
	address := used.Addr().String()
	for _, args := range [][]string{
		{"-raft", address + ",127.0.0.1:0,127.0.0.1:0", "-http", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0"},
		{"-raft", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0", "-http", address + ",127.0.0.1:0,127.0.0.1:0"},
	} {
		data := filepath.Join(t.TempDir(), "data")
		err = run(t.Context(), append(args, "-data", data), io.Discard)
		require.ErrorContains(t, err, "server a: ")
		require.ErrorContains(t, err, "listen tcp "+address)
		require.NoDirExists(t, data)
	}
}

// TestRunKeepsItsData: a server's folder belongs to one process at a time, and remembers the
// server's address.
func TestRunKeepsItsData(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	data := t.TempDir()
	found(ctx, t, data, raft.Server{ID: "a", Address: "127.0.0.1:0"})
	serve := func(ctx context.Context, address string, out io.Writer) error {
		return run(ctx, []string{"-id", "a", "-peers", "a=" + address, "-http", "127.0.0.1:0", "-data", data}, out)
	}
	require.ErrorContains(t, serve(ctx, "localhost:0", io.Discard), "the stored address is 127.0.0.1:0, not localhost:0")

	running, stop := context.WithCancel(ctx)
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- serve(running, "127.0.0.1:0", in)
		_ = in.Close() // this never fails
	}()
	printed := bufio.NewReader(out)
	line, err := printed.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "Data: "+data+"\n", line)
	go func() { _, _ = io.Copy(io.Discard, printed) }() // until the pipe is closed

	require.ErrorIs(t, serve(ctx, "127.0.0.1:0", io.Discard), raft.ErrLocked)
	stop()
	require.NoError(t, <-ended)
}

// found makes a server found a cluster of its own on disk.
func found(ctx context.Context, t *testing.T, data string, self raft.Server) {
	store, err := wal.Open(filepath.Join(data, string(self.ID)), wal.Options{})
	require.NoError(t, err)
	node, err := raft.Start(raft.Config{
		ID: self.ID, Machine: &counter{}, Storage: store, Bootstrap: []raft.Server{self},
		Transport: memory.NewNetwork(memory.Options{}).Join(self.ID), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, node.Read(ctx))
	require.NoError(t, node.Close(ctx))
}

// TestRunWithoutItsCertificates: the error says what is missing in the folder.
func TestRunWithoutItsCertificates(t *testing.T) {
	folder := t.TempDir()
	start := func() error {
		return run(t.Context(), []string{
			"-id", "a", "-peers", "a=127.0.0.1:0", "-http", "127.0.0.1:0", "-data", t.TempDir(), "-certs", folder,
		}, io.Discard)
	}
	require.ErrorIs(t, start(), os.ErrNotExist)
	require.ErrorContains(t, start(), "server a: -certs: ")
}
