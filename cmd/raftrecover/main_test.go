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

// spoil damages a command in the log of a server.
func spoil(t *testing.T, dir, command string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	require.NoError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		if at := strings.Index(string(b), command); at >= 0 {
			b[at] ^= 1
			require.NoError(t, os.WriteFile(name, b, 0o600))
			return
		}
	}
	require.Fail(t, "not there", "%s in %s", command, dir)
}

// What all disks have lost is cut off by a person's word, and what one of them still has isn't.
func TestRecoverFromSeveral(t *testing.T) {
	dir := t.TempDir()
	list := []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}}
	network := memory.NewNetwork(memory.Options{})
	dirs := []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	a, b := start(t, dirs[0], network, "a", list...), start(t, dirs[1], network, "b", list...)
	for _, command := range []string{"the first command", "the second command", "the third command"} {
		_, err := a.Propose(t.Context(), []byte(command))
		require.NoError(t, err)
		require.NoError(t, b.Read(t.Context()))
	}
	require.NoError(t, a.Close(t.Context()))
	require.NoError(t, b.Close(t.Context()))
	spoil(t, dirs[0], "the first command")
	spoil(t, dirs[0], "the third command")
	spoil(t, dirs[1], "the third command")

	var out strings.Builder
	require.NoError(t, run(dirs, &out))
	require.Contains(t, out.String(), "is nowhere, so its log must be cut after index ")
	cluster := regexp.MustCompile(`cluster (\w+),`).FindStringSubmatch(out.String())[1]
	best := regexp.MustCompile(`server (\w) is the one to recover`).FindStringSubmatch(out.String())[1]
	cut := regexp.MustCompile(`cut after index (\d+)`).FindStringSubmatch(out.String())[1]
	if best == "b" {
		dirs[0], dirs[1] = dirs[1], dirs[0]
	}
	arguments := append([]string{"-address", best + ":2", "-cluster", cluster}, dirs...)
	require.ErrorContains(t, run(arguments, io.Discard), "must be cut after index "+cut)
	require.ErrorContains(t, run([]string{"-cut", cut, dirs[0]}, io.Discard), "usage")
	out.Reset()
	arguments = append([]string{"-cut", cut}, arguments...)
	require.NoError(t, run(arguments, &out))
	require.Contains(t, out.String(), "the log was cut after index "+cut)
	require.ErrorContains(t, run(arguments, io.Discard), "belongs to cluster", "once is enough")
	out.Reset()
	require.NoError(t, run(dirs[1:], &out))
	require.Contains(t, out.String(), "so that it may not start alone")
	require.Contains(t, out.String(), "nobody here can give it")

	recovered := start(t, dirs[0], network, raft.ServerID(best))
	defer func() { require.NoError(t, recovered.Close(t.Context())) }()
	_, err := recovered.Propose(t.Context(), []byte("y"))
	require.NoError(t, err)
}
