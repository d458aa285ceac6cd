package raft

import "time"

// A leader may serve reads without asking anybody while it holds a lease (§6.4.1). It asks for one with a round of
// heartbeats that names a length. Who answers promises that it will, for that long by its own clock, neither
// grant a vote or a pre-vote nor ask for one, whatever its connections and its own timeouts say. When a quorum
// has promised, no other leader can be elected until the first of these promises ends:
//
//	leader's clock     sends ├────────── length ─ drift ──────────┤ the lease ends
//	                          ╲
//	follower's clock           receives ├────────────── length ──────────────┤ the promise ends
//
// The lease is counted from the sending, the promise from the receiving, which comes later; and it is shortened by as
// much as the follower's clock may be faster than the leader's (CoreConfig.ClockDrift). So it ends first.
//
// Three things could break a promise, and don't:
//
//   - A server that starts again has forgotten it. So the longest promise ever made is durable before the first one,
//     and a server keeps quiet for that long after it starts.
//   - TimeoutNow lets a server campaign all the same (§3.10). So its sender gives up the lease before it sends it,
//     and asks for no other in its term.
//   - Another quorum elects after a change of the configuration. So a configuration that is appended voids the lease,
//     and the next one needs a quorum of what counts from then on.
//
// With CoreConfig.MaxLease 0 no promise is ever made.

// asking is the lease that a leader waits for: from the first round, since it got the last one, that asked.
type asking struct {
	round uint64  // 0 for none
	at    Instant `state:"luck"`
}

func (a *asking) encode(s *stateEncoder) { s.numbers(a.round) }

// askLease returns the length of the lease that a round asks for, or 0.
func (c *Core) askLease(l *leader) time.Duration {
	if c.config.MaxLease == 0 || l.handover.given {
		return 0
	}
	if l.asking.round == 0 {
		l.asking = asking{l.round, c.now}
	}
	return c.config.MaxLease
}

// takeLease takes the lease when a quorum has promised.
func (c *Core) takeLease(l *leader) {
	if l.asking.round == 0 || l.handover.given {
		return
	}
	promised := quorum(c.log.configuration(), func(m *Member) uint64 {
		if p := l.progressOf(m); p != nil {
			return p.promised
		}
		return c.own(m, l.round) // it votes for nobody while it leads
	})
	if promised < l.asking.round {
		return
	}
	if left := c.config.leaseLength() - time.Duration(c.now-l.asking.at); left > 0 {
		c.arm(leaseDeadline, left)
	}
	l.asking = asking{}
}

// leaseLength is how long a leader counts on a promise of MaxLease.
func (c *CoreConfig) leaseLength() time.Duration {
	// A clock that is faster by d measures MaxLease while this one measures MaxLease / (1 + d).
	whole, rest := c.MaxLease/(time.Second+c.ClockDrift), c.MaxLease%(time.Second+c.ClockDrift)
	return whole*time.Second + rest*time.Second/(time.Second+c.ClockDrift)
}

// voidLease ends the lease, and lets no answer to a round that was sent before begin another.
func (c *Core) voidLease(l *leader) {
	c.disarm(leaseDeadline)
	l.asking = asking{}
}

// holdsLease says whether this leader's state is known to be the newest without asking anybody.
func (c *Core) holdsLease(l *leader) bool {
	return c.armed(leaseDeadline) && c.log.commit >= l.begin
}

// promise promises the leader a lease of the length that it asks for, and returns what was promised.
func (c *Core) promise(length time.Duration) time.Duration {
	if length <= 0 || length > c.config.MaxLease {
		return 0
	}
	if c.state.MaxLease < length {
		// The first promise must not be forgotten by a crash: the leader is promised something at the next round.
		c.state.MaxLease = c.config.MaxLease
		c.out.dirty = true
		c.out.leaseWrite = c.out.issued + 1
	}
	if c.out.leaseWrite > c.out.durable {
		return 0
	}
	c.keepQuiet(length)
	return length
}

// keepQuiet sees to it that this server neither grants nor asks for votes for so long at least.
func (c *Core) keepQuiet(length time.Duration) {
	d := &c.deadlines[promiseDeadline]
	if d.state != deadlineArmed || d.at < c.now+Instant(length) {
		c.arm(promiseDeadline, length)
	}
}

// armQuiet puts this server's own candidacy off until it has promised nothing any more, and a little longer.
func (c *Core) armQuiet() {
	left := time.Duration(c.deadlines[promiseDeadline].at - c.now)
	spread := max(uint64(c.config.Heartbeat)/2, 1)
	c.arm(electDeadline, left+time.Duration(1+c.luck(luckLost, uint64(c.state.Term), c.attempt)%spread))
}
