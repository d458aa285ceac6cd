package model

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// outward hashes, under a naming, what a server shows and has on its disk. It leaves out what the
// server knows of others and what it will tell them.
func outward(n *node, naming *naming) sum {
	b := encodeLog(nil, &n.disk.state, n.disk.entries, naming)
	for _, w := range n.writes {
		b = encodeLog(append(b, 'w'), &w.State, w.Entries, naming)
	}
	s := &n.status
	b = fmt.Appendf(b, "%s %d %d %d %d %d %d", s.role, naming.of(s.leader), s.term, s.commit, s.applied, s.stable, s.last)
	return hashOf(hashNode, b)
}

// reached returns the states that the servers together can be in within some bounds, whatever is on
// the links. With asynchronous disks it compares the servers from outside: a refusal that nobody
// waits for may still wait for a disk.
func reached(t *testing.T, bounds Bounds, keep bool) (servers map[sum]bool, states uint64) {
	t.Helper()
	s, err := New(bounds, Options{DepthFirst: true})
	require.NoError(t, err)
	servers = map[sum]bool{}
	sums := make([]sum, len(s.tables.namings))
	s.keep = keep
	s.visit = func(one *state) {
		if s.known.size.Load() > 300_000 {
			s.stop.Store(true) // a test must not take that many
		}
		clear(sums)
		for i := range s.bounds.Servers {
			n := s.tables.nodes.get(one.nodes[i])
			for k, h := range n.hashes {
				if bounds.AsyncDisks {
					h = outward(n, &s.tables.namings[k])
				}
				sums[k] = sums[k].plus(h)
			}
		}
		servers[least(sums)] = true
	}
	result := s.Run(context.Background())
	require.True(t, result.Exhausted)
	require.Greater(t, len(servers), 10)
	return servers, result.States
}

// TestTheDeadMakeNoDifference takes dead messages from their links. It demands that fewer states
// are left, and that the servers can still be in every state in which they can be with dead
// messages.
func TestTheDeadMakeNoDifference(t *testing.T) {
	for name, bounds := range map[string]Bounds{
		"soup":          {Terms: 1, Soup: true, Commands: 1, Crashes: 1},
		"losses":        {Terms: 2, InFlight: 1, Losses: -1},
		"two servers":   {Servers: 2, Terms: 3, Soup: true, Crashes: 1},
		"crash":         {Terms: 1, InFlight: 1, Losses: -1, Commands: 1, Crashes: 1},
		"async disks":   {Servers: 2, Terms: 2, Soup: true, Crashes: 1, AsyncDisks: true},
		"queued writes": {Servers: 2, Terms: 2, Soup: true, Crashes: 1, AsyncDisks: true, Writes: 2},
		"pre-vote":      {Servers: 2, Terms: 1, Soup: true, Crashes: 1, Timeouts: true},
		"rounds":        {Servers: 2, Terms: 2, Soup: true, Rounds: 1},
		"anywhere":      {Servers: 2, Terms: 1, Soup: true, Rounds: 1, Reads: 1, Commands: 1, Anywhere: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			without, fewer := reached(t, bounds, false)
			with, more := reached(t, bounds, true)
			require.Equal(t, len(with), len(without))
			require.Subset(t, with, without)
			require.Less(t, fewer, more)
			t.Logf("%d states of the servers; %d of the cluster, %d with dead messages", len(with), fewer, more)
		})
	}
}

// TestWiderBoundsHoldNarrowerOnes demands that servers can be in a state with more messages on each
// link, or without links, if they can be in it with few.
func TestWiderBoundsHoldNarrowerOnes(t *testing.T) {
	narrow, _ := reached(t, Bounds{Terms: 1, Commands: 1, InFlight: 1, Losses: -1}, false)
	for _, wider := range []Bounds{
		{Terms: 1, Commands: 1, InFlight: 2, Losses: -1},
		{Terms: 1, Commands: 1, InFlight: 1, Losses: -1, Duplicates: 1},
		{Terms: 1, Commands: 1, Soup: true},
	} {
		more, _ := reached(t, wider, false)
		require.Subset(t, more, narrow)
		require.GreaterOrEqual(t, len(more), len(narrow))
	}
}

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
