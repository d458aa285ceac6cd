package raft

import "github.com/e17579a5/raft/internal/hash"

// Luck is keyed (see internal/hash). It is never the next number of a stream that others share.

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
	return hash.Mix(hash.Mix(hash.String(c.seed, c.id), purpose), hash.Mix(a, b))
}
