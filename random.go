package raft

import "math/bits"

// Luck is keyed. Each random number is a hash of a seed and of what the number is for, and never
// the next one of a stream that others share. So it depends on nothing else that happened.

// The purposes for which a core needs luck.
const (
	luckElection = 1 + iota
	luckLost
	luckClusterHigh
	luckClusterLow
)

// luck returns a number that depends on the seed, on the server, and on what it is for, and on
// nothing else.
func (c *Core) luck(purpose, a, b uint64) uint64 {
	return mix(mix(hashString(c.config.Seed, string(c.id)), purpose), mix(a, b))
}

// mix hashes two numbers into one.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd1b54a32d192ed03)
	x := hi ^ lo ^ a
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return x
}

// hashString hashes a string.
func hashString(seed uint64, s string) uint64 {
	for i := range len(s) {
		seed = mix(seed, uint64(s[i]))
	}
	return mix(seed, uint64(len(s)))
}
