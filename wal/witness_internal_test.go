package wal

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
)

// The trail says what the stupid version says, which keeps all records and looks at each of them.
func TestTrailIsWhatTheRecordsHaveTouched(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type record struct {
			begin, end uint64
			own        touch
		}
		var all []record
		var trail trail
		at := uint64(0)
		for range rapid.IntRange(1, 200).Draw(t, "records") {
			size := rapid.OneOf(rapid.Uint32Range(1, 100), rapid.Uint32Range(1, 20_000), rapid.Uint32Range(60_000, 140_000)).Draw(t, "size")
			own := touch{flags: rapid.ByteRange(0, touchable).Draw(t, "flags") & touchable, low: raft.Index(rapid.IntRange(1, 1000).Draw(t, "low"))}
			all = append(all, record{at, at + uint64(size), own})
			at += uint64(size)
			trail.add(place{1, uint32(at)}, size, own)

			var since uint64
			kept := 0
			var want touch
			for _, r := range all {
				if r.end+witnessWindow <= all[len(all)-1].begin {
					since = r.end
					continue
				}
				kept++
				want.flags |= r.own.flags
				if r.own.flags&changesEntries != 0 && (want.low == 0 || r.own.low < want.low) {
					want.low = r.own.low
				}
			}
			got := trail.touched()
			if got.flags&changesEntries == 0 {
				got.low = 0
			}
			require.Equal(t, want, got)
			require.EqualValues(t, since, trail.since.offset)
			require.LessOrEqual(t, len(trail.steps), 2*kept+1, "it forgets what lies far enough behind")
		}
	})
}
