package raft

import "time"

// A leader may serve reads without asking anybody while it holds a lease (§6.4.1). It asks for a
// lease with a round of heartbeats that names a length. A server that answers makes a promise. For
// that long, by its own clock, it neither grants a vote or a pre-vote nor asks for one, whatever
// its connections and its own timeouts say. When a quorum has promised, no other leader can be
// elected until the first of these promises ends:
//
//	leader's clock     sends ├────────── length ─ drift ──────────┤ the lease ends
//	                          ╲
//	follower's clock           receives ├────────────── length ──────────────┤ the promise ends
//
// The lease is counted from the sending. The promise is counted from the receiving, which comes
// later. And the lease is shortened by as much as the leader's clock may be slower than the
// follower's (CoreConfig.ClockDrift). So the lease ends first.
//
// Three things could break a promise, and don't:
//
//   - A server that starts again has forgotten its promise. So a length that no promise exceeds is
//     durable before the first promise is made, and a server keeps quiet for that long after it
//     starts.
//   - TimeoutNow lets a server campaign in spite of promises (§3.10). So its sender gives up the
//     lease before it sends it, and asks for no other lease in its term.
//   - After a change of the configuration, another quorum elects. So a configuration that is
//     appended voids the lease, and the next lease needs a quorum of the members that count from
//     then on.
//
// With CoreConfig.MaxLease 0 no promise is ever made.

// asking is the lease for which a leader waits. The leader has asked for it since the first round
// after it got the last one.
type asking struct {
	round uint64  // 0 for none
	at    Instant `state:"luck"`
}

func (a *asking) encode(s *stateEncoder) { s.numbers(a.round) }

// askLease returns the length of the lease that a round asks for; 0 stands for no lease.
func (c *Core) askLease(l *leader) time.Duration {
	length := c.leaseAsked(l)
	if length == 0 {
		return 0
	}
	if l.asking.round == 0 {
		l.asking = asking{l.round, c.now}
	}
	return length
}

// leaseAsked returns the length of the lease that this leader asks for.
func (c *Core) leaseAsked(l *leader) time.Duration {
	if c.config.MaxLease == 0 || l.handover.given {
		return 0
	}
	return c.config.MaxLease
}

// takeLease begins the lease once a quorum has promised.
func (c *Core) takeLease(l *leader) {
	if l.asking.round == 0 || l.handover.given {
		return
	}
	promised := quorum(c.log.configuration(), func(m *Member) uint64 {
		if p := l.progressOf(m); p != nil {
			return p.promised
		}
		return c.own(m, l.round) // this server itself votes for nobody while it leads
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
	// A follower's clock that is faster by d measures MaxLease while this clock measures
	// MaxLease/(1+d).
	whole, rest := c.MaxLease/(time.Second+c.ClockDrift), c.MaxLease%(time.Second+c.ClockDrift)
	return whole*time.Second + rest*time.Second/(time.Second+c.ClockDrift)
}

// voidLease ends the lease. An answer to a round that was sent before can't begin another one.
func (c *Core) voidLease(l *leader) {
	c.disarm(leaseDeadline)
	l.asking = asking{}
}

// holdsLease says whether this leader knows without asking anybody that its state is the newest.
func (c *Core) holdsLease(l *leader) bool {
	return c.armed(leaseDeadline) && c.log.commit >= l.begin
}

// promise promises the leader a lease of the length that it asks for, and returns the length
// promised. It returns 0 if this server promises nothing: the length exceeds its own MaxLease, or
// the disk doesn't say yet that it makes promises.
func (c *Core) promise(length time.Duration) time.Duration {
	if length <= 0 || length > c.config.MaxLease {
		return 0
	}
	if c.state.MaxLease < length {
		// A crash must not forget the first promise. So MaxLease is written first, and the leader
		// gets a promise at a later round.
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

// keepQuiet makes sure that this server neither grants nor asks for votes for at least this long.
func (c *Core) keepQuiet(length time.Duration) {
	if !c.armed(promiseDeadline) || c.dues[promiseDeadline] < c.now+Instant(length) {
		c.arm(promiseDeadline, length)
	}
}

// armQuiet puts off this server's own candidacy until its promise is over, and a random moment
// longer.
func (c *Core) armQuiet() {
	left := time.Duration(c.dues[promiseDeadline] - c.now)
	spread := max(uint64(c.config.Heartbeat)/2, 1)
	c.arm(electDeadline, left+time.Duration(1+c.luck(luckLost, uint64(c.state.Term), c.attempt)%spread))
}
