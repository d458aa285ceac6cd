package raft

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestWaitersAreFoundLikeInAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table waiters
		plain := map[uint64]*waiter{}
		next := uint64(1)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			// The first waiters may wait for a long time, while thousands come and go.
			for range rapid.SampledFrom([]int{1, 10, 200}).Draw(t, "come") {
				w := &waiter{number: next}
				table.put(w)
				plain[next] = w
				next++
			}
			keep := rapid.SampledFrom([]uint64{1, 2, 7, 1000}).Draw(t, "keep")
			for number := uint64(0); number <= next; number++ {
				w := plain[number]
				if w == nil {
					require.Nil(t, table.take(number))
					continue
				}
				require.True(t, table.holds(w))
				if number%keep != 0 {
					require.Same(t, w, table.take(number))
					require.False(t, table.holds(w))
					delete(plain, number)
				}
			}
			left := map[uint64]*waiter{}
			table.each(func(w *waiter) { left[w.number] = w })
			require.Equal(t, plain, left)
		}
	})
}
