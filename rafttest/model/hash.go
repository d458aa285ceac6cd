package model

import "math/bits"

// A sum is a hash of 128 bits: two numbers that are added up separately. The pieces of a state are
// hashed one by one, and the hash of the state is the sum of their hashes. So a step only adds what
// is new and subtracts what is gone, and the order of servers and messages doesn't matter. The
// hashes of the pieces are as good as random: the probability that two of N states have the same
// sum is about N²/2¹²⁹, which is 10⁻²¹ for 10⁹ states.
type sum struct{ high, low uint64 }

func (s sum) plus(t sum) sum  { return sum{s.high + t.high, s.low + t.low} }
func (s sum) minus(t sum) sum { return sum{s.high - t.high, s.low - t.low} }

func (s sum) less(t sum) bool { return s.high < t.high || s.high == t.high && s.low < t.low }

// The kinds of things that are hashed
const (
	hashNode = 1 + iota
	hashMessage
	hashGhost
	hashBudget
)

// hashOf returns the hash of bytes. what is the kind of thing that they stand for; it keeps
// different kinds apart.
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

// absorb adds a word to a hash.
func absorb(h, w uint64) uint64 {
	high, low := bits.Mul64(h^w^0xa0761d6478bd642f, w^bits.RotateLeft64(h, 29)^0xe7037ed1a0b428db)
	return mix(high ^ low ^ h)
}

// mix spreads every bit of x over all bits of the result. It is the finalizer of SplitMix64
// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators").
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash returns the hash of a budget.
func (b budget) hash() sum {
	n := b.pack()
	return sum{mix(n + hashBudget<<40), mix(^n - hashBudget<<40)}
}
