package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
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

	before := files(t, filepath.Join(dir, "a"))
	out, _ := look(t, exitWell, "recover", "plan", filepath.Join(dir, "a"))
	require.Equal(t, before, files(t, filepath.Join(dir, "a")), "it must change nothing")
	require.Contains(t, out, "b at b:1, a voter")
	cluster := regexp.MustCompile(`cluster (\w+),`).FindStringSubmatch(out)[1]
	require.Contains(t, out, "\n  raft recover apply -cluster "+cluster+" -address a:1 "+filepath.Join(dir, "a")+"\n")

	_, errs := look(t, exitNot, "recover", "apply", "-address", "a:2", "-cluster", "beef", filepath.Join(dir, "a"))
	require.Contains(t, errs, "not to beef")
	look(t, exitUsage, "recover", "apply", "-address", "a:2", filepath.Join(dir, "a"))
	look(t, exitUntold, "recover", "plan", filepath.Join(dir, "none"))
	out, _ = look(t, exitWell, "recover", "apply", "-address", "a:2", "-cluster", cluster, filepath.Join(dir, "a"))
	require.Contains(t, out, "it is cluster ")
	require.Contains(t, out, "start server a, which is reached at a:2\n")

	a = start(t, filepath.Join(dir, "a"), network, "a", list...)
	defer func() { require.NoError(t, a.Close(t.Context())) }()
	_, err = a.Propose(t.Context(), []byte("y"))
	require.NoError(t, err)
	require.Equal(t, []raft.Server{{ID: "a", Address: "a:2"}}, []raft.Server{a.Status().Members[0].Server})
	require.Len(t, a.Status().Members, 1)
}

// spoilCommand damages a command in the log of a server.
func spoilCommand(t *testing.T, dir, command string) {
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
	spoilCommand(t, dirs[0], "the first command")
	spoilCommand(t, dirs[0], "the third command")
	spoilCommand(t, dirs[1], "the third command")

	out, _ := look(t, exitWell, append([]string{"recover", "plan"}, dirs...)...)
	require.Contains(t, out, "is nowhere, so its log must be cut after index ")
	cluster := regexp.MustCompile(`cluster (\w+),`).FindStringSubmatch(out)[1]
	best := regexp.MustCompile(`server (\w) is the one to recover`).FindStringSubmatch(out)[1]
	cut := regexp.MustCompile(`cut after index (\d+)`).FindStringSubmatch(out)[1]
	require.Contains(t, out, "recover apply -cluster "+cluster+" -address "+best+":1 -cut "+cut+" "+strings.Join(dirs, " ")+"\n")
	other := map[string]string{"a": dirs[1], "b": dirs[0]}[best]
	apply := append([]string{"recover", "apply", "-address", best + ":2", "-cluster", cluster}, dirs...)
	_, errs := look(t, exitNot, apply...)
	require.Contains(t, errs, "must be cut after index "+cut)
	require.NoFileExists(t, filepath.Join(other, markName), "nothing was written")
	look(t, exitUsage, "recover", "apply", "-cut", cut, dirs[0])

	// What has begun is gone on with, if it is the same.
	apply = append(apply, "-cut", cut)
	require.NoError(t, writeMark(other, mark{cluster, raft.ServerID(best), 1}))
	_, errs = look(t, exitNot, apply...)
	require.Contains(t, errs, "was given up when server "+best)
	require.NoError(t, os.Remove(filepath.Join(other, markName)))
	number, err := strconv.ParseUint(cut, 10, 64)
	require.NoError(t, err)
	require.NoError(t, writeMark(other, mark{cluster, raft.ServerID(best), raft.Index(number)}))
	out, _ = look(t, exitWell, apply...)
	require.Contains(t, out, "the log was cut after index "+cut)
	require.Contains(t, out, "empty "+other+", start server ")

	// Once is enough: with the same logs, and with what is left of the others.
	_, errs = look(t, exitNot, apply...)
	require.Contains(t, errs, "it was recovered from cluster "+cluster+" already")
	for _, arguments := range [][]string{{"recover", "plan", other}, {"recover", "apply", "-cluster", cluster, other}} {
		_, errs = look(t, exitNot, arguments...)
		require.Contains(t, errs, "was given up when server "+best+" of cluster "+cluster+" was recovered")
	}
	if best == "b" {
		dirs[0], dirs[1] = dirs[1], dirs[0]
	}
	recovered := start(t, dirs[0], network, raft.ServerID(best))
	defer func() { require.NoError(t, recovered.Close(t.Context())) }()
	_, err = recovered.Propose(t.Context(), []byte("y"))
	require.NoError(t, err)
}

// TestVerifyExports: what is missing, wrong, or too much in an export is found.
func TestVerifyExports(t *testing.T) {
	dir := t.TempDir()
	node := start(t, filepath.Join(dir, "a"), memory.NewNetwork(memory.Options{}), "a", raft.Server{ID: "a", Address: "a:1"})
	_, err := node.Propose(t.Context(), []byte("x"))
	require.NoError(t, err)
	var export bytes.Buffer
	index, err := node.ExportSnapshot(t.Context(), &export)
	require.NoError(t, err)
	cluster := node.Status().Cluster
	require.NoError(t, node.Close(t.Context()))

	name := filepath.Join(dir, "x")
	verify := func(code int, content []byte) string {
		t.Helper()
		require.NoError(t, os.WriteFile(name, content, 0o600))
		out, _ := look(t, code, "verify", name)
		return out
	}
	sound := fmt.Sprintf("%s: sound: the state of cluster %v at entry %d of term ", name, cluster, index)
	require.Contains(t, verify(exitWell, export.Bytes()), sound)
	require.Contains(t, verify(exitNot, export.Bytes()[:export.Len()-1]), "DAMAGED: raft: stored data is corrupt: the exported snapshot ends too early")
	require.Contains(t, verify(exitNot, append(bytes.Clone(export.Bytes()), 0)), "something follows the end")
	wrong := bytes.Clone(export.Bytes())
	wrong[len(wrong)/2] ^= 1
	verify(exitNot, wrong)

	// Logs and exports are verified side by side; the worst of them counts.
	look(t, exitNot, "verify", filepath.Join(dir, "a"), name)
	require.NoError(t, os.WriteFile(name, export.Bytes(), 0o600))
	out, _ := look(t, exitWell, "verify", "-json", filepath.Join(dir, "a"), name)
	require.Contains(t, out, `"verdict":"sound"`)
	require.Contains(t, out, fmt.Sprintf(`"cluster":"%v"`, cluster))
}
