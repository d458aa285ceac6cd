// Package history checks whether a service is linearizable, from what its clients saw. A history is
// linearizable if its operations can be put in one order that explains it: each operation takes
// effect at one moment between its begin and its end, and a model of the service gives the same
// answers in that order. The search is done by the checker Porcupine. Package history knows nothing
// about the service but its answers, so it can judge real nodes and real processes.
//
//	h := history.New[history.CounterCall, history.CounterResult]()
//	call := h.Begin(client, history.CounterCall{Add: 5})
//	result, err := node.Propose(ctx, command)
//	call.End(decoded(result), err)
//	…
//	err := history.Check(h, history.Counter())
//
// The time of the search grows exponentially with the number of operations that overlap. It also
// grows so with the number of operations whose outcome is unknown, because each of them may have
// happened at any later time or never. MaxSteps bounds the search.
package history

import (
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/e17579a5/raft"
)

// A History is what clients saw: the operations that they began, with inputs of type I, and how
// these ended, with outputs of type O. Any number of goroutines may use it. Its time is the order
// of the calls of Begin and End.
type History[I, O any] struct {
	mu         sync.Mutex
	moment     int64 // rises with each begin and each known end
	operations []operation[I, O]
}

// An operation is one call that a client made.
type operation[I, O any] struct {
	client     int
	input      I
	output     O
	outcome    outcome
	begin, end int64
}

// An outcome is what a client was told about an operation.
type outcome int

const (
	pending  outcome = iota // nothing yet: it may have happened, or may still happen
	returned                // it happened, and output is the answer
	refused                 // it never happened and never will
	unknown                 // it may have happened, or may still happen
)

// New returns an empty history.
func New[I, O any]() *History[I, O] { return new(History[I, O]) }

// A Call is an operation that has begun. It is ended once. If it is never ended, its outcome is
// unknown.
type Call[I, O any] struct {
	history *History[I, O]
	number  int
}

// Begin notes that a client is about to perform an operation. Clients are told apart by their
// numbers.
func (h *History[I, O]) Begin(client int, input I) Call[I, O] {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moment++
	h.operations = append(h.operations, operation[I, O]{client: client, input: input, begin: h.moment, end: math.MaxInt64})
	return Call[I, O]{h, len(h.operations) - 1}
}

// End ends an operation. err is what raft.Node.Propose or raft.Node.Read returned. If it is nil,
// the operation happened, and output is the answer. If it is raft.ErrNotApplied, the operation
// never happened. After any other error the outcome is unknown. A second call does nothing.
func (c Call[I, O]) End(output O, err error) {
	switch {
	case err == nil:
		c.end(returned, output)
	case errors.Is(err, raft.ErrNotApplied):
		c.end(refused, output)
	default:
		c.end(unknown, output)
	}
}

func (c Call[I, O]) end(outcome outcome, output O) {
	h := c.history
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &h.operations[c.number]
	if o.outcome != pending {
		return
	}
	o.outcome = outcome
	if outcome == returned {
		h.moment++
		o.output, o.end = output, h.moment
	} // an operation that was refused or is unknown has no end
}

// A Count says how many operations of a history ended in which way.
type Count struct {
	Returned, Refused, Unknown int
}

// Count counts the operations so far. An operation that hasn't ended counts as unknown.
func (h *History[I, O]) Count() Count {
	var count Count
	for _, o := range h.snapshot() {
		switch o.outcome {
		case returned:
			count.Returned++
		case refused:
			count.Refused++
		default:
			count.Unknown++
		}
	}
	return count
}

func (h *History[I, O]) snapshot() []operation[I, O] {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.operations)
}
