package raft

import "time"

// A deadline is one thing that time can do to a core. It is off, armed, or passed. Decisions look
// only at that, and never at the clock, so that a model checker may let any armed deadline pass in
// any order.
type deadline struct {
	state deadlineState
	at    Instant `state:"luck"` // when it passes
}

// timing is what time has to do with a core.
type timing struct {
	now       Instant `state:"luck"`
	deadlines [numDeadlines]deadline
	soonest   Instant `state:"luck"` // no armed deadline is earlier
	attempt   uint64  `state:"luck"` // elections tried; makes each timeout different
}

// encode writes which deadlines are armed and which have passed, and no time. For some deadlines it
// writes passed as off: the core only asks whether they are armed.
func (t *timing) encode(s *stateEncoder) {
	for i := range t.deadlines {
		state := t.deadlines[i].state
		switch deadlineName(i) {
		case stickyDeadline, leaseDeadline, promiseDeadline:
			if state == deadlinePassed {
				state = deadlineOff
			}
		}
		s.b = append(s.b, byte(state))
	}
}

type deadlineState uint8

const (
	deadlineOff deadlineState = iota
	deadlineArmed
	deadlinePassed
)

// The deadlines of a core.
type deadlineName int

const (
	// electDeadline: a follower or candidate campaigns when it passes (§3.4).
	electDeadline deadlineName = iota
	// stickyDeadline: until it passes, this server has heard a leader lately, and doesn't give its
	// vote away (§4.2.3).
	stickyDeadline
	// heartbeatDeadline: a leader starts a round when it passes.
	heartbeatDeadline
	// quorumDeadline: a leader steps down when it passes, because no quorum has answered (§6.2).
	quorumDeadline
	// writeDeadline and readDeadline: when one of them has passed, the disk has owed writes, or
	// reads, for too long without finishing any. This server then neither leads nor campaigns.
	// There are two of them because reads that a cache serves say nothing about writes that hang,
	// and vice versa.
	writeDeadline
	readDeadline
	// retryDeadline: when it passes, this server sends again the forwards, reads and calls that the
	// leader hasn't answered.
	retryDeadline
	// successionDeadline: when it passes, a leader looks for a server that should rather lead.
	successionDeadline
	// transferDeadline: when it passes, a leader that hands over gives up (§3.10).
	transferDeadline
	// resignDeadline: when it passes, a server that is about to stop waits no longer for the next
	// leader.
	resignDeadline
	// leaseDeadline: until it passes, a leader's state is the newest (§6.4.1).
	leaseDeadline
	// promiseDeadline: until it passes, this server neither grants nor asks for votes, because it
	// has promised a lease.
	promiseDeadline
	// machineDeadline: when it has passed, the state machine still hasn't applied what was
	// committed an election timeout ago. A leader then hands over, if it can.
	machineDeadline
	// needDeadline: when it has passed, a snapshot has been needed for too long, in the place of a
	// damaged one or for a peer that has lost its own. A leader then hands over, if it can.
	needDeadline
	// changeDeadline: when it passes, a leader looks after the change of the members.
	changeDeadline
	// snapshotDeadline: when it passes, this server tries again to store a snapshot that couldn't
	// be written, its own or one from the leader.
	snapshotDeadline
	// streamDeadline: when it passes, a leader looks whether the peers that it sends snapshots to
	// still answer.
	streamDeadline

	numDeadlines
)

// never is later than every instant.
const never = Instant(1<<63 - 1)

// arm makes a deadline pass after d.
func (c *Core) arm(name deadlineName, d time.Duration) {
	at := c.now + Instant(d)
	c.deadlines[name] = deadline{deadlineArmed, at}
	c.soonest = min(c.soonest, at)
}

// disarm turns a deadline off.
func (c *Core) disarm(name deadlineName) { c.deadlines[name] = deadline{} }

// armed says whether a deadline is yet to pass.
func (c *Core) armed(name deadlineName) bool { return c.deadlines[name].state == deadlineArmed }

// passed says whether a deadline has passed and nothing has dealt with it yet.
func (c *Core) passed(name deadlineName) bool { return c.deadlines[name].state == deadlinePassed }

// pending returns when an armed deadline passes, and 0 for a deadline that isn't armed.
func (c *Core) pending(name deadlineName) Instant {
	if !c.armed(name) {
		return 0
	}
	return c.deadlines[name].at
}

// advance takes the time of an event and marks the deadlines that have passed by then. Tick acts on
// them.
func (c *Core) advance(now Instant) {
	c.now = max(c.now, now)
	if c.now < c.soonest {
		return
	}
	c.soonest = never
	for i := range c.deadlines {
		d := &c.deadlines[i]
		if d.state != deadlineArmed {
			continue
		}
		if d.at <= c.now {
			d.state = deadlinePassed
		} else {
			c.soonest = min(c.soonest, d.at)
		}
	}
}

// Deadline returns when Tick is due next.
func (c *Core) Deadline() Instant {
	next := never
	for i := range c.deadlines {
		switch d := &c.deadlines[i]; {
		case d.state == deadlineArmed:
			next = min(next, d.at)
		case d.state == deadlinePassed && c.actsOn(deadlineName(i)):
			return c.now
		}
	}
	return next
}

// actsOn says whether Tick has something to do about a deadline that has passed. The other
// deadlines are only looked at.
func (c *Core) actsOn(name deadlineName) bool {
	switch name {
	case stickyDeadline, leaseDeadline, promiseDeadline, machineDeadline, needDeadline:
		return false
	case writeDeadline, readDeadline:
		_, leads := c.role.(*leader)
		return leads
	}
	return true
}

// Tick tells the time. It is due at Deadline at the latest. What happened before is handed in
// first: an answer that was queued during a pause counts before the deadline that it was to meet.
func (c *Core) Tick(now Instant) {
	c.advance(now)
	c.meetDeadlines()
}

// meetDeadlines acts on the deadlines that have passed.
func (c *Core) meetDeadlines() {
	if c.diskStalled() {
		if l, leads := c.role.(*leader); leads {
			c.abdicate(l)
		}
	}
	if c.passed(quorumDeadline) {
		if c.alone() {
			c.startRound(c.role.(*leader)) // which it confirms by itself
		} else {
			c.stepDown()
		}
	}
	if c.passed(resignDeadline) {
		c.disarm(resignDeadline)
	}
	if c.passed(transferDeadline) {
		c.endTransfer(c.role.(*leader))
	}
	if c.passed(heartbeatDeadline) {
		c.startRound(c.role.(*leader))
	}
	if c.passed(successionDeadline) {
		c.tick(c.role.(*leader))
	}
	if c.passed(electDeadline) {
		c.campaign()
	}
	if l, leads := c.role.(*leader); leads && c.passed(changeDeadline) {
		c.changeDue(l)
	}
	if c.passed(retryDeadline) {
		c.disarm(retryDeadline)
		if c.out.termWrite <= c.out.durable { // otherwise the first copies still wait here
			c.retryForwards()
			c.retryReads()
			c.retryCalls()
		}
	}
	if c.passed(snapshotDeadline) {
		c.disarm(snapshotDeadline)
	}
	if c.passed(streamDeadline) {
		c.disarm(streamDeadline)
		if l, leads := c.role.(*leader); leads {
			c.checkSendings(l)
		}
	}
}

// deadlineNames are the names of the deadlines, for callers that let them pass by name.
var deadlineNames = [numDeadlines]string{
	electDeadline: "elect", stickyDeadline: "sticky", heartbeatDeadline: "heartbeat",
	quorumDeadline: "quorum", writeDeadline: "write", readDeadline: "read", retryDeadline: "retry",
	transferDeadline: "transfer", successionDeadline: "succession", resignDeadline: "resign",
	leaseDeadline: "lease", promiseDeadline: "promise", machineDeadline: "machine", needDeadline: "need",
	changeDeadline: "change", snapshotDeadline: "snapshot", streamDeadline: "stream",
}

// Armed appends the names of the armed deadlines to names. They are what time may do next to this
// core.
func (c *Core) Armed(names []string) []string {
	for i := range c.deadlines {
		if c.deadlines[i].state == deadlineArmed {
			names = append(names, deadlineNames[i])
		}
	}
	return names
}

// Pass lets the armed deadline of a name pass, whatever the time is, and then does what Tick would
// do. It reports whether that deadline was armed. A model checker, for which the time stands still,
// lets the deadlines pass in any order.
func (c *Core) Pass(name string) bool {
	for i := range c.deadlines {
		if d := &c.deadlines[i]; deadlineNames[i] == name && d.state == deadlineArmed {
			d.state = deadlinePassed
			c.meetDeadlines()
			return true
		}
	}
	return false
}
