package otel

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

// TestTurnsRemember compares what is remembered with a list of when each entry got to the disk. What
// is said must be so; what is newer than the ring must be said.
func TestTurnsRemember(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const marks = 4
		var kept turns
		kept.keep(marks)
		start := raft.Index(rapid.Uint64Range(0, 3).Draw(t, "start"))
		when := map[raft.Index]raft.Instant{}
		stable, advances := start, []raft.Index{}
		turn := func(at raft.Instant) {
			kept.note(&raft.TurnTrace{Began: at, Log: raft.LogIndexes{Stable: stable}}, time.Now)
		}
		turn(1)
		for at := raft.Instant(2); at < 20; at++ {
			if rapid.IntRange(0, 3).Draw(t, "what") == 0 {
				stable = raft.Index(rapid.Uint64Range(0, uint64(stable)).Draw(t, "truncated"))
				for index := range when {
					if index > stable {
						delete(when, index)
					}
				}
				advances = advances[:0]
			} else if more := raft.Index(rapid.Uint64Range(0, 3).Draw(t, "more")); more > 0 {
				for range more {
					stable++
					when[stable] = at
				}
				advances = append(advances, stable)
			}
			turn(at)
			for index := raft.Index(0); index <= stable+1; index++ {
				got, known := kept.stable.reached(index)
				want, is := when[index]
				require.False(t, known && !is, "index %d", index)
				if known {
					require.Equal(t, want, got, "index %d", index)
				}
				if n := len(advances); is && n >= marks && index > advances[n-marks] {
					require.True(t, known, "index %d is recent", index)
				}
			}
		}
	})
}
