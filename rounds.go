package raft

import "slices"

// rounds are a leader's rounds of heartbeats. They show that it still leads.
type rounds struct {
	// round is the last round that was sent. confirmed is the last round that a quorum has
	// answered, and began the last one before the leadership, while the log was repaired.
	round, confirmed, began uint64
	// asked is the last round in which each peer was sent a heartbeat. Those after it the driver's rounds
	// have stood for (quiet.go).
	asked uint64
	// needed is the round that a peer must have answered, or a later one, for the driver's rounds to stand for
	// those of this leader: the first one since there was reason to doubt what is known of the peers.
	needed uint64
	// left says when each round after confirmed left, in their order. It is never long: a leader
	// steps down when no round is confirmed for an election timeout.
	left []Instant `state:"luck"`
	// silent is the last round that was begun without heartbeats, because the driver's rounds stand
	// for this leader's (quiet.go). It is 0 if there was none.
	silent uint64
}

// encode writes the rounds as they are, not relative to the last one: messages that are on their
// way name them.
func (r *rounds) encode(s *stateEncoder) {
	s.numbers(r.round, r.confirmed, r.began, r.asked, r.needed, flag(r.silent != 0 && r.silent == r.round))
}

func (r *rounds) clone() rounds {
	n := *r
	n.left = slices.Clone(r.left)
	return n
}

// sent notes that another round leaves.
func (r *rounds) sent(now Instant) {
	r.round++
	r.left = append(r.left, now)
}

// confirm notes that a quorum has answered a round after confirmed, and returns when that round
// left.
func (r *rounds) confirm(round uint64) (left Instant) {
	n := round - r.confirmed
	left = r.left[n-1]
	r.left = append(r.left[:0], r.left[n:]...)
	r.confirmed = round
	return left
}
