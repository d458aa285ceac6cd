package raft

import (
	"cmp"
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

// follower is a server that obeys a leader, or that waits to hear of one (§3.4).
type follower struct {
	leader ServerID // of this term; "" while unknown

	// matched is how far this log is known to equal the leader's log. Accepted appends raise it,
	// and it is never past last. What may be acknowledged is min(matched, stable). So an
	// acknowledgement needs no queue of its own at the gate: however many appends and writes have
	// come meanwhile, one answer says it.
	matched Index
	// acked is the highest index that was acknowledged to this leader. owes says that the leader
	// waits for an answer even if that index hasn't grown, because the leader has repeated or
	// probed something.
	acked Index
	owes  bool

	// hurry is how many more times this server asks for pre-votes soon, because the process of its
	// leader seems to be gone.
	hurry int

	// member says that the leader counts this server as a member. disk is the disk that the leader
	// has.
	member bool
	disk   Incarnation
}

func (f *follower) encode(s *stateEncoder) {
	s.b = append(s.b, 'f')
	s.server(f.leader)
	s.numbers(uint64(f.matched), uint64(f.acked), flag(f.owes), uint64(f.hurry), flag(f.member), uint64(f.disk))
}

func (f *follower) clone() role { n := *f; return &n }

// check: this server has acknowledged nothing that isn't matched, and what is matched is in the
// log.
func (f *follower) check(c *Core) error {
	if f.matched > c.log.last || f.acked > f.matched {
		return broken("Acknowledged Within Matched", "acked %d matched %d last %d", f.acked, f.matched, c.log.last)
	}
	return nil
}

// candidate is a server that asks for votes. It first asks whether it would get them (§9.6), and
// then for the votes themselves (§3.4).
type candidate struct {
	pre      bool
	transfer bool // on behalf of the leader (§3.10)

	hurry int // as in a follower

	// ownVote is the write that makes the candidate's own vote durable. Until then that vote
	// doesn't count.
	ownVote WriteNumber
	// ballots are the votes that other servers have granted, one for each server.
	ballots []ballot
	// refused are the servers that have refused. It decides nothing.
	refused []ServerID `state:"luck"`
}

func (r *candidate) encode(s *stateEncoder) {
	s.b = append(s.b, 'c')
	s.numbers(flag(r.pre), flag(r.transfer), uint64(r.hurry))
	s.write(r.ownVote)
	encodeSet(s, r.ballots, (*ballot).encode)
}

func (r *candidate) clone() role {
	n := *r
	n.ballots = append([]ballot(nil), r.ballots...)
	n.refused = append([]ServerID(nil), r.refused...)
	return &n
}

// check: a candidate has voted for itself.
func (r *candidate) check(c *Core) error {
	if !r.pre && c.state.Vote != c.id {
		return broken("Candidate Voted For Itself", "vote %q", c.state.Vote)
	}
	return nil
}

// A ballot is a granted vote, and the disk that remembers it.
type ballot struct {
	from        ServerID
	incarnation Incarnation
	level       wire.Level // that the voter knows; of a vote to found a cluster
}

func (b *ballot) encode(s *stateEncoder) {
	s.server(b.from)
	s.numbers(uint64(b.incarnation), uint64(b.level))
}

// armElection starts to wait for a leader, or for votes. The time is in [1, 1.5) election timeouts.
// It differs between servers, terms and attempts, so that split votes don't repeat (§3.4).
//
// To found a cluster takes every vote, so a second candidate always splits it. If round trips are
// long and servers many, that would happen again and again. So with each term in vain the times are
// further apart, up to [1, 5) election timeouts.
//
// A server whose disk is full lets those go first that have room: its time is longer by one election
// timeout. So somebody with room leads if anybody can, and if nobody can, somebody leads a little
// later.
func (c *Core) armElection() {
	timeout := c.config.ElectionTimeout
	spread := max(uint64(timeout)/2, 1)
	if c.lacksRoom() && !c.mayFound() {
		timeout += c.config.ElectionTimeout
	}
	if c.mayFound() {
		spread <<= min(c.state.Term, 3)
	}
	c.arm(electDeadline, timeout+time.Duration(c.luck(luckElection, uint64(c.state.Term), c.attempt)%spread))
}

// leaderHeard says whether this server leads, has heard from a leader within the least election
// timeout (§4.2.3), or has promised a lease.
func (c *Core) leaderHeard() bool {
	return c.elected() || c.armed(stickyDeadline) || c.armed(promiseDeadline)
}

// mayCampaign says whether this server may become leader. It must be a voter, or one of the servers
// that may found a cluster. Its disk must not be stalled, and its log must reach everything that it
// knows to be committed.
func (c *Core) mayCampaign() bool {
	if c.diskStalled() || c.noticed || c.inquiry != nil || c.log.last < c.witnessed {
		return false
	}
	if len(c.log.configurations) > 0 {
		return c.removed == 0 && c.mayBeNeeded()
	}
	return c.mayFound()
}

// mayFound says whether this server may found a cluster: it belongs to none, and has a list of
// those that do it together.
func (c *Core) mayFound() bool {
	return len(c.log.configurations) == 0 && c.state.Cluster == ClusterID{} && len(c.config.Bootstrap) > 0
}

// campaign asks whether an election would be won. As long as it wouldn't, nobody's term rises: a
// server that was cut off comes back without disturbing anybody (§9.6).
func (c *Core) campaign() {
	c.attempt++
	turn := c.campaigns
	c.campaigns = asksToCampaign
	if !c.mayCampaign() {
		c.armElection()
		c.askStanding()
		return
	}
	if c.yields() {
		c.armElection()
		return
	}
	if c.armed(promiseDeadline) {
		c.armQuiet()
		return
	}
	if c.config.Coalesced && turn != mayCampaignNow {
		c.awaitCampaign()
		return
	}
	r := &candidate{pre: true}
	switch was := c.role.(type) {
	case *follower:
		r.hurry = max(was.hurry-1, 0)
	case *candidate:
		r.hurry = max(was.hurry-1, 0)
	}
	c.become(r)
	if r.hurry > 0 {
		c.armSoon()
	}
	c.askVotes(r)
	c.countVotes(r)
}

// startElection enters the next term, and asks for votes in it (§3.4).
func (c *Core) startElection(transfer bool) {
	c.adoptTerm(c.state.Term + 1)
	c.state.Vote = c.id
	r := &candidate{transfer: transfer, ownVote: c.everything()}
	c.become(r)
	c.askVotes(r)
}

// askVotes asks every other voter. For a pre-vote it asks every other server, because a server that
// doesn't vote may know that this one was removed.
func (c *Core) askVotes(r *candidate) {
	request := wire.VoteRequest{Last: wire.Place{Index: c.log.last, Term: c.log.lastTerm()}, Transfer: r.transfer}
	if c.log.configuration() == nil {
		request.Bootstrap, request.FoundedFrom = c.config.Bootstrap, c.foundedFrom()
	}
	for _, to := range c.otherServers() {
		if configuration := c.log.configuration(); configuration != nil && !r.pre && !configuration.Votes(to.ID) {
			continue
		}
		if r.pre {
			ask := wire.PreVoteRequest{Last: request.Last, FoundedFrom: request.FoundedFrom, Bootstrap: request.Bootstrap}
			c.sendPreVote(to.ID, c.state.Term+1, ask.Message())
		} else {
			c.send(to.ID, request.Message())
		}
	}
}

// sendPreVote sends a question or a grant about a term that might be entered. Such a message claims
// nothing, so nothing needs to be durable.
func (c *Core) sendPreVote(to ServerID, term Term, m wire.Message) {
	m.To = to
	c.stamp(&m)
	m.Term = term
	if c.out.durable == 0 {
		m.FromStart = 0 // nobody may hear of a start that the disk may yet forget
	}
	c.out.send(m, 0)
}

// mayElect says whether a server whose log ends at a place may lead. That log must be as up-to-date
// as the log here (§3.6.1), and reach what is known to be committed. The log of every rightful
// candidate does (Leader Completeness); that of a disk that has forgotten something may not.
func (c *Core) mayElect(last wire.Place) bool {
	return c.log.upToDate(last) && last.Index >= c.witnessed
}

// answerPreVote says whether this server would grant its vote. It changes nothing here.
func (c *Core) answerPreVote(m *wire.Message) {
	if last := m.PreVoteRequest().Last; m.Term <= c.state.Term || !c.mayElect(last) {
		c.refusedForLost(last)
		c.reply(m, wire.PreVoteResponse{}.Message())
		return
	}
	answer := wire.PreVoteResponse{Granted: true}.Message()
	answer.ToIncarnation = m.FromIncarnation
	c.sendPreVote(m.From, m.Term, answer)
}

// answerVote grants the vote of this term to the first candidate whose log is at least as
// up-to-date (§3.4, §3.6.1). The grant leaves when it is durable, together with everything decided
// before.
func (c *Core) answerVote(m *wire.Message) {
	free := c.state.Vote == "" && m.Term > c.reached || c.state.Vote == m.From
	if last := m.VoteRequest().Last; !free || !c.mayElect(last) {
		c.refusedForLost(last)
		c.reply(m, wire.VoteResponse{}.Message())
		c.splitWith(m)
		return
	}
	if _, asks := c.role.(*candidate); asks {
		c.stepDown() // it only asked for pre-votes, and has not voted for itself in this term
	}
	if c.state.Vote == "" {
		c.state.Vote = m.From
		c.out.dirty = true
	}
	// Only a granted vote puts off this server's own candidacy. Otherwise a hopeless candidate
	// could starve a good one.
	c.armElection()
	vote := wire.VoteResponse{Start: m.FromStart, Granted: true}
	if c.log.configuration() == nil {
		vote.Level = c.config.Level
	}
	answer := vote.Message()
	answer.To, answer.ToIncarnation, answer.Term = m.From, m.FromIncarnation, c.state.Term
	c.stamp(&answer)
	c.out.send(answer, c.everything())
}

// splitWith looks at another candidate of this term, with which this one splits the vote. Where neither
// wins, both would wait for an election timeout. So one of the two asks again after a heartbeat interval,
// when the votes of this term should be here, and the other one keeps to its time. It is the one that has
// more of the log, since the other one may not win at all; of equals, the one whose ID comes first.
func (c *Core) splitWith(m *wire.Message) {
	r, asks := c.role.(*candidate)
	if !asks || r.pre || c.log.configuration() == nil || c.lacksRoom() {
		return
	}
	own, other := c.end(), m.VoteRequest().Last
	if cmp.Or(cmp.Compare(own.Term, other.Term), cmp.Compare(own.Index, other.Index), cmp.Compare(m.From, c.id)) < 0 {
		return
	}
	interval := c.config.Heartbeat
	again := interval + time.Duration(c.luck(luckElection, uint64(c.state.Term), c.attempt)%max(uint64(interval)/2, 1))
	if c.dues[electDeadline] > c.now+Instant(again) {
		c.arm(electDeadline, again)
	}
}

// everything is the number of the write that makes everything durable that was decided so far.
func (c *Core) everything() WriteNumber {
	if c.out.dirty || c.out.snapshot != nil || c.log.written < c.log.last {
		return c.out.issued + 1
	}
	return c.out.issued
}

// noteRefusal notes the server that has refused a candidate, in whatever term. Receive looks at
// nothing else in a refusal of a lower term.
func (c *Core) noteRefusal(m *wire.Message) {
	refused := m.Kind() == wire.KindPreVoteResponse && !m.PreVoteResponse().Granted ||
		m.Kind() == wire.KindVoteResponse && !m.VoteResponse().Granted
	r, asks := c.role.(*candidate)
	if refused && asks && len(r.refused) < wire.MaxMembers && !slices.Contains(r.refused, m.From) {
		r.refused = append(r.refused, m.From)
	}
}

// voteAnswered counts a vote. The grant of a pre-vote is never taken for a vote, nor a vote for a
// pre-vote. A grant of another term is not taken at all. A grant counts for the disk that
// gave it, and answers the start that asked for it.
func (c *Core) voteAnswered(r *candidate, m *wire.Message) {
	granted, term, level := m.VoteResponse().Granted, c.state.Term, m.VoteResponse().Level
	if r.pre {
		granted, term, level = m.PreVoteResponse().Granted, c.state.Term+1, 0
	}
	configuration := c.log.configuration()
	asked := configuration != nil && configuration.Votes(m.From) || configuration == nil && c.founds(m.From)
	if !granted || !asked || m.Term != term || !r.pre && m.VoteResponse().Start != c.state.Start {
		return
	}
	for i := range r.ballots {
		if r.ballots[i].from == m.From {
			r.ballots[i].incarnation, r.ballots[i].level = m.FromIncarnation, level
			c.countVotes(r)
			return
		}
	}
	r.ballots = append(r.ballots, ballot{m.From, m.FromIncarnation, level})
	c.countVotes(r)
}

// countVotes moves on when a quorum has granted its votes: from the pre-vote to the election, and
// from the election to leadership.
func (c *Core) countVotes(r *candidate) {
	if !c.won(r) {
		return
	}
	if r.pre {
		c.startElection(false)
		return
	}
	c.lead(r)
}

// elected says whether this server has won the election of its term, even if it doesn't lead yet.
func (c *Core) elected() bool {
	switch c.role.(type) {
	case *leader, *recovering:
		return true
	}
	return false
}

// won says whether a quorum has granted its votes. To found a cluster, every server must have.
func (c *Core) won(r *candidate) bool {
	granted := func(id ServerID, incarnation Incarnation) bool {
		if id == c.id {
			return (r.pre || r.ownVote <= c.out.durable) && (incarnation == 0 || incarnation == c.state.Incarnation)
		}
		for _, b := range r.ballots {
			if b.from == id && (incarnation == 0 || b.incarnation == incarnation) {
				return true
			}
		}
		return false
	}
	configuration := c.log.configuration()
	if configuration == nil {
		for _, server := range c.config.Bootstrap {
			if !granted(server.ID, 0) {
				return false
			}
		}
		return len(c.config.Bootstrap) > 0
	}
	return quorum(configuration, func(m *Member) uint64 {
		if granted(m.ID, m.Incarnation) {
			return 1
		}
		return 0
	}) == 1
}

// lead makes the winner of an election the leader. One that has lost bytes which its state machine
// needs gets these first. In a new cluster the first entry is the first configuration.
func (c *Core) lead(r *candidate) {
	switch {
	case c.log.configuration() == nil:
		c.beginTerm(c.found(r.ballots))
	case c.log.obstacle() != 0:
		c.recover()
	default:
		c.beginTerm(Entry{Kind: wire.EntryNoOp})
	}
}

// beginTerm begins a leadership with an entry of the new term. Under this entry the entries of
// earlier terms become committed (§3.6.2, §6.4).
func (c *Core) beginTerm(first Entry) {
	l := &leader{begin: c.log.last + 1}
	if r, recovers := c.role.(*recovering); recovers {
		l.rounds = rounds{round: r.round, confirmed: r.round, began: r.round} // its answers that still come are none to later rounds
	}
	l.needed = l.round + 1
	c.become(l)
	c.leaderKnown(c.id)
	c.trouble = nil
	c.appendEntry(first)
	c.syncPeers(l, l.begin)
	c.arm(quorumDeadline, c.config.ElectionTimeout)
	c.arm(successionDeadline, c.config.Heartbeat)
	c.startRound(l)
}

// follow obeys the leader of this term, and puts off this server's own candidacy. A message of a
// second leader in one term doesn't get here (contradicts).
func (c *Core) follow(id ServerID) *follower {
	f, follows := c.role.(*follower)
	if !follows {
		assert(!c.elected(), "Election Safety")
		f = &follower{}
		c.become(f)
	}
	if f.leader == "" {
		// The committed part of the log equals the log of every later leader (Leader Completeness).
		f.hurry = 0
		c.repairs.waited = 0
		c.hurryRepair()
		f.leader, f.matched, f.acked = id, c.log.commit, min(c.log.commit, c.log.stable)
		c.heardOfLeader()
		c.leaderKnown(id)
	}
	assert(f.leader == id, "Election Safety")
	c.armElection()
	c.arm(stickyDeadline, c.config.ElectionTimeout)
	return f
}

// timeoutNow campaigns at once, past pre-vote and stickiness, because the leader asks for it
// (§3.10).
func (c *Core) timeoutNow(m *wire.Message) {
	f, follows := c.role.(*follower)
	if follows && (f.leader == "" || f.leader == m.From) && c.mayCampaign() && c.log.configuration() != nil && c.log.obstacle() == 0 {
		c.attempt++
		c.startElection(true)
	}
}

// hurriedPreVotes is how many times a follower asks for pre-votes soon after it has lost its
// leader's process. Once isn't enough. The first server to ask finds the others still loyal, and
// the next one may have the shorter log.
const hurriedPreVotes = 4

// armSoon makes this server campaign within half a heartbeat interval.
func (c *Core) armSoon() {
	spread := max(uint64(c.config.Heartbeat)/2, 1)
	c.arm(electDeadline, time.Duration(1+c.luck(luckLost, uint64(c.state.Term), c.attempt)%spread))
}

// Lost reports that the process of a server seems to be gone. It is only a hint. If that server
// led, its followers may look for another leader soon; they find one only if a quorum has lost the
// old one too. A leader doesn't hand over to that server.
func (c *Core) Lost(now Instant, server ServerID) {
	c.advance(now)
	if l, leads := c.role.(*leader); leads {
		if p := l.peer(server); p != nil {
			c.heirLost(l, p)
		}
	}
	if f, follows := c.role.(*follower); follows && f.leader == server && server != "" {
		f.leader = ""
		c.disarm(stickyDeadline)
		if c.lacksRoom() {
			c.armElection() // those with room go first
			return
		}
		f.hurry = hurriedPreVotes
		c.armSoon()
	}
}
