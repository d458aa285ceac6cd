package tcp

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The pause between attempts doubles until it is as long as it may be, whatever the bounds are.
func TestPause(t *testing.T) {
	require.Equal(t, 40*time.Millisecond, pause(10*time.Millisecond, time.Second, 2))
	for _, least := range []time.Duration{1, 10 * time.Millisecond, 9 * time.Second, 17 * time.Second, time.Hour, math.MaxInt64 / 3} {
		for _, most := range []time.Duration{least, 3 * least} {
			before := least
			for failures := range 100 {
				now := pause(least, most, failures)
				require.GreaterOrEqual(t, now, before, "%v to %v, after %d failures", least, most, failures)
				require.LessOrEqual(t, now, most)
				before = now
			}
			require.Equal(t, most, before)
		}
	}
}
