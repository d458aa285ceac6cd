package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSeeds demands that the runs of some fixed seeds break no invariant.
func TestSeeds(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 100; seed++ {
		r := w.Run(seed)
		require.Nil(t, r.Violation, "go run ./cmd/raftsim -seed %d -v", seed)
	}
}

// TestSameRun demands that a run leaves nothing behind that changes the next run in the same world.
func TestSameRun(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 20; seed++ {
		first := w.Run(seed)
		w.Run(seed + 1000)
		require.Equal(t, first, w.Run(seed), "seed %d again", seed)
		require.Equal(t, first, NewWorld(Options{}).Run(seed), "seed %d in a new world", seed)
	}
}

// TestReplay demands that the schedule of a run repeats the run.
func TestReplay(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 60; seed++ {
		first := w.Run(seed)
		s := w.Record(func(w *World) Result { return w.Run(seed) })
		again := w.Replay(&s)
		require.Equal(t, first.Hash, again.Hash, "seed %d", seed)

		text, err := s.MarshalText()
		require.NoError(t, err)
		var read Schedule
		require.NoError(t, read.UnmarshalText(text))
		require.Equal(t, s, read)
	}
}

// TestClone demands that a clone of a core goes on exactly as the core itself would have, whatever
// the core does later.
func TestClone(t *testing.T) {
	t.Parallel()
	w, cloned := NewWorld(Options{}), NewWorld(Options{Clone: true})
	for seed := uint64(1); seed <= 12; seed++ {
		p := Swarm(seed)
		p.CommandSize = min(p.CommandSize, 400) // all that a core holds is written down twice for each event
		require.Equal(t, w.RunParams(p), cloned.RunParams(p), "seed %d", seed)
	}
}
