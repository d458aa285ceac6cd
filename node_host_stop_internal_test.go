package raft

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A host that closes lets so many of its groups hand over at a time: the next one begins when the first of them
// has ended. When nobody waits any more, all begin.
func TestGroupsHandOverAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const groups, atATime = 10, 3
		nodes := make([]*Node, groups)
		for i := range nodes {
			nodes[i] = &Node{inbox: inbox{rouse: func() {}}}
		}
		begun := func() (n int) {
			synctest.Wait()
			for _, node := range nodes {
				if node.inbox.resigned() {
					n++
				}
			}
			return n
		}
		ctx, cancel := context.WithCancel(t.Context())
		closing := make(chan struct{})
		go func() {
			resign(ctx, nodes, atATime)
			close(closing)
		}()
		require.Equal(t, atATime, begun())
		nodes[1].life.done.give()
		require.Equal(t, atATime, begun(), "they begin in order, and so they wait")
		nodes[0].life.done.give()
		require.Equal(t, atATime+2, begun())
		cancel()
		require.Equal(t, groups, begun())
		<-closing
	})
}

// It waits for the last ones too.
func TestHandingOverEndsWithTheLastGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := []*Node{{inbox: inbox{rouse: func() {}}}, {inbox: inbox{rouse: func() {}}}}
		closed := false
		go func() {
			resign(t.Context(), nodes, 5)
			closed = true
		}()
		for _, node := range nodes {
			synctest.Wait()
			require.False(t, closed)
			node.life.done.give()
		}
		synctest.Wait()
		require.True(t, closed)
	})
}
