// Package hash makes random numbers out of keys: each is a hash of a seed and of what the number is
// for. So it depends on nothing else that happened.
package hash

import "math/bits"

// Mix hashes two numbers into one.
func Mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd1b54a32d192ed03)
	x := hi ^ lo ^ a
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return x
}

// String hashes a string into a seed.
func String[S ~string](seed uint64, s S) uint64 {
	for i := range len(s) {
		seed = Mix(seed, uint64(s[i]))
	}
	return Mix(seed, uint64(len(s)))
}
