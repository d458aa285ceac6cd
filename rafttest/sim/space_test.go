package sim

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/e17579a5/raft/wire"
)

// TestLeaderHearsOfADiskThatWentBack demands that a leader may take a disk that went back to have the room that it
// had, until the server answers a heartbeat or says that it went back. From then on it is RoomKept that is broken.
func TestLeaderHearsOfADiskThatWentBack(t *testing.T) {
	t.Parallel()
	const much = 1 << 20
	for _, says := range []interface{ Message() wire.Message }{nil, wire.HeartbeatResponse{Round: 1}, wire.RolledBack{}} {
		w, lead, other := founded(t)
		w.params.Reserve = 100
		s := &w.servers[other]
		w.servers[lead].disk.room.owned = much
		s.disk.room.untold = []untold{{at: w.now, bytes: much, back: true}}
		start := wire.NextStart(s.disk.state.Start, 1)
		if says != nil {
			m := w.says(other, lead, says)
			m.FromIncarnation, m.FromStart = s.disk.state.Incarnation, start
			w.speaks(lead, &m)
		}
		s.backStarts = []uint64{start}
		w.checkRoom(lead)
		if says == nil {
			assert.Nil(t, w.violation)
		} else if assert.NotNil(t, w.violation, "%T", says) {
			assert.Equal(t, RoomKept, w.violation.Name)
		}
	}
}
