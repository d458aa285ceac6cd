package raft

import "slices"

// A command is offered to one leader at a time, and applied at most once without anything being replicated to that end.
//
// Each is tagged with its origin and a number. An offer is for one term: only the leader of exactly that term takes it, each
// number once, and remembers for the rest of its term what it took and what it refused. The origin offers the command to
// a later leader only after it has itself applied an entry of a later term without having met it: terms never fall
// along a log, so no copy of an earlier term can ever commit behind that entry.
//
//	origin's log:   … 4 4 4 5          the command was offered in term 4 and isn't among these
//	                        └ applied: whatever was appended in term 4 and isn't before this entry never commits
//
// "Not applied" is proven in the same three ways: the command never left; the leader of the term refused it and
// remembers; or that entry of a later term was applied.

// proposals are the commands of callers at this server, in any role.
type proposals struct {
	// base is the lowest number that isn't answered; items[i] has number base+i, once skip items are passed over.
	base  uint64
	items []pending
	skip  int
	bytes int

	// nextFree is the lowest number that may be free to be offered.
	nextFree uint64
	// unseen counts the commands that were forwarded and neither answered nor seen in the log.
	unseen int
	// proven is the term of the last entry applied.
	proven Term
}

// A pending command waits for its answer.
type pending struct {
	data  []byte
	state pendingState
	term  Term // in which it was offered last
}

type pendingState uint8

const (
	pendingFree      pendingState = iota // may be offered: no copy of it can commit
	pendingForwarded                     // offered to another server, which may or may not have taken it
	pendingLogged                        // seen in this server's log
	pendingDone                          // answered
)

func (p *proposals) clone() proposals {
	n := *p
	n.items = slices.Clone(p.items[p.skip:])
	n.skip = 0
	return n
}

// end is the number that the next command gets.
func (p *proposals) end() uint64 { return p.base + uint64(len(p.items)-p.skip) }

// find returns a command that waits for its answer, or nil.
func (p *proposals) find(number uint64) *pending {
	if number < p.base || number >= p.end() {
		return nil
	}
	if item := &p.items[p.skip+int(number-p.base)]; item.state != pendingDone {
		return item
	}
	return nil
}

// Propose takes a command from a caller and returns the number by which an Answer will name it. The core
// offers it to one leader after the other until it is applied here, refused for good, or canceled, and
// never lets it be applied twice. The data is kept and must not be changed.
func (c *Core) Propose(now Instant, data []byte) uint64 {
	c.advance(now)
	p := &c.proposals
	number := p.end()
	p.items = append(p.items, pending{data: data})
	size := len(data) + entryOverhead
	p.bytes += size
	if p.bytes > c.config.MaxPendingBytes && p.bytes > size || len(p.items)-p.skip > c.config.MaxPending {
		c.answer(number, Answer{Err: notApplied(ErrOverloaded)})
	}
	return number
}

// Cancel ends a Propose: it is answered, with ErrNotApplied if no copy of the command can be applied any more, and with
// ErrOutcomeUnknown otherwise; either way it wraps the reason. It does nothing if the call was answered already.
func (c *Core) Cancel(number uint64, reason error) {
	item := c.proposals.find(number)
	if item == nil {
		return
	}
	if item.state == pendingFree {
		c.answer(number, Answer{Err: notApplied(reason)})
	} else {
		c.answer(number, Answer{Err: outcomeUnknown(reason)})
	}
}

// answer ends a command.
func (c *Core) answer(number uint64, a Answer) {
	p := &c.proposals
	item := p.find(number)
	if item == nil {
		return
	}
	c.unforward(item)
	p.bytes -= len(item.data) + entryOverhead
	*item = pending{state: pendingDone}
	for p.skip < len(p.items) && p.items[p.skip].state == pendingDone {
		p.skip++
		p.base++
	}
	if p.skip == len(p.items) || p.skip > 64 && p.skip > len(p.items)/2 {
		n := copy(p.items, p.items[p.skip:])
		clear(p.items[n:])
		p.items, p.skip = p.items[:n], 0
	}
	a.Number = number
	c.answers = append(c.answers, a)
}

// unforward stops expecting to see a command that was forwarded.
func (c *Core) unforward(item *pending) {
	if item.state == pendingForwarded {
		c.proposals.unseen--
	}
}

// offerProposals offers what is free to the leader, if one is known.
func (c *Core) offerProposals() {
	p := &c.proposals
	to := c.leaderID()
	if to == "" || p.nextFree >= p.end() {
		return
	}
	first := max(p.nextFree, p.base)
	p.nextFree = p.end()
	if l, leads := c.role.(*leader); leads {
		for number := first; number < p.nextFree; number++ {
			c.offerHere(l, number)
		}
		return
	}
	c.forward(to, first, pendingFree, maxInt)
}

// offerHere appends a command to this leader's own log, or refuses it.
func (c *Core) offerHere(l *leader, number uint64) {
	item := c.proposals.find(number)
	if item == nil || item.state != pendingFree {
		return
	}
	if !c.charge(l, len(item.data)+entryOverhead) {
		c.answer(number, Answer{Err: notApplied(ErrOverloaded)})
		return
	}
	item.state, item.term = pendingLogged, c.state.Term
	c.appendEntry(Entry{Kind: EntryCommand, Origin: c.Origin(), Number: number, Data: item.data})
}

// forward sends the commands in a state, from a number on, to the leader of this term, in messages of bounded size, until
// about limit bytes are sent.
func (c *Core) forward(to ServerID, first uint64, state pendingState, limit int) {
	p := &c.proposals
	var entries []Entry
	total, bytes := 0, 0
	flush := func() {
		if len(entries) > 0 {
			c.send(Message{Kind: ForwardRequest, To: to, Start: c.state.Start, Number: p.base, Entries: entries})
			entries, bytes = nil, 0
		}
	}
	for number := first; number < p.end() && total < limit; number++ {
		item := p.find(number)
		if item == nil || item.state != state || state == pendingForwarded && item.term != c.state.Term {
			continue
		}
		e := Entry{Kind: EntryCommand, Number: number, Data: item.data}
		if bytes > 0 && bytes+e.size() > c.config.MaxAppendBytes {
			flush()
		}
		entries = append(entries, e)
		bytes += e.size()
		total += e.size()
		if state == pendingFree {
			item.state, item.term = pendingForwarded, c.state.Term
			p.unseen++
		}
	}
	flush()
}

// retryForwards sends again, within the term in which they were offered, the oldest of the commands that were forwarded and
// not seen since. The leader takes each once.
func (c *Core) retryForwards() {
	to := c.leaderID()
	if c.proposals.unseen > 0 && to != "" && to != c.id {
		c.forward(to, c.proposals.base, pendingForwarded, c.config.MaxAppendBytes)
	}
}

// armRetry sees to it that what the leader owes an answer for is asked for again.
func (c *Core) armRetry() {
	if c.deadlines[retryDeadline].state != deadlineOff {
		return
	}
	n := len(c.reads.waiting)
	if c.proposals.unseen > 0 || n > 0 && !c.reads.waiting[n-1].known {
		c.arm(retryDeadline, c.config.Heartbeat)
	}
}

// commandLogged notes that a command of this server has reached its log.
func (c *Core) commandLogged(e *Entry) {
	if e.Number == 0 || e.Origin.Start != c.state.Start || e.Origin.Server != c.id {
		return
	}
	if item := c.proposals.find(e.Number); item != nil && item.state == pendingForwarded {
		c.unforward(item)
		item.state = pendingLogged
	}
}

// forwardsRefused ends the commands that the leader of this term has refused. It remembers them for the rest of the term,
// and so they will never be in a log.
func (c *Core) forwardsRefused(m *Message) {
	if m.Start != c.state.Start || m.From != c.leaderID() {
		return
	}
	for _, number := range m.Numbers {
		if item := c.proposals.find(number); item != nil && item.state == pendingForwarded && item.term == m.Term {
			c.answer(number, Answer{Err: notApplied(ErrOverloaded)})
		}
	}
}

// commandsApplied answers the commands in a batch, and frees those that its last entry's term proves to be lost.
func (c *Core) commandsApplied(batch *Batch) {
	for i := range batch.Commands {
		command := &batch.Commands[i]
		c.answer(command.Number, Answer{Index: command.Index, Result: command.Result})
	}
	p := &c.proposals
	if batch.Term <= p.proven {
		return
	}
	p.proven = batch.Term
	for number := p.base; number < p.end(); number++ {
		item := p.find(number)
		if item != nil && item.state != pendingFree && item.term < batch.Term {
			c.unforward(item)
			item.state = pendingFree
			p.nextFree = min(p.nextFree, number)
		}
	}
}

// A forwarder is what a leader remembers of one origin's forwards for the rest of its term.
type forwarder struct {
	origin Origin
	// lowest is the lowest number that the origin may still offer; seen says what became of the numbers from it on.
	lowest uint64
	seen   []forwardState
}

type forwardState uint8

const (
	forwardNew forwardState = iota
	forwardTaken
	forwardRefused
)

// maxForwarded bounds how far above the lowest unanswered number a forwarded one may be.
const maxForwarded = 1 << 17

// forwarder returns the memory of an origin, or nil if it has started again since.
func (l *leader) forwarder(origin Origin, lowest uint64) *forwarder {
	for i := range l.forwards {
		f := &l.forwards[i]
		if f.origin.Server != origin.Server {
			continue
		}
		if origin.Start < f.origin.Start {
			return nil
		}
		if origin.Start > f.origin.Start {
			*f = forwarder{origin: origin, lowest: lowest}
		}
		if lowest > f.lowest {
			f.seen = append(f.seen[:0], f.seen[min(lowest-f.lowest, uint64(len(f.seen))):]...)
			f.lowest = lowest
		}
		return f
	}
	l.forwards = append(l.forwards, forwarder{origin: origin, lowest: lowest})
	return &l.forwards[len(l.forwards)-1]
}

// takeForwards appends forwarded commands, each number once, and refuses what exceeds the limits.
func (c *Core) takeForwards(m *Message) {
	l, leads := c.role.(*leader)
	if !leads {
		return
	}
	origin := Origin{m.From, m.Start}
	f := l.forwarder(origin, m.Number)
	if f == nil {
		return
	}
	var refused []uint64
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Number < f.lowest || e.Number-f.lowest >= maxForwarded {
			continue
		}
		at := int(e.Number - f.lowest)
		for at >= len(f.seen) {
			f.seen = append(f.seen, forwardNew)
		}
		if f.seen[at] == forwardNew {
			f.seen[at] = forwardRefused
			if c.charge(l, e.size()) {
				f.seen[at] = forwardTaken
				c.appendEntry(Entry{Kind: EntryCommand, Origin: origin, Number: e.Number, Data: e.Data})
			}
		}
		if f.seen[at] == forwardRefused {
			refused = append(refused, e.Number)
		}
	}
	if p := l.peer(m.From); p != nil {
		p.owed = max(p.owed, c.log.last)
	}
	if len(refused) > 0 {
		c.send(Message{Kind: ForwardResponse, To: m.From, Start: m.Start, Numbers: refused})
	}
}
