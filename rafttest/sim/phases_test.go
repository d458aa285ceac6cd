package sim

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBacklogTakesAsManyEventsAsItNeeds demands that a cluster may take more events to settle the more calls are
// open, but only as long as they are answered.
func TestBacklogTakesAsManyEventsAsItNeeds(t *testing.T) {
	t.Parallel()
	const calls = 100
	for _, answered := range []bool{true, false} {
		params := Calm(1, 3)
		params.MaxUncommitted = 1 // one command after the other
		w := NewWorld(Options{})
		require.Nil(t, w.Replay(&Schedule{Params: params, Events: []Event{{Op: OpFound}, {Op: OpPass, N: 2e9}}}).Violation)
		w.patience = 200
		other := (w.leading() + 1) % 3
		if answered {
			for range calls {
				w.step(Event{Op: OpPropose, Server: int8(other), N: int64(len(w.ops))}, nil)
			}
		} else {
			w.servers[other].open = calls // of which the core doesn't know
		}
		require.Equal(t, calls, w.openCalls())
		begun := w.stats.Events
		w.step(Event{Op: OpSettle}, nil)
		events := w.stats.Events - begun
		if answered {
			assert.Nil(t, w.violation)
			assert.Greater(t, events, w.patience, "%d calls took no more events than are allowed for none", calls)
			continue
		}
		if assert.NotNil(t, w.violation) {
			assert.Equal(t, Convergence, w.violation.Name)
		}
		assert.LessOrEqual(t, events, w.patience+1)
	}
}
