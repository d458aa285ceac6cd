package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSteady demands that a cluster in ordinary service commits what its clients propose, under one
// leader.
func TestSteady(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

// TestOverloadKeepsItsLeader gives clusters whose disks work steadily, from 1 to 200 MiB/s, ten
// times of what the disks do, for five minutes. It demands that no leadership ends, that the disks
// are kept busy, and that a command which was taken is answered in the time that the disks need for
// what was taken before it.
func TestOverloadKeepsItsLeader(t *testing.T) {
	const seconds, mib = 300, 1 << 20
	source := make([]byte, 4*mib)
	for i := range source {
		source[i] = byte(mix(uint64(i)))
	}
	for _, throughput := range []int64{200, 50, 20, 5, 1} {
		for _, size := range []int64{16 << 10, mib} {
			if size < mib && throughput > 1 {
				continue // so many commands take long to simulate
			}
			t.Run(fmt.Sprintf("%d MiB per second, commands of %d KiB", throughput, size>>10), func(t *testing.T) {
				t.Parallel()
				command := func(n int64) []byte { at := 8 * n % mib; return source[at : at+size] }
				p := Overloaded(uint64(throughput), 3, throughput*mib, size)
				r := NewWorld(Options{Command: command}).RunFor(p, seconds*int64(time.Second))
				require.Nil(t, r.Violation)
				require.Equal(t, 1, r.Stats.Elections)
				done := float64(r.Stats.Commands) * float64(size) / mib / seconds
				t.Logf("%.1f MiB/s done, the slowest took %.1f s", done, float64(r.Stats.Slowest)/1e9)
				require.Greater(t, done, 0.7*float64(throughput))
				waiting := float64(3*p.MaxWaiting+8*mib)/float64(p.Throughput) + 1
				require.Less(t, float64(r.Stats.Slowest)/1e9, 2*waiting)
			})
		}
	}
}
