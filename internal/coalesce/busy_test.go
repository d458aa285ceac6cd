package coalesce_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// busy has the groups for which Leave would have nothing to do, as far as the Books have said.
type busy map[seat]bool

// A seat is a group at a process.
type seat struct {
	id    wire.ServerID
	group wire.GroupID
}

func (b busy) begin(id wire.ServerID) {
	maps.DeleteFunc(b, func(s seat, _ bool) bool { return s.id == id })
}

// keep keeps what a process is to send, and notes which turns its Book asks for.
func (p *pair) keep(id wire.ServerID) {
	var out coalesce.Out
	p.books[id].Drain(&out)
	p.turns[id] = append(p.turns[id], out.Turns...)
	p.kept[id] = append(p.kept[id], out.Messages...)
	for _, group := range out.Turns {
		p.busy[seat{id, group}] = false
	}
}

// turn begins a turn. A group that is busy, and of which the Book has asked no turn, has nothing to be told
// and is on no list: a driver needn't call Leave then.
func (p *pair) turn(id wire.ServerID, group wire.GroupID) (left coalesce.Left) {
	p.keep(id)
	at := seat{id, group}
	was := p.busy[at]
	p.busy[at] = p.books[id].Leave(p.now, group, &left)
	if was {
		require.Equal(p.t, coalesce.Left{}, left, "group %q of %q was busy", group, id)
		require.True(p.t, p.busy[at])
	}
	return left
}

// A group that does something else is busy when nobody's list has it any more, until it rests or there is
// something to tell it. As long as the leader's list has it, it is told when the leader was heard.
func TestBusyGroup(t *testing.T) {
	p := settled(t, "g")
	p.turn("y", "g") // something else happens there
	heard := p.now
	p.interval()
	require.False(t, p.busy[seat{"y", "g"}])
	require.Equal(t, []coalesce.Heard{{Leader: "x", Term: 5, At: heard + coalesce.Instant(heartbeat)}}, p.turn("y", "g").Heard)

	p.turn("x", "g")
	require.True(t, p.busy[seat{"x", "g"}])
	p.interval() // x tells y that the group has left its list
	p.turn("y", "g")
	require.True(t, p.busy[seat{"y", "g"}])

	require.True(t, p.leads("g", 5))
	p.interval()
	p.keep("y")
	require.False(t, p.busy[seat{"y", "g"}])
	require.Len(t, p.turn("y", "g").Heartbeats, 1)
}
