package raft

import (
	"slices"
	"sort"
)

// A read is linearizable when the state that serves it holds every write that was acknowledged before the
// read began. It needs no entry in the log (§6.4): the leader, once it has committed an entry of its own
// term, takes its commit index as the read index; learns from a quorum, by a round of heartbeats begun
// after that, that it still leads; and the state machine that serves the read waits until it has applied
// that far.

// reads are the reads of callers at this server, in any role.
type reads struct {
	next uint64 // the number that the next read gets, less one
	// waiting are in the order of their numbers. Those whose index is known come first. canceled counts those
	// that nobody waits for any more; the last one is none of them.
	waiting  []waitingRead
	canceled int
	// asked is the number up to which the leader of this term was asked.
	asked uint64
}

// A waitingRead waits for its index, and then for the state machine to get there.
type waitingRead struct {
	number   uint64
	known    bool
	canceled bool
	index    Index
}

func (r *reads) clone() reads {
	n := *r
	n.waiting = slices.Clone(r.waiting)
	return n
}

// count returns how many reads wait.
func (r *reads) count() int { return len(r.waiting) - r.canceled }

// unknown returns the place of the first read that has no index yet.
func (r *reads) unknown() int {
	for i := range r.waiting {
		if !r.waiting[i].known {
			return i
		}
	}
	return len(r.waiting)
}

// Read takes a linearizable read (§6.4) and returns the number by which an Answer will name it: when
// that comes, the state machine is at least as new as the call.
func (c *Core) Read(now Instant) uint64 {
	c.advance(now)
	c.reads.next++
	number := c.reads.next
	if c.reads.count() >= c.config.MaxPending {
		c.answers = append(c.answers, Answer{Number: number, Read: true, Err: ErrOverloaded})
		return number
	}
	c.reads.waiting = append(c.reads.waiting, waitingRead{number: number})
	return number
}

// CancelRead ends a Read. It is not answered.
func (c *Core) CancelRead(number uint64) {
	r := &c.reads
	at := sort.Search(len(r.waiting), func(i int) bool { return r.waiting[i].number >= number })
	if at == len(r.waiting) || r.waiting[at].number != number || r.waiting[at].canceled {
		return
	}
	r.waiting[at].canceled = true
	r.canceled++
	// Many calls may end at once: so places are given back together.
	for n := len(r.waiting); n > 0 && r.waiting[n-1].canceled; n-- {
		r.waiting = r.waiting[:n-1]
		r.canceled--
	}
	if r.canceled > 64 && r.canceled > len(r.waiting)/2 {
		r.waiting = slices.DeleteFunc(r.waiting, func(w waitingRead) bool { return w.canceled })
		r.canceled = 0
	}
}

// askReads asks the leader for an index for all reads up to the newest. Reads that come meanwhile are asked
// for together.
func (c *Core) askReads() {
	n := len(c.reads.waiting)
	if n == 0 {
		return
	}
	newest := c.reads.waiting[n-1]
	leader := c.leaderID()
	if newest.known || newest.number <= c.reads.asked || leader == "" {
		return
	}
	c.reads.asked = newest.number
	request := Message{Kind: ReadRequest, To: leader, Start: c.state.Start, Number: newest.number}
	if leader == c.id {
		request.From = c.id
		c.takeRead(&request)
		return
	}
	c.send(request)
}

// retryReads asks again for what has not been answered.
func (c *Core) retryReads() {
	if _, leads := c.role.(*leader); !leads {
		c.reads.asked = 0
	}
}

// readConfirmed takes an index from the leader of this term. An answer to an earlier start of this server
// says nothing about a read of today.
func (c *Core) readConfirmed(m *Message) {
	if m.Start != c.state.Start || m.From != c.leaderID() {
		return
	}
	c.readsKnown(m.Number, m.Index)
}

// readsKnown gives its index to every read up to a number: all of them began before the leader was asked.
func (c *Core) readsKnown(number uint64, index Index) {
	for i := c.reads.unknown(); i < len(c.reads.waiting) && c.reads.waiting[i].number <= number; i++ {
		c.reads.waiting[i].known, c.reads.waiting[i].index = true, index
	}
}

// releaseReads answers the reads that the state machine has caught up with.
func (c *Core) releaseReads() {
	done := 0
	for done < len(c.reads.waiting) {
		r := &c.reads.waiting[done]
		if !r.canceled && (!r.known || r.index > c.log.applied) {
			break
		}
		if r.canceled {
			c.reads.canceled--
		} else {
			c.answers = append(c.answers, Answer{Number: r.number, Read: true, Index: c.log.applied})
		}
		done++
	}
	if done > 0 {
		c.reads.waiting = append(c.reads.waiting[:0], c.reads.waiting[done:]...)
	}
}

// leaderReads are the reads that a leader has been asked for, each server's newest standing for all before it.
type leaderReads struct {
	// idle wait for the next round to begin, asked for a round to be answered.
	idle, asked []askedRead
}

// An askedRead is a request for a read index.
type askedRead struct {
	from   ServerID
	start  uint64
	number uint64
	round  uint64
	index  Index
}

func (r *leaderReads) clone() leaderReads {
	return leaderReads{slices.Clone(r.idle), slices.Clone(r.asked)}
}

// join lets all idle reads be confirmed by a round that is about to begin.
func (r *leaderReads) join(round uint64, commit Index) {
	for i := range r.idle {
		r.idle[i].round, r.idle[i].index = round, commit
	}
	r.asked = append(r.asked, r.idle...)
	r.idle = r.idle[:0]
}

// takeRead takes a request for a read index. It waits for the leader's first commit, and for a round that
// begins after it came.
func (c *Core) takeRead(m *Message) {
	l, leads := c.role.(*leader)
	if !leads {
		return
	}
	for i := range l.reads.idle {
		if r := &l.reads.idle[i]; r.from == m.From {
			if m.Start > r.start || m.Start == r.start && m.Number > r.number {
				r.start, r.number = m.Start, m.Number
			}
			return
		}
	}
	l.reads.idle = append(l.reads.idle, askedRead{from: m.From, start: m.Start, number: m.Number})
}

// startReadRound begins a round for the reads that wait, unless one is under way: then they wait for its
// end, all together.
func (c *Core) startReadRound(l *leader) {
	if len(l.reads.idle) > 0 && c.log.commit >= l.begin && len(l.reads.asked) == 0 {
		c.startRound(l)
	}
}

// confirmReads gives their index to the reads whose round a quorum has answered.
func (c *Core) confirmReads(l *leader) {
	done := 0
	for done < len(l.reads.asked) && l.reads.asked[done].round <= l.confirmed {
		r := l.reads.asked[done]
		done++
		if r.from == c.id {
			c.readsKnown(r.number, r.index)
			continue
		}
		if p := l.peer(r.from); p != nil {
			p.owed = max(p.owed, r.index)
		}
		c.send(Message{Kind: ReadResponse, To: r.from, Start: r.start, Number: r.number, Index: r.index})
	}
	l.reads.asked = append(l.reads.asked[:0], l.reads.asked[done:]...)
}
