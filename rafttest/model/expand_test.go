package model

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// TestChangesComeToTheirEnd demands that a change of the members goes through all of its steps: a
// removal goes by way of a joint configuration, and a server that is added catches up first.
func TestChangesComeToTheirEnd(t *testing.T) {
	// settled returns how often, at most, the committed log of any state changes from one settled
	// configuration to another, and whether any server had a joint configuration.
	settled := func(bounds Bounds) (most int, joint bool) {
		s, err := New(bounds, Options{Workers: 1})
		require.NoError(t, err)
		s.visit = func(one *state) {
			changes := -1
			for _, c := range s.tables.ghosts.get(one.ghost).committed {
				if c.entry.Kind != wire.EntryConfiguration {
					continue
				}
				configuration, err := wire.DecodeConfiguration(c.entry.Data)
				require.NoError(t, err)
				if configuration.Old == nil && configuration.Next == nil {
					changes++
				}
			}
			most = max(most, changes)
			for _, id := range one.nodes[:s.bounds.Servers] {
				joint = joint || s.tables.nodes.get(id).old != 0
			}
		}
		require.True(t, s.Run(context.Background()).Exhausted)
		return most, joint
	}
	removed, joint := settled(Bounds{Terms: 1, Soup: true, Changes: 1})
	require.Equal(t, 1, removed)
	require.True(t, joint)
	anew, joint := settled(Bounds{Servers: 2, Terms: 1, Soup: true, Changes: 2})
	require.Equal(t, 2, anew)
	require.True(t, joint)
}
