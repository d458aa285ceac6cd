package sim

import "math/bits"

// A luck is the source of everything that chance decides in a run. Each decision is a hash of the
// run's seed and of a key that names what is decided ("the delay of the 17th message from 2 to 3").
// It is never the next number of a stream from which others draw, too. So leaving one event out of
// a run doesn't change the decisions about all others.
type luck uint64

// The kinds of decisions
const (
	luckParams = 1 + iota
	luckNetwork
	luckWrite
	luckMerge
	luckApply
	luckFetch
	luckHold
	luckClock
	luckIncarnation
	luckSeed
	luckClient
	luckData
	luckCancel
	luckFault
	luckRestart
	luckKeep
	luckLost
	luckCheck
	luckFreeze
	luckDisk
	luckAnchor
	luckSession
	luckStore
	luckStream
	luckKept
	luckLevel
	luckChange
	luckHeritage
	luckStart
	luckKey
	luckLose

	numLucks
)

// mix spreads every bit of x over all bits of the result. It is the finalizer of SplitMix64
// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators").
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw returns the nth decision of a kind, between servers a and b. a and b are 0 if they mean
// nothing for the kind.
func (l luck) draw(what, a, b int, n uint64) uint64 {
	key := uint64(what)<<56 | uint64(a&0xff)<<48 | uint64(b&0xff)<<40 | n&(1<<40-1)
	return mix(uint64(l) + 0x9e3779b97f4a7c15*mix(key+1))
}

// below scales h to [0, n).
func below(h uint64, n int64) int64 {
	if n <= 0 {
		return 0
	}
	hi, _ := bits.Mul64(h, uint64(n))
	return int64(hi)
}

// permille reports whether h falls into the given number of thousandths.
func permille(h uint64, n int64) bool { return below(h, 1000) < n }

// pick chooses one of the given values.
func pick(h uint64, values ...int64) int64 { return values[below(h, int64(len(values)))] }

// spread returns a value near mean: from half of it to twice of it, and small values more often
// than large ones.
func spread(h uint64, mean int64) int64 {
	a := below(h, mean) // [0, mean)
	b := below(mix(h), mean)
	return mean/2 + a*b/(mean+1)*3/2
}
