package model

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// fromOutside returns the states that the servers together can be in, as seen from outside, with what an
// observer then knows. Set changes the search before it begins.
func fromOutside(t *testing.T, bounds Bounds, options Options, set func(*Search)) (servers map[sum]bool, states uint64) {
	t.Helper()
	options.Workers = 1
	s, err := New(bounds, options)
	require.NoError(t, err)
	set(s)
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

// TestLoyaltyMakesNoDifference demands that nothing is missed where messages stay on their way and
// followers are never loyal to their leaders.
func TestLoyaltyMakesNoDifference(t *testing.T) {
	for _, bounds := range []Bounds{
		{Terms: 1, Soup: true, Timeouts: true},
		{Servers: 2, Terms: 1, Soup: true, Timeouts: true, Commands: 1, Crashes: 1, Rounds: 1},
		{Servers: 2, Terms: 1, Soup: true, Timeouts: true, AsyncDisks: true},
	} {
		without, fewer := fromOutside(t, bounds, Options{}, func(*Search) {})
		with, more := fromOutside(t, bounds, Options{}, func(s *Search) { s.patient = true })
		require.Equal(t, with, without)
		require.Less(t, fewer, more)
		t.Logf("%d states of the servers seen from outside; of the cluster %d, %d with loyalty", len(with), fewer, more)
	}
}

// TestOrderOfQuestionsMakesNoDifference demands that nothing is missed where messages stay on their way
// and servers with damage ask all others at once.
func TestOrderOfQuestionsMakesNoDifference(t *testing.T) {
	for name, bounds := range map[string]Bounds{
		"two servers":   {Servers: 2, Terms: 1, Soup: true, Commands: 1, Damages: 1},
		"two losses":    {Servers: 2, Terms: 1, Soup: true, Damages: 2},
		"two terms":     {Servers: 2, Terms: 2, Soup: true, Damages: 1},
		"async disks":   {Servers: 2, Terms: 1, Soup: true, Damages: 1, AsyncDisks: true},
		"three servers": {Terms: 1, Soup: true, Damages: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at, fewer := fromOutside(t, bounds, Options{Unfolded: true}, func(*Search) {})
			after, more := fromOutside(t, bounds, Options{Unfolded: true}, func(s *Search) { s.singly = true })
			require.Equal(t, after, at)
			require.Less(t, fewer, more)
			t.Logf("%d states of the servers seen from outside; of the cluster %d, %d with one question after the other", len(at), fewer, more)
		})
	}
}
