package groups

import (
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func options(seed uint64) Options {
	return Options{
		Seed: seed, Hosts: 3, Groups: 5, Heartbeat: 100 * time.Millisecond, Election: time.Second, Lease: 500 * time.Millisecond,
		DiskDelay: time.Millisecond, Delay: 200 * time.Microsecond, Further: 300 * time.Microsecond,
		Drift: 200 * time.Millisecond,
	}
}

// Whatever happens to processes, networks, shards and cores, no group has two leaders in a term, no
// lease holds while another server leads, and reads see what was acknowledged. When all is well again,
// all groups have leaders, and cost nothing.
func TestFaults(t *testing.T) {
	var happened [numFaults]int
	reads := 0
	for seed := range uint64(*runs) {
		seed += uint64(*start)
		o := options(seed)
		if seed%2 == 1 {
			o.Lease = o.Election // so that a lease ends when others may campaign
		}
		w := New(o)
		require.NoError(t, w.settle(3*time.Second))
		w.faulty = true
		w.disturb()
		require.NoError(t, w.Run(20*time.Second))
		w.heal()
		require.NoError(t, w.settle(20*time.Second))
		for i, n := range w.faults {
			happened[i] += n
		}
		reads += w.answeredReads
	}
	for i, n := range happened {
		t.Logf("%s: %d times", faultNames[i], n)
	}
	t.Logf("%d reads were answered", reads)
}

var (
	runs  = flag.Int("runs", 30, "how many runs with faults")
	start = flag.Int("start", 0, "the first seed")
)

// Groups in which nothing happens cost two messages between two processes and interval, and no turn.
func TestIdleGroupsAreFree(t *testing.T) {
	w := New(options(1))
	require.NoError(t, w.settle(3*time.Second))
	require.NoError(t, w.Run(5*time.Second))
	require.NoError(t, w.Settled())
	sent, turns := w.sent, w.turns
	require.NoError(t, w.Run(100*w.Heartbeat))
	require.NoError(t, w.Settled())
	require.LessOrEqual(t, w.sent-sent, 3*2*101)
	require.Zero(t, w.turns-turns)
}
