package main

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/process"
)

// asServer is the name of the program itself, for tests that run it in processes.
const asServer = "server"

func TestMain(m *testing.M) { process.Main(m, map[string]func(){asServer: main}) }

func TestOptions(t *testing.T) {
	o, err := parseOptions([]string{"-dir", "x"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.run, 3)
	require.Equal(t, []string{"127.0.0.1:6379", "127.0.0.1:6380", "127.0.0.1:6381"}, o.listen)
	o, err = parseOptions([]string{"-id", "b", "-peers", "a=x:1,b=y:2", "-listen", ":7", "-dir", "x"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, o.cluster, 2)
	require.EqualValues(t, "b", o.run[0].ID)
	require.Equal(t, []string{":7"}, o.listen)
	o, err = parseOptions([]string{"-shards", "4", "-dir", "x"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:6479", "127.0.0.1:6480", "127.0.0.1:6481"}, o.plain)
	o, err = parseOptions([]string{"-shards", "4", "-dir", "x", "-id", "a", "-listen", "127.0.0.1:7"}, io.Discard)
	require.NoError(t, err)
	require.Empty(t, o.plain)
	for want, args := range map[string][]string{
		`unknown argument "x"`:             {"x"},
		`-id "d" is not among -peers`:      {"-id", "d"},
		`"..=a:1" is not id=host:port`:     {"-peers", "..=a:1"},
		"missing port in address":          {"-peers", "a=b"},
		"must be 3, not 1":                 {"-listen", ":1"},
		"-admin :1: the number":            {"-admin", ":1"},
		`-store "disk": must be memory or`: {"-store", "disk"},
		"-cache 5: must be at least":       {"-cache", "5"},
		`the id "x.keys" ends with .keys`:  {"-peers", "x.keys=a:1"},
		"-max-clients 0: must be positive": {"-max-clients", "0"},
		"-max-request 5: must be from":     {"-max-request", "5"},
		"-timeout and -write-timeout":      {"-timeout", "0s"},
		"-lease 2s: must be from 0 to 1s":  {"-lease", "2s"},
		"-max-stale and -idle":             {"-idle", "-1s"},
		"-shards -1: must be from 0":       {"-shards", "-1"},
		"-shards can't be had with -store": {"-shards", "4", "-store", "pebble"},
		"-join is for a store with":        {"-join"},
		"-plain is for a store with":       {"-id", "a", "-plain", "127.0.0.1:1"},
		"-plain x:1: the number of":        {"-shards", "4", "-plain", "x:1"},
		"so it must name a host":           {"-id", "a", "-shards", "4", "-listen", ":6379"},
		"must be a loopback address":       {"-id", "a", "-shards", "4", "-admin", "10.0.0.1:1"},
		"flag provided but not defined":    {"-what"},
	} {
		_, err := parseOptions(args, io.Discard)
		require.ErrorContains(t, err, want)
	}
}

// TestAdministrationIsNoOpenDoor: it isn't served where everybody could use it.
func TestAdministrationIsNoOpenDoor(t *testing.T) {
	err := run(t.Context(), []string{"-id", "a", "-peers", "a=127.0.0.1:0", "-listen", "127.0.0.1:0", "-dir", t.TempDir(), "-admin", "0.0.0.0:0"}, io.Discard)
	require.ErrorIs(t, err, raft.ErrConfig)
	require.ErrorContains(t, err, "-admin: ")
}

// TestRunWithPortInUse: the error names a port that is in use, and nothing is stored.
func TestRunWithPortInUse(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, used.Close()) }()
	address := used.Addr().String()
	for _, args := range [][]string{
		{"-id", "a", "-peers", "a=" + address, "-listen", "127.0.0.1:0"},
		{"-id", "a", "-peers", "a=127.0.0.1:0", "-listen", address},
	} {
		dir := filepath.Join(t.TempDir(), "data")
		err = run(t.Context(), append(args, "-dir", dir), io.Discard)
		require.ErrorContains(t, err, "server a: ")
		require.ErrorContains(t, err, "listen tcp "+address)
		require.NoDirExists(t, dir)
	}
}

// TestRunEnds: a server ends when it is told to, whether it has found the others or not.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.NoError(t, run(ctx, []string{"-id", "a", "-peers", "a=127.0.0.1:0,b=127.0.0.1:1", "-listen", "127.0.0.1:0", "-dir", t.TempDir()}, io.Discard))
}

// These are the deadlines of the tests with processes and sockets. They only bound how long a failure
// takes.
const (
	patience = process.Patience
	pollEach = process.PollEach
)
