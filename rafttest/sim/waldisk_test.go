package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// TestWAL runs seeds with real logs. It demands that everything happened to the logs that can
// happen.
func TestWAL(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	var all Stats
	for seed := uint64(1); seed <= 100; seed++ {
		p := Swarm(seed).WithWAL()
		if seed%2 == 0 {
			p.FaultKinds, p.Segment = 1<<faultCrash|1<<(numFaults+fault(seed/2)%numDiskFaults), 4<<10
		}
		r := w.RunParams(p)
		require.Nil(t, r.Violation, "seed %d: %+v", seed, p)
		all.Add(&r.Stats)
	}
	require.Positive(t, all.CutOpening)
	require.Positive(t, all.Lost)
	require.Positive(t, all.Survived)
	require.Positive(t, all.Torn)
	require.Positive(t, all.FailedWrites)
	require.Positive(t, all.FailedSyncs)
	require.Positive(t, all.Full)
	require.Positive(t, all.Corrupt)
	require.Positive(t, all.RottenEntries)
	require.Positive(t, all.Repaired)
}

// TestSwarmDrawsWAL demands that about one of eight seeds draws real logs.
func TestSwarmDrawsWAL(t *testing.T) {
	t.Parallel()
	n := 0
	for seed := uint64(1); seed <= 1000; seed++ {
		n += int(Swarm(seed).WAL)
	}
	require.InDelta(t, 125, n, 40)
}

// TestWALReplay demands that the schedule of a run on real logs repeats the run, and that a run
// leaves nothing behind.
func TestWALReplay(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 15; seed++ {
		p := Swarm(seed).WithWAL()
		first := w.RunParams(p)
		s := w.Record(func(w *World) Result { return w.RunParams(p) })
		text, err := s.MarshalText()
		require.NoError(t, err)
		var read Schedule
		require.NoError(t, read.UnmarshalText(text))
		require.Equal(t, s, read)
		require.Equal(t, first.Hash, w.Replay(&read).Hash, "seed %d", seed)
		require.Equal(t, first, NewWorld(Options{}).RunParams(p), "seed %d in a new world", seed)
	}
}

// TestAnyListWAL demands that any list of events is a legal run on real logs, too.
func TestAnyListWAL(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 100; seed++ {
		n := uint64(0)
		next := func(limit int64) int64 { n++; return below(luck(seed).draw(luckParams, 1, 0, n), limit) }
		p, kinds := Swarm(seed).WithWAL(), wire.Kinds()
		s := Schedule{Params: p, Events: []Event{{Op: OpFound}}}
		for range 400 {
			e := Event{Op: Op(1 + next(int64(lastOp))), Server: int8(next(p.Servers)), Peer: int8(next(p.Servers)), Hold: next(4) == 0, N: next(2000)}
			switch {
			case next(2) == 0:
				e.Op, e.Kind = OpDeliver, kinds[next(int64(len(kinds)))]
			case e.Op == OpFound || e.Op == OpSettle || e.Op == OpPass:
				e.Op = OpStart
			}
			s.Events = append(s.Events, e)
		}
		s.Events = append(s.Events, Event{Op: OpSettle})
		r := w.Replay(&s)
		require.Nil(t, r.Violation, "seed %d", seed)
	}
}

// TestWALAnySubset demands that a run on real logs is still legal when events are left out of it.
func TestWALAnySubset(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 15; seed++ {
		s := w.Record(func(w *World) Result { return w.RunParams(Swarm(seed).WithWAL()) })
		for part := int64(1); part < 8; part += 3 {
			kept := Schedule{Params: s.Params}
			for i, e := range s.Events {
				if e.Op == OpSettle || below(luck(seed).draw(luckParams, 2, int(part), uint64(i)), 8) < part {
					kept.Events = append(kept.Events, e)
				}
			}
			r := w.Replay(&kept)
			require.Nil(t, r.Violation, "seed %d, %d eighths of its events", seed, part)
		}
	}
}
