package raft

import (
	"fmt"
	"slices"

	"github.com/e17579a5/raft/wire"
)

// An administrative call asks the leader to change something about the cluster itself. It travels
// as a command does (proposals.go), by the same rule and so with the same promise:
//
//   - It is offered to the leader of exactly one term. That leader takes it once, and remembers for
//     the rest of its term what became of it.
//   - It is offered to a later leader only after this server has applied an entry of a later term.
//     Whatever the first leader has done about it is then either in this server's log, where the
//     outcome can be read, or will never be in any log.
//
// So no call takes effect twice, and its answer is one of the three that a command may get.

// refusals are the errors that callers get for the refusals.
var refusals = [...]error{
	wire.RefusedUnknown: ErrUnknownCall, wire.RefusedConflict: ErrConflict, wire.RefusedInProgress: ErrChangeInProgress,
	wire.RefusedMembers: ErrMembers, wire.RefusedNotMember: ErrNotMember, wire.RefusedUnreachable: ErrUnreachable,
	wire.RefusedForeign: ErrForeignServer, wire.RefusedOtherDisk: ErrOtherIncarnation, wire.RefusedNotCaughtUp: ErrNotCaughtUp,
	wire.RefusedHalfway: ErrNotCaughtUp, wire.RefusedOutdated: ErrOutdated,
	wire.RefusedRolledBack: ErrRolledBack,
	wire.RefusedFull:       ErrFull,
	wire.RefusedTarget:     ErrTransferTarget, wire.RefusedTransferring: ErrTransferInProgress, wire.RefusedGivenUp: ErrTransferGivenUp,
}

// refused returns the error for a refusal. It names the server that is the reason, if there is one.
func refused(r wire.Refusal, about ServerID) error {
	err := ErrUnknownCall
	if int(r) < len(refusals) && r > 0 {
		err = refusals[r]
	}
	if about != "" {
		err = fmt.Errorf("%w: server %q", err, about)
	}
	return err
}

// maxCalls bounds how many calls of callers at one server may wait. There is rarely more than one.
const maxCalls = 64

// calls are the administrative calls of callers at this server, in any role.
type calls struct {
	next  uint64 // the number of the newest one
	items []pendingCall
}

func (q *calls) encode(s *stateEncoder) {
	s.numbers(q.next)
	encodeList(s, q.items, (*pendingCall).encode)
}

func (q *calls) clone() calls {
	n := *q
	n.items = slices.Clone(q.items)
	return n
}

// A pendingCall waits for its answer.
type pendingCall struct {
	number uint64
	call   *wire.Call
	state  pendingState
	term   Term // in which it was offered last
	since  Term // the term of this server when the call came
}

func (p *pendingCall) encode(s *stateEncoder) {
	s.numbers(p.number, uint64(p.state), uint64(p.term), uint64(p.since))
	s.call(p.call)
}

// find returns a call that waits for its answer, or nil.
func (q *calls) find(number uint64) *pendingCall {
	for i := range q.items {
		if q.items[i].number == number {
			return &q.items[i]
		}
	}
	return nil
}

// asked says whether a leader owes an answer to any of them.
func (q *calls) asked() bool {
	return slices.ContainsFunc(q.items, func(p pendingCall) bool { return p.state == pendingForwarded })
}

// Call takes an administrative call from a caller, and returns the number by which an Answer will
// name it. The core offers the call to one leader after the other until it is answered or canceled.
func (c *Core) Call(now Instant, call wire.Call) uint64 {
	c.advance(now)
	c.calls.next++
	number := c.calls.next
	if why := c.barred(); why != nil {
		c.answers = append(c.answers, Answer{Number: number, Call: true, Err: notApplied(why)})
		return number
	}
	if len(c.calls.items) >= maxCalls {
		c.answers = append(c.answers, Answer{Number: number, Call: true, Err: notApplied(ErrOverloaded)})
		return number
	}
	c.calls.items = append(c.calls.items, pendingCall{number: number, call: &call, since: c.state.Term})
	return number
}

// CancelCall ends a Call. The call gets its Answer as a command does from Cancel. CancelCall does
// nothing if the call has its answer already.
func (c *Core) CancelCall(number uint64, reason error) {
	c.wake()
	item := c.calls.find(number)
	if item == nil {
		return
	}
	if item.state == pendingFree {
		c.answerCall(number, 0, notApplied(reason))
	} else {
		c.answerCall(number, 0, outcomeUnknown(reason))
	}
}

// answerCall ends a call.
func (c *Core) answerCall(number uint64, index Index, err error) {
	if c.calls.find(number) == nil {
		return
	}
	c.calls.items = slices.DeleteFunc(c.calls.items, func(p pendingCall) bool { return p.number == number })
	c.answers = append(c.answers, Answer{Number: number, Call: true, Index: index, Err: err})
}

// offerCalls offers the calls that are free to the leader, if one is known.
func (c *Core) offerCalls() { c.sendCalls(pendingFree) }

// retryCalls sends again the calls of this term that the leader hasn't answered. The leader takes
// each once.
func (c *Core) retryCalls() { c.sendCalls(pendingForwarded) }

// sendCalls sends the calls in a state to the leader of this term.
func (c *Core) sendCalls(state pendingState) {
	to := c.leaderID()
	if to == "" {
		return
	}
	for _, item := range slices.Clone(c.calls.items) { // an answer that this server gives itself takes the call out of the list
		if item.state != state || state == pendingForwarded && item.term != c.state.Term {
			continue
		}
		own := c.calls.find(item.number)
		own.state, own.term = pendingForwarded, c.state.Term
		request := wire.CallRequest{Start: c.state.Start, Lowest: c.calls.items[0].number, Number: item.number, Call: item.call}
		if to == c.id {
			c.takeCall(c.id, c.state.Incarnation, request)
			continue
		}
		c.send(to, request.Message())
	}
}

// callsProven frees the calls that an entry of this term, applied here, proves to be lost: the log
// holds nothing of them up to there. A change that has begun in the log is different: every leader
// goes on with it, and it ends in the log.
func (c *Core) callsProven(term Term) {
	for i := range c.calls.items {
		if item := &c.calls.items[i]; item.state == pendingForwarded && item.term < term {
			item.state = pendingFree
		}
	}
}

// callAnswered takes the answer of this term's leader to a call.
func (c *Core) callAnswered(m *wire.Message) {
	answer := m.CallResponse()
	item := c.calls.find(answer.Number)
	if item == nil || answer.Start != c.state.Start || m.From != c.leaderID() || item.term != m.Term || item.state == pendingFree {
		return
	}
	c.callEnded(answer.Number, callOutcome{index: answer.Index, refusal: answer.Refusal, about: answer.About})
}

// callEnded gives a call the outcome that the leader tells.
func (c *Core) callEnded(number uint64, outcome callOutcome) {
	switch outcome.refusal {
	case 0:
		c.answerCall(number, outcome.index, nil)
	case wire.RefusedUnreachable:
		err := refused(outcome.refusal, outcome.about)
		if outcome.about == c.leaderID() { // a leader doesn't look for itself
			err = fmt.Errorf("%w, which leads and has another address", err)
		}
		c.answerCall(number, 0, notApplied(err))
	case wire.RefusedHalfway:
		c.answerCall(number, 0, outcomeUnknown(refused(outcome.refusal, outcome.about)))
	default:
		c.answerCall(number, 0, notApplied(refused(outcome.refusal, outcome.about)))
	}
}

// A ticket names a call at the leader, by its origin and the number that the origin has given it.
type ticket struct {
	origin Origin
	number uint64
}

func (t *ticket) encode(s *stateEncoder) { s.origin(t.origin, t.number) }

// A callOutcome is what became of a call. If it was done, index is that of the configuration that
// it led to, or 0. If it was refused, about is the server that is the reason, if there is one to
// name.
type callOutcome struct {
	index   Index
	refusal wire.Refusal
	about   ServerID
}

func (o *callOutcome) encode(s *stateEncoder) {
	s.numbers(uint64(o.index), uint64(o.refusal))
	s.server(o.about)
}

// A takenCall is a call that a leader has taken in its term.
type takenCall struct {
	number  uint64
	ended   bool
	outcome callOutcome
}

func (t *takenCall) encode(s *stateEncoder) {
	s.numbers(t.number, flag(t.ended))
	t.outcome.encode(s)
}

// originCalls is what a leader remembers, for the rest of its term, of the calls of one origin.
type originCalls struct {
	origin      Origin
	incarnation Incarnation // of the disk of the origin
	lowest      uint64      // the lowest number that the origin may still ask for
	calls       []takenCall
}

func (r *originCalls) encode(s *stateEncoder) {
	s.origin(r.origin, r.lowest)
	s.numbers(uint64(r.incarnation))
	encodeList(s, r.calls, (*takenCall).encode)
}

func (r *originCalls) clone() originCalls {
	n := *r
	n.calls = slices.Clone(r.calls)
	return n
}

// callsOf returns what the leader remembers of an origin, or nil if the origin's server has started
// again since.
func (l *leader) callsOf(origin Origin, incarnation Incarnation) *originCalls {
	for i := range l.calls {
		switch r := &l.calls[i]; {
		case r.origin.Server != origin.Server:
		case r.incarnation == incarnation && r.origin.Start > origin.Start:
			return nil
		default:
			if r.incarnation != incarnation || r.origin.Start < origin.Start {
				*r = originCalls{origin: origin, incarnation: incarnation}
			}
			return r
		}
	}
	l.calls = append(l.calls, originCalls{origin: origin, incarnation: incarnation})
	return &l.calls[len(l.calls)-1]
}

// find returns a call of this term, or nil.
func (r *originCalls) find(number uint64) *takenCall {
	for i := range r.calls {
		if r.calls[i].number == number {
			return &r.calls[i]
		}
	}
	return nil
}

// takeCall takes a call, each number once. If the call has ended already, takeCall repeats the
// answer.
func (c *Core) takeCall(from ServerID, disk Incarnation, request wire.CallRequest) {
	l, leads := c.role.(*leader)
	if !leads || !c.log.configuration().Names(from, disk) || c.log.commit < l.begin {
		// The disk in the place of a lost one doesn't wait for what the lost one has asked for. The
		// origins of other calls ask again.
		return
	}
	t := ticket{Origin{Server: from, Start: request.Start}, request.Number}
	r := l.callsOf(t.origin, disk)
	if r == nil {
		return
	}
	r.lowest = max(r.lowest, request.Lowest)
	r.calls = slices.DeleteFunc(r.calls, func(taken takenCall) bool { return taken.number < r.lowest && taken.ended })
	if taken := r.find(t.number); taken != nil {
		if taken.ended {
			c.sendOutcome(r, t, taken.outcome)
		}
		return
	}
	if t.number < r.lowest || len(r.calls) >= 2*maxCalls {
		return
	}
	if request.Call.Kind != wire.CallTransfer && c.changeEnds(l) {
		return // its origin asks again
	}
	r.calls = append(r.calls, takenCall{number: t.number})
	c.beginCall(l, t, request.Call)
}

// beginCall does what a call asks for, or begins to. In the second case endCall tells the outcome
// later.
func (c *Core) beginCall(l *leader, t ticket, call *wire.Call) {
	switch call.Kind {
	case wire.CallAdd, wire.CallRemove, wire.CallReplace, wire.CallSet:
		c.beginChange(l, t, call)
	case wire.CallTransfer:
		c.beginTransfer(l, t, call)
	default:
		c.endCall(l, t, callOutcome{refusal: wire.RefusedUnknown})
	}
}

// endCall remembers the outcome of a call, and tells the origin. If the origin has started again,
// its call is forgotten, and nobody is told.
func (c *Core) endCall(l *leader, t ticket, outcome callOutcome) {
	for i := range l.calls {
		if l.calls[i].origin != t.origin {
			continue
		}
		if taken := l.calls[i].find(t.number); taken != nil && !taken.ended {
			taken.ended, taken.outcome = true, outcome
			c.sendOutcome(&l.calls[i], t, outcome)
		}
	}
}

// sendOutcome tells the origin what became of its call.
func (c *Core) sendOutcome(r *originCalls, t ticket, outcome callOutcome) {
	if t.origin.Server == c.id {
		if t.origin.Start == c.state.Start {
			c.callEnded(t.number, outcome)
		}
		return
	}
	c.sendTo(t.origin.Server, r.incarnation, wire.CallResponse{
		Start: t.origin.Start, Number: t.number, Done: outcome.refusal == 0,
		Index: outcome.index, Refusal: outcome.refusal, About: outcome.about,
	}.Message())
}

// callsMet looks whether configurations that were applied here belong to calls of this server. A
// settled configuration ends its call. Any other one shows that the call will end.
func (c *Core) callsMet(after Index) {
	if len(c.calls.items) == 0 {
		return
	}
	for i := range c.log.configurations {
		placed := &c.log.configurations[i]
		configuration := placed.configuration
		if placed.index <= after || placed.index > c.log.applied || !c.ownOrigin(configuration.Origin, placed.index) {
			continue
		}
		switch item := c.calls.find(configuration.Number); {
		case item == nil:
		case configuration.Settled() && !c.keyFollows(configuration, c.id):
			c.callEnded(item.number, outcomeOf(placed))
		default:
			item.state = pendingLogged
		}
	}
}
