package raft

import (
	"runtime"
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

// An ending is a transport or a storage whose Close ends the goroutine that calls it, as a failed assertion in
// a test does.
type (
	endingTransport struct{ noTransport }
	endingStorage   struct{ noStorage }
	slowTransport   struct{ noTransport }
)

func (endingTransport) Close() error { runtime.Goexit(); return nil }
func (endingStorage) Close() error   { runtime.Goexit(); return nil }
func (slowTransport) Close() error   { time.Sleep(time.Second); return nil }

// A loop ends though what it closes then ends the goroutine, and the shard goes on.
func TestLoopEndsThoughCloseEndsTheGoroutine(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"transport":         func(c *Config) { c.Transport = endingTransport{} },
		"storage":           func(c *Config) { c.Storage = endingStorage{} },
		"storage, by shard": func(c *Config) { c.Transport, c.Storage = slowTransport{}, endingStorage{} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := alone(breaker{})
				change(&config)
				n, err := Start(config)
				require.NoError(t, err)
				synctest.Wait()
				n.inbox.resign()
				<-n.Done()
				require.NoError(t, n.Err())
				time.Sleep(2 * time.Second)
			})
		})
	}
}
