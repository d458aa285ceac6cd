package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSlowMessagesCostNoLeadership demands that a leadership lasts however long messages take, as
// long as a round trip and a heartbeat interval fit into an election timeout.
func TestSlowMessagesCostNoLeadership(t *testing.T) {
	t.Parallel()
	for _, interval := range []int64{50, 100, 200, 450} { // between heartbeats, in thousandths of an election timeout
		for roundTrip := int64(10); roundTrip+interval < 1000; roundTrip += 70 {
			t.Run(fmt.Sprintf("heartbeats %d, round trips %d", interval, roundTrip), func(t *testing.T) {
				p := Calm(uint64(roundTrip), 3)
				p.Heartbeat, p.Delay = p.Election/1000*interval, p.Election/2000*roundTrip
				p.MaxLease, p.LeaseReads, p.FaultKinds, p.Found = p.Election, 500, 0, 1
				require.True(t, p.quiet())
				r := NewWorld(Options{}).RunFor(p, 30*int64(time.Second))
				require.Nil(t, r.Violation)
				require.Greater(t, r.Stats.Commands, 100)
			})
		}
	}
}

// TestSwarmIsUndisturbed demands that about one run of sixteen has nothing for which a leadership
// might end, and that these runs draw each ratio of two times on both sides of 1.
func TestSwarmIsUndisturbed(t *testing.T) {
	t.Parallel()
	runs, ratios := 0, map[string][2]int{}
	for seed := uint64(1); seed <= 4000; seed++ {
		p := Swarm(seed)
		if !p.quiet() || p.Throughput != 0 {
			continue
		}
		runs++
		for name, pair := range map[string][2]int64{
			"round trip, heartbeat":  {2 * p.Delay, p.Heartbeat},
			"write, heartbeat":       {p.WriteTime, p.Heartbeat / 2},
			"write, round trip":      {p.WriteTime, 2 * p.Delay},
			"command, write":         {p.ClientTime, p.WriteTime},
			"command, round trip":    {p.ClientTime, 2 * p.Delay},
			"round trip, lease":      {6 * p.Delay, p.MaxLease},
			"jitter, delay":          {p.Jitter, p.Delay},
			"snapshot, heartbeat":    {p.StoreTime, p.Heartbeat},
			"fetch, write":           {p.FetchTime, p.WriteTime},
			"piece of a stream, lag": {p.StreamTime, p.Delay},
		} {
			n := ratios[name]
			switch {
			case pair[0] < pair[1]:
				n[0]++
			case pair[0] > pair[1]:
				n[1]++
			}
			ratios[name] = n
		}
	}
	require.InDelta(t, 4000/16, runs, 80)
	for name, n := range ratios {
		require.Greater(t, min(n[0], n[1]), runs/25, "%s: %d below, %d above", name, n[0], n[1])
	}
}
