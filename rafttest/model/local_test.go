package model

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLoyaltyMakesNoDifference demands that nothing is missed where messages stay on their way and
// followers are never loyal to their leaders.
func TestLoyaltyMakesNoDifference(t *testing.T) {
	seen := func(bounds Bounds, patient bool) (servers map[sum]bool, states uint64) {
		s, err := New(bounds, Options{Workers: 1})
		require.NoError(t, err)
		s.patient = patient
		servers = map[sum]bool{}
		sums := make([]sum, len(s.tables.namings))
		s.visit = func(one *state) {
			for k := range sums {
				sums[k] = s.tables.ghosts.get(one.ghost).hashes[k]
				for i := range s.bounds.Servers {
					sums[k] = sums[k].plus(outward(s.tables.nodes.get(one.nodes[i]), &s.tables.namings[k]))
				}
			}
			servers[least(sums)] = true
		}
		result := s.Run(context.Background())
		require.True(t, result.Exhausted)
		return servers, result.States
	}
	for _, bounds := range []Bounds{
		{Terms: 1, Soup: true, Timeouts: true},
		{Servers: 2, Terms: 1, Soup: true, Timeouts: true, Commands: 1, Crashes: 1, Rounds: 1},
		{Servers: 2, Terms: 1, Soup: true, Timeouts: true, AsyncDisks: true},
	} {
		without, fewer := seen(bounds, false)
		with, more := seen(bounds, true)
		require.Equal(t, with, without)
		require.Less(t, fewer, more)
		t.Logf("%d states of the servers seen from outside; of the cluster %d, %d with loyalty", len(with), fewer, more)
	}
}
