package history

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/anishathalye/porcupine"
)

// MaxSteps bounds how often a search calls Model.Step. Check makes two searches at most for each
// object. That many steps take a few seconds and a few hundred megabytes.
const MaxSteps = 1_000_000

// ErrUndecided says that MaxSteps steps didn't decide whether a history is linearizable. It may be
// or not.
var ErrUndecided = errors.New("history: too many operations overlap or have an unknown outcome to decide")

// A Model says what a service does if its operations come one after the other.
type Model[S comparable, I any, O comparable] struct {
	// Initial is the state before the first operation.
	Initial S
	// Step returns the state after an operation and the output of the operation. It must not change
	// state.
	Step func(state S, input I) (S, O)
	// Key, when not nil, returns the name of the object that an operation is about. The objects
	// must be independent of each other. Each begins in the initial state.
	Key func(input I) string
}

// Check returns nil if the history is linearizable, a *Violation if it isn't, and ErrUndecided if
// finding out would take too long. An operation that was refused must not have happened. An
// operation whose outcome is unknown may have happened once, or not at all.
func Check[S comparable, I any, O comparable](h *History[I, O], model Model[S, I, O]) error {
	for _, object := range byKey(h.snapshot(), model.Key) {
		if err := checkObject(object, model); err != nil {
			return err
		}
	}
	return nil
}

// byKey splits the operations by the object that they are about.
func byKey[I, O any](operations []operation[I, O], key func(I) string) [][]operation[I, O] {
	if key == nil {
		return [][]operation[I, O]{operations}
	}
	numbers := map[string]int{}
	var objects [][]operation[I, O]
	for _, o := range operations {
		k := key(o.input)
		n, known := numbers[k]
		if !known {
			n = len(objects)
			numbers[k] = n
			objects = append(objects, nil)
		}
		objects[n] = append(objects[n], o)
	}
	return objects
}

// checkObject checks the operations on one object. Operations with an unknown outcome cost much
// time, and most of them never happened. An order that needs none of them is a valid order, so
// checkObject looks for such an order first.
func checkObject[S comparable, I any, O comparable](all []operation[I, O], model Model[S, I, O]) error {
	for _, uncertain := range []bool{false, true} {
		c := checker[S, I, O]{model: model}
		operations := c.operations(all, uncertain)
		result, info := porcupine.CheckOperationsVerbose(c.porcupine(), operations, 0)
		switch {
		case result == porcupine.Ok:
			return nil
		case uncertain && c.steps > MaxSteps:
			return ErrUndecided
		case uncertain:
			return c.violation(operations, info)
		}
	}
	return nil
}

// A checker is one run of Porcupine on one object. It runs in one goroutine.
type checker[S comparable, I any, O comparable] struct {
	model Model[S, I, O]
	steps int
}

// An answer is the output of an operation, if it is known.
type answer[O any] struct {
	known  bool
	output O
}

// operations returns operations in the form that Porcupine takes: all that returned and, if
// uncertain is true, all others that were not refused.
func (c *checker[S, I, O]) operations(all []operation[I, O], uncertain bool) []porcupine.Operation {
	var operations []porcupine.Operation
	for _, o := range all {
		if o.outcome == returned || uncertain && o.outcome != refused {
			operations = append(operations, porcupine.Operation{
				ClientId: o.client, Input: o.input, Call: o.begin, Return: o.end,
				Output: answer[O]{o.outcome == returned, o.output},
			})
		}
	}
	return operations
}

// porcupine returns the model in the form that Porcupine takes. After MaxSteps steps this model
// allows no further step, which ends the search.
func (c *checker[S, I, O]) porcupine() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return c.model.Initial },
		Step: func(state, input, output any) (bool, any) {
			if c.steps++; c.steps > MaxSteps {
				return false, state
			}
			next, got := c.model.Step(state.(S), input.(I))
			want := output.(answer[O])
			return !want.known || got == want.output, next
		},
		DescribeOperation: func(input, output any) string { return describe[I, O](input, output) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

func describe[I, O any](input, output any) string {
	if a := output.(answer[O]); a.known {
		return fmt.Sprintf("%+v → %+v", input.(I), a.output)
	}
	return fmt.Sprintf("%+v → unknown", input.(I))
}

// A Violation is the error for a history that isn't linearizable. It says how far the best order of
// one object's operations gets.
type Violation struct {
	// Operations is the number of operations on the object. Ordered is the number of operations in
	// the longest valid order.
	Operations, Ordered int
	// State is the state after that order. Next lists the operations that would have to come next;
	// none of them fits. It names eight of them at most.
	State string
	Next  []string

	draw func(io.Writer) error
}

// maxNext bounds the number of operations that an error tells.
const maxNext = 8

// Error says where the longest valid order ends.
func (v *Violation) Error() string {
	return fmt.Sprintf("history: not linearizable: at most %d of %d operations can be put in order; the state is then %s, and none of these fits:\n\t%s",
		v.Ordered, v.Operations, v.State, strings.Join(v.Next, "\n\t"))
}

// WriteHTML writes a page that shows the history in a browser.
func (v *Violation) WriteHTML(w io.Writer) error { return v.draw(w) }

// violation explains why the operations can't be put in order.
func (c *checker[S, I, O]) violation(operations []porcupine.Operation, info porcupine.LinearizationInfo) *Violation {
	var longest []porcupine.Operation
	for _, partials := range info.PartialLinearizationsOperations() {
		for _, partial := range partials {
			if len(partial) > len(longest) {
				longest = partial
			}
		}
	}
	state := c.model.Initial
	ordered := map[int64]bool{} // the operations in that order, by their begin, which differs for each
	for _, o := range longest {
		state, _ = c.model.Step(state, o.Input.(I))
		ordered[o.Call] = true
	}
	v := &Violation{Operations: len(operations), Ordered: len(longest), State: fmt.Sprintf("%+v", state)}
	v.draw = func(w io.Writer) error {
		c.steps = 0 // Visualize asks the model again
		return porcupine.Visualize(c.porcupine(), info, w)
	}
	end := int64(1<<63 - 1) // an operation that begins later than this can't come next
	for _, o := range operations {
		if !ordered[o.Call] {
			end = min(end, o.Return)
		}
	}
	for _, o := range operations {
		if ordered[o.Call] || o.Call > end {
			continue
		}
		if len(v.Next) == maxNext {
			v.Next = append(v.Next, "…")
			break
		}
		v.Next = append(v.Next, fmt.Sprintf("client %d: %s", o.ClientId, describe[I, O](o.Input, o.Output)))
	}
	return v
}
