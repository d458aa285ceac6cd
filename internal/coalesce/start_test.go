package coalesce_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// goBack starts processes with what their disks were at first.
func (p *pair) goBack(back ...wire.ServerID) {
	for _, id := range back {
		p.disks[id] = 0
		p.begin(id)
	}
	require.True(p.t, p.leads("g", 7))
}

// agree lets some intervals pass, and demands that y vouches for the group that x leads.
func (p *pair) agree(why string) {
	vouched := 0
	for range 8 {
		p.interval()
		p.turn("y", "g")
		if p.follows("g", 7) {
			p.interval()
			vouched = len(p.vouched("g"))
		}
	}
	require.Equal(p.t, 1, vouched, why)
	p.asked("y")
}

// starts starts x, and then y, so many times, and returns the last of what each of them has sent then. The
// list of x has changed more often by then than it will later.
func (p *pair) starts(n int) (fromX, fromY []wire.Message) {
	for range n {
		p.begin("x")
	}
	for term := wire.Term(1); term <= 9; term++ {
		p.leads("h", term)
	}
	p.now += coalesce.Instant(heartbeat)
	fromX = p.beat("x")
	p.interval()
	for range n {
		p.begin("y")
	}
	p.now += coalesce.Instant(heartbeat)
	p.deliver(p.beat("x")...)
	p.now += coalesce.Instant(heartbeat)
	return fromX, p.beat("y")
}

// H2: a process whose disk was put back counts its starts from there, and others drop what it says. They
// tell it what they know, and it begins above that, whether it leads or follows. What its starts before
// have sent doesn't count then.
func TestStartAfterTheDiskWentBack(t *testing.T) {
	p := newPair(t)
	fromX, _ := p.starts(3)
	p.goBack("x")
	p.agree("x went back")
	p.deliver(fromX...)
	require.Empty(t, p.asked("y"), "it is of an earlier start")
	require.True(t, p.follows("g", 7))

	p = newPair(t)
	p.starts(3)
	p.goBack("y")
	p.agree("y went back")

	p = newPair(t)
	fromX, _ = p.starts(3)
	p.goBack("x", "y")
	p.agree("both went back, and nobody knows")
	p.deliver(fromX...)
	p.agree("y learns of a later start of x when it has the list")
}

// Both processes went back, and each hears late what the other one had sent before. So each drops what the
// other one says. It hears all the same that its own start is an earlier one.
func TestStartsAfterBothDisksWentBack(t *testing.T) {
	p := newPair(t)
	_, fromY := p.starts(3)
	for i := range fromY {
		body := fromY[i].ProcessHeartbeat()
		body.AnsweredStart, body.AnsweredRound, body.AnsweredVersion = 1, 1, 0 // it has answered the first start of x last
		fromY[i] = body.Message().In(fromY[i].Envelope)
	}
	fromX, _ := p.starts(0)
	p.goBack("x", "y")
	p.deliver(fromX...)
	p.deliver(fromY...)
	p.agree("both are told")
}

// H1, H2: what a process answers in its first message after a start isn't taken for the list as it is now. The
// later start has heard of a group that has left the list since, and nobody would tell it of that.
func TestLaterStartIsToldWhatHasLeft(t *testing.T) {
	p := newPair(t)
	require.True(t, p.leads("g", 7))
	p.now += coalesce.Instant(heartbeat)
	first := p.beat("x") // it has the whole list
	hello := wire.ProcessHeartbeat{}
	p.deliver(hello.Message().In(wire.Envelope{From: "y", To: "x", FromStart: p.disks["y"]})) // x knows this start

	p.begin("y")
	p.deliver(first...)
	p.turn("x", "g") // x leads it no more
	p.now += coalesce.Instant(heartbeat)
	p.beat("x") // says so, and is lost
	p.deliver(p.beat("y")...)
	for range 3 {
		p.interval()
	}
	p.turn("y", "g")
	require.False(t, p.follows("g", 7), "nobody leads it")
}
