package model

import (
	"context"
	"math/rand/v2"
)

// Walk takes random runs within the bounds, each of at most so many steps, and lets all go well at the
// end of each. It is for bounds that are too wide for Run. A run that breaks an invariant isn't a
// shortest one.
func (s *HostSearch) Walk(ctx context.Context, seed uint64, walks, steps int) HostResult {
	s.random = rand.New(rand.NewPCG(seed, 3))
	sample := max(s.Sample, 1)
	for range walks {
		one, parent := s.start, hostParent{}
		s.forget()
		s.add(one, parent)
		for n := 0; n < steps && ctx.Err() == nil; n++ {
			var moves []hostMove
			var after []*hostState
			s.expand(one, func(move hostMove, next *hostState) {
				moves, after = append(moves, move), append(after, next)
			})
			if s.result.Violation != nil {
				return s.finish(false)
			}
			if len(after) == 0 {
				break
			}
			at := s.random.IntN(len(after))
			parent = hostParent{one.number, moves[at]}
			one = after[at]
			if !s.add(one, parent) {
				one.number = uint32(len(s.parents)) // a state that was known takes another number
				s.parents = append(s.parents, parent)
			}
			s.result.Depth = max(s.result.Depth, n+1)
		}
		if ctx.Err() != nil {
			break
		}
		s.Sample = 1
		s.try(one)
		s.Sample = sample
		if s.result.Violation != nil {
			break
		}
	}
	return s.finish(false)
}

// forget forgets the states of earlier walks, and what they were made of if that is much.
func (s *HostSearch) forget() {
	clear(s.known)
	s.parents = s.parents[:0]
	if len(s.steps) > 1<<18 {
		clear(s.steps)
	}
}
