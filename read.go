package raft

import (
	"slices"
	"sort"
	"time"

	"github.com/e17579a5/raft/wire"
)

// A read is linearizable if the state that serves it holds every write that was acknowledged before
// the read began. It needs no entry in the log (§6.4):
//
//   - The leader waits until it has committed an entry of its own term. Then it takes its commit
//     index as the read index.
//   - By a round of heartbeats that begins after that, it learns from a quorum that it still leads.
//   - The state machine that serves the read waits until it has applied the log up to the read
//     index.
//
// A read that trusts the clocks needs no round while the leader holds a lease: the lease confirms
// it (lease.go).
//
// A read may also be content with a state that is stale by at most some age. It is served at once
// if another read was confirmed, and that one was first asked for no longer ago than this age:
// whatever had been acknowledged at the moment when it was asked for is applied here by now. So
// only this server's own clock tells how stale the state may be.

// What confirms the reads of callers at this server. There is one list of reads for each, since
// what confirms a read of one kind may not be enough for the other.
const (
	readsByRound = iota
	readsByLease
	numReadLists
)

// reads are those reads of callers at this server, in any role, that the same thing confirms.
type reads struct {
	// waiting is in the order of the reads' numbers. The reads whose index is known come first.
	// canceled counts those for which nobody waits any more; the last read of the list is never one
	// of them.
	waiting  []waitingRead
	canceled int
	// asked is the number of the last read for which the leader of this term was asked.
	asked uint64
}

// encode writes the reads for which somebody waits. While nobody does, asked decides nothing: every
// later read has a higher number.
func (r *reads) encode(s *stateEncoder) {
	s.numbers(uint64(r.count()))
	if r.count() > 0 {
		s.numbers(r.asked)
	}
	for i := range r.waiting {
		if w := &r.waiting[i]; !w.canceled {
			w.encode(s)
		}
	}
}

func (r *reads) clone() reads {
	n := *r
	n.waiting = slices.Clone(r.waiting)
	return n
}

// readLists are all reads of callers at this server that wait.
type readLists [numReadLists]reads

func (l *readLists) encode(s *stateEncoder) {
	for i := range l {
		l[i].encode(s)
	}
}

func (l *readLists) clone() (n readLists) {
	for i := range l {
		n[i] = l[i].clone()
	}
	return n
}

// lastReads is what stays of the reads of callers at this server.
type lastReads struct {
	lastRead uint64  // the number of the last read
	fresh    Instant `state:"luck"` // when this state was the newest, as far as is known
}

// A waitingRead waits for its read index, and then for the state machine to get there.
type waitingRead struct {
	number   uint64
	known    bool
	canceled bool
	index    Index
	since    Instant `state:"luck"` // when the leader was first asked for it; notAsked before
}

func (w *waitingRead) encode(s *stateEncoder) { s.numbers(w.number, flag(w.known), uint64(w.index)) }

// Instants that stand for no instant.
const (
	notAsked    = never    // of a read
	neverSynced = -1 << 62 // of a state of which nobody has confirmed anything
)

// count returns how many reads wait.
func (r *reads) count() int { return len(r.waiting) - r.canceled }

// unknown returns the position of the first read that has no index yet.
func (r *reads) unknown() int {
	for i := range r.waiting {
		if !r.waiting[i].known {
			return i
		}
	}
	return len(r.waiting)
}

// Read takes a linearizable read (§6.4), and returns the number by which an Answer will name it.
// When the Answer comes, the state machine holds whatever had been acknowledged before the call.
// Answer.Err is ErrRemoved if this server was removed, and ErrOverloaded if CoreConfig.MaxPending
// reads wait already.
func (c *Core) Read(now Instant) uint64 {
	c.advance(now)
	return c.read(readsByRound)
}

// ReadByLease takes a read that is linearizable as long as the clocks keep to CoreConfig.ClockDrift
// (§6.4.1). If the leader has no lease, it is like Read.
func (c *Core) ReadByLease(now Instant) uint64 {
	c.advance(now)
	return c.read(readsByLease)
}

// ReadStale takes a read that is content with a state that was the newest one at most maxAge ago.
// If the present state isn't known to be that, it is like Read. Answer.Fresh says when the state
// was the newest.
func (c *Core) ReadStale(now Instant, maxAge time.Duration) uint64 {
	c.advance(now)
	if c.fresh == neverSynced || time.Duration(c.now-c.fresh) > maxAge {
		return c.read(readsByRound)
	}
	c.lastRead++
	c.answers = append(c.answers, Answer{Number: c.lastRead, Read: true, Index: c.log.applied, Fresh: c.fresh})
	return c.lastRead
}

// read puts a read into a list.
func (c *Core) read(list int) uint64 {
	c.lastRead++
	if why := c.barred(); why != nil {
		c.answers = append(c.answers, Answer{Number: c.lastRead, Read: true, Err: why})
		return c.lastRead
	}
	if c.waitingReads() >= c.config.MaxPending {
		c.answers = append(c.answers, Answer{Number: c.lastRead, Read: true, Err: ErrOverloaded})
		return c.lastRead
	}
	r := &c.reads[list]
	r.waiting = append(r.waiting, waitingRead{number: c.lastRead, since: notAsked})
	return c.lastRead
}

// waitingReads counts the reads that wait.
func (c *Core) waitingReads() int {
	return c.reads[readsByRound].count() + c.reads[readsByLease].count()
}

// CancelRead ends a read. The read gets no Answer.
func (c *Core) CancelRead(number uint64) {
	c.wake()
	for i := range c.reads {
		c.reads[i].cancel(number)
	}
}

// cancel ends a read of this list, if the list has it.
func (r *reads) cancel(number uint64) {
	at := sort.Search(len(r.waiting), func(i int) bool { return r.waiting[i].number >= number })
	if at == len(r.waiting) || r.waiting[at].number != number || r.waiting[at].canceled {
		return
	}
	r.waiting[at].canceled = true
	r.canceled++
	// Many calls may end at once, so their places are given back together.
	for n := len(r.waiting); n > 0 && r.waiting[n-1].canceled; n-- {
		r.waiting = r.waiting[:n-1]
		r.canceled--
	}
	if r.canceled > 64 && r.canceled > len(r.waiting)/2 {
		r.waiting = slices.DeleteFunc(r.waiting, func(w waitingRead) bool { return w.canceled })
		r.canceled = 0
	}
}

// askReads asks the leader for an index for all reads up to the newest one. Reads that come while
// the leader is asked are asked for together, next time.
func (c *Core) askReads() {
	for list := range c.reads {
		c.askReadsOf(list)
	}
}

// askReadsOf does that for the reads of one list.
func (c *Core) askReadsOf(list int) {
	r := &c.reads[list]
	n := len(r.waiting)
	if n == 0 {
		return
	}
	newest := r.waiting[n-1].number
	leader := c.leaderID()
	if r.waiting[n-1].known || newest <= r.asked || leader == "" {
		return
	}
	r.asked = newest
	for i := n; i > 0 && r.waiting[i-1].since == notAsked; i-- {
		r.waiting[i-1].since = c.now
	}
	request := wire.ReadRequest{Start: c.state.Start, Number: newest, ByLease: list == readsByLease}
	if leader == c.id {
		c.takeRead(askedRead{
			from: c.id, disk: c.state.Incarnation, start: request.Start, number: request.Number, byLease: request.ByLease,
		})
		return
	}
	c.send(leader, request.Message())
}

// retryReads makes this server ask the leader again for what it hasn't answered. A leader loses no
// request of its own, so it doesn't ask again.
func (c *Core) retryReads() {
	if _, leads := c.role.(*leader); !leads {
		c.forgetAsked()
	}
}

// forgetAsked makes the next askReads ask for all reads that have no index.
func (c *Core) forgetAsked() {
	for i := range c.reads {
		c.reads[i].asked = 0
	}
}

// readConfirmed takes a read index from the leader of this term.
func (c *Core) readConfirmed(m *wire.Message) {
	if m.From == c.leaderID() {
		c.confirmRead(m.ReadResponse())
	}
}

// confirmRead gives an index to the reads that an answer is for. An answer to an earlier start of
// this server says nothing about the reads of this start.
func (c *Core) confirmRead(answer wire.ReadResponse) {
	if answer.Start != c.state.Start {
		return
	}
	list := readsByRound
	if answer.ByLease {
		list = readsByLease
	}
	c.reads[list].confirm(answer.Number, answer.Index)
}

// confirm gives an index to every read up to a number: all of them began before the leader was
// asked.
func (r *reads) confirm(number uint64, index Index) {
	for i := r.unknown(); i < len(r.waiting) && r.waiting[i].number <= number; i++ {
		r.waiting[i].known, r.waiting[i].index = true, index
	}
}

// releaseReads answers the reads whose index the state machine has reached.
func (c *Core) releaseReads() {
	for i := range c.reads {
		c.releaseReadsOf(&c.reads[i])
	}
}

// releaseReadsOf does that for the reads of one list.
func (c *Core) releaseReadsOf(r *reads) {
	done := 0
	for done < len(r.waiting) {
		read := &r.waiting[done]
		if !read.canceled && (!read.known || read.index > c.log.applied) {
			break
		}
		if read.canceled {
			r.canceled--
		} else {
			c.fresh = max(c.fresh, read.since)
			c.answers = append(c.answers, Answer{Number: read.number, Read: true, Index: c.log.applied, Fresh: read.since})
		}
		done++
	}
	if done > 0 {
		r.waiting = append(r.waiting[:0], r.waiting[done:]...)
	}
}

// leaderReads are the reads for which a leader was asked. Of each server and each list it keeps
// only the newest read, which stands for all that server's reads before it.
type leaderReads struct {
	// idle are the reads that wait for the next round to begin. asked are those that wait for a
	// quorum to answer their round.
	idle, asked []askedRead
}

func (r *leaderReads) encode(s *stateEncoder) {
	encodeList(s, r.idle, (*askedRead).encode)
	encodeList(s, r.asked, (*askedRead).encode)
}

func (r *leaderReads) clone() leaderReads {
	return leaderReads{slices.Clone(r.idle), slices.Clone(r.asked)}
}

// An askedRead is a request for a read index.
type askedRead struct {
	from   ServerID
	disk   Incarnation // of the server that asked
	start  uint64
	number uint64
	round  uint64
	index  Index

	byLease bool
}

func (r *askedRead) encode(s *stateEncoder) {
	s.server(r.from)
	s.numbers(uint64(r.disk), r.start, r.number, r.round, uint64(r.index), flag(r.byLease))
}

// join lets a round that is about to begin confirm all idle reads.
func (r *leaderReads) join(round uint64, commit Index) {
	for i := range r.idle {
		r.idle[i].round, r.idle[i].index = round, commit
	}
	r.asked = append(r.asked, r.idle...)
	r.idle = r.idle[:0]
}

// takeRead takes a request for a read index. If a lease confirms it, the answer is sent at once.
// Otherwise the request waits for the leader's first commit, and for a round that begins after the
// request came.
func (c *Core) takeRead(asked askedRead) {
	l, leads := c.role.(*leader)
	if !leads || !c.log.configuration().Names(asked.from, asked.disk) {
		// A request of a lost disk must not be taken for one of the disk in its place.
		return
	}
	if asked.byLease && c.holdsLease(l) {
		asked.index = c.log.commit
		c.answerRead(l, &asked)
		return
	}
	for i := range l.reads.idle {
		if r := &l.reads.idle[i]; r.from == asked.from && r.disk == asked.disk && r.byLease == asked.byLease {
			if asked.start > r.start || asked.start == r.start && asked.number > r.number {
				r.start, r.number = asked.start, asked.number
			}
			return
		}
	}
	l.reads.idle = append(l.reads.idle, asked)
}

// startReadRound begins a round for the idle reads. If such a round is under way, they wait for its
// end, and then share the next one.
func (c *Core) startReadRound(l *leader) {
	switch {
	case len(l.reads.idle) == 0 || c.log.commit < l.begin || len(l.reads.asked) > 0:
	case c.mayBeSilent(l):
		c.startSilentRound(l)
	default:
		c.startRound(l)
	}
}

// confirmReads answers the reads whose round a quorum has answered.
func (c *Core) confirmReads(l *leader) {
	done := 0
	for done < len(l.reads.asked) && l.reads.asked[done].round <= l.confirmed {
		c.answerRead(l, &l.reads.asked[done])
		done++
	}
	l.reads.asked = append(l.reads.asked[:0], l.reads.asked[done:]...)
}

// answerRead sends a server the index that it has asked for.
func (c *Core) answerRead(l *leader, r *askedRead) {
	answer := wire.ReadResponse{Start: r.start, Number: r.number, Index: r.index, ByLease: r.byLease}
	if r.from == c.id {
		c.confirmRead(answer)
		return
	}
	if p := l.peer(r.from); p != nil {
		p.owed = max(p.owed, r.index)
	}
	c.sendTo(r.from, r.disk, answer.Message())
}
