package raft

import (
	"slices"
	"time"

	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// A group is quiet while nothing happens in it: all that its members say to each other is heartbeats
// and answers to them, and these are equal round after round. A driver of many groups doesn't send
// them. It says once for all groups of two processes what they would say (package coalesce), and
// tells a core what came of it when that core takes its next turn:
//
//	leader      Vouched: these members have answered a round that left then
//	follower    Heard:   the leader was heard then
//
// So a core that takes a turn knows what it would know if it had taken part all the time, and its
// deadlines run from there. What it does then is the plain protocol.

// restful says that a deadline may be armed in a group in which nothing happens: heartbeats and
// their answers put it off again and again, or it repeats with them.
func (n deadlineName) restful() bool {
	switch n {
	case quorumDeadline, heartbeatDeadline, successionDeadline, electDeadline, stickyDeadline, leaseDeadline, promiseDeadline:
		return true
	case retryDeadline:
		return true // it is armed for what waits, and a leader asks itself only once
	}
	return false
}

// Quiet says whether nothing happens at this server, and fills q with what it knows then of the
// other members. It is asked after Drain.
func (c *Core) Quiet(q *coalesce.Quiet) bool {
	c.wake()
	q.Others, q.Voters = q.Others[:0], q.Voters[:0]
	if !c.still() {
		return false
	}
	switch r := c.role.(type) {
	case *leader:
		return c.quietLeader(r, q)
	case *follower:
		return c.quietFollower(r, q)
	}
	return false
}

// still says that nothing happens at this server that isn't its role's: all of the log is stored,
// committed and applied, nobody waits, and nothing is under way.
func (c *Core) still() bool {
	l, o, s := &c.log, &c.out, &c.snapshots
	if l.applied < l.last || l.stable < l.last || len(l.lost) > 0 || c.witnessed > l.last {
		return false
	}
	if o.dirty || o.snapshot != nil || o.compact != 0 || len(o.flights)+len(o.held) > 0 {
		return false
	}
	if s.named != nil || s.taking != nil || s.taken != nil || s.restore != restoreNot || s.needed() || len(c.demands) > 0 {
		return false
	}
	if c.incoming.state != incomingNot || c.reading > 0 || len(c.fetches) > 0 || c.scrubbing.reads {
		return false
	}
	if c.noticed || c.inquiry != nil || c.removed != 0 || c.proposals.count() > 0 || len(c.calls.items) > 0 {
		return false
	}
	configuration := l.configuration()
	if configuration == nil || configuration.Old != nil || configuration.Next != nil {
		return false
	}
	for i, state := range c.states {
		idle := state == deadlineOff || state == deadlinePassed && traitsOf[i].asked
		if !idle && !deadlineName(i).restful() {
			return false
		}
	}
	return true
}

// end returns the last entry of the log.
func (c *Core) end() wire.Place { return wire.Place{Index: c.log.last, Term: c.log.lastTerm()} }

// quietFollower says whether a follower has nothing to tell its leader.
func (c *Core) quietFollower(f *follower, q *coalesce.Quiet) bool {
	if f.leader == "" || !f.member || f.owes || f.matched < c.log.last || f.acked < c.log.last || c.waitingReads() > 0 {
		return false
	}
	known := c.known(f.leader, f.disk)
	if known == nil {
		return false
	}
	stand := wire.Stand{
		Term: c.state.Term, Cluster: c.state.Cluster, Leader: f.disk, LeaderStart: known.start, Member: c.state.Incarnation,
		Last: c.end(), Fitness: c.fitness(), Level: c.config.Level,
	}
	if c.state.MaxLease >= c.config.MaxLease && c.out.leaseWrite <= c.out.durable {
		stand.Lease = c.config.MaxLease
	}
	q.Leads, q.Term, q.Awaits = false, c.state.Term, 0
	q.Others = append(q.Others, coalesce.Other{ID: f.leader, Level: true, Stand: stand})
	for i := range c.log.configuration().Members {
		if m := &c.log.configuration().Members[i]; m.Role == Voter {
			q.Voters = append(q.Voters, m.ID)
		}
	}
	return true
}

// quietLeader says whether a leader has nothing to do but to send heartbeats. It may be that a member
// lacks something: it is for the driver to know whether that member can be helped.
func (c *Core) quietLeader(l *leader, q *coalesce.Quiet) bool {
	if !c.atRest(l) || len(l.reads.idle) > 0 || len(l.reads.asked) > 0 && l.silent != l.round {
		return false
	}
	q.Leads, q.Term, q.Awaits = true, c.state.Term, 0
	q.Confirmed = coalesce.Instant(max(c.dues[quorumDeadline]-Instant(c.config.ElectionTimeout), 0))
	if len(l.reads.asked) > 0 {
		q.Awaits = l.round
	}
	if !c.levelQuorum(l) {
		return false
	}
	cares := c.log.configuration().LevelInForce() < c.config.Level
	for i := range l.peers {
		p := &l.peers[i]
		other := coalesce.Other{ID: p.id, Level: c.level(l, p) && (!cares || p.level != 0)}
		if other.Level {
			other.Stand = wire.Stand{
				Term: c.state.Term, Cluster: c.state.Cluster, Leader: c.state.Incarnation, LeaderStart: c.state.Start, Member: p.incarnation,
				Last: c.end(), Lease: c.leaseAsked(l), Fitness: p.fitness,
			}
			if cares {
				other.Stand.Level = p.level
			}
		}
		q.Others = append(q.Others, other)
	}
	return true
}

// atRest says whether a leader has nothing to do but to send heartbeats, whatever reads wait.
func (c *Core) atRest(l *leader) bool {
	h := &l.handover
	if h.to != "" || len(h.asked) > 0 || c.courtesy.rest > 0 || l.change != nil || len(l.waiting) > 0 {
		return false
	}
	for i := range l.peers {
		if p := &l.peers[i]; p.leaving != 0 || p.replaced || p.fetching || p.sending.state != sendingNot && !p.gone() {
			return false
		}
	}
	return c.successor(l, c.heirAbove()) == "" && !c.mayFindSuccessor(l)
}

// mayFindSuccessor says whether a leader that is new, and can't tell yet which of its peers is
// responsive, may have a fitter one among them.
func (c *Core) mayFindSuccessor(l *leader) bool {
	return l.handover.ticks[0].round == 0 && slices.ContainsFunc(l.peers, func(p progress) bool {
		return c.mayLead(p.id) && p.fitness > c.heirAbove()
	})
}

// level says whether a peer has everything, has answered a round since there was reason to doubt that
// and within half an election timeout, and has promised a lease with that answer, if it was to.
func (c *Core) level(l *leader, p *progress) bool {
	if p.match < c.log.last || !p.replicating || p.waiting || len(p.window) > 0 || p.round < l.needed || p.round+c.lately() < l.asked {
		return false
	}
	return !c.wentBack(p.id, p.incarnation) && p.wants == 0 && (c.leaseAsked(l) == 0 || p.promised >= p.round)
}

// lately is how many rounds there are in half an election timeout. If answers take long, because
// thousands of groups speak at once, it isn't the last round that is answered: to wait for that would let
// them speak on and on.
func (c *Core) lately() uint64 { return uint64(c.config.ElectionTimeout / c.config.Heartbeat / 2) }

// levelQuorum says whether a quorum is level.
func (c *Core) levelQuorum(l *leader) bool {
	return quorum(c.log.configuration(), func(m *Member) uint64 {
		if p := l.progressOf(m); p != nil {
			return flag(c.level(l, p))
		}
		return c.own(m, 1)
	}) == 1
}

// startSilentRound begins a round for the reads that wait, without heartbeats: the driver's next
// round stands for it.
func (c *Core) startSilentRound(l *leader) {
	l.sent(c.now)
	l.silent = l.round
	l.reads.join(l.round, c.log.commit)
	c.askLease(l)
}

// mayBeSilent says whether the driver's rounds stand for those of this leader.
func (c *Core) mayBeSilent(l *leader) bool {
	return c.config.Coalesced && len(l.peers) > 0 && c.still() && c.atRest(l) && c.levelQuorum(l)
}

// Vouched reports that the driver's rounds have stood for rounds of this leader in a term until now, and
// which members have answered them. Those that have answered the round for which reads wait count for that one. Otherwise the
// latest round that a quorum has answered counts as a round of this leader's. A leader that is the only
// voter needs no answers, and yet begins no round that nobody was asked in: its learners couldn't have
// answered it.
func (c *Core) Vouched(now Instant, term Term, by []coalesce.Voucher) {
	c.advance(now)
	l, leads := c.role.(*leader)
	if !leads || term != c.state.Term {
		return
	}
	sent := Instant(quorum(c.log.configuration(), func(m *Member) uint64 {
		if p := l.progressOf(m); p != nil {
			return sentTo(p.id, by)
		}
		return c.own(m, latestOf(by))
	})) - 1
	// A round of this leader's own is due when the answer to the driver's next one is overdue, which may
	// wait for an interval, as the round itself may. If there is none, it is due as it was: a leader that is
	// asked for something more often than the driver's rounds leave would never send a heartbeat otherwise.
	beat, until := c.config.Heartbeat, c.config.ElectionTimeout-c.config.Heartbeat
	if next := sent + Instant(beat+min(beat+beat/2, until/2)); sent >= 0 && next > c.dues[heartbeatDeadline] {
		c.arm(heartbeatDeadline, time.Duration(max(next-c.now, 0)))
	}
	for i := range by {
		if p := l.peer(by[i].ID); p != nil {
			p.heard = max(p.heard, Instant(by[i].Sent))
			if by[i].Room != 0 {
				full := c.config.fullWith(by[i].Room-1, p.vacancy.full)
				p.vacancy.note(by[i].Room, full, &c.log, c.log.last)
			}
		}
	}
	if l.confirmed < l.round {
		c.vouchedFor(l, by)
		return
	}
	if sent+Instant(c.config.ElectionTimeout) <= c.dues[quorumDeadline] {
		return // nobody has answered, or the quorum has answered a later round of this leader's own
	}
	l.sent(sent)
	if c.leaseAsked(l) > 0 && l.asking.round == 0 {
		l.asking = asking{l.round, sent}
	}
	c.answeredBy(l, by, func(v *coalesce.Voucher) bool { return Instant(v.Sent) >= sent })
	// The rest have answered an earlier round. It makes no difference any more, since this one is
	// confirmed.
	if l.confirmed == l.round && l.asking.round == 0 {
		c.answeredBy(l, by, func(*coalesce.Voucher) bool { return true })
	}
}

// vouchedFor takes the answers to the round for which reads wait.
func (c *Core) vouchedFor(l *leader, by []coalesce.Voucher) {
	c.answeredBy(l, by, func(v *coalesce.Voucher) bool { return v.Round == l.silent && v.Round == l.round })
}

// answeredBy takes answers to the last round.
func (c *Core) answeredBy(l *leader, by []coalesce.Voucher, counts func(*coalesce.Voucher) bool) {
	for i := range by {
		v := &by[i]
		p := l.peer(v.ID)
		if p == nil || !counts(v) {
			continue
		}
		p.round = l.round
		if v.Lease {
			p.promised = l.round
		}
	}
	c.takeLease(l)
	c.confirmRounds(l)
}

// latestOf returns one more than the instant at which the latest round left that any server has
// answered, or 0.
func latestOf(by []coalesce.Voucher) (latest uint64) {
	for i := range by {
		latest = max(latest, uint64(by[i].Sent)+1)
	}
	return latest
}

// sentTo returns one more than the instant at which the round left that a server has answered, or 0.
func sentTo(id ServerID, by []coalesce.Voucher) uint64 {
	for i := range by {
		if by[i].ID == id {
			return uint64(by[i].Sent) + 1
		}
	}
	return 0
}

// Doubted reports that the others may have something to tell this leader. It begins a round.
func (c *Core) Doubted(now Instant) {
	c.advance(now)
	if l, leads := c.role.(*leader); leads {
		l.needed = l.round + 1
		c.arm(heartbeatDeadline, 0)
	}
}

// Unvouched reports that the driver's rounds don't stand for those of this leader. If reads wait for
// one, the leader begins a round of its own.
func (c *Core) Unvouched(now Instant) {
	c.advance(now)
	if l, leads := c.role.(*leader); leads && l.silent == l.round && l.confirmed < l.round {
		c.arm(heartbeatDeadline, 0)
	}
}

// Heard reports that the leader of a term was heard at an earlier instant, and that a lease was
// promised to it then. The deadlines of a follower become what they would be if the heartbeat had
// come at that instant, unless it has heard a later one.
func (c *Core) Heard(now Instant, h *coalesce.Heard) {
	c.advance(now)
	since := time.Duration(c.now - Instant(h.At))
	if left := h.Promise - since; left > 0 {
		c.keepQuiet(left)
	}
	f, follows := c.role.(*follower)
	if !follows || f.leader != h.Leader || h.Term != c.state.Term {
		return
	}
	state, elect, sticky := c.states[electDeadline], c.dues[electDeadline], c.dues[stickyDeadline]
	c.armElection()
	if at := c.dues[electDeadline] - Instant(since); state != deadlineArmed || elect < at {
		c.arm(electDeadline, time.Duration(at-c.now))
	} else {
		c.dues[electDeadline] = elect
	}
	if left := c.config.ElectionTimeout - since; left > 0 && sticky < c.now+Instant(left) {
		c.arm(stickyDeadline, left)
	}
}

// receiveLate takes a heartbeat that was heard at an earlier instant. What it says holds now, and the
// deadlines of a follower that it puts off run from then.
func (c *Core) receiveLate(now, heard Instant, m wire.Message) {
	c.advance(now)
	was := c.timing
	c.Receive(now, m)
	c.backdate(electDeadline, &was, c.now-heard)
	c.backdate(stickyDeadline, &was, c.now-heard)
}

// backdate moves a deadline that was just put off to where it would be if that had happened earlier.
func (c *Core) backdate(name deadlineName, was *timing, by Instant) {
	if !c.armed(name) || was.states[name] == deadlineArmed && c.dues[name] == was.dues[name] {
		return
	}
	at := c.dues[name] - by
	if was.states[name] == deadlineArmed {
		at = max(at, was.dues[name])
	}
	c.arm(name, time.Duration(at-c.now))
}

// handsTo returns the server to which this leader hands over, or "".
func (c *Core) handsTo() ServerID {
	if l, leads := c.role.(*leader); leads {
		return l.handover.to
	}
	return ""
}

// Orphaned reports that the process of a server is gone. It is only a hint, as Lost is. If that
// server led, this follower gives its vote to others. If first is true, it is the one of them to
// campaign at once, also if it has just done so in vain, while the others still heard the leader.
// Otherwise its own clock goes on, but it leaves the first one a quarter of an election timeout, so that
// the vote isn't split. A leader doesn't hand over to that server.
func (c *Core) Orphaned(now Instant, server ServerID, first bool) {
	c.advance(now)
	switch r := c.role.(type) {
	case *leader:
		if p := r.peer(server); p != nil {
			c.heirLost(r, p)
		}
	case *candidate:
		if first && r.pre && !c.lacksRoom() {
			r.hurry = hurriedPreVotes
			c.arm(electDeadline, 0)
		}
	case *follower:
		if server == "" || r.leader != server && (r.leader != "" || !first) {
			return
		}
		r.leader = ""
		c.disarm(stickyDeadline)
		switch grace := c.config.ElectionTimeout / 4; {
		case c.lacksRoom():
		case first:
			r.hurry = hurriedPreVotes
			c.arm(electDeadline, 0)
		case c.passed(electDeadline), c.armed(electDeadline) && c.dues[electDeadline] < c.now+Instant(grace):
			c.arm(electDeadline, grace)
		}
	}
}

// MayCampaign lets this server campaign, which has waited for that: when its time has come, a core whose driver
// serves many groups waits until the driver lets it (coalesce.Book.WaitToCampaign). Meanwhile it votes for
// others. If it has done so, or hears a leader, it leaves it to them.
func (c *Core) MayCampaign(now Instant) {
	c.advance(now)
	if !c.armed(electDeadline) && !c.elected() {
		c.campaigns = mayCampaignNow
		c.arm(electDeadline, 0)
	}
}

// awaitCampaign waits for MayCampaign. The leader that this server has followed is its leader no more, unless
// it is heard again.
func (c *Core) awaitCampaign() {
	c.campaigns = waitsToCampaign
	c.disarm(electDeadline)
	if f, follows := c.role.(*follower); follows {
		f.leader = ""
	}
}

// waits says whether this server waits for MayCampaign.
func (c *Core) waits() bool {
	return c.campaigns == waitsToCampaign && !c.armed(electDeadline) && !c.elected()
}

// led says whether this server leads, and an entry of its term is committed, or knows who leads.
func (c *Core) led() bool {
	switch r := c.role.(type) {
	case *leader:
		return c.log.commit >= r.begin
	case *follower:
		return r.leader != ""
	}
	return false
}

// A campaignTurn says whether a core whose driver serves many groups may campaign.
type campaignTurn uint8

const (
	asksToCampaign  campaignTurn = iota // when its time has come, it waits
	waitsToCampaign                     // for MayCampaign
	mayCampaignNow                      // once
)
