package model

import "math/bits"

// A sum is a hash of 128 bits: two numbers that are added up apart. What a state consists of is hashed piece
// by piece, and the hash of the state is the sum of theirs, so that a step only adds what is new and takes
// away what is gone, and the order of servers and messages doesn't matter. The pieces' hashes are as good as
// random: two of N states have the same sum with a probability of about N²/2¹²⁹, for 10⁹ states 10⁻²¹.
type sum struct{ high, low uint64 }

func (s sum) plus(t sum) sum  { return sum{s.high + t.high, s.low + t.low} }
func (s sum) minus(t sum) sum { return sum{s.high - t.high, s.low - t.low} }

func (s sum) less(t sum) bool { return s.high < t.high || s.high == t.high && s.low < t.low }

// What is hashed.
const (
	hashNode = 1 + iota
	hashMessage
	hashGhost
	hashBudget
)

// hashOf hashes bytes; what keeps different things apart.
func hashOf(what uint64, b []byte) sum {
	high, low := what*0x9e3779b97f4a7c15, ^what*0xd6e8feb86659fd93
	n := uint64(len(b))
	for len(b) >= 8 {
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		high, low = absorb(high, w), absorb(low, ^w)
		b = b[8:]
	}
	w := n << 56
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return sum{mix(absorb(high, w) + n), mix(absorb(low, ^w) - n)}
}

// absorb takes a word into a hash.
func absorb(h, w uint64) uint64 {
	high, low := bits.Mul64(h^w^0xa0761d6478bd642f, w^bits.RotateLeft64(h, 29)^0xe7037ed1a0b428db)
	return mix(high ^ low ^ h)
}

// mix spreads every bit of x over all bits of the result (the finalizer of SplitMix64, by Steele, Lea
// and Flood, "Fast Splittable Pseudorandom Number Generators").
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashBudget hashes what may still happen.
func (b budget) hash() sum {
	n := uint64(b.pack())
	return sum{mix(n + hashBudget<<40), mix(^n - hashBudget<<40)}
}
