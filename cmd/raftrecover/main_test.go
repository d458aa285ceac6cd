package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wal"
)

// words is a state machine that counts its commands.
type words int

func (w *words) Apply(entries []raft.Entry, _ [][]byte) { *w += words(len(entries)) }
func (w *words) Snapshot() (io.WriterTo, error)         { return strings.NewReader("unused"), nil }
func (w *words) Restore(io.Reader) error                { return nil }

// start starts a server of a cluster on a log.
func start(t *testing.T, dir string, network *memory.Network, id raft.ServerID, list ...raft.Server) *raft.Node {
	store, err := wal.Open(dir, wal.Options{})
	require.NoError(t, err)
	node, err := raft.Start(raft.Config{
		ID: id, Machine: new(words), Storage: store, Transport: network.Join(id), Bootstrap: list, Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return node
}

// files returns the contents of the files in a directory, by name.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	contents := map[string]string{}
	for _, file := range found {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		require.NoError(t, err)
		contents[file.Name()] = string(content)
	}
	return contents
}

func TestRecover(t *testing.T) {
	dir := t.TempDir()
	list := []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}}
	network := memory.NewNetwork(memory.Options{})
	a := start(t, filepath.Join(dir, "a"), network, "a", list...)
	b := start(t, filepath.Join(dir, "b"), network, "b", list...)
	_, err := a.Propose(t.Context(), []byte("x"))
	require.NoError(t, err)
	require.NoError(t, a.Close(t.Context()))
	require.NoError(t, b.Close(t.Context()))

	var out strings.Builder
	before := files(t, filepath.Join(dir, "a"))
	require.NoError(t, run([]string{filepath.Join(dir, "a")}, &out))
	require.Equal(t, before, files(t, filepath.Join(dir, "a")), "it must change nothing")
	require.Contains(t, out.String(), "b at b:1, a voter")
	cluster := regexp.MustCompile(`cluster (\w+),`).FindStringSubmatch(out.String())[1]

	require.ErrorContains(t, run([]string{"-address", "a:2", "-cluster", "beef", filepath.Join(dir, "a")}, io.Discard), "not to beef")
	require.Error(t, run([]string{"-address", "a:2", filepath.Join(dir, "a")}, io.Discard))
	require.Error(t, run([]string{filepath.Join(dir, "none")}, io.Discard))
	out.Reset()
	require.NoError(t, run([]string{"-address", "a:2", "-cluster", cluster, filepath.Join(dir, "a")}, &out))
	require.Contains(t, out.String(), "it is cluster ")

	a = start(t, filepath.Join(dir, "a"), network, "a", list...)
	defer func() { require.NoError(t, a.Close(t.Context())) }()
	_, err = a.Propose(t.Context(), []byte("y"))
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "a", Address: "a:2"}}, []raft.Server{a.Status().Members[0].Server})
	require.Len(t, a.Status().Members, 1)
}
