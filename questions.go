package raft

import (
	"cmp"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// What is lost is asked for from the first entry on that the state machine needs, and then from the
// beginning. A question is about entries side by side. It goes to one member after the other until
// one of them gives something; if none does, it is passed over.
//
//	lost         5  9  13  20           b has lost 9, too
//	questions    5 to b
//	             9 to b, 13 to b, 20 to b     b has given 5: so it is asked for the rest at once
//	             9 to c                       b has given 13 and 20
//
// Each question waits for an answer by itself. There are so many at a time that the answers aren't
// much more than what may wait for the disk. The first one goes alone, since the member may be gone.

// A question is about the entries of a range, whose bytes are lost: the member of is asked, or is to be
// asked at the next drain. vain is how many members in a row have brought nothing.
type question struct {
	entries wire.Range
	of      ServerID
	waits   bool // for an answer
	vain    int
}

func (q *question) encode(s *stateEncoder) {
	s.numbers(uint64(q.entries.First), uint64(q.entries.Last), flag(q.waits), uint64(q.vain))
	s.server(q.of)
}

// questioning is how a server asks the others for what it has lost.
type questioning struct {
	// due says that questions may be asked. passed is the entry up to which they were, nowhere says
	// that one of them was in vain, and rounds how often that was so when all that is lost had been
	// asked for.
	due     bool
	passed  Index
	nowhere bool
	rounds  int
	// asked is the member that was asked last, "" for none, or the one that has given something last:
	// then it is generous. share is how many bytes it gave. answered says that an answer has come since
	// the members were silent.
	asked              ServerID
	generous, answered bool
	share              int
	// tried are the members that were asked since one has given something.
	tried []ServerID `state:"luck"`
}

func (a *questioning) encode(s *stateEncoder) {
	s.server(a.asked)
	s.numbers(flag(a.due), uint64(a.passed), flag(a.nowhere), uint64(a.rounds), flag(a.generous), flag(a.answered), uint64(a.share))
}

const (
	// maxQuestions bounds the questions that wait for answers, and how many of one server are read
	// for at a time.
	maxQuestions = 64
	// maxRepairBytes bounds the bytes that wait for the disk before more are asked for.
	maxRepairBytes = 1 << 20
	// maxRepairWait is the highest number of election timeouts between two rounds of questions that
	// bring nothing.
	maxRepairWait = 4
)

// hurryRepair lets the members be asked soon, and each of them once more: first for what the state
// machine needs.
func (c *Core) hurryRepair() {
	if c.lacksNothing() {
		return
	}
	r := &c.repairs
	r.due, r.nowhere, r.rounds, r.passed = true, false, 0, c.log.handed
	for i := range r.questions {
		r.questions[i].vain = 0
	}
}

// lacksNothing says whether there is nothing to ask for, and nothing was asked for.
func (c *Core) lacksNothing() bool {
	r := &c.repairs
	return len(c.log.lost) == 0 && r.asked == "" && len(r.questions) == 0 && c.snapshots.restore != restoreLost
}

// missing returns the first entry after an index whose bytes are lost and haven't come, or 0.
func (c *Core) missing(after Index) Index {
	at := c.log.lost.after(after)
	for at != 0 {
		have := c.repairs.hand.around(at)
		if have.Last == 0 {
			break
		}
		at = c.log.lost.after(have.Last)
	}
	return at
}

// lacksBytes asks for the first entry after an index whose bytes are lost and haven't come, and for
// those behind it that can be asked for with it. It returns false if there is none.
func (c *Core) lacksBytes(after Index) (request wire.RepairRequest, lacks bool) {
	l, first := &c.log, c.missing(after)
	if first == 0 {
		return request, false
	}
	term, known := l.term(first)
	assert(known, "Lost Within Log")
	last := min(l.lost.around(first).Last, l.endOfTerm(first))
	if next := c.repairs.hand.after(first); next != 0 {
		last = min(last, next-1)
	}
	return wire.RepairRequest{First: first, Term: term, Last: last}, true
}

// endOfTerm returns the last index of the run of entries with one term to which an index belongs.
func (l *entryLog) endOfTerm(index Index) Index {
	for _, run := range l.runs {
		if run.First > index {
			return run.First - 1
		}
	}
	return l.last
}

// drainRepair asks the members for bytes, if that is due.
func (c *Core) drainRepair() {
	r := &c.repairs
	if c.lacksNothing() {
		return
	}
	if c.missing(0) == 0 || c.noticed {
		if c.pullInstead() {
			return
		}
		r.questions, r.questioning = nil, questioning{rounds: r.rounds}
		c.disarm(repairDeadline)
		return
	}
	if !r.due && c.states[repairDeadline] == deadlineOff {
		r.due = true
	}
	if len(c.otherServers()) == 0 {
		c.coverLost()
		return
	}
	if !r.due {
		return
	}
	c.askAgain()
	for c.mayAsk() {
		request, lacks := c.unasked()
		switch {
		case lacks:
			to := r.asked
			if !r.generous {
				to = c.nextToAsk(r.asked)
			}
			r.passed = request.Last
			r.questions = append(r.questions, question{of: to})
			c.pose(&r.questions[len(r.questions)-1], request)
		case len(r.questions) > 0:
			return
		case r.nowhere:
			c.roundEnds()
			return
		default:
			r.passed = 0 // what the state machine needs was first
		}
	}
}

// mayAsk says whether there is room for another question.
func (c *Core) mayAsk() bool {
	r := &c.repairs
	most := 1
	if r.answered {
		most = maxQuestions
	}
	return len(r.questions) < most && r.gotBytes+len(r.questions)*cmp.Or(r.share, c.config.MaxAppendBytes) < maxRepairBytes
}

// unasked returns the next request for what no question is about, behind what was asked for already.
func (c *Core) unasked() (request wire.RepairRequest, lacks bool) {
	for after := c.repairs.passed; ; {
		if request, lacks = c.lacksBytes(after); !lacks {
			return request, false
		}
		after = 0
		for i := range c.repairs.questions {
			q := &c.repairs.questions[i].entries
			switch {
			case q.First <= request.First && request.First <= q.Last:
				after = q.Last
			case request.First < q.First && q.First <= request.Last:
				request.Last = q.First - 1
			}
		}
		if after == 0 {
			return request, true
		}
	}
}

// askAgain asks the next member what another one couldn't answer. It forgets questions about what is
// there by now.
func (c *Core) askAgain() {
	r := &c.repairs
	r.questions = slices.DeleteFunc(r.questions, func(q question) bool { return !c.open(q.entries) })
	for i := range r.questions {
		q := &r.questions[i]
		if q.waits || r.gotBytes >= maxRepairBytes {
			continue
		}
		request, _ := c.lacksBytes(q.entries.First - 1)
		request.Last = min(request.Last, q.entries.Last)
		c.pose(q, request)
	}
}

// open says whether the bytes of any entry of a range are lost and haven't come.
func (c *Core) open(entries wire.Range) bool {
	at := c.missing(entries.First - 1)
	return at != 0 && at <= entries.Last
}

// pose asks a question.
func (c *Core) pose(q *question, request wire.RepairRequest) {
	r := &c.repairs
	q.entries, q.waits = wire.Range{First: request.First, Last: request.Last}, true
	if !r.generous {
		r.asked = q.of
	}
	if !slices.Contains(r.tried, q.of) {
		r.tried = append(r.tried, q.of)
	}
	c.sendOpen(q.of, request.Message())
	c.arm(repairDeadline, 2*c.config.Heartbeat)
}

// nextToAsk returns the member that is asked after another one.
func (c *Core) nextToAsk(after ServerID) ServerID {
	others := c.otherServers()
	at := slices.IndexFunc(others, func(s Server) bool { return s.ID == after })
	return others[(at+1)%len(others)].ID
}

// sendOpen sends a message that doesn't name the receiver's disk: this server may know an old one.
func (c *Core) sendOpen(to ServerID, m wire.Message) {
	m.To = to
	c.stamp(&m)
	m.ToIncarnation, m.Term = 0, c.state.Term
	c.out.send(m, c.out.termWrite)
}

// repairDue goes on when members are silent, or when it is time to ask all of them again.
func (c *Core) repairDue() {
	c.disarm(repairDeadline)
	r := &c.repairs
	r.due, r.answered = true, false
	for i := len(r.questions) - 1; i >= 0; i-- {
		c.askedInVain(i)
	}
}

// questionAnswered goes on when a member has answered, and has given so many bytes that were of use.
func (c *Core) questionAnswered(m *wire.Message, gained int) {
	r, answer := &c.repairs, m.RepairResponse()
	at := slices.IndexFunc(r.questions, func(q question) bool {
		return q.waits && q.of == m.From && q.entries.First == answer.First
	})
	if gained > 0 {
		r.rounds, r.asked, r.generous, r.share, r.tried = 0, m.From, true, gained, nil
	}
	if at < 0 {
		return
	}
	r.answered = true
	entries := r.questions[at].entries
	switch {
	case gained == 0 && c.open(entries):
		if answer.Snapshot != 0 {
			r.pullFrom = m.From
		}
		c.askedInVain(at)
		return
	case c.open(entries):
		r.passed = min(r.passed, entries.First-1) // there is more to come
	}
	if r.questions = slices.Delete(r.questions, at, at+1); len(r.questions) > 0 {
		c.arm(repairDeadline, 2*c.config.Heartbeat)
	} else {
		c.disarm(repairDeadline)
	}
}

// askedInVain lets the next member be asked what one has brought nothing for. What all have been asked
// for is passed over.
func (c *Core) askedInVain(at int) {
	r := &c.repairs
	q := &r.questions[at]
	if q.of == r.asked {
		r.generous = false
	}
	if q.vain++; q.vain < len(c.otherServers()) {
		q.of, q.waits = c.nextToAsk(q.of), false
		return
	}
	r.nowhere = true
	r.questions = slices.Delete(r.questions, at, at+1)
}

// roundEnds waits for a while when all members were asked for all that is lost, and some of it was
// nowhere. The next round begins as the first one did.
func (c *Core) roundEnds() {
	r := &c.repairs
	c.coverLost()
	c.pullSnapshot()
	r.questioning = questioning{rounds: min(r.rounds+1, maxRepairWait), tried: r.tried}
	c.arm(repairDeadline, c.config.ElectionTimeout*duration(r.rounds))
}
