package history

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/anishathalye/porcupine"
)

// MaxSteps bounds how often the model is asked about one object in one Check: a few seconds, and a few hundred megabytes.
const MaxSteps = 1_000_000

// ErrUndecided says that MaxSteps were not enough: the history may be linearizable or not.
var ErrUndecided = errors.New("history: too many operations overlap or have an unknown outcome to decide")

// A Model is what a service does when one operation comes after the other.
type Model[S comparable, I any, O comparable] struct {
	// Initial is the state at the beginning.
	Initial S
	// Step returns the state after an operation, and its output.
	Step func(state S, input I) (S, O)
	// Key, when not nil, tells which of many independent objects an operation is about. Each begins in the initial state.
	Key func(input I) string
}

// Check returns nil when the history is linearizable, a *Violation when it isn't, and ErrUndecided when that would take too
// long to find out. Operations that were refused must not have happened; those whose outcome is unknown may have, once.
func Check[S comparable, I any, O comparable](h *History[I, O], model Model[S, I, O]) error {
	for _, object := range byKey(h.snapshot(), model.Key) {
		if err := checkObject(object, model); err != nil {
			return err
		}
	}
	return nil
}

// byKey returns the operations on each object.
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

// checkObject checks the operations on one object. Those with an unknown outcome cost much, and mostly never happened: an order
// without them is an order, so that is tried first.
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

// A checker is one run of Porcupine on one object, which takes one goroutine.
type checker[S comparable, I any, O comparable] struct {
	model Model[S, I, O]
	steps int
}

// An answer is an output, or that it isn't known.
type answer[O any] struct {
	known  bool
	output O
}

// operations returns the operations as Porcupine has them: those that returned and, uncertain or not, those that may have
// happened.
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

// porcupine returns the model as Porcupine has it. When there were too many steps, no further one is possible, which ends the
// search.
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

// A Violation is a history that isn't linearizable.
type Violation struct {
	// Operations is how many operations there are on one object, and Ordered how many of them can be put in order, at most.
	Operations, Ordered int
	// State is the state after these, and Next are the operations that could come next, if one of them fitted.
	State string
	Next  []string

	draw func(io.Writer) error
}

// maxNext bounds how many operations an error tells.
const maxNext = 8

// Error tells where the order breaks off.
func (v *Violation) Error() string {
	return fmt.Sprintf("history: not linearizable: at most %d of %d operations can be put in order; the state is then %s, and none of these fits:\n\t%s",
		v.Ordered, v.Operations, v.State, strings.Join(v.Next, "\n\t"))
}

// WriteHTML draws the history, for a browser.
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
	ordered := map[int64]bool{} // by begin, which is different for each
	for _, o := range longest {
		state, _ = c.model.Step(state, o.Input.(I))
		ordered[o.Call] = true
	}
	v := &Violation{Operations: len(operations), Ordered: len(longest), State: fmt.Sprintf("%+v", state)}
	v.draw = func(w io.Writer) error {
		c.steps = 0 // drawing asks the model, too
		return porcupine.Visualize(c.porcupine(), info, w)
	}
	end := int64(1<<63 - 1) // of the first that must be next
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
