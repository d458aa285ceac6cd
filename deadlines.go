package raft

import "time"

// timing is what time has to do with a core. A deadline is one thing that time can do to it. It is
// off, armed, or passed. Decisions look only at that, and never at the clock, so that a model checker
// may let any armed deadline pass in any order.
type timing struct {
	now     Instant `state:"luck"`
	states  [numDeadlines]deadlineState
	dues    [numDeadlines]Instant `state:"luck"` // when each passes, if it is armed
	soonest Instant               `state:"luck"` // no armed deadline is earlier
	attempt uint64                `state:"luck"` // elections tried; makes each timeout different
}

// encode writes which deadlines are armed and which have passed, and no time. For some deadlines it
// writes passed as off: the core only asks whether they are armed.
func (t *timing) encode(s *stateEncoder) {
	for i, state := range t.states {
		if state == deadlinePassed && traitsOf[i].asked {
			state = deadlineOff
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

// The deadlines of a core, in the order in which Tick deals with those that have passed.
type deadlineName int

const (
	// writeDeadline and readDeadline: when one of them has passed, the disk has owed writes, or
	// reads, for too long without finishing any. This server then neither leads nor campaigns.
	// There are two of them because reads that a cache serves say nothing about writes that hang,
	// and vice versa.
	writeDeadline deadlineName = iota
	readDeadline
	// quorumDeadline: a leader steps down when it passes, because no quorum has answered (§6.2).
	quorumDeadline
	// resignDeadline: when it passes, a server that is about to stop waits no longer for the next
	// leader.
	resignDeadline
	// transferDeadline: when it passes, a leader that hands over gives up (§3.10).
	transferDeadline
	// heartbeatDeadline: a leader starts a round when it passes.
	heartbeatDeadline
	// successionDeadline: when it passes, a leader looks for a server that should rather lead.
	successionDeadline
	// electDeadline: a follower or candidate campaigns when it passes (§3.4).
	electDeadline
	// changeDeadline: when it passes, a leader looks after the change of the members.
	changeDeadline
	// retryDeadline: when it passes, this server sends again the forwards, reads and calls that the
	// leader hasn't answered.
	retryDeadline
	// snapshotDeadline: when it passes, this server tries again to store a snapshot that couldn't
	// be written, its own or one from the leader.
	snapshotDeadline
	// streamDeadline: when it passes, a leader looks whether the peers that it sends snapshots to
	// still answer.
	streamDeadline
	// stickyDeadline: until it passes, this server has heard a leader lately, and doesn't give its
	// vote away (§4.2.3).
	stickyDeadline
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
	// repairDeadline: when it passes, this server asks the next server for bytes that it has lost.
	repairDeadline
	// scrubDeadline: when it passes, this server reads on in its log, to see whether bytes are lost.
	scrubDeadline
	// recoverDeadline: when it passes, a leader steps down if it lacks bytes and has gained none.
	recoverDeadline
	// inquiryDeadline: when it passes, this server asks once more what the others know of its disk.
	inquiryDeadline
	// keyDeadline: until it passes, this server demands the key of its latest configuration, though
	// it doesn't know that this configuration is committed.
	keyDeadline
	// roomDeadline: until it passes, this server's disk was full not long ago, and the server isn't
	// fit to lead.
	roomDeadline
	// outsizedDeadline: when it has passed, the bytes of a lost entry have waited for room for an
	// election timeout.
	outsizedDeadline

	numDeadlines
)

// A deadlineTraits says what is particular to one deadline.
type deadlineTraits struct {
	name string
	// ofRole says that the deadline ends with the role that has armed it.
	ofRole bool
	// looked says that decisions only look at the deadline, and Tick has nothing to do about it.
	looked bool
	// asked says that decisions only ask whether the deadline is armed. When it has passed, it
	// might as well be off.
	asked bool
	// byLeader says that only a leader deals with the deadline when it has passed.
	byLeader bool
}

var traitsOf = [numDeadlines]deadlineTraits{
	writeDeadline:      {name: "write", byLeader: true},
	readDeadline:       {name: "read", byLeader: true},
	quorumDeadline:     {name: "quorum", ofRole: true},
	resignDeadline:     {name: "resign"},
	transferDeadline:   {name: "transfer", ofRole: true},
	heartbeatDeadline:  {name: "heartbeat", ofRole: true},
	successionDeadline: {name: "succession", ofRole: true},
	electDeadline:      {name: "elect"},
	changeDeadline:     {name: "change", ofRole: true},
	retryDeadline:      {name: "retry"},
	snapshotDeadline:   {name: "snapshot"},
	streamDeadline:     {name: "stream", ofRole: true},
	stickyDeadline:     {name: "sticky", ofRole: true, looked: true, asked: true},
	leaseDeadline:      {name: "lease", ofRole: true, looked: true, asked: true},
	promiseDeadline:    {name: "promise", looked: true, asked: true},
	machineDeadline:    {name: "machine", looked: true},
	needDeadline:       {name: "need", looked: true},
	repairDeadline:     {name: "repair"},
	scrubDeadline:      {name: "scrub"},
	recoverDeadline:    {name: "recover", ofRole: true},
	inquiryDeadline:    {name: "inquiry"},
	keyDeadline:        {name: "key", looked: true, asked: true},
	roomDeadline:       {name: "room", looked: true, asked: true},
	outsizedDeadline:   {name: "outsized", looked: true},
}

// never is later than every instant.
const never = Instant(1<<63 - 1)

// arm makes a deadline pass after d.
func (c *Core) arm(name deadlineName, d time.Duration) {
	at := c.now + Instant(d)
	c.states[name], c.dues[name] = deadlineArmed, at
	c.soonest = min(c.soonest, at)
}

// disarm turns a deadline off.
func (c *Core) disarm(name deadlineName) { c.states[name], c.dues[name] = deadlineOff, 0 }

// armed says whether a deadline is yet to pass.
func (c *Core) armed(name deadlineName) bool { return c.states[name] == deadlineArmed }

// passed says whether a deadline has passed and nothing has dealt with it yet.
func (c *Core) passed(name deadlineName) bool { return c.states[name] == deadlinePassed }

// pending returns when an armed deadline passes, and 0 for a deadline that isn't armed.
func (c *Core) pending(name deadlineName) Instant {
	if !c.armed(name) {
		return 0
	}
	return c.dues[name]
}

// advance takes the time of an event and marks the deadlines that have passed by then. Tick acts on
// them.
func (c *Core) advance(now Instant) {
	c.wake()
	c.now = max(c.now, now)
	if c.now < c.soonest {
		return
	}
	c.soonest = never
	for i, state := range c.states {
		if state != deadlineArmed {
			continue
		}
		if c.dues[i] <= c.now {
			c.states[i] = deadlinePassed
		} else {
			c.soonest = min(c.soonest, c.dues[i])
		}
	}
}

// Deadline returns when Tick is due next.
func (c *Core) Deadline() Instant {
	next := never
	for i, state := range c.states {
		switch {
		case state == deadlineArmed:
			next = min(next, c.dues[i])
		case state == deadlinePassed && c.actsOn(deadlineName(i)):
			return c.now
		}
	}
	return next
}

// actsOn says whether Tick has something to do about a deadline that has passed.
func (c *Core) actsOn(name deadlineName) bool {
	_, leads := c.role.(*leader)
	return !traitsOf[name].looked && (leads || !traitsOf[name].byLeader)
}

// disarmRole turns the deadlines of a role off that has ended.
func (c *Core) disarmRole() {
	for i := range c.states {
		if traitsOf[i].ofRole {
			c.disarm(deadlineName(i))
		}
	}
}

// Tick tells the time. It is due at Deadline at the latest. What happened before is handed in
// first: an answer that was queued during a pause counts before the deadline that it was to meet.
func (c *Core) Tick(now Instant) {
	c.advance(now)
	c.meetDeadlines()
}

// meetDeadlines acts on the deadlines that have passed.
func (c *Core) meetDeadlines() {
	for name := range numDeadlines {
		if c.passed(name) && c.actsOn(name) {
			c.meet(name)
		}
	}
}

// meet acts on a deadline that has passed. A deadline of the leader's role has passed only while
// this server leads.
func (c *Core) meet(name deadlineName) {
	switch name {
	case writeDeadline, readDeadline:
		c.abdicate(c.role.(*leader))
	case quorumDeadline:
		if c.alone() {
			c.startRound(c.role.(*leader)) // which it confirms by itself
		} else {
			c.stepDown()
		}
	case transferDeadline:
		c.endTransfer(c.role.(*leader))
	case heartbeatDeadline:
		if r, recovers := c.role.(*recovering); recovers {
			c.recoverRound(r)
		} else {
			c.startRound(c.role.(*leader))
		}
	case successionDeadline:
		c.tick(c.role.(*leader))
	case electDeadline:
		c.campaign()
	case changeDeadline:
		c.changeDue(c.role.(*leader))
	case retryDeadline:
		c.disarm(retryDeadline)
		if c.out.termWrite <= c.out.durable { // otherwise the first copies still wait here
			c.retryForwards()
			c.retryReads()
			c.retryCalls()
		}
	case streamDeadline:
		c.checkSendings(c.role.(*leader))
	case repairDeadline:
		c.repairDue()
	case scrubDeadline:
		c.scrubDue()
	case recoverDeadline:
		c.recoverDue()
	case inquiryDeadline:
		c.inquiryDue()
	case resignDeadline, snapshotDeadline:
		c.disarm(name)
	}
}

// Armed appends the names of the armed deadlines to names. They are what time may do next to this
// core.
func (c *Core) Armed(names []string) []string {
	for i, state := range c.states {
		if state == deadlineArmed {
			names = append(names, traitsOf[i].name)
		}
	}
	return names
}

// Pass lets the armed deadline of a name pass, whatever the time is, and then does what Tick would
// do. It reports whether that deadline was armed. A model checker, for which the time stands still,
// lets the deadlines pass in any order.
func (c *Core) Pass(name string) bool {
	c.wake()
	for i, state := range c.states {
		if traitsOf[i].name == name && state == deadlineArmed {
			c.states[i] = deadlinePassed
			c.meetDeadlines()
			return true
		}
	}
	return false
}
