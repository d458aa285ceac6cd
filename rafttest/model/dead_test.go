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
	b = append(b, byte(n.disk.lost))
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
