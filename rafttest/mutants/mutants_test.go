package mutants_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
	"github.com/e17579a5/raft/rafttest/mutants"
)

// TestApply demands that every mutant still applies to the source.
func TestApply(t *testing.T) {
	root, err := mutants.Root()
	require.NoError(t, err)
	all, err := mutants.All()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 40)
	for i := range all {
		_, err := all[i].Apply(root)
		require.NoError(t, err)
	}
}

// TestOutlived demands an error for a mutant whose text is gone from the source.
func TestOutlived(t *testing.T) {
	root, err := mutants.Root()
	require.NoError(t, err)
	gone := mutants.Change{File: "raft.go", Is: "no such text", Becomes: "another"}
	there := mutants.Change{File: "log.go", Is: "package raft\n", Becomes: "package raft // here\n"}
	m := mutants.Mutant{Name: "outlived", Changes: []mutants.Change{gone}}
	_, err = m.Apply(root)
	require.ErrorContains(t, err, "change 1 is found 0 times in raft.go")

	// The first of several changes doesn't stand for the others.
	m.Changes = []mutants.Change{there, gone}
	_, err = m.Apply(root)
	require.ErrorContains(t, err, "change 2 is found 0 times in raft.go")

	// Nor may one change take away what the next one looks for, or make it ambiguous.
	m.Changes = []mutants.Change{there, there}
	_, err = m.Apply(root)
	require.ErrorContains(t, err, "change 2 is found 0 times in log.go")
	m.Changes = []mutants.Change{{File: "log.go", Is: there.Is, Becomes: there.Is + there.Is}, there}
	_, err = m.Apply(root)
	require.ErrorContains(t, err, "change 2 is found 2 times in log.go")
}

// TestOverlay demands that an overlay has all changes of a mutant: two of one file, and one of
// another.
func TestOverlay(t *testing.T) {
	root, err := mutants.Root()
	require.NoError(t, err)
	dir := t.TempDir()
	m := mutants.Mutant{Name: "three", Changes: []mutants.Change{
		{File: "log.go", Is: "package raft\n", Becomes: "package raft // first\n"},
		{File: "tail.go", Is: "package raft\n", Becomes: "package raft // second\n"},
		{File: "log.go", Is: "// first\n", Becomes: "// first and third\n"},
	}}
	name, err := m.Overlay(root, dir)
	require.NoError(t, err)
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	var overlay struct{ Replace map[string]string }
	require.NoError(t, json.Unmarshal(text, &overlay))
	require.Len(t, overlay.Replace, 2)
	for file, want := range map[string]string{"log.go": "// first and third\n", "tail.go": "// second\n"} {
		changed, err := os.ReadFile(overlay.Replace[filepath.Join(root, file)])
		require.NoError(t, err)
		require.Contains(t, string(changed), "package raft "+want)
	}

	// Alone is one of them.
	third := m.Alone(1)
	require.Equal(t, "three-2", third.Name)
	texts, err := third.Apply(root)
	require.NoError(t, err)
	require.Len(t, texts, 1)
	require.Contains(t, texts["tail.go"], "// second\n")
}

// TestKilled builds the simulator with some of the mutants and demands that it catches them. To try
// all mutants takes minutes: go run ./cmd/raftmutants.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the simulator once for each mutant")
	}
	root, err := mutants.Root()
	require.NoError(t, err)
	all, err := mutants.All()
	require.NoError(t, err)
	few := map[string]bool{"commit-old-term": true, "acknowledge-early": true, "vote-forgotten-on-restart": true}
	for i := range all {
		m := &all[i]
		if !few[m.Name] {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			dir := t.TempDir()
			overlay, err := m.Overlay(root, dir)
			require.NoError(t, err)
			binary := buildtest.Build(t, root, nil, "-overlay", overlay, "./cmd/raftsim")
			kept := filepath.Join(dir, "kept.schedule")
			out, err := exec.Command(binary, "-runs", "2000", "-first", "-quiet", "-out", kept).CombinedOutput()
			require.Error(t, err, "%s survived 2000 runs:\n%s", m.Name, out)
			require.Contains(t, string(out), "caught after")

			// The file repeats the failure as long as the bug is there.
			out, err = exec.Command(binary, "-replay", kept).CombinedOutput()
			require.Error(t, err, "%s", out)
			_, err = os.Stat(kept)
			require.NoError(t, err)
		})
		delete(few, m.Name)
	}
	require.Empty(t, few, "mutants that are gone")
}
