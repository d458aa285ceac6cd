package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// putBackOnce founds a cluster that a leads, takes an image of b's disk, lets b start again and propose ten commands, and
// puts its disk back.
func putBackOnce(t *testing.T) *cores {
	c := founded(t, 3)
	was := c.image("b")
	c.restart("b")
	c.settle()
	c.pass(2 * heartbeat)
	for i := range 10 {
		c.propose("b", fmt.Sprint("old ", i))
	}
	require.Len(t, c.servers["b"].answers, 10)
	c.putBack("b", was)
	return c
}

// checkOwnAnswers demands that no answer is another command's. It takes the commands by their numbers.
func (c *cores) checkOwnAnswers(id raft.ServerID, commands map[uint64]string) {
	for _, answer := range c.servers[id].answers {
		if answer.Err == nil {
			entry := c.servers[c.leader()].log[answer.Index-1]
			require.Equal(c.t, commands[answer.Number], string(entry.Data), "the answer at %d", answer.Index)
		}
	}
}

// The starts of a disk that was put back repeat their counts, and its commands repeat their numbers. An answer is the
// command's own all the same: also if nobody is left who knows of the start that was forgotten.
func TestPutBackAnswersAreTheCommandsOwn(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		c := putBackOnce(t)
		if forgotten {
			c.restart("a")
			c.restart("c")
			c.elect("a")
		}
		commands := map[uint64]string{}
		for i := range 10 {
			text := fmt.Sprint("new ", i)
			commands[c.propose("b", text)] = text
		}
		c.pass(10 * heartbeat)
		c.servers["a"].cut = true // as in a rolling restart
		c.pass(5 * election)
		c.servers["a"].cut = false
		c.pass(3 * election)
		require.NotEqual(t, raft.ServerID(""), c.leader())
		c.checkOwnAnswers("b", commands)
	}
}
