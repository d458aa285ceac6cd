package raft_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/rafttest/sim"
)

// The tests in this file run whole clusters of the core. The networks lose, repeat, reorder and
// part, and the disks forget at a crash what was not synced. Every invariant is checked after every
// step (rafttest/sim). When the faults end, the cluster must make progress, and everything
// acknowledged must be there.

// TestPartitions runs a fixed set of seeds, and some that are new each time. Each seed draws its
// own cluster, limits and faults.
func TestPartitions(t *testing.T) {
	seeds, fresh := uint64(400), uint64(100)
	if testing.Short() {
		seeds, fresh = 100, 20
	}
	first := rand.Uint64() >> 1
	t.Logf("the new seeds begin at %d", first)
	w := sim.NewWorld(sim.Options{})
	for n := range seeds + fresh {
		seed := n + 1
		if n >= seeds {
			seed = first + n - seeds
		}
		r := w.Run(seed)
		require.Nil(t, r.Violation, "go run ./cmd/raftsim -seed %d -v", seed)
		if r.Stats.Beyond == 0 && r.Stats.Excused == 0 { // else no progress is promised: see Stats
			require.Positive(t, r.Stats.Commands, "seed %d commits nothing", seed)
		}
	}
}

// TestPartitionsByProperty lets rapid draw what a run is like.
func TestPartitionsByProperty(t *testing.T) {
	w := sim.NewWorld(sim.Options{})
	rapid.Check(t, func(t *rapid.T) {
		p := sim.Swarm(rapid.Uint64().Draw(t, "seed"))
		p.Servers = rapid.Int64Range(1, sim.MaxServers).Draw(t, "servers")
		p.MaxAppend = rapid.SampledFrom([]int64{1, 200, 4096, 1 << 20}).Draw(t, "append bytes")
		p.WindowMessages = rapid.Int64Range(1, 8).Draw(t, "window")
		p.Writes = rapid.Int64Range(1, 4).Draw(t, "writes at a time")
		p.Loss = rapid.Int64Range(0, 300).Draw(t, "loss")
		p.Duplicate = rapid.Int64Range(0, 300).Draw(t, "duplicates")
		p.Reorder = rapid.Int64Range(0, 1000).Draw(t, "reordered")
		p.Keep = rapid.Int64Range(0, 1000).Draw(t, "kept at a crash")
		p.Hold = rapid.Int64Range(0, 700).Draw(t, "held back")
		p.FaultKinds = rapid.Int64Range(0, 1<<len(sim.FaultNames)-1).Draw(t, "faults")
		p.Events = rapid.Int64Range(0, 1500).Draw(t, "events")
		if r := w.RunParams(p); r.Violation != nil {
			schedule, _ := w.Shrink(w.Record(func(w *sim.World) sim.Result { return w.RunParams(p) }), sim.DefaultBudget/8)
			text, err := schedule.MarshalText()
			require.NoError(t, err)
			t.Fatalf("%v\n%s", r.Violation, text)
		}
	})
}

// TestKeptSchedules repeats schedules that once broke an invariant, or that break one in a mutant.
func TestKeptSchedules(t *testing.T) {
	names, err := filepath.Glob("rafttest/testdata/*.schedule")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	w := sim.NewWorld(sim.Options{})
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		var schedule sim.Schedule
		require.NoError(t, schedule.UnmarshalText(text), name)
		require.Nil(t, w.Replay(&schedule).Violation, "go run ./cmd/raftsim -replay %s -v", name)
	}
}
