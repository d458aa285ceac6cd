package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Runs that begin with what another cluster has left, in both ways. Nothing is lost of which the recovery doesn't say so, and the
// new cluster is as good as any.
func TestHeritage(t *testing.T) {
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
