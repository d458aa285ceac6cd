// Package history checks what clients saw of a service for linearizability, with the checker Porcupine: whether there is an
// order of the operations, each at a moment between its begin and its end, in which a model of the service gives the same
// answers. It needs to know nothing of the service but the answers, so it is the last word on real nodes and real processes.
//
//	h := history.New[history.CounterCall, history.CounterResult]()
//	call := h.Begin(client, history.CounterCall{Add: 5})
//	result, err := node.Propose(ctx, command)
//	call.End(decoded(result), err)
//	…
//	err := history.Check(h, history.Counter())
//
// The search takes exponential time in the number of operations that overlap, and of those whose outcome is unknown, since such an
// operation may have happened at any time since, or never. It is bounded by MaxSteps.
package history

import (
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/e17579a5/raft"
)

// A History is what clients saw: the operations that they began, with input I, and how these ended, with output O. It may be
// used by any goroutines; the order of its calls is what counts for time.
type History[I, O any] struct {
	mu         sync.Mutex
	moment     int64 // rises with each begin and end
	operations []operation[I, O]
}

// An operation is one call of a client.
type operation[I, O any] struct {
	client     int
	input      I
	output     O
	outcome    outcome
	begin, end int64
}

// An outcome is what a client was told.
type outcome int

const (
	pending  outcome = iota // nothing yet
	returned                // it happened, and output is the answer
	refused                 // it never happened and never will
	unknown                 // it may have happened, or may still
)

// New returns an empty history.
func New[I, O any]() *History[I, O] { return new(History[I, O]) }

// A Call is an operation that was begun. It is ended once, or never: then its outcome is unknown.
type Call[I, O any] struct {
	history *History[I, O]
	number  int
}

// Begin says that a client, by its number, is about to do something.
func (h *History[I, O]) Begin(client int, input I) Call[I, O] {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moment++
	h.operations = append(h.operations, operation[I, O]{client: client, input: input, begin: h.moment, end: math.MaxInt64})
	return Call[I, O]{h, len(h.operations) - 1}
}

// End ends an operation with what raft.Node.Propose or Read returned: without an error it happened, with raft.ErrNotApplied it
// never did, and with another error its outcome is unknown.
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
	} // the end of another one is not known, and doesn't count
}

// A Count is how the operations of a history ended.
type Count struct {
	Returned, Refused, Unknown int
}

// Count counts the operations so far. One that hasn't ended counts as unknown.
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
