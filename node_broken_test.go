package raft

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A core that broke on a command may have done anything with it: the outcome is unknown. It
// certainly hasn't seen the next command, which is not applied.
func TestBrokenCoreIsTrustedNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l, err := newNode(alone(breaker{}), "", nil)
		require.NoError(t, err)
		broken, unseen, reading := n.waiters.get(), n.waiters.get(), n.waiters.get()
		require.NoError(t, n.inbox.propose(broken, Proposal{}))
		require.NoError(t, n.inbox.propose(unseen, Proposal{}))
		require.NoError(t, n.inbox.read(reading))
		l.core = nil // whatever uses the core now panics
		n.run(l)
		for _, w := range []*waiter{broken, unseen, reading} {
			require.Len(t, w.done, 1)
			require.ErrorIs(t, w.err, ErrStopped)
		}
		require.ErrorIs(t, broken.err, ErrOutcomeUnknown)
		require.ErrorIs(t, unseen.err, ErrNotApplied)
		var panicked *PanicError
		require.ErrorAs(t, n.Err(), &panicked)
		require.Equal(t, "core", panicked.Where)
		require.Equal(t, Status{ID: "a", Role: "stopped"}, n.Status())
	})
}

// Whoever gets an answer that says that the node has stopped finds at once that it no longer leads,
// and Stopped comes last.
func TestNobodyHearsOfTheEndBeforeItIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, l, err := newNode(alone(breaker{}), "", nil)
		require.NoError(t, err)
		leads := Leadership{Term: 3, Role: "leader", Leader: "a", Ready: true}
		n.board.post(leads)
		w := n.board.watch()
		require.Equal(t, leads, n.board.take(w))
		asked := &waiter{done: make(chan struct{})} // whoever answers it waits for this test
		require.NoError(t, n.inbox.propose(asked, Proposal{}))
		l.core = nil // whatever uses the core now panics
		deposed := make(chan error, 1)
		go func() { deposed <- n.untilDeposed(t.Context(), n.board.watch(), 3) }()
		go n.run(l)
		synctest.Wait()
		require.Equal(t, Leadership{Term: 3, Role: "stopped"}, n.Leadership())
		require.Equal(t, n.Leadership(), n.board.take(w))
		require.Nil(t, n.board.take(w), "the calls have no answers yet")
		require.Empty(t, deposed)
		<-asked.done
		require.ErrorIs(t, asked.err, ErrStopped)
		require.ErrorIs(t, <-deposed, ErrStopped)
		synctest.Wait()
		require.Equal(t, Stopped{n.Err()}, n.board.take(w))
		require.Error(t, n.Err())
	})
}

// A breaker is a state machine that is never called.
type breaker struct{ StateMachine }
