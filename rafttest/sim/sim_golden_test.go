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

// TestGolden demands that the runs of some seeds are what testdata/seeds.golden says, in every
// process and on every machine: the number of events, and a hash of all of them. Any change of what
// the core does changes the hash. After such a change,
//
//	go test ./rafttest/sim -run TestGolden -update
//
// writes the file anew. A change that isn't meant to change what the core does must leave the file
// as it is.
func TestGolden(t *testing.T) {
	t.Parallel()
	const seeds = 60
	w := NewWorld(Options{})
	events, hash := 0, uint64(0)
	for seed := uint64(1); seed <= seeds; seed++ {
		r := w.Run(seed)
		events, hash = events+r.Stats.Events, mix(hash^r.Hash)
	}
	now := fmt.Sprintf("seeds 1 to %d: %d events, hash %016x\n", seeds, events, hash)
	file := filepath.Join("testdata", "seeds.golden")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o777))
		require.NoError(t, os.WriteFile(file, []byte(now), 0o666))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	was := strings.ReplaceAll(string(golden), "\r\n", "\n")
	require.Equal(t, was, now,
		"the runs have changed; if they should: go test ./rafttest/sim -run TestGolden -update")
}
