package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Repairs leave half of the reserve to what isn't refused, and room for the entries beside them.
func TestRepairsLeaveHalfOfTheReserve(t *testing.T) {
	c, err := NewCore(CoreConfig{ID: "a", Incarnation: 1, ReserveBytes: 1000})
	require.NoError(t, err)
	require.Equal(t, uint64(endless), c.roomForRepairs(100))
	for room, want := range map[uint64]uint64{2000: 1400, 600: 0, 601: 1, 0: 0} {
		c.Room(1, room)
		require.Equal(t, want, c.roomForRepairs(100), "room for %d", room)
	}
	c.Room(1, 2000)
	c.out.flights = []flight{{number: 1, bytes: 300}}
	require.EqualValues(t, 1100, c.roomForRepairs(100))

	lost := Entry{Index: 1, Term: 1, Data: make([]byte, 404)}
	c.repairs.got, c.repairs.gotBytes = []Entry{lost, lost}, 2*lost.Size()
	require.Len(t, c.repairWrite(999, 1<<20, false), 1, "of 500 bytes each")
	require.Empty(t, c.repairWrite(499, 1<<20, true))
}
