package model

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// pasts returns the states that the servers together can be in, with what an observer then knows
// and what may still happen.
func pasts(t *testing.T, bounds Bounds, options Options) (pasts map[sum]bool, result Result) {
	t.Helper()
	options.Workers = 1
	s, err := New(bounds, options)
	require.NoError(t, err)
	pasts = map[sum]bool{}
	sums := make([]sum, len(s.tables.namings))
	s.visit = func(one *state) {
		rest := one.budget
		rest.duplicates = 0
		for k := range sums {
			sums[k] = s.tables.ghosts.get(one.ghost).hashes[k].plus(rest.hash())
			for i := range s.bounds.Servers {
				sums[k] = sums[k].plus(s.tables.nodes.get(one.nodes[i]).bare[k])
			}
		}
		pasts[least(sums)] = true
	}
	result = s.Run(context.Background())
	require.True(t, result.Exhausted)
	return pasts, result
}

// TestWhatIsCoveredMakesNoDifference demands that states that others cover needn't be looked at.
// Without them the servers can be in the same states, after no more steps. Steps in which messages
// are only answered don't count.
func TestWhatIsCoveredMakesNoDifference(t *testing.T) {
	for name, bounds := range map[string]Bounds{
		"soup":          {Terms: 1, Soup: true, Commands: 1, Crashes: 1},
		"two terms":     {Terms: 2, Soup: true, Crashes: 1},
		"losses":        {Terms: 2, InFlight: 1, Losses: -1, Crashes: 1},
		"two in flight": {Terms: 1, InFlight: 2, Losses: -1, Commands: 1, Crashes: 1},
		"duplicates":    {Terms: 1, InFlight: 2, Losses: -1, Commands: 1, Duplicates: 1},
		"two servers":   {Servers: 2, Terms: 2, Soup: true, Crashes: 1, Commands: 1},
		"four servers":  {Servers: 4, Terms: 1, Soup: true, Commands: 1},
		"async disks":   {Terms: 1, Soup: true, Crashes: 1, AsyncDisks: true},
		"queued writes": {Servers: 2, Terms: 2, Soup: true, Crashes: 1, AsyncDisks: true, Writes: 2},
		"pre-vote":      {Servers: 2, Terms: 1, Soup: true, Crashes: 1, Timeouts: true},
		"rounds":        {Servers: 2, Terms: 2, Soup: true, Rounds: 2},
		"anywhere":      {Servers: 2, Terms: 1, Soup: true, Rounds: 1, Reads: 1, Commands: 1, Anywhere: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, more := pasts(t, bounds, Options{Uncovered: true})
			without, fewer := pasts(t, bounds, Options{})
			require.Equal(t, all, without)
			require.LessOrEqual(t, fewer.States, more.States)
			require.LessOrEqual(t, fewer.Depth, more.Depth)
			t.Logf("%d states of the servers; of the cluster %d, %d of them covered", len(all), more.States, more.States-fewer.States)
		})
	}
}
