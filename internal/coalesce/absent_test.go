package coalesce_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// H7: groups of a process that has started anew speak for themselves, each when it has started. A leader
// isn't told that the process is back, and rests, until all of them should have spoken.
func TestGroupsOfAStartComeByThemselves(t *testing.T) {
	p := newPair(t)
	absent := coalesce.Quiet{Leads: true, Term: 5, Others: []coalesce.Other{{ID: "y"}}}
	rests := func() bool {
		settled, _ := p.books["x"].Settle(p.now, "g", 0, &absent)
		return settled
	}
	p.interval() // x has heard of y's first start
	require.True(t, p.leads("other", 1))
	p.interval()
	p.turn("x", "g")
	require.False(t, rests(), "y answers")
	p.begin("y")
	p.deliver(p.beat("y")...)
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	p.deliver(p.beat("y")...)
	heard := p.now
	p.asked("x")
	p.turn("x", "g")
	require.True(t, rests(), "its group there may not have started yet")
	for !slices.Contains(p.asked("x"), "g") {
		require.Less(t, p.now-heard, coalesce.Instant(election+heartbeat))
		p.now = min(p.books["x"].Deadline(), p.now+coalesce.Instant(heartbeat))
		p.deliver(p.beat("x")...)
		p.deliver(p.beat("y")...)
	}
	require.Greater(t, p.now-heard, coalesce.Instant(election/2))
	require.True(t, p.turn("x", "g").Doubted)
	require.False(t, rests(), "it should have started by now")
}

// H7: as long as more and more groups of a process that has started anew come, the rest are still on their way.
func TestGroupsOfAStartComeOneAfterTheOther(t *testing.T) {
	p := newPair(t)
	require.True(t, p.leads("other", 1))
	p.interval() // x has heard of y's first start
	p.books["x"].Lost(p.now, "y")
	absent := coalesce.Quiet{Leads: true, Term: 5, Others: []coalesce.Other{{ID: "y"}}}
	groups := []wire.GroupID{"a", "b", "c"}
	for _, id := range groups {
		p.turn("x", id)
		settled, _ := p.books["x"].Settle(p.now, id, 0, &absent)
		require.True(t, settled)
	}
	p.begin("y")
	p.deliver(p.beat("y")...)
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	p.deliver(p.beat("y")...)
	p.asked("x")
	heard := p.now
	for n := 1; ; n++ {
		p.now += coalesce.Instant(heartbeat)
		p.deliver(p.beat("x")...)
		p.deliver(p.beat("y")...)
		if asked := p.asked("x"); slices.Contains(asked, "c") {
			require.NotContains(t, asked, wire.GroupID("a"), "it has come")
			break
		}
		require.Less(t, p.now-heard, coalesce.Instant(4*election))
		if n%9 == 0 && n/9 <= 2 { // one comes in each election timeout, but the last one doesn't
			id := groups[n/9-1]
			p.turn("x", id)
			require.True(t, p.leads(id, 5))
		}
	}
	require.Greater(t, p.now-heard, coalesce.Instant(2*election))
}

// H8: a leader that was confirmed a while before it came to rest is told as early as if it had rested since,
// if its group doesn't get onto the list at the other process. Its core has time for a round of its own.
func TestRestBeginsWithTheLastAnswer(t *testing.T) {
	p := newPair(t)
	p.interval()
	confirmed := p.now
	for _, id := range []wire.GroupID{"h", "g"} {
		p.now += coalesce.Instant(election / 4)
		p.beat("x")
		s, at := stand(id, 5), p.now
		if id == "g" {
			at = confirmed
		}
		settled, _ := p.books["x"].Settle(p.now, id, 0, &coalesce.Quiet{Leads: true, Confirmed: at, Term: 5, Others: []coalesce.Other{{ID: "y", Level: true, Stand: s}}})
		require.True(t, settled)
	}
	told := map[wire.GroupID]coalesce.Instant{}
	for len(told) < 2 {
		p.now = p.books["x"].Deadline()
		require.LessOrEqual(t, p.now, confirmed+2*coalesce.Instant(election))
		p.beat("x")
		for _, id := range p.asked("x") {
			require.True(t, p.turn("x", id).Doubted)
			told[id] = p.now
		}
	}
	require.LessOrEqual(t, told["g"], confirmed+coalesce.Instant(election*3/4))
	require.Equal(t, told["h"], confirmed+coalesce.Instant(election))
}

// A process that the transport has lost doesn't keep the groups awake in which it lacks something, until it
// is heard again.
func TestLostProcessIsntWaitedFor(t *testing.T) {
	p := settled(t, "g")
	absent := coalesce.Quiet{Leads: true, Term: 5, Others: []coalesce.Other{{ID: "y"}}}
	rests := func() bool {
		p.turn("x", "g")
		settled, _ := p.books["x"].Settle(p.now, "g", 0, &absent)
		return settled
	}
	require.False(t, rests(), "it answers")
	p.books["x"].Lost(p.now, "y")
	require.True(t, rests())
	require.Empty(t, p.asked("x"))
	p.interval() // the connection was lost, and not the process
	require.Equal(t, []wire.GroupID{"g"}, p.asked("x"))
	require.True(t, p.turn("x", "g").Doubted)
	require.False(t, rests())
}
