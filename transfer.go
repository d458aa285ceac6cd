package raft

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A leader can hand over to another server, the target (§3.10). It takes no more commands, sends
// the target what it still lacks, and tells it to campaign at once (TimeoutNow), past pre-vote and
// stickiness. If the target doesn't lead after an election timeout, the leader gives up and takes
// commands again. Safety needs nothing of this: the target wins an election like any other server.
//
//	leader                                    target
//	  takes no commands ──▶ appends ──────────▶ durable up to last
//	  match = last ◀────── acknowledges ────────┘
//	  TimeoutNow, void lease ─────────────────▶ campaigns in the next term, asks the leader for its vote too
//
// A leader hands over for one of these reasons: it is asked to; its node is about to stop; its
// state machine is far behind, its disk stands still or is full, or it can't get a snapshot that is
// needed; or
// a server of higher priority has caught up.

// handover is what a leader knows of handing over.
type handover struct {
	to   ServerID // "" while it isn't handing over
	told bool     // TimeoutNow was sent since the last tick
	// given says that a TimeoutNow was sent in this term. From then on there may be another leader
	// at any moment, whatever was promised.
	given bool

	// asked are the calls that wait for the transfer, or for a leader that is too new to know whom
	// it could hand over to.
	asked []ticket

	// ticks are the rounds and the commit indexes at the last two ticks. A peer that has answered a
	// round since the older tick is responsive. A peer that holds what was committed at the older
	// tick has caught up.
	ticks [2]tick
}

func (h *handover) encode(s *stateEncoder) {
	s.server(h.to)
	s.numbers(flag(h.told), flag(h.given))
	encodeList(s, h.asked, (*ticket).encode)
	for i := range h.ticks {
		h.ticks[i].encode(s)
	}
}

func (h *handover) clone() handover {
	n := *h
	n.asked = slices.Clone(h.asked)
	return n
}

// check verifies that handing over ends, and that there is no lease from the moment on at which a
// transfer may succeed.
func (h *handover) check(c *Core) error {
	if (h.to != "") != (c.states[transferDeadline] != deadlineOff) {
		return broken("Handing Over Ends", "to %q, deadline %d", h.to, c.states[transferDeadline])
	}
	if h.given && c.armed(leaseDeadline) {
		return broken("Lease Void", "in a term in which another server was let campaign")
	}
	return nil
}

// A tick is where a leader stood at one moment. There is one in each heartbeat interval.
type tick struct {
	round  uint64
	commit Index
}

func (t *tick) encode(s *stateEncoder) { s.numbers(t.round, uint64(t.commit)) }

// A courtesy is what a server remembers of having handed over of its own accord. It outlives the
// server's leaderships: a target that can't lead must not cost the cluster its leader again and
// again.
type courtesy struct {
	to ServerID // the last target; "" once that server has led
	// rest is for how many more ticks this server, while it leads, doesn't do it again. times is
	// how often it did so in vain.
	rest, times int
}

func (k *courtesy) encode(s *stateEncoder) {
	s.server(k.to)
	s.numbers(uint64(k.rest), uint64(k.times))
}

// A leader that has handed over of its own accord rests for restElections election timeouts. The
// rest doubles each time that this was in vain, at most maxDoublings times.
const restElections, maxDoublings = 4, 4

// isCourteous notes that this leader hands over of its own accord.
func (c *Core) isCourteous(to ServerID) {
	k := &c.courtesy
	k.to = to
	k.rest = restElections << min(k.times, maxDoublings) * int(c.config.ElectionTimeout/c.config.Heartbeat)
	k.times++
}

// leaderKnown notes which server leads the present term. If a transfer to that server was called
// for here in an earlier term, it is done. This server sees that for itself and doesn't ask: the
// leadership may go on to another server before an answer comes.
func (c *Core) leaderKnown(id ServerID) {
	if id == c.courtesy.to {
		c.courtesy.to, c.courtesy.times = "", 0
	}
	for _, item := range slices.Clone(c.calls.items) {
		if item.call.Kind == wire.CallTransfer && item.since < c.state.Term && (heirOf(item.call) == id || heirOf(item.call) == "") {
			c.answerCall(item.number, 0, nil)
		}
	}
}

// heirOf returns the server that a CallTransfer names, or "" if any will do.
func heirOf(c *wire.Call) ServerID {
	if len(c.Members) > 0 {
		return c.Members[0].ID
	}
	return ""
}

// Transfer begins to hand the leadership of this server over, as a CallTransfer does, but nobody
// gets an answer. If to is "", the leader chooses the target. The error says why it doesn't begin:
// ErrNotLeader, ErrTransferTarget or ErrTransferInProgress.
func (c *Core) Transfer(now Instant, to ServerID) error {
	c.advance(now)
	l, leads := c.role.(*leader)
	if !leads {
		return ErrNotLeader
	}
	if refusal, about := c.transfer(l, to); refusal != 0 {
		return refused(refusal, about)
	}
	return nil
}

// beginTransfer does what a CallTransfer asks for. The server that was called sees for itself when
// another server leads (leaderKnown). If that isn't the target, it asks again.
func (c *Core) beginTransfer(l *leader, t ticket, call *wire.Call) {
	if heirOf(call) == "" && l.handover.to == "" && c.mayHaveHeir(l) {
		l.handover.asked = append(l.handover.asked, t)
		return
	}
	if refusal, about := c.transfer(l, heirOf(call)); refusal != 0 {
		c.endCall(l, t, callOutcome{refusal: refusal, about: about})
		return
	}
	l.handover.asked = append(l.handover.asked, t)
}

// mayHaveHeir says whether a leader has ticked too seldom to know who answers, and there are other
// voters. Then tick chooses for the calls that leave the choice to the leader.
func (c *Core) mayHaveHeir(l *leader) bool {
	return l.handover.ticks[0].round == 0 && slices.ContainsFunc(l.peers, func(p progress) bool { return c.stays(p.id) })
}

// transferAsked begins to hand over for the calls that have waited for the leader to know whom to.
func (c *Core) transferAsked(l *leader) {
	h := &l.handover
	if h.to != "" || len(h.asked) == 0 || h.ticks[0].round == 0 {
		return
	}
	if refusal, about := c.transfer(l, ""); refusal != 0 {
		for _, t := range h.asked {
			c.endCall(l, t, callOutcome{refusal: refusal, about: about})
		}
		h.asked = h.asked[:0]
	}
}

// transfer begins to hand over to a server, or to the best one if to is "". If such a transfer is
// under way, it goes on. Otherwise transfer returns why not, and the server that is the reason.
func (c *Core) transfer(l *leader, to ServerID) (wire.Refusal, ServerID) {
	under := l.handover.to
	switch {
	case under != "" && (to == "" || to == under):
		return 0, ""
	case under != "":
		return wire.RefusedTransferring, under
	case to == "":
		if to = c.successor(l, 0); to == "" {
			return wire.RefusedTarget, ""
		}
	case l.peer(to) == nil || !c.stays(to):
		return wire.RefusedTarget, to
	}
	c.handOver(l, to)
	return 0, ""
}

// handOver begins to hand over.
func (c *Core) handOver(l *leader, to ServerID) {
	l.handover.to, l.handover.told = to, false
	c.arm(transferDeadline, c.config.ElectionTimeout)
}

// drainTransfer tells the target to campaign once it holds all that this leader does. A TimeoutNow
// that is lost on the way is sent again at the next tick.
func (c *Core) drainTransfer(l *leader) {
	h := &l.handover
	if h.to == "" {
		return
	}
	p := l.peer(h.to)
	if p == nil || !c.mayLead(h.to) {
		c.endTransfer(l) // the target was removed meanwhile
		return
	}
	if p.match == c.log.last && !h.told {
		c.sendTimeoutNow(l, h.to)
		h.told = true
	}
}

// sendTimeoutNow lets a server campaign. From this moment on the lease is void, and there will be
// none in this term: the promises of others don't stop a server that campaigns on this leader's
// behalf.
func (c *Core) sendTimeoutNow(l *leader, to ServerID) {
	l.handover.given = true
	c.voidLease(l)
	c.send(to, wire.TimeoutNow{}.Message())
}

// endTransfer gives up, and the leader leads on.
func (c *Core) endTransfer(l *leader) {
	h := &l.handover
	for _, t := range h.asked {
		c.endCall(l, t, callOutcome{refusal: wire.RefusedGivenUp, about: h.to})
	}
	h.to, h.asked = "", h.asked[:0]
	c.disarm(transferDeadline)
	c.disarm(resignDeadline)
}

// tick looks for a server that should lead rather than this one.
func (c *Core) tick(l *leader) {
	c.arm(successionDeadline, c.config.Heartbeat)
	c.tickRooms(l)
	h := &l.handover
	h.ticks[0], h.ticks[1], h.told = h.ticks[1], tick{l.round, c.log.commit}, false
	c.courtesy.rest = max(c.courtesy.rest-1, 0)
	c.transferAsked(l)
	if h.to != "" || c.courtesy.rest > 0 {
		return
	}
	if to := c.successor(l, c.heirAbove()); to != "" {
		c.isCourteous(to)
		c.handOver(l, to)
	}
}

// heirAbove returns the fitness above which another server should rather lead than this one.
func (c *Core) heirAbove() uint64 {
	if c.fitness() == 0 {
		return 0
	}
	return uint64(c.config.Priority) + 1
}

// stays says whether a server is a voter, and will be one after the change that is under way.
func (c *Core) stays(id ServerID) bool { return wire.IsVoter(c.log.configuration().Members, id) }

// mayLead says whether a server is a voter. While a configuration is joint, the voters of either
// half may lead (§4.3).
func (c *Core) mayLead(id ServerID) bool {
	return c.stays(id) || wire.IsVoter(c.log.configuration().Old, id)
}

// maySucceed says whether a peer is a voter that is responsive and, as far as the peer knows, fit
// to lead.
func (c *Core) maySucceed(l *leader, p *progress) bool {
	since := l.handover.ticks[0].round
	return c.mayLead(p.id) && !c.wentBack(p.id, p.incarnation) && p.fitness > 0 && since > 0 && p.round >= since
}

// successor returns the server that should lead next, or "" if there is none. Among the servers
// that may lead, have caught up, and are fitter than above, it is the one of the highest priority;
// among those of equal priority, the one that has most of the log.
//
// If there is no such server, and any other one is better than this server (above is 0), successor
// may return a voter that is about to be none: that voter may be all that can bring the change to
// its end.
func (c *Core) successor(l *leader, above uint64) ServerID {
	var best, leaves *progress
	for i := range l.peers {
		p := &l.peers[i]
		if !c.maySucceed(l, p) || p.fitness <= above || p.match < max(l.handover.ticks[0].commit, l.begin) {
			continue
		}
		if c.stays(p.id) {
			best = p.fitter(best)
		} else if above == 0 {
			leaves = p.fitter(leaves)
		}
	}
	if best = cmp.Or(best, leaves); best == nil {
		return ""
	}
	return best.id
}

// fitter returns the peer of the two that should rather lead next.
func (p *progress) fitter(other *progress) *progress {
	if other == nil || p.fitness > other.fitness || p.fitness == other.fitness && p.match > other.match {
		return p
	}
	return other
}

// fitness is what a server tells the leader about itself: its priority plus one, or 0 if it
// shouldn't lead. It shouldn't when its disk stands still, is full or has lost bytes that are
// needed, its state machine is far behind, or it can't get a snapshot that is needed.
func (c *Core) fitness() uint64 {
	if c.diskStalled() || c.lacksRoom() || c.passed(machineDeadline) || c.passed(needDeadline) || c.log.obstacle() != 0 {
		return 0
	}
	return uint64(c.config.Priority) + 1
}

// abdicate ends the leadership of a server whose disk stands still. It tells another server to
// campaign, so that the cluster needn't wait until it misses its leader: of those that hold all
// that is committed, the one that holds most of the log.
func (c *Core) abdicate(l *leader) {
	var best *progress
	for i := range l.peers {
		p := &l.peers[i]
		if c.maySucceed(l, p) && p.match >= c.log.commit && (best == nil || p.match > best.match) {
			best = p
		}
	}
	if best != nil {
		c.sendTimeoutNow(l, best.id)
	}
	c.stepDown()
}

// Resign hands over because this server is about to stop. The server should go on until Resigned
// says that there is nothing to wait for: the next leader may need its vote, and commands that another
// server leads to their answers may be on their way.
func (c *Core) Resign(now Instant) {
	c.advance(now)
	if l, leads := c.role.(*leader); leads {
		c.resign(l)
	} else {
		c.resignLast()
	}
}

// resignLast waits for the answers to commands that are on their way, when nothing else is left to do.
func (c *Core) resignLast() {
	if c.proposals.onTheWay() {
		c.arm(resignDeadline, c.config.ElectionTimeout)
	}
}

// resign hands over to whoever can lead.
func (c *Core) resign(l *leader) {
	if l.handover.to == "" {
		l.lookAround(c.log.commit)
		to := c.successor(l, 0)
		if to == "" {
			c.resignLast()
			return
		}
		c.handOver(l, to)
	}
	c.arm(resignDeadline, c.config.ElectionTimeout)
}

// lookAround finds out who is responsive, for a leader that goes before it has ticked twice. In a group in
// which nothing happens it may have led for long (quiet.go). Then whoever has answered the last round that
// was sent is, or the one before if that round is too new.
func (l *leader) lookAround(commit Index) {
	if h := &l.handover; h.ticks[0].round == 0 {
		since := l.asked
		if l.confirmed < since {
			since--
		}
		h.ticks[0] = tick{max(since, 1), commit}
	}
}

// heirLost notes that the process of a peer seems to be gone: it isn't fit to lead until it answers
// again. A hand-over to it ends, and a leader that is about to stop looks for somebody else.
func (c *Core) heirLost(l *leader, p *progress) {
	p.fitness = 0
	if l.handover.to != p.id {
		return
	}
	resigns := c.armed(resignDeadline)
	if c.endTransfer(l); resigns {
		c.resign(l)
	}
}

// Resigned says that there is nothing to wait for after Resign. Either another server leads, or nobody
// can take over, and the commands that were on their way have their answers; or Resign was in vain.
func (c *Core) Resigned() bool {
	if !c.armed(resignDeadline) {
		return true
	}
	if l, leads := c.role.(*leader); leads {
		return l.handover.to == "" && !c.proposals.onTheWay()
	}
	f, follows := c.role.(*follower)
	return follows && f.leader != "" && !c.proposals.onTheWay()
}

// watchMachine notes, at each drain, whether the state machine keeps up. It is far behind while it
// hasn't applied what was committed an election timeout ago.
func (c *Core) watchMachine() {
	l := &c.log
	if c.states[machineDeadline] != deadlineOff && l.applied < c.behind {
		return
	}
	if l.applied == l.commit {
		c.disarm(machineDeadline)
		c.behind = 0
		return
	}
	c.behind = l.commit
	c.arm(machineDeadline, c.config.ElectionTimeout)
}

// watchSnapshot notes, at each drain, since when this server has needed a snapshot that it hasn't
// got. The part of the state machine that captures snapshots may stand still although all that is
// committed is applied; then a peer that is to be sent a snapshot would wait for ever. While a
// snapshot is overdue, this server isn't fit to lead. So no leadership goes back and forth between
// servers that can't provide one.
func (c *Core) watchSnapshot() {
	switch {
	case !c.snapshots.needed():
		c.disarm(needDeadline)
	case c.states[needDeadline] == deadlineOff:
		c.arm(needDeadline, needPatience*c.config.ElectionTimeout)
	}
}

// needPatience is how many election timeouts a snapshot may be needed before it is overdue.
const needPatience = 4
