package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHeritage runs clusters that begin with what another cluster has left, in both ways. Nothing
// may be lost without the recovery's saying so, and the new cluster must work as any other.
func TestHeritage(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	var total Stats
	for seed := uint64(1); seed <= 200; seed++ {
		p := Swarm(seed).WithModel()
		p.After, p.Before, p.Older, p.ChangeTime = 1+int64(seed%2), int64(seed+1000), 0, max(p.ChangeTime, p.Election)
		r := w.RunParams(p)
		require.Nil(t, r.Violation, "seed %d", seed)
		total.Add(&r.Stats)
	}
	require.Greater(t, total.Recovered, 50)
	require.Greater(t, total.Exported, 50)
}
