package raft

import "slices"

// quota counts the commands that a leader has taken in its term against its limits
// (CoreConfig.MaxUncommittedBytes and MaxUnappliedBytes), and against what its disk and its state
// machine do in a while (tempo).
type quota struct {
	// charges are in the order of the log. charges[:released] are applied. charges[:counted] are
	// committed and stable. charges[:stored] are stable.
	charges                   []charge
	released, counted, stored int
	sums                      `state:"derived"`
}

// sums add up charges in bytes: those from counted on, from released on, and from stored on.
type sums struct{ uncommitted, unapplied, unstored int }

// add counts one more proposal.
func (s *sums) add(bytes int) {
	s.uncommitted += bytes
	s.unapplied += bytes
	s.unstored += bytes
}

// encode writes the charges that aren't given back yet. The sums follow from them.
func (q *quota) encode(s *stateEncoder) {
	s.numbers(uint64(q.counted-q.released), uint64(q.stored-q.released))
	encodeList(s, q.charges[q.released:], (*charge).encode)
}

func (q *quota) clone() quota {
	n := *q
	n.charges = slices.Clone(q.charges)
	return n
}

func (q *quota) check() error {
	if q.unstored < 0 || q.uncommitted < q.unstored || q.unapplied < q.uncommitted {
		return broken("Quota Accounted", "unstored %d uncommitted %d unapplied %d", q.unstored, q.uncommitted, q.unapplied)
	}
	return nil
}

// A charge is one proposal against the leader's limits.
type charge struct {
	index Index
	bytes int
}

func (q *charge) encode(s *stateEncoder) { s.numbers(uint64(q.index), uint64(q.bytes)) }

// charge says whether there is room for a proposal of so many bytes. If there is, charge counts the
// proposal as the next entry.
func (c *Core) charge(l *leader, bytes int) bool {
	if c.exceeds(&l.sums, bytes) {
		return false
	}
	l.charges = append(l.charges, charge{c.log.last + 1, bytes})
	l.add(bytes)
	return true
}

// exceeds says whether so many more bytes are too many on top of what a leader has taken. A single
// proposal on top of none never is. The limits bear a burst. The disk and the state machine are
// given what they do in a while, long before that, so that nobody waits long behind others.
func (c *Core) exceeds(s *sums, bytes int) bool {
	ready := s.unapplied - s.uncommitted // to be applied
	return s.uncommitted > 0 && s.uncommitted+bytes > c.config.MaxUncommittedBytes ||
		s.unapplied > 0 && s.unapplied+bytes > c.config.MaxUnappliedBytes ||
		s.unstored > 0 && s.unstored+bytes > c.disk.backlog() ||
		ready > 0 && ready+bytes > c.machine.backlog()
}

// releaseQuota gives back the charges of what is stable, of what is also committed, and of what is
// applied then.
func (q *quota) releaseQuota(log *entryLog) {
	for q.stored < len(q.charges) && q.charges[q.stored].index <= log.stable {
		q.unstored -= q.charges[q.stored].bytes
		q.stored++
	}
	for q.counted < q.stored && q.charges[q.counted].index <= log.commit {
		q.uncommitted -= q.charges[q.counted].bytes
		q.counted++
	}
	for q.released < q.counted && q.charges[q.released].index <= log.applied {
		q.unapplied -= q.charges[q.released].bytes
		q.released++
	}
	// The rest moves to the front when there is as much room in front of it. So it moves neither
	// often nor far.
	if q.released > 0 && 2*q.released >= len(q.charges) {
		q.charges = append(q.charges[:0], q.charges[q.released:]...)
		q.counted, q.stored = q.counted-q.released, q.stored-q.released
		q.released = 0
	}
}
