package coalesce_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// doubtedAfter lets the time pass at x, which hears nothing any more, and returns how long it takes until
// a group's core is told that it is to begin a round.
func (p *pair) doubtedAfter(group wire.GroupID) time.Duration {
	begun := p.now
	for p.now < begun+coalesce.Instant(2*election) {
		p.now = max(p.now, p.books["x"].Deadline())
		p.beat("x")
		if slices.Contains(p.asked("x"), group) && p.turn("x", group).Doubted {
			return time.Duration(p.now - begun)
		}
	}
	return 2 * election
}

// §6.2: what counts is when the member vouched last. So a leader looks for itself in time whether it still
// has a quorum, if the member's process starts anew meanwhile, or speaks once more but not for the group.
func TestSilenceCountsFromTheLastWord(t *testing.T) {
	patience := election - election/4
	for name, happens := range map[string]func(p *pair){
		"nothing": func(*pair) {},
		"the process starts anew": func(p *pair) {
			p.deliver(wire.ProcessHeartbeat{}.Message().In(wire.Envelope{From: "y", To: "x", FromStart: 99}))
		},
		"the process speaks for others": func(p *pair) {
			p.turn("y", "g")
			p.interval()
		},
		"it starts anew and speaks for others": func(p *pair) {
			p.begin("y")
			p.turn("y", "g")
			p.interval()
		},
	} {
		p := settled(t, "g")
		p.interval()
		p.asked("x")
		vouched := p.now
		p.now += coalesce.Instant(heartbeat / 2)
		happens(p)
		p.asked("x")
		passed := time.Duration(p.now - vouched)
		require.Equal(t, patience, passed+p.doubtedAfter("g"), name)
	}
}
