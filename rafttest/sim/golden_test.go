package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/seeds.golden anew")

// TestGolden demands that a seed's run is what testdata/seeds.golden says of it, in every process and on every machine:
// how many events it has, and a hash of all of them. Any change of what the core does changes it; then
//
//	go test ./rafttest/sim -run TestGolden -update
//
// writes it anew. A change that isn't meant to change anything leaves it as it is.
func TestGolden(t *testing.T) {
	w := NewWorld(Options{})
	var now strings.Builder
	for seed := uint64(1); seed <= 60; seed++ {
		r := w.Run(seed)
		fmt.Fprintf(&now, "seed %d: %d events, hash %016x\n", seed, r.Stats.Events, r.Hash)
	}
	file := filepath.Join("testdata", "seeds.golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(file, []byte(now.String()), 0o666))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	was := strings.ReplaceAll(string(golden), "\r\n", "\n")
	require.Equal(t, was, now.String(),
		"runs are others than they were; if that is meant: go test ./rafttest/sim -run TestGolden -update")
}
