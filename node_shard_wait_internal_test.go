package raft

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// A crowd is the loops of one shard, which takes one turn after the other when a test says so.
type crowd struct {
	shard *shard
	nodes []*Node
	// since counts the turns that each loop has had since something came for another one, by the other one;
	// nil if nothing waits.
	since  [][]int
	broken string // what shouldn't be
}

// turned notes that a loop has had a turn. The others wait for at most two turns of each: for one in the
// round that had begun when something came for them, and for one in their own round.
func (c *crowd) turned(at int) {
	c.since[at] = nil
	for waits, turns := range c.since {
		if turns == nil {
			continue
		}
		if turns[at]++; turns[at] > 2 {
			c.broken = fmt.Sprintf("loop %d had %d turns, and loop %d waits", at, turns[at], waits)
		}
	}
}

// comes notes that something has come for a loop.
func (c *crowd) comes(at int) {
	if c.since[at] == nil {
		c.since[at] = make([]int, len(c.nodes))
	}
}

// step takes one turn, or begins a round.
func (c *crowd) step() {
	s := c.shard
	if s.at < len(s.round) {
		l := s.round[s.at]
		s.at++
		s.turn(l)
		return
	}
	s.mu.Lock()
	s.rang = s.rang || len(s.ready) == 0 // so that it doesn't wait
	s.mu.Unlock()
	s.next()
}

// S5: a loop for which something has come waits for as many turns as the others of its shard have in two
// rounds, whatever comes for them.
func TestNoLoopWaitsForLong(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := &crowd{}
		synctest.Test(t, func(t *testing.T) { c.runs(t, rt) })
		if c.broken != "" {
			rt.Fatal(c.broken)
		}
	})
}

// runs lets something come for loops and lets them have turns, by chance.
func (c *crowd) runs(t *testing.T, rt *rapid.T) {
	s, first, l := startShard(t)
	c.shard, c.nodes = s, []*Node{first}
	loops := []*loop{l}
	for range rapid.IntRange(1, 6).Draw(rt, "others") {
		n, l, err := newNode(alone(breaker{}), "", nil)
		require.NoError(t, err)
		s.add(l)
		c.nodes, loops = append(c.nodes, n), append(loops, l)
	}
	c.since = make([][]int, len(c.nodes))
	for i, l := range loops {
		l.inbox.bounded = true
		l.trace = &Trace{Turn: func(TurnTrace) { c.turned(i) }}
		if i > 0 {
			c.comes(i) // the shard was just given it
		}
	}
	for range rapid.IntRange(1, 200).Draw(rt, "steps") {
		switch rapid.IntRange(0, 5).Draw(rt, "what") {
		case 0:
			c.receive(rapid.IntRange(0, len(c.nodes)-1).Draw(rt, "one message for"), 1)
		case 1:
			c.receive(rapid.IntRange(0, len(c.nodes)-1).Draw(rt, "many messages for"), 2*maxTurn+1)
		default:
			c.step()
		}
	}
	for _, n := range c.nodes {
		n.inbox.stop(errClose)
	}
	for range 4 * len(c.nodes) {
		c.step()
	}
	for _, n := range c.nodes {
		<-n.Done()
	}
}

// receive lets messages come for a loop.
func (c *crowd) receive(at, messages int) {
	for range messages {
		c.nodes[at].inbox.receive(wire.Heartbeat{}.Message())
	}
	c.comes(at)
}
