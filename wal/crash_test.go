package wal_test

import (
	"errors"
	"flag"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
)

var seeds = flag.Uint64("seeds", 1, "how many histories have each of their calls fail")

var errFault = errors.New("the disk says no")

func TestLogIsWhatTheModelSays(t *testing.T) {
	oneGoroutine(t)
	rapid.Check(t, func(t *rapid.T) {
		fs := simfs.New(rapid.Uint64().Draw(t, "luck"))
		w := newWriter(rapid.Uint64().Draw(t, "seed"))
		require.NoError(t, w.open(small(fs)))
		t.Repeat(map[string]func(*rapid.T){
			"step": func(t *rapid.T) { require.NoError(t, w.step()) },
			"close": func(t *rapid.T) {
				require.NoError(t, w.log.Close())
				require.NoError(t, w.open(small(fs)))
			},
			"kill": func(t *rapid.T) {
				fs.Kill()
				require.NoError(t, w.open(small(fs)))
			},
			"cut": func(t *rapid.T) {
				fs.Cut()
				require.NoError(t, w.open(small(fs)))
			},
			"cut within": func(t *rapid.T) {
				fs.PowerOffAfter(fs.Calls() + rapid.IntRange(0, 12).Draw(t, "calls"))
				err := w.steps(10)
				if err != nil {
					require.ErrorIs(t, err, simfs.ErrPower)
				}
				fs.Cut()
				require.NoError(t, w.open(small(fs)))
			},
			"": func(t *rapid.T) { require.NoError(t, w.now.differsIn(w.log)) },
		})
	})
}

func TestPowerCutAfterEachCall(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	for seed := range *seeds {
		whole := simfs.New(seed)
		require.NoError(t, newWriter(seed).run(whole, 60))
		for n := range whole.Calls() {
			about := fmt.Sprintf("seed %d, power cut after call %d", seed, n)
			fs := simfs.New(seed)
			fs.PowerOffAfter(n)
			w := newWriter(seed)
			if err := w.run(fs, 60); err != nil { // when housekeeping fails, no call does
				require.ErrorIs(t, err, simfs.ErrPower, about)
			}
			fs.Cut()
			w.goOn(t, fs, about)
		}
	}
}

func TestEachCallFailsOnce(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	for seed := range *seeds {
		whole := simfs.New(seed)
		require.NoError(t, newWriter(seed).run(whole, 60))
		for n := 1; n <= whole.Calls(); n++ {
			about := fmt.Sprintf("seed %d, call %d fails", seed, n)
			fs := simfs.New(seed)
			fs.FailAt(n, errFault)
			w := newWriter(seed)
			err := w.run(fs, 60)
			if err != nil {
				require.ErrorIs(t, err, errFault, about)
			}
			if w.log != nil {
				failed := w.log.Write(raft.Write{State: raft.DurableState{Start: 99}}) != nil
				if failed {
					require.Error(t, w.log.Write(raft.Write{State: raft.DurableState{Start: 99}}), about)
				} else {
					w.now.state = raft.DurableState{Start: 99}
					w.next = w.now
				}
				w.log.Close()
			}
			if n%2 == 0 {
				fs.Kill() // the page cache may show bytes that the disk doesn't have
				require.NoError(t, w.open(small(fs)), about)
			}
			fs.Cut()
			w.goOn(t, fs, about)
		}
	}
}

var (
	images    = flag.Int("images", 2000, "how many images TestCrashImages and its like look at")
	imageSeed = flag.Uint64("image-seed", 1, "the first history in TestCrashImages and its like")
)

// Each boundary between two calls to the disk, with many subsets of the sectors that weren't synced
// there: nothing is lost that was acknowledged, and nothing is taken for damage.
//
//	go test ./wal -run TestCrashImages -images 1000000
func TestCrashImages(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	const lucks = 20
	seen, torn := 0, 0
	for seed := *imageSeed; seen < *images; seed++ {
		run := func(fs *simfs.FS) *writer {
			w := newWriter(seed)
			w.size, w.salt = []int64{4 << 10, 32 << 10}[seed%2], 1
			w.large = seed%5 == 0
			if err := w.run(fs, 40); err != nil {
				require.ErrorIs(t, err, simfs.ErrPower, "seed %d", seed)
			}
			return w
		}
		whole := simfs.New(seed)
		run(whole)
		step := strideOf(7)
		for n := int(seed) % step; n < whole.Calls() && seen < *images; n += step {
			fs := simfs.New(seed)
			fs.PowerOffAfter(n)
			w := run(fs)
			for luck := range uint64(lucks) {
				image, tears := cutImage(fs, seed, luck)
				torn += tears
				require.NoError(t, opens(image, w.now, w.next), "seed %d, luck %d, power cut after call %d", seed, luck, n)
				seen++
			}
		}
	}
	t.Logf("%d images, %d of them with a torn write", seen, torn)
	require.Positive(t, torn)
}

// cutImage returns what a disk may hold after a power cut, by luck, and 1 if a write was torn.
func cutImage(fs *simfs.FS, seed, luck uint64) (image *simfs.FS, torn int) {
	image = fs.Clone()
	image.Reseed(luck<<32 ^ seed)
	before := image.Losses()
	image.Cut()
	if image.Losses().Torn > before.Torn {
		torn = 1
	}
	return image, torn
}
