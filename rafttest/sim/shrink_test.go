package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShrinkKeepsTheFailure demands that no other failure of the same name replaces a failure, and
// no failure that comes from settings with which no server starts.
func TestShrinkKeepsTheFailure(t *testing.T) {
	t.Parallel()
	one := newViolation(Assertion, 0, 0, "raft: broken invariant: Commit Within Log: 5 of 3")
	require.Equal(t, one.kind(), newViolation(Assertion, 2, 9, "raft: broken invariant: Commit Within Log: 7 of 4").kind())
	require.NotEqual(t, one.kind(), newViolation(Assertion, 0, 0, "raft: broken invariant: Terms Rise").kind())
	require.NotEqual(t, one.kind(), newViolation(CoreCheck, 0, 0, "%s", one.Detail).kind())
	require.Equal(t, newViolation(LogMatching, 0, 0, "at 3").kind(), newViolation(LogMatching, 1, 0, "elsewhere").kind())

	p := Calm(1, 3)
	require.True(t, p.startable())
	require.True(t, Params{Servers: 3}.startable(), "a setting of 0 is replaced by that of Calm")
	p.Election = p.Heartbeat
	require.False(t, p.startable())
}
