package mutants_test

import (
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
	m := mutants.Mutant{Name: "outlived", File: "raft.go", Is: "no such text", Becomes: "another"}
	_, err = m.Apply(root)
	require.ErrorContains(t, err, "found 0 times")
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
