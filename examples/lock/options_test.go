package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

func TestOptionsDefaults(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache) // os.UserCacheDir reads one of these, depending on the system
	t.Setenv("HOME", cache)
	t.Setenv("LocalAppData", cache)
	o, err := parseOptions(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{
		{ID: "a", Address: "127.0.0.1:7101"}, {ID: "b", Address: "127.0.0.1:7102"}, {ID: "c", Address: "127.0.0.1:7103"},
	}, o.cluster)
	require.Equal(t, o.cluster, o.run)
	require.Equal(t, defaultServers, strings.Join(o.http, ","))
	require.Equal(t, "127.0.0.1:8190", o.store)
	require.Equal(t, "raft-lock", filepath.Base(o.data))
	require.Equal(t, 3*time.Second, o.timeout)

	o, err = parseOptions([]string{"-raft", ":1,:2,:3", "-http", ":4,:5,:6", "-store", ":7", "-data", "there"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "a", Address: ":1"}, {ID: "b", Address: ":2"}, {ID: "c", Address: ":3"}}, o.run)
	require.Equal(t, []string{":4", ":5", ":6"}, o.http)
	require.Equal(t, ":7", o.store)
	require.Equal(t, "there", o.data)
}

func TestOptionsOfOneServer(t *testing.T) {
	o, err := parseOptions([]string{"-id", "y", "-peers", "x=host:1,y=host:2", "-data", "d", "-timeout", "1s"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "x", Address: "host:1"}, {ID: "y", Address: "host:2"}}, o.cluster)
	require.Equal(t, []raft.Server{{ID: "y", Address: "host:2"}}, o.run)
	require.Equal(t, []string{"127.0.0.1:8181"}, o.http, "each of the servers has a port of its own by default")
	require.Empty(t, o.store)
	require.Equal(t, time.Second, o.timeout)
}

func TestOptionsOfACommand(t *testing.T) {
	o, err := parseOptions([]string{"-acquire", "x", "-servers", "h:1,h:2", "-lease", "3s", "-wait", "1m", "-owner", "me", "--", "run", "-fast"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "x", o.acquire)
	require.Equal(t, []string{"run", "-fast"}, o.command)
	require.Equal(t, []string{"h:1", "h:2"}, o.servers)
	require.Equal(t, "me", o.owner)
	require.Equal(t, 3*time.Second, o.lease)
	require.Equal(t, time.Minute, o.wait)
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"start"}, `unknown argument "start"`},
		{[]string{"-port", "1"}, "-port"},
		{[]string{"-timeout", "0"}, "-timeout 0s"},
		{[]string{"-raft", ":1,:2"}, "the number of addresses must be 3, not 2"},
		{[]string{"-raft", ":1,:2,:3", "-peers", "a=:1"}, "exclude each other"},
		{[]string{"-raft", ":1,2,:3"}, "server b: address 2: missing port"},
		{[]string{"-peers", "a=:1,b"}, `"b" is not id=host:port`},
		{[]string{"-peers", "../a=:1"}, `"../a=:1" is not id=host:port`},
		{[]string{"-peers", "store=:1"}, `"store=:1" is not id=host:port`},
		{[]string{"-id", "d"}, `-id "d" is not among`},
		{[]string{"-http", ":1"}, "the number of addresses must be 3, not 1"},
		{[]string{"-admin", ":1"}, "-admin :1: the number of addresses must be 3, not 1"},
		{[]string{"-acquire", "x"}, "no command"},
		{[]string{"-acquire", "\n", "run"}, "can't be seen"},
		{[]string{"-acquire", "x", "-lease", "1ms", "run"}, "-lease 1ms: must be from 100ms"},
		{[]string{"-acquire", "x", "-wait", "-1s", "run"}, "-wait -1s"},
		{[]string{"-acquire", "x", "-grace", "-1s", "run"}, "-grace -1s"},
		{[]string{"-acquire", "x", "-servers", "nowhere", "run"}, "nowhere"},
	} {
		require.ErrorContains(t, run(t.Context(), c.args, io.Discard), c.want, "%q", c.args)
	}
	require.ErrorContains(t, run(t.Context(), []string{"store", "now"}, io.Discard), `unknown argument "now"`)
}

// TestRunWithPortInUse: the error names a port that is in use, and what it was for.
func TestRunWithPortInUse(t *testing.T) {
	used, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, used.Close()) }()
	address := used.Addr().String()
	const free = "127.0.0.1:0"
	for _, c := range []struct{ want, raft, http, store string }{
		{"server a: ", address, free, free}, {"server a: ", free, address, free}, {"store: ", free, free, address},
	} {
		err = run(t.Context(), []string{"-id", "a", "-peers", "a=" + c.raft, "-http", c.http, "-store", c.store, "-data", t.TempDir()}, io.Discard)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "listen tcp "+address)
	}
}

// TestRunEnds: servers and store run in one process, and end in an orderly way. The same folder does
// for the next run.
func TestRunEnds(t *testing.T) {
	data := t.TempDir()
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		out := &lastLine{end: "Ctrl-C ends it.\n", seen: stop}
		require.NoError(t, run(ctx, []string{"-id", "a", "-peers", "a=127.0.0.1:0", "-http", "127.0.0.1:0", "-store", "127.0.0.1:0", "-data", data}, out))
		require.Contains(t, out.text, "Data: "+data+"\n")
	}
}

// A lastLine is told what a program prints, and calls seen after the last line.
type lastLine struct {
	text, end string
	seen      func()
}

func (l *lastLine) Write(b []byte) (int, error) {
	if l.text += string(b); strings.HasSuffix(l.text, l.end) {
		l.seen()
	}
	return len(b), nil
}

// TestRunWithoutItsCertificates: the error says what is missing in the folder.
func TestRunWithoutItsCertificates(t *testing.T) {
	err := run(t.Context(), []string{
		"-id", "a", "-peers", "a=127.0.0.1:0", "-http", "127.0.0.1:0", "-data", t.TempDir(), "-certs", t.TempDir(),
	}, io.Discard)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "server a: -certs: ")
}

// TestAdministrationIsApart: it is served where the flags say, never to clients of the service, and not
// where everybody could use it.
func TestAdministrationIsApart(t *testing.T) {
	o, err := parseOptions([]string{"-id", "a", "-peers", "a=127.0.0.1:0", "-http", "127.0.0.1:0", "-data", t.TempDir(), "-admin", "0.0.0.0:0"}, io.Discard)
	require.NoError(t, err)
	_, err = start(o, 0)
	require.ErrorIs(t, err, raft.ErrConfig)
	require.ErrorContains(t, err, "-admin: ")
	_, pattern := (&service{api: &httpapi.API{}}).routes().Handler(httptest.NewRequest(http.MethodGet, admin.Path+"status", nil))
	require.Empty(t, pattern)
}

// TestRunKeepsItsAddress: a server doesn't start at another address than the cluster knows it by.
func TestRunKeepsItsAddress(t *testing.T) {
	data := t.TempDir()
	self := raft.Server{ID: "a", Address: "127.0.0.1:0"}
	files, err := wal.Open(filepath.Join(data, "a"), wal.Options{})
	require.NoError(t, err)
	node, err := raft.Start(raft.Config{
		ID: self.ID, Machine: newMachine(), Storage: files, Bootstrap: []raft.Server{self},
		Transport: memory.NewNetwork(memory.Options{}).Join(self.ID), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	require.NoError(t, node.Read(t.Context())) // now it has founded the cluster
	require.NoError(t, node.Close(t.Context()))
	args := []string{"-id", "a", "-peers", "a=localhost:0", "-http", "127.0.0.1:0", "-data", data}
	require.ErrorContains(t, run(t.Context(), args, io.Discard), "the stored address is 127.0.0.1:0, not localhost:0")
}
