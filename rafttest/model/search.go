package model

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// Options say how to search.
type Options struct {
	// Workers is the number of states that are expanded at a time (the number of cores if it is 0).
	Workers int
	// DepthFirst follows each run to its end before it turns to the next, with one worker. The
	// search then keeps little in memory besides the known states, and it meets a violation far
	// from the beginning sooner. Otherwise the search is breadth-first: all states that are one
	// step away come first, then those that are two away, and so on. The first run that it finds to
	// break an invariant is then a shortest one.
	DepthFirst bool
	// MaxDepth ends every run after that many steps; 0 means that it has no end.
	MaxDepth int
	// Unfolded counts states that differ only in the names of servers as different.
	Unfolded bool
	// Uncovered also looks at states that another one covers: one that has all of their messages
	// and more. There are such states where messages stay (Bounds.Soup) or may be lost at any time
	// (Bounds.Losses below 0). A depth-first search always looks at them.
	Uncovered bool
}

// A Search explores all runs within some bounds. It can be used once.
type Search struct {
	bounds  Bounds
	options Options
	tables  *tables
	known   set
	// cover takes the place of known if messages are compared apart.
	cover   cover
	apart   bool
	parents parents

	steps, beyond, depth, waiting, expanded atomic.Uint64

	// For tests: visit sees each new state. With keep, dead messages stay on their links.
	visit func(*state)
	keep  bool
	// patient makes followers loyal to their leader for a while (see stepper.forsake), and singly makes
	// servers with damage ask one server after the other (see stepper.askAll).
	patient, singly bool

	mu     sync.Mutex
	broken *brokenStep
	stop   atomic.Bool
}

// A brokenStep is a step that breaks an invariant: the move that was tried after a state.
type brokenStep struct {
	state     uint32
	violation *Violation
}

// Progress says how far a search has come.
type Progress struct {
	States  uint64 // distinct states; those that count as one are counted once
	Steps   uint64 // steps from one state to another one, or to the same
	Beyond  uint64 // steps that were not taken because they leave the bounds
	Depth   int    // number of steps from the beginning to the furthest state
	Waiting uint64 // states that are known and still to be expanded
	// Nodes is the number of states of single servers, Messages that of distinct messages, and
	// Pasts that of what an observer may know.
	Nodes, Messages, Pasts int
}

// A Result is what a search has found.
type Result struct {
	Progress
	// Exhausted says that every run within the bounds was explored.
	Exhausted bool
	// Violation is the first invariant that is broken, or nil.
	Violation *Violation
}

// New prepares a search. It returns an error if the bounds or the options exceed their limits.
func New(bounds Bounds, options Options) (*Search, error) {
	if err := bounds.normalize(); err != nil {
		return nil, err
	}
	if options.Workers < 0 || options.MaxDepth < 0 || options.MaxDepth > maxDepth {
		return nil, fmt.Errorf("model: %d workers and a depth of %d are not possible", options.Workers, options.MaxDepth)
	}
	if options.Workers == 0 {
		options.Workers = runtime.GOMAXPROCS(0)
	}
	return &Search{
		bounds: bounds, options: options, tables: newTables(namings(bounds.Servers, !options.Unfolded && (bounds.Damages == 0 || bounds.asksAll()))),
		apart: (bounds.Soup || bounds.Losses < 0) && !options.Uncovered && !options.DepthFirst,
	}, nil
}

// Progress returns how far the search has come. It may be called while Run is under way.
func (s *Search) Progress() Progress {
	return Progress{
		States: s.known.size.Load() + s.cover.size.Load() - s.cover.overtakenCount.Load(), Steps: s.steps.Load(), Beyond: s.beyond.Load(), Depth: int(s.depth.Load()),
		Waiting: s.waiting.Load(), Nodes: s.tables.nodes.size(), Messages: s.tables.messages.size(), Pasts: s.tables.ghosts.size(),
	}
}

// Run searches until everything is explored, an invariant is broken, or ctx ends.
func (s *Search) Run(ctx context.Context) Result {
	first, broken := s.first()
	if broken != nil {
		s.broken = &brokenStep{violation: broken}
		return s.result(false)
	}
	worker := s.newWorker()
	worker.load(first)
	s.isNew(worker, worker.sums, first, parent{})
	begin := first.append(nil, s.bounds.Servers)
	defer context.AfterFunc(ctx, func() { s.stop.Store(true) })()
	if s.options.DepthFirst {
		return s.result(s.depthFirst(begin))
	}
	return s.result(s.breadthFirst(begin))
}

func (s *Search) result(exhausted bool) Result {
	r := Result{Progress: s.Progress(), Exhausted: exhausted}
	if s.broken != nil {
		r.Exhausted, r.Violation = false, s.broken.violation
	}
	return r
}

// first returns the state in which every server has just started, on a disk that holds the
// founding.
func (s *Search) first() (*state, *Violation) {
	stepper := stepper{tables: s.tables, bounds: &s.bounds, patient: s.patient, singly: s.singly}
	entry := founding(s.bounds.Servers)
	first := &state{budget: s.bounds.budget()}
	for i := range s.bounds.Servers {
		started := stepper.do(&node{server: i, disk: founded(i, entry)}, eventStart)
		if started.broken != nil {
			return nil, started.broken
		}
		first.nodes[i] = started.after.id
	}
	first.ghost = s.tables.addGhost(&ghost{}, &stepper.buffer).id
	return first, nil
}

// worker returns a worker that reports to the search. It calls emit with each new state.
func (s *Search) worker(emit func(*state)) *worker {
	w := s.newWorker()
	w.found = func(sums []sum, next *state) {
		if s.isNew(w, sums, next, parent{w.state.number, w.ordinal}) {
			if s.visit != nil {
				s.visit(next)
			}
			emit(next)
		}
	}
	w.broken = func(v *Violation) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.broken == nil {
			s.broken = &brokenStep{w.state.number, v}
		}
		s.stop.Store(true)
	}
	return w
}

// isNew reports whether a state must be expanded. If so, it notes the state and gives it a number.
func (s *Search) isNew(w *worker, sums []sum, next *state, from parent) bool {
	if s.apart {
		key := w.compareApart(sums, next)
		return s.cover.add(key, w.soups, next.depth, next.budget.duplicates, func() uint32 {
			next.number = s.parents.add(from)
			return next.number
		})
	}
	added, sooner := s.known.add(least(sums), next.depth)
	if added || sooner && s.options.DepthFirst && s.options.MaxDepth > 0 {
		next.number = s.parents.add(from)
		return true
	}
	return false
}

// count adds what a worker has done since the last time to the figures.
func (s *Search) count(w *worker, expanded uint64) {
	s.steps.Add(w.steps)
	s.beyond.Add(w.beyond)
	w.steps, w.beyond = 0, 0
	s.expanded.Add(expanded)
}

// chunkSize is how many numbers of packed states a worker gets at a time.
const chunkSize = 1 << 14

// breadthFirst explores level by level. It reports whether it has come to an end.
func (s *Search) breadthFirst(begin []uint32) bool {
	level := [][]uint32{begin}
	s.waiting.Store(1)
	for depth := 1; len(level) > 0; depth++ {
		if s.options.MaxDepth > 0 && depth > s.options.MaxDepth {
			return false
		}
		var next atomic.Int64
		var workers sync.WaitGroup
		var mu sync.Mutex
		var found [][]uint32
		for range min(s.options.Workers, len(level)) {
			workers.Go(func() {
				chunks := s.expandChunks(level, &next)
				mu.Lock()
				defer mu.Unlock()
				found = append(found, chunks...)
			})
		}
		workers.Wait()
		if s.stop.Load() {
			return false
		}
		if level = found; len(level) > 0 {
			s.depth.Store(uint64(depth))
		}
	}
	return true
}

// expandChunks expands chunks of a level, one after the other, and returns the states that follow.
func (s *Search) expandChunks(level [][]uint32, next *atomic.Int64) [][]uint32 {
	var found [][]uint32
	var chunk []uint32
	w := s.worker(func(n *state) {
		if len(chunk) > chunkSize-256 || chunk == nil {
			if chunk != nil {
				found = append(found, chunk)
			}
			chunk = make([]uint32, 0, chunkSize)
		}
		chunk = n.append(chunk, s.bounds.Servers)
		s.waiting.Add(1)
	})
	for {
		k := int(next.Add(1)) - 1
		if k >= len(level) || s.stop.Load() {
			break
		}
		var one state
		expanded := uint64(0)
		for rest := level[k]; len(rest) > 0; expanded++ {
			rest = one.load(rest, s.bounds.Servers)
			if !s.apart || !s.cover.overtaken.has(one.number) {
				w.expand(&one)
			}
		}
		s.waiting.Add(-expanded)
		s.count(w, expanded)
		level[k] = nil
	}
	if len(chunk) > 0 {
		found = append(found, chunk)
	}
	return found
}

// depthFirst explores run by run. It reports whether it has come to an end without cutting off a
// run.
func (s *Search) depthFirst(begin []uint32) bool {
	n := s.bounds.Servers
	stack := append([]uint32(nil), begin...)
	ends := []int{0} // the places in the stack at which its states begin
	cut := false
	w := s.worker(func(next *state) {
		ends = append(ends, len(stack))
		stack = next.append(stack, n)
	})
	var one state
	var messages []uint32
	for count := 0; len(ends) > 0; count++ {
		if count%1024 == 0 {
			s.count(w, 0)
			s.waiting.Store(uint64(len(ends)))
			if s.stop.Load() {
				return false
			}
		}
		top := ends[len(ends)-1]
		ends = ends[:len(ends)-1]
		one.load(stack[top:], n)
		messages = append(messages[:0], one.messages...)
		one.messages = messages
		stack = stack[:top]
		if s.options.MaxDepth > 0 && int(one.depth) >= s.options.MaxDepth {
			cut = true
			continue
		}
		if depth := uint64(one.depth) + 1; depth > s.depth.Load() {
			s.depth.Store(depth)
		}
		w.expand(&one)
		if s.stop.Load() {
			return false
		}
	}
	s.count(w, 0)
	s.waiting.Store(0)
	return !cut
}
