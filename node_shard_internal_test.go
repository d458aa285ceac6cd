package raft

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// startShard returns a shard that nobody runs, with the loop of a server alone, which has had its first
// turns and sleeps.
func startShard(t *testing.T) (*shard, *Node, *loop) {
	n, l, err := newNode(alone(breaker{}), "", nil)
	require.NoError(t, err)
	s := newShard(*n.clock)
	s.left = 1 // so that it outlives the loop
	s.timer = time.AfterFunc(time.Duration(never), func() {})
	s.add(l)
	for range 3 {
		s.takeRound(t)
	}
	require.False(t, l.active)
	return s, n, l
}

// takeRound lets a shard take one round, as rounds does.
func (s *shard) takeRound(t *testing.T) (turns int) {
	s.mu.Lock()
	s.rang = s.rang || len(s.ready) == 0 // so that it doesn't wait
	s.mu.Unlock()
	require.True(t, s.next())
	for s.at < len(s.round) {
		l := s.round[s.at]
		s.at++
		s.turn(l)
		turns++
	}
	return turns
}

// A loop that something has come for while it has its last turn has no other one.
func TestLoopThatHasEndedTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n, l := startShard(t)
		n.inbox.stop(errClose)
		s.put(l) // as if something had come before, and the shard hadn't looked yet
		require.Equal(t, 1, s.takeRound(t), "one turn, however often it is ready")
		<-n.Done()
		s.put(l)
		l.alarm.rang = true // so did its alarm
		s.takeRound(t)
		require.True(t, l.over)
	})
}

// In a round each loop that has something to do has one turn.
func TestLoopHasOneTurnInARound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, n, l := startShard(t)
		turns := 0
		n.trace = &Trace{Turn: func(TurnTrace) { turns++ }}
		n.inbox.nudge()
		s.put(l)
		l.alarm.at = 0
		s.takeRound(t)
		require.Equal(t, 1, turns)
		n.inbox.stop(errClose)
		s.takeRound(t)
		<-n.Done()
	})
}
