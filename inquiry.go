package raft

import (
	"slices"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A server that starts doesn't know whether its disk is the one that it was: it may have gone back
// in time (rollback.go). So it asks the other members what they know of it, and until they have
// answered it takes part in nothing: it gives no vote, acknowledges nothing, and doesn't campaign.
//
//	a server that starts                          each other member
//	  │ ── Started: this start ────────────────────▶ │
//	  │ ◀── Known: what the disk had promised ─────── │  before this start, as far as the member has heard
//	  │ ◀── Heartbeat ─────────────────────────────── │  too, if the member leads
//
// The heartbeat waits until the answers have come. The server takes it then, as if it had come so
// late: so it follows its leader from the moment on at which it takes part.
//
// The disk went back if it had promised more than it held when the server started: a later term, or
// more of the log in that term. There are no false alarms. A term is durable before anybody hears of
// it, and what a disk has acknowledged in a term stays in its log until it enters a later one.
//
// The others are the members of the last configuration that it knows. While it asks, its log takes no
// entries; but a snapshot for which it has asked (pull.go) may bring a later configuration.
//
// A member may be down for long. So after an election timeout, a quorum is enough; and after
// another one a leader that speaks to this server, or a candidate whose log is longer, because the
// members may be others by now, at other addresses. What the server learns later is judged in the
// same way.
//
// The answers name terms, too. The disk may have forgotten a vote in one of these. So the server
// gives no vote in a term that somebody had reached before, unless its disk still holds that vote.
type inquiry struct {
	since Instant    `state:"luck"` // when it began
	late  int        // how many election timeouts have passed since, at most two
	heard []ServerID // the servers that have answered
	// early is the last heartbeat that came before the answers, or nil.
	early *wire.Message
}

// encode writes an inquiry, which may be nil.
func (q *inquiry) encode(s *stateEncoder) {
	if s.numbers(flag(q != nil)); q == nil {
		return
	}
	s.numbers(uint64(q.late))
	encodeSet(s, q.heard, func(id *ServerID, s *stateEncoder) { s.server(*id) })
	if s.numbers(flag(q.early != nil)); q.early != nil {
		s.message(q.early)
	}
}

func (q *inquiry) clone() *inquiry {
	if q == nil {
		return nil
	}
	n := *q
	n.heard = slices.Clone(q.heard)
	return &n
}

// promisesLess says whether one promise is less than another one: of an earlier term, or of less of the log
// in the same term.
func promisesLess(a, b wire.Place) bool {
	return a.Term < b.Term || a.Term == b.Term && a.Index < b.Index
}

// inquire begins to ask the other members what they know of this server's disk.
func (c *Core) inquire() {
	c.loaded = wire.Place{Index: c.log.last, Term: c.state.Term}
	if c.log.configuration() == nil || len(c.otherServers()) == 0 {
		return
	}
	c.inquiry = &inquiry{since: c.now}
	c.ask()
}

// maxAskAgain is after how many election timeouts at most a server of many groups asks once more.
const maxAskAgain = 4

// ask sends this start to those who haven't answered.
func (c *Core) ask() {
	for _, to := range c.otherServers() {
		if !slices.Contains(c.inquiry.heard, to.ID) {
			c.send(to.ID, wire.Started{}.Message())
		}
	}
	// Where many groups start at once, an answer may wait behind those of all others. It doesn't come sooner
	// by asking again and again.
	again := c.config.Heartbeat
	if c.config.Coalesced {
		waited := time.Duration(c.now - c.inquiry.since)
		again = max(again, min(waited, maxAskAgain*c.config.ElectionTimeout), c.config.ElectionTimeout/2)
	}
	c.arm(inquiryDeadline, again)
}

// inquiryDue asks once more, unless a quorum has answered and that is enough by now.
func (c *Core) inquiryDue() {
	q := c.inquiry
	q.late = int(min(2, time.Duration(c.now-q.since)/c.config.ElectionTimeout))
	if c.ready(); c.inquiry != nil {
		c.ask()
	}
}

// answerStarted tells a server that starts what its disk had promised before, as far as this one
// knows. A leader begins a round, too: so its peer needn't wait for the next one to follow it.
func (c *Core) answerStarted(m *wire.Message) {
	c.tellRemoval(m)
	known := wire.Known{Start: m.FromStart}
	if d := c.known(m.From, m.FromIncarnation); d != nil {
		known.Promised, known.Back = d.before, d.back
	}
	c.tellKnown(m, known)
	if l, leads := c.role.(*leader); leads {
		if p := l.peer(m.From); p != nil && p.incarnation == m.FromIncarnation {
			c.arm(heartbeatDeadline, 0)
		}
	}
}

// inquiryAnswered notes that a member has said what it knows.
func (c *Core) inquiryAnswered(m *wire.Message) {
	q := c.inquiry
	if q == nil || m.Known().Start != c.state.Start {
		return
	}
	if !slices.Contains(q.heard, m.From) {
		q.heard = append(q.heard, m.From)
	}
	c.reached = max(c.reached, m.Term)
	c.ready()
}

// ready ends the inquiry if all others have answered, or after an election timeout a quorum.
func (c *Core) ready() {
	q := c.inquiry
	has := func(m *Member) uint64 { return flag(m.ID == c.id || slices.Contains(q.heard, m.ID)) }
	configuration := c.log.configuration()
	all := !slices.ContainsFunc(c.otherServers(), func(s Server) bool { return !slices.Contains(q.heard, s.ID) })
	quorum := majority(configuration.Members, has) != 0 && (configuration.Old == nil || majority(configuration.Old, has) != 0)
	if all || quorum && q.late > 0 {
		c.endInquiry()
	}
}

// whileInquiring looks at a message that this server doesn't take yet. It won't depose a leader that
// it hears. And a leader or candidate that speaks to its disk, and may know of later members, ends the
// inquiry in the end: then the server takes the message, and whileInquiring says so.
func (c *Core) whileInquiring(m *wire.Message) bool {
	if m.ToIncarnation != c.state.Incarnation || m.Term < c.state.Term {
		return false
	}
	switch m.Kind() {
	case wire.KindHeartbeat, wire.KindAppendRequest:
		c.arm(stickyDeadline, c.config.ElectionTimeout)
		if m.Kind() == wire.KindHeartbeat && c.inquiry.late <= 1 {
			early := *m
			c.inquiry.early = &early
		}
	case wire.KindPreVoteRequest:
		if last := m.PreVoteRequest().Last; !promisesLess(wire.Place{Index: c.log.last, Term: c.log.lastTerm()}, last) {
			return false
		}
	default:
		return false
	}
	if c.inquiry.late > 1 {
		c.endInquiry()
	}
	return c.inquiry == nil
}

// endInquiry lets this server take part.
func (c *Core) endInquiry() {
	early := c.inquiry.early
	c.inquiry = nil
	c.disarm(inquiryDeadline)
	if c.reached > c.state.Term {
		c.adoptTerm(c.reached)
	}
	c.armElection()
	if c.alone() {
		c.campaign() // there is nobody to wait for
	}
	if early != nil {
		c.Receive(c.now, *early)
	}
}
