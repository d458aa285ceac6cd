package raft

import (
	"slices"
	"sort"

	"github.com/e17579a5/raft/wire"
)

// A command is offered to one leader at a time, and applied at most once. Nothing is replicated for
// that purpose.
//
// Each command is tagged with its origin and a number. An offer is for one term: only the leader of
// exactly that term takes it, each number once. For the rest of its term the leader remembers what
// it took and what it refused. The origin offers the command to a later leader only after it has
// itself applied an entry of a later term, and hasn't met the command up to there. Terms never fall
// along a log, so no copy of an earlier term can ever commit behind that entry.
//
//	origin's log:   … 4 4 4 5          the command was offered in term 4 and isn't among these
//	                        └ applied: whatever was appended in term 4 and isn't before this entry never commits
//
// There are three proofs that a command was not applied: it never left; or the leader of the term
// refused it, and remembers that; or an entry of a later term was applied.

// proposals are the commands of callers at this server, in any role.
type proposals struct {
	// next is the number that the next command gets.
	next uint64
	// items are in the order of their numbers. The first skip items are answered, and so are done
	// of the others.
	items      []pending
	skip, done int
	bytes      int `state:"derived"`

	// nextFree is a lower bound on the numbers of the commands that are free to be offered.
	nextFree uint64
	// unseen counts the commands that were forwarded, and neither answered nor seen in the log
	// since. unseenBytes adds up their bytes. No more than WindowBytes are on their way at a time.
	unseen, unseenBytes int `state:"derived"`
	// proven is the term of the last entry applied.
	proven Term
}

// encode writes the commands that have no answer yet.
func (p *proposals) encode(s *stateEncoder) {
	s.numbers(p.next, p.nextFree, uint64(p.proven), uint64(p.count()))
	for i := range p.items {
		if item := &p.items[i]; item.state != pendingDone {
			item.encode(s)
		}
	}
}

func (p *proposals) clone() proposals {
	n := *p
	n.items = slices.Clone(p.items[p.skip:])
	n.skip = 0
	return n
}

// A pending command waits for its answer.
type pending struct {
	number uint64
	data   []byte
	kind   wire.EntryKind
	only   bool // this is the only copy of a session's command (Proposal.Only)
	state  pendingState
	term   Term // in which it was offered last
	fence  Term // the only term in which it may be appended, and then only here; 0 for any
	// index is where its entry of that term stands, as far as this server has seen it in the log; 0
	// if it hasn't.
	index Index
}

// size is what the command counts for against limits.
func (p *pending) size() int { return len(p.data) + wire.EntryOverhead }

func (p *pending) encode(s *stateEncoder) {
	s.numbers(p.number, uint64(p.kind), flag(p.only), uint64(p.state), uint64(p.term), uint64(p.fence), uint64(p.index))
	s.bytes(p.data)
}

type pendingState uint8

const (
	pendingFree      pendingState = iota // may be offered: no copy of it can commit
	pendingForwarded                     // offered to another server, which may or may not have taken it
	pendingLogged                        // seen in this server's log
	pendingDone                          // answered
)

// count returns how many commands wait for their answers.
func (p *proposals) count() int { return len(p.items) - p.skip - p.done }

// onTheWay says whether there is a command that was offered and has no answer yet.
func (p *proposals) onTheWay() bool {
	for at := p.skip; at < len(p.items); at++ {
		if state := p.items[at].state; state == pendingForwarded || state == pendingLogged {
			return true
		}
	}
	return false
}

// base returns the lowest number that has no answer yet.
func (p *proposals) base() uint64 {
	if p.skip < len(p.items) {
		return p.items[p.skip].number
	}
	return p.next
}

// place returns the position of the first item whose number is at least this one.
func (p *proposals) place(number uint64) int {
	base := p.base()
	if number <= base {
		return p.skip
	}
	// Numbers rise along the items, nearly always by one. So it is at this position or further
	// left.
	at := p.skip + int(min(number-base, uint64(len(p.items)-p.skip)))
	if at < len(p.items) && p.items[at].number == number {
		return at
	}
	return p.skip + sort.Search(at-p.skip, func(i int) bool { return p.items[p.skip+i].number >= number })
}

// find returns a command that waits for its answer, or nil.
func (p *proposals) find(number uint64) *pending {
	at := p.place(number)
	if at < len(p.items) && p.items[at].number == number && p.items[at].state != pendingDone {
		return &p.items[at]
	}
	return nil
}

// from returns the first command that has at least this number and waits for its answer, or nil.
func (p *proposals) from(number uint64) *pending {
	for at := p.place(number); at < len(p.items); at++ {
		if p.items[at].state != pendingDone {
			return &p.items[at]
		}
	}
	return nil
}

// answered lets go of an item. An answered item takes no room for long, even while an earlier
// command waits.
func (p *proposals) answered(item *pending) {
	p.bytes -= item.size()
	*item = pending{number: item.number, state: pendingDone}
	p.done++
	for p.skip < len(p.items) && p.items[p.skip].state == pendingDone {
		p.skip++
		p.done--
	}
	if gone := p.skip + p.done; gone == len(p.items) || gone > 64 && gone > len(p.items)/2 {
		p.items = slices.DeleteFunc(p.items, func(item pending) bool { return item.state == pendingDone })
		p.skip, p.done = 0, 0
	}
}

// A Proposal is what a caller wants to have in the log.
type Proposal struct {
	// Kind is EntryCommand, EntryOpenSession, EntryCloseSession or EntrySessionCommand.
	Kind wire.EntryKind
	// Data is what an entry of that kind carries: the command, or what wire.AppendSessionLimits,
	// wire.AppendSessionID or wire.AppendSessionCommand appends. The core keeps it, and nobody may
	// change it.
	Data []byte
	// Only says that no other copy of a session's command was sent, and that none will be before
	// this one is answered. Then an expired session proves that the command wasn't applied.
	Only bool
	// Fence is the only term in which the entry may be appended, and then only by this server. The
	// entry is never forwarded, nor offered to another leader; it is refused with ErrNotLeader
	// instead. 0 stands for no fence.
	Fence Term
}

// Propose takes a command from a caller, and returns the number by which an Answer will name it.
// The core offers the command to one leader after the other, until it is applied here, refused for
// good, or canceled. It never lets the command be applied twice. The core keeps the data, and
// nobody may change it.
func (c *Core) Propose(now Instant, data []byte) uint64 {
	return c.ProposeEntry(now, Proposal{Kind: wire.EntryCommand, Data: data})
}

// ProposeEntry is Propose for an entry of any kind that callers may propose. The Answer comes at
// once, and wraps ErrNotApplied, if the entry is refused here: ErrNotLeader for a fence that
// doesn't hold, ErrRemoved, ErrNotInForce for a kind that not all servers know, ErrOverloaded, or
// wire.ErrMalformed for an entry that isn't well formed.
func (c *Core) ProposeEntry(now Instant, proposal Proposal) uint64 {
	c.advance(now)
	p := &c.proposals
	number, size := p.next, len(proposal.Data)+wire.EntryOverhead
	p.next++
	if !c.mayAppend(proposal.Fence) {
		c.answers = append(c.answers, Answer{Number: number, Err: notApplied(ErrNotLeader)})
		return number
	}
	if why := c.barred(); why != nil {
		c.answers = append(c.answers, Answer{Number: number, Err: notApplied(why)})
		return number
	}
	if !c.inForce(proposal.Kind) {
		c.answers = append(c.answers, Answer{Number: number, Err: notApplied(ErrNotInForce)})
		return number
	}
	if err := p.exceeds(c.config, size); err != nil {
		c.answers = append(c.answers, Answer{Number: number, Err: notApplied(err)})
		return number
	}
	if e := (Entry{Kind: proposal.Kind, Data: proposal.Data}); !e.Proposable() {
		c.answers = append(c.answers, Answer{Number: number, Err: notApplied(wire.ErrMalformed)})
		return number
	}
	p.items = append(p.items, pending{
		number: number, data: proposal.Data, kind: proposal.Kind, only: proposal.Only, fence: proposal.Fence,
	})
	p.bytes += size
	return number
}

// exceeds returns an error that wraps ErrOverloaded, and names the limit, if one more command of
// this size may not wait.
func (p *proposals) exceeds(config *CoreConfig, size int) error {
	switch {
	case p.count() >= config.MaxPending:
		return errMaxPending
	case p.bytes > 0 && p.bytes+size > config.MaxPendingBytes:
		return errMaxPendingBytes
	}
	return nil
}

// Cancel ends a Propose. The command gets its Answer: with ErrNotApplied if no copy of the command
// can be applied any more, and with ErrOutcomeUnknown otherwise. Either error wraps the reason.
// Cancel does nothing if the command has its answer already.
func (c *Core) Cancel(number uint64, reason error) {
	c.wake()
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
	p.answered(item)
	a.Number = number
	c.answers = append(c.answers, a)
}

// unforward stops expecting to see a command that was forwarded.
func (c *Core) unforward(item *pending) {
	if item.state == pendingForwarded {
		c.proposals.unseen--
		c.proposals.unseenBytes -= item.size()
	}
}

// mayAppend says whether a command with this fence may still be appended.
func (c *Core) mayAppend(fence Term) bool {
	_, leads := c.role.(*leader)
	return fence == 0 || leads && fence == c.state.Term
}

// refuseFenced ends the fenced commands that are lost: only a leadership that is over could have
// appended them, and no copy of them can commit.
func (c *Core) refuseFenced() {
	p := &c.proposals
	next := p.base()
	for item := p.from(next); item != nil; item = p.from(next) {
		next = item.number + 1
		if item.state == pendingFree && !c.mayAppend(item.fence) {
			c.answer(item.number, Answer{Err: notApplied(ErrNotLeader)})
		}
	}
}

// offerProposals offers the free commands to the leader, if one is known.
func (c *Core) offerProposals() {
	if l, leads := c.role.(*leader); leads {
		c.takeIn(l)
		return
	}
	p := &c.proposals
	if to := c.leaderID(); to != "" && p.nextFree < p.next && !c.armed(resignDeadline) {
		c.forward(to, p.nextFree, pendingFree, maxInt)
	}
}

// forward sends the commands in a state, from a number on, to the leader of this term. The messages
// have a bounded size. It stops after about limit bytes. Free commands that would make more than
// WindowBytes unseen stay free until others were seen: the leader may have no room for them.
func (c *Core) forward(to ServerID, first uint64, state pendingState, limit int) {
	p := &c.proposals
	var entries []Entry
	total, bytes := 0, 0
	flush := func() {
		if len(entries) > 0 {
			c.send(to, wire.ForwardRequest{Start: c.state.Start, Lowest: p.base(), Commands: entries}.Message())
			entries, bytes = nil, 0
		}
	}
	for at := p.place(first); at < len(p.items) && total < limit; at++ {
		item := &p.items[at]
		if item.state != state || state == pendingForwarded && item.term != c.state.Term {
			continue
		}
		if state == pendingFree {
			if p.unseen > 0 && p.unseenBytes+item.size() > c.config.WindowBytes {
				break
			}
			p.nextFree = item.number + 1
		}
		e := Entry{Kind: item.kind, Number: item.number, Data: item.data}
		if bytes > 0 && bytes+e.Size() > c.config.MaxAppendBytes {
			flush()
		}
		entries = append(entries, e)
		bytes += e.Size()
		total += e.Size()
		if state == pendingFree {
			item.state, item.term, item.index = pendingForwarded, c.state.Term, 0
			p.unseen++
			p.unseenBytes += item.size()
		}
	}
	flush()
}

// minRetryBytes is how many bytes are sent again at a time, however small messages are. There is
// one such time in each heartbeat interval.
const minRetryBytes = 64 << 10

// retryForwards sends again the oldest of the commands that were forwarded in this term and not
// seen since. The leader takes each once.
func (c *Core) retryForwards() {
	to := c.leaderID()
	if c.proposals.unseen > 0 && to != "" && to != c.id {
		c.forward(to, c.proposals.base(), pendingForwarded, max(c.config.MaxAppendBytes, minRetryBytes))
	}
}

// armRetry makes sure that this server asks again for what the leader owes it an answer for.
func (c *Core) armRetry() {
	if c.states[retryDeadline] != deadlineOff {
		return
	}
	open := c.proposals.unseen > 0 || c.calls.asked()
	for i := range c.reads {
		n := len(c.reads[i].waiting)
		open = open || n > 0 && !c.reads[i].waiting[n-1].known
	}
	if open {
		c.arm(retryDeadline, c.config.Heartbeat)
	}
}

// commandLogged notes that a command of this server has reached this server's log.
func (c *Core) commandLogged(e *Entry) {
	if e.Number == 0 || !c.ownOrigin(e.Origin, e.Index) {
		return
	}
	if item := c.proposals.find(e.Number); item != nil && item.state == pendingForwarded {
		c.unforward(item)
		item.state, item.index = pendingLogged, e.Index
	}
}

// forwardsRefused ends the commands that the leader of this term has refused. The leader remembers
// the refusal for the rest of its term, so these commands will never be in a log.
func (c *Core) forwardsRefused(m *wire.Message) {
	answer := m.ForwardResponse()
	if answer.Start != c.state.Start || m.From != c.leaderID() {
		return
	}
	for _, number := range answer.Refused {
		if item := c.proposals.find(number); item != nil && item.state == pendingForwarded && item.term == m.Term {
			reason := ErrOverloaded
			switch {
			case answer.Why == wire.RefusedFull:
				reason = ErrFull
			case !c.inForce(item.kind):
				reason = ErrNotInForce // as at the leader
			}
			c.answer(number, Answer{Err: notApplied(reason)})
		}
	}
}

// commandsApplied answers the commands in a batch. It frees the commands that the term of the
// batch's last entry proves to be lost.
func (c *Core) commandsApplied(batch *Batch) {
	for i := range batch.Commands {
		command := &batch.Commands[i]
		if !c.ownOrigin(c.Origin(), command.Place) {
			continue
		}
		if command.Err != nil {
			c.answer(command.Number, Answer{Err: c.proposals.refusal(command)})
			continue
		}
		c.answer(command.Number, Answer{Index: command.Index, Result: command.Result})
	}
	c.termApplied(batch.Term)
}

// termApplied frees the commands that were offered in an earlier term than this one, of which an
// entry was applied here.
func (c *Core) termApplied(term Term) {
	p := &c.proposals
	if term <= p.proven {
		return
	}
	p.proven = term
	c.callsProven(term)
	for at := p.skip; at < len(p.items); at++ {
		item := &p.items[at]
		if item.state != pendingFree && item.state != pendingDone && item.term < term {
			c.unforward(item)
			item.state = pendingFree
			p.nextFree = min(p.nextFree, item.number)
		}
	}
	c.refuseFenced()
}

// refusal returns the error for a session's command that was not applied. It is ErrNotApplied only
// if no other copy of the command was sent. Otherwise nobody knows whether an earlier copy was
// applied.
func (p *proposals) refusal(command *AppliedCommand) error {
	if item := p.find(command.Number); item != nil && item.only {
		return notApplied(command.Err)
	}
	return outcomeUnknown(command.Err)
}

// commandsJumped ends the commands whose entries may be among those that a restored snapshot
// covers: if they are, their results are lost, and nobody knows whether they are. Such a command
// was offered in the snapshot's term or an earlier one, and hasn't been seen at an index behind the
// snapshot. (An entry of one term stands at the same index in every log that holds it.)
func (c *Core) commandsJumped(snapshot wire.Place) {
	p := &c.proposals
	next := p.base()
	for item := p.from(next); item != nil; item = p.from(next) {
		next = item.number + 1 // an answer may move the items
		if item.state != pendingFree && item.term <= snapshot.Term && item.index <= snapshot.Index {
			c.answer(item.number, Answer{Err: outcomeUnknown(ErrSnapshotInstalled)})
		}
	}
	for _, item := range slices.Clone(c.calls.items) {
		if item.state != pendingFree && item.term <= snapshot.Term {
			c.CancelCall(item.number, ErrSnapshotInstalled)
		}
	}
	c.termApplied(snapshot.Term)
}
