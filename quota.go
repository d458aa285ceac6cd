package raft

import "slices"

// quota counts the commands that a leader has taken in its term against its limits
// (CoreConfig.MaxUncommittedBytes and MaxUnappliedBytes).
type quota struct {
	// charges are in the order of the log. charges[:released] are applied. charges[:counted] are
	// committed and stable.
	charges           []charge
	released, counted int
	// uncommitted adds up the charges from counted on, in bytes. unapplied adds up those from
	// released on.
	uncommitted, unapplied int `state:"derived"`
}

// encode writes the charges that aren't given back yet. The sums follow from them.
func (q *quota) encode(s *stateEncoder) {
	s.numbers(uint64(q.counted - q.released))
	encodeList(s, q.charges[q.released:], (*charge).encode)
}

func (q *quota) clone() quota {
	n := *q
	n.charges = slices.Clone(q.charges)
	return n
}

func (q *quota) check() error {
	if q.uncommitted < 0 || q.unapplied < 0 {
		return broken("Quota Accounted", "uncommitted %d unapplied %d", q.uncommitted, q.unapplied)
	}
	return nil
}

// A charge is one proposal against the leader's limits.
type charge struct {
	index Index
	bytes int
}

func (q *charge) encode(s *stateEncoder) { s.numbers(uint64(q.index), uint64(q.bytes)) }

// charge says whether a proposal of so many bytes is within the limits. If it is, charge counts the
// proposal as the next entry.
func (c *Core) charge(l *leader, bytes int) bool {
	if c.exceeds(l.uncommitted, l.unapplied, bytes) {
		return false
	}
	l.charges = append(l.charges, charge{c.log.last + 1, bytes})
	l.uncommitted += bytes
	l.unapplied += bytes
	return true
}

// exceeds says whether so many more bytes exceed the leader's limits, on top of the uncommitted and
// the unapplied ones. A single proposal on top of none never does.
func (c *Core) exceeds(uncommitted, unapplied, bytes int) bool {
	return uncommitted > 0 && uncommitted+bytes > c.config.MaxUncommittedBytes ||
		unapplied > 0 && unapplied+bytes > c.config.MaxUnappliedBytes
}

// releaseQuota gives back the charges of what is committed and stable, and of what is applied.
func (q *quota) releaseQuota(committed, applied Index) {
	for q.counted < len(q.charges) && q.charges[q.counted].index <= committed {
		q.uncommitted -= q.charges[q.counted].bytes
		q.counted++
	}
	for q.released < q.counted && q.charges[q.released].index <= applied {
		q.unapplied -= q.charges[q.released].bytes
		q.released++
	}
	// The rest moves to the front when there is as much room in front of it. So it moves neither
	// often nor far.
	if q.released > 0 && 2*q.released >= len(q.charges) {
		q.charges = append(q.charges[:0], q.charges[q.released:]...)
		q.counted -= q.released
		q.released = 0
	}
}
