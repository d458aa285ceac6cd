package model_test

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/buildtest"
	"github.com/e17579a5/raft/rafttest/mutants"
)

// TestMutantIsFound builds the checker with a bug of the protocol. It demands that the checker
// finds the bug and prints the run that shows it. To look for the other bugs takes longer:
// go run ./cmd/raftmodel -mutants.
func TestMutantIsFound(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the checker with a bug")
	}
	root, err := mutants.Root()
	require.NoError(t, err)
	all, err := mutants.All()
	require.NoError(t, err)
	const name = "commit-old-term"
	for i := range all {
		if all[i].Name != name {
			continue
		}
		overlay, err := all[i].Overlay(root, t.TempDir())
		require.NoError(t, err)
		binary := buildtest.Build(t, root, nil, "-overlay", overlay, "./cmd/raftmodel")

		out, err := exec.Command(binary, "-quiet").CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(out), "caught: Quorum Durable")
		require.NotContains(t, string(out), "exhausted")
		lines := regexp.MustCompile(`(?m)^ +\d+  .*│.*│.*│`).FindAllString(string(out), -1)
		// At least six: being told to campaign, two requests for votes, one vote, an append, and
		// its answer.
		require.Len(t, lines, 6, "%s", out)
		require.Contains(t, lines[5], "AppendResponse")
		return
	}
	require.Fail(t, "no such mutant", name)
}
