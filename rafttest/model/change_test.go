package model

import (
	"context"
	"testing"

	"github.com/e17579a5/raft"
	"github.com/stretchr/testify/require"
)

// A change of the members goes through all of its steps: the one that removes by way of a joint configuration, the one
// that adds by catching up first.
func TestChangesComeToTheirEnd(t *testing.T) {
	// settled returns how often the committed log of some state changes from one settled configuration to another,
	// at most, and whether some server was joint.
	settled := func(bounds Bounds) (most int, joint bool) {
		s, err := New(bounds, Options{Workers: 1})
		require.NoError(t, err)
		s.visit = func(one *state) {
			changes := -1
			for _, c := range s.tables.ghosts.get(one.ghost).committed {
				if c.entry.Kind != raft.EntryConfiguration {
					continue
				}
				configuration, err := raft.DecodeConfiguration(c.entry.Data)
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
