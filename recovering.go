package raft

import (
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A server that lacks the bytes of entries which its state machine hasn't been handed isn't fit to
// lead. But it may be the only one whose log is long enough, so it campaigns in the end: last, after
// the others had their turns. Its votes are asked and given by identities, as always.
//
// Once elected it is a recovering leader. It sends heartbeats and asks for bytes, and it neither
// sends nor appends an entry. When nothing is missing any more, its leadership begins.
//
// What nobody has is in the way for ever, unless it was never committed. That shows when so many
// voters don't hold the entry that those who may hold it are no quorum: then no leader before this
// term can have committed it, and none ever will, since the voters that have said so are in this
// term by now. A server that holds the entry's identity, and not its bytes, may have acknowledged
// it: it isn't one of those that don't hold it.
//
//	three voters      A          B  1 !1        C  1       B leads term 3, A and C don't hold index 2:
//	                                                       it is given up
//	                  A  1 !1    B  1 !1        C  1       index 2 may be committed: B waits for bytes
//
// Each rule rests on another one:
//
//   - A leader that has sent anything of its log gives up nothing. Otherwise a follower could have
//     acknowledged, in this very term, an entry in the place of which the leader puts another one.
//   - Only a leader gives up entries, and only by what was said in its term. What a server didn't
//     hold in an earlier term it may have got since.
//   - In a joint configuration the new voters decide. A leader may have appended the next
//     configuration, which counts the new voters alone, and may have committed an entry before it.

// recovering is a server that was elected, and repairs its log before it leads.
type recovering struct {
	round uint64 // of heartbeats, the last one
	lacks []lackingVoter
}

// A lackingVoter has said that its log doesn't hold the entry at first, nor anything behind that in
// this server's log.
type lackingVoter struct {
	server      ServerID
	incarnation Incarnation
	first       Index
}

func (r *recovering) encode(s *stateEncoder) {
	s.b = append(s.b, 'r')
	s.numbers(r.round)
	encodeSet(s, r.lacks, (*lackingVoter).encode)
}

func (v *lackingVoter) encode(s *stateEncoder) {
	s.server(v.server)
	s.numbers(uint64(v.incarnation), uint64(v.first))
}

func (r *recovering) clone() role {
	n := *r
	n.lacks = slices.Clone(r.lacks)
	return &n
}

// check: a recovering leader was elected, and nothing of its log is of its term.
func (r *recovering) check(c *Core) error {
	if c.state.Vote != c.id || c.log.lastTerm() >= c.state.Term {
		return broken("Nothing Sent Before Sound", "vote %q, last term %d, term %d", c.state.Vote, c.log.lastTerm(), c.state.Term)
	}
	return nil
}

// patientTimeouts is how many election timeouts a server with damage waits for another leader
// before it campaigns. After each leadership in vain it waits as long once more, up to maxTurns
// times.
const patientTimeouts, maxTurns = 3, 3

// yields says whether this server waits once more before it campaigns, so that one without damage
// goes first. It counts how often it was asked.
func (c *Core) yields() bool {
	r := &c.repairs
	if c.log.obstacle() == 0 || c.alone() {
		return false
	}
	patience := patientTimeouts * (1 + min(r.turns, maxTurns))
	r.waited = min(r.waited+1, patience)
	return r.waited < patience
}

// refusedForLost notes that this server has refused a candidate whose log ends at a place. If the
// refusal rests on nothing but a lost end of its own log, none but a server with such an end may
// win: it campaigns soon, unless it has done so in vain.
func (c *Core) refusedForLost(last wire.Place) {
	l, r := &c.log, &c.repairs
	if c.log.obstacle() == 0 || r.turns > 0 || !l.lost.has(l.last) || last.Index < c.witnessed {
		return
	}
	end := l.lost[len(l.lost)-1].First - 1
	if term, known := l.term(end); known && (last.Term > term || last.Term == term && last.Index >= end) {
		r.waited = patientTimeouts
		c.armSoon()
	}
}

// recover begins a leadership with the repair of the log.
func (c *Core) recover() {
	r := &recovering{}
	c.become(r)
	c.trouble, c.repairs.gained = nil, false
	c.hurryRepair()
	c.arm(recoverDeadline, c.config.ElectionTimeout)
	c.recoverRound(r)
}

// recoverRound sends a heartbeat, and a question, to every other member.
func (c *Core) recoverRound(r *recovering) {
	r.round++
	c.arm(heartbeatDeadline, c.config.Heartbeat)
	request, lacks := c.lacksBytes(c.log.handed)
	for _, to := range c.otherServers() {
		c.send(to.ID, wire.Heartbeat{Commit: c.log.commit, Round: r.round}.Message())
		if lacks {
			c.send(to.ID, request.Message()) // to the disk whose word would count
		}
	}
}

// lackTold takes the word of a voter, in this term, that its log doesn't hold an entry.
func (c *Core) lackTold(r *recovering, m *wire.Message) {
	lacks := m.RepairResponse().Lacks
	if m.Term != c.state.Term || lacks.Index == 0 || !c.log.matches(lacks.Index, lacks.Term) {
		return
	}
	at := slices.IndexFunc(r.lacks, func(v lackingVoter) bool { return v.server == m.From && v.incarnation == m.FromIncarnation })
	if at < 0 {
		at = len(r.lacks)
		r.lacks = append(r.lacks, lackingVoter{m.From, m.FromIncarnation, lacks.Index})
	}
	r.lacks[at].first = min(r.lacks[at].first, lacks.Index)
	c.tryToLead(r)
}

// tryToLead begins to lead when the log is sound up to its end, or up to an entry that was never
// committed.
func (c *Core) tryToLead(r *recovering) {
	first := c.log.obstacle()
	switch {
	case first == 0:
	case first > c.log.commit && c.neverCommitted(r, first):
		c.truncate(first - 1)
	default:
		return
	}
	c.repairs.turns = 0
	c.beginTerm(Entry{Kind: wire.EntryNoOp})
}

// neverCommitted says whether so many voters lack an entry that the others are no quorum: not by
// the configuration that was in force there, and not by a later one in the log.
func (c *Core) neverCommitted(r *recovering, index Index) bool {
	mayHold := func(m *Member) uint64 {
		for _, v := range r.lacks {
			if v.server == m.ID && v.incarnation == m.Incarnation && v.first <= index {
				return 0
			}
		}
		return 1
	}
	for n := len(c.log.configurations); n > 0; n-- {
		placed := &c.log.configurations[n-1]
		if majority(placed.configuration.Members, mayHold) != 0 {
			return false
		}
		if placed.index <= index {
			return true
		}
	}
	return false // it is not known by which voters it might have been committed
}

// watchDamage lets a leader that lacks bytes for its state machine step down if nobody gives them:
// while heartbeats alone keep it leading, nothing gets further.
func (c *Core) watchDamage() {
	switch {
	case c.log.obstacle() == 0:
		c.disarm(recoverDeadline)
	case c.states[recoverDeadline] == deadlineOff:
		c.repairs.gained = false
		c.arm(recoverDeadline, c.config.ElectionTimeout)
	}
}

// recoverDue looks whether a leader with damage has gained anything for an election timeout. If it
// hasn't, it steps down, so that another one has its turn; the only voter goes on.
func (c *Core) recoverDue() {
	r := &c.repairs
	if r.gained || c.alone() {
		r.gained = false
		c.arm(recoverDeadline, c.config.ElectionTimeout)
		return
	}
	r.turns = min(r.turns+1, maxTurns)
	r.waited = 0
	c.stepDown()
}

func duration(n int) time.Duration { return time.Duration(n) }
