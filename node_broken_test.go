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
		n, l, err := newNode(alone(breaker{}))
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

// A breaker is a state machine that is never called.
type breaker struct{ StateMachine }
