package raft_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

// However calls come and end while there is no leader, each is answered once, no more of them wait than the
// limit says, and those that still wait when there is a leader are applied in order.
func TestPendingCommandsKeepTheirOrderAndLimit(t *testing.T) {
	gone := errors.New("gone")
	rapid.Check(t, func(r *rapid.T) {
		c := newCores(t, 3)
		s := c.servers["a"]
		limit := rapid.IntRange(1, 300).Draw(r, "limit")
		s.config.MaxPending = limit
		c.restart("a")
		var waiting []uint64
		answered := 0
		for range rapid.IntRange(1, 20).Draw(r, "rounds") {
			for range rapid.IntRange(0, 100).Draw(r, "proposals") {
				number := s.core.Propose(c.now, []byte("x"))
				if len(waiting) < limit {
					waiting = append(waiting, number)
				} else {
					answered++
				}
			}
			for range rapid.IntRange(0, 100).Draw(r, "cancellations") {
				if len(waiting) == 0 {
					break
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(r, "which")
				s.core.Cancel(waiting[i], gone)
				s.core.Cancel(waiting[i], gone)
				waiting = slices.Delete(waiting, i, i+1)
				answered++
			}
			c.drain("a")
			require.Len(r, s.answers, answered)
			require.Equal(r, len(waiting), s.core.Status().PendingProposals)
		}
		for _, a := range s.answers {
			require.ErrorIs(r, a.Err, raft.ErrNotApplied)
			require.True(r, errors.Is(a.Err, gone) || errors.Is(a.Err, raft.ErrOverloaded))
		}
		s.answers = nil
		c.elect("a")
		applied := []uint64{}
		for _, a := range s.answers {
			require.NoError(r, a.Err)
			applied = append(applied, a.Number)
		}
		require.ElementsMatch(r, waiting, applied)
		require.True(r, slices.IsSorted(applied))
	})
}

// A caller that is refused takes no room, for however long an earlier one waits.
func TestRefusedCommandsTakeNoRoom(t *testing.T) {
	c := newCores(t, 3)
	s := c.servers["a"]
	s.config.MaxPending = 2
	c.restart("a")
	for range 2 {
		s.core.Propose(c.now, nil)
	}
	before := len(s.core.AppendState(nil, letter))
	for i := range 1000 {
		s.core.Propose(c.now, nil)
		c.drain("a")
		require.Len(t, s.answers, i+1)
		require.ErrorIs(t, s.answers[i].Err, raft.ErrOverloaded)
	}
	require.InDelta(t, before, len(s.core.AppendState(nil, letter)), 4)
	s.core.Cancel(2, fmt.Errorf("gone"))
	s.core.Propose(c.now, nil)
	c.drain("a")
	require.Len(t, s.answers, 1001, "there is room again, though the first one still waits")
}

// letter names servers for AppendState.
func letter(id raft.ServerID) byte {
	if id == "" {
		return 0
	}
	return id[0]
}
