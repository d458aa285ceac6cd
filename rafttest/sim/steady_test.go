package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSteady demands that a cluster in ordinary service commits what its clients propose, under one
// leader.
func TestSteady(t *testing.T) {
	const seconds = 60
	r := NewWorld(Options{}).RunFor(Steady(1, 3), seconds*int64(time.Second))
	require.Nil(t, r.Violation)
	require.GreaterOrEqual(t, r.Stats.Commands, 19*seconds)
	require.LessOrEqual(t, r.Stats.Commands, 22*seconds)
	require.Equal(t, 1, r.Stats.Elections)
	require.Zero(t, r.Stats.Refused+r.Stats.Unknown)
}

// TestElectionsAreCounted crashes one leader after another. It demands that the statistics account
// for each term in which votes are asked for, and that nearly every crash is followed by an
// election within about one and a half election timeouts (§3.4).
func TestElectionsAreCounted(t *testing.T) {
	p := Steady(1, 3).WithModel()
	p.FaultKinds = 1 << faultCrashLeader
	s := NewWorld(Options{}).RunFor(p, 3000*int64(time.Second)).Stats
	require.Greater(t, s.Elections, 200)
	require.Greater(t, s.Split, 0)
	require.Less(t, s.Split, s.Elections/20)
	require.GreaterOrEqual(t, s.Campaigns, s.Elections+s.Split)
	crashes, soon := 0, 0
	for tenths, n := range s.Vacancies {
		if crashes += n; tenths <= 15 {
			soon += n
		}
	}
	require.Greater(t, crashes, 200)
	require.GreaterOrEqual(t, soon*20, crashes*19)
}

// BenchmarkSteady reports how much faster than real time one core simulates a cluster in ordinary
// service.
func BenchmarkSteady(b *testing.B) {
	w := NewWorld(Options{})
	span, events := 60*int64(time.Second), 0
	for b.Loop() {
		r := w.RunFor(Steady(1, 3), span)
		require.Nil(b, r.Violation)
		events += r.Stats.Events
	}
	b.ReportMetric(float64(b.N)*float64(span)/float64(b.Elapsed()), "simulated/real")
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkFaults reports how many events reach the cores each second in runs with dense faults,
// for both kinds of disk.
func BenchmarkFaults(b *testing.B) {
	for name, params := range map[string]func(Params) Params{"model": Params.WithModel, "wal": Params.WithWAL} {
		b.Run(name, func(b *testing.B) {
			w := NewWorld(Options{})
			events, seed := 0, uint64(0)
			for b.Loop() {
				seed++
				r := w.RunParams(params(Swarm(seed)))
				require.Nil(b, r.Violation)
				events += r.Stats.Events
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
