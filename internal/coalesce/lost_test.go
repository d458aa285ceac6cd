package coalesce_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// newTrio is three processes. x leads one group, which y and z follow, and nobody leads another one.
func newTrio(t *testing.T) *pair {
	p := newPair(t)
	p.begin("z")
	p.settle()
	return p
}

// settle lets x lead the group, and y and z follow.
func (p *pair) settle() {
	s := stand("g", 5)
	p.books["x"].Settle(p.now, "g", 0, &coalesce.Quiet{
		Leads: true, Confirmed: p.now, Term: 5, Others: []coalesce.Other{{ID: "y", Level: true, Stand: s}, {ID: "z", Level: true, Stand: s}},
	})
	p.exchange(nobody)
	for _, id := range []wire.ServerID{"y", "z"} {
		p.turn(id, "g")
		settled, _ := p.books[id].Settle(p.now, "g", 0, &coalesce.Quiet{
			Term: 5, Others: []coalesce.Other{{ID: "x", Level: true, Stand: s}}, Voters: []wire.ServerID{"x", "y", "z"},
		})
		require.True(p.t, settled)
		p.asked(id)
	}
	p.exchange(nobody)
}

// exchange lets an interval pass in which all speak to each other, but for those who are silent to some.
func (p *pair) exchange(silent func(from, to wire.ServerID) bool) {
	p.now += coalesce.Instant(heartbeat)
	for _, id := range []wire.ServerID{"x", "y", "z"} {
		for _, m := range p.beat(id) {
			if !silent(m.From, m.To) {
				p.deliver(m)
			}
		}
	}
}

func nobody(_, _ wire.ServerID) bool { return false }

// Members of a group that only follow have nothing to say to each other. When they lose their leader they
// do, since one of them is to campaign at once. When it is heard again, they say that too.
func TestFollowersAgreeThatTheirLeaderIsLost(t *testing.T) {
	withoutX := func(from, to wire.ServerID) bool { return from == "x" || to == "x" }
	p := newTrio(t)
	first := coalesce.First("g", []wire.ServerID{"y", "z"})
	for range 9 {
		p.exchange(withoutX)
		require.Empty(t, p.asked(first))
	}
	for range 3 {
		p.exchange(withoutX)
	}
	require.Contains(t, p.asked(first), wire.GroupID("g"))
	require.True(t, p.turn(first, "g").First)

	p = newTrio(t)
	for range 12 {
		p.exchange(withoutX)
	}
	p.settle()     // it is there again, and leads on
	for range 12 { // only one of them loses it
		p.exchange(func(from, to wire.ServerID) bool { return from == "x" && to == first })
	}
	require.False(t, p.turn(first, "g").First, "the other one hears it")
}

// A leader hands over to a server whose process is lost, or is lost then. Its core is told.
func TestLostHeirIsTold(t *testing.T) {
	for _, before := range []bool{true, false} {
		p := newPair(t)
		p.leads("g", 5) // x leads, and would hand over to y
		if !before {
			require.False(t, p.books["x"].Heir("g", "y"))
		}
		body := wire.ProcessHeartbeat{Round: 1, Version: 1, Stands: []wire.Stand{stand("h", 1)}}
		p.deliver(body.Message().In(wire.Envelope{From: "y", To: "x", FromStart: 1}))
		p.asked("x")
		require.Empty(t, p.turn("x", "g").Lost)
		p.leads("g", 5)
		for range 11 {
			p.now += coalesce.Instant(heartbeat)
			p.beat("x")
		}
		if before {
			require.Empty(t, p.turn("x", "g").Lost)
			p.asked("x")
			require.True(t, p.books["x"].Heir("g", "y"))
			require.Equal(t, p.now, p.books["x"].Deadline(), "the turn is asked for at once")
		}
		require.Contains(t, p.asked("x"), wire.GroupID("g"))
		require.Equal(t, wire.ServerID("y"), p.turn("x", "g").Lost)
	}
}
