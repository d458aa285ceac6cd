package raft

import (
	"context"
	"sync"
)

// maxSends is how many snapshots a host sends to one server at a time. A transport has more places than
// that for the streams of one server, and a stream for which there is none breaks.
const maxSends = 4

// streamPlaces are the places for the snapshots that a host sends, apart for each server: one that takes
// nothing holds up only what is for itself. Who waits gets a place in the order in which it came.
type streamPlaces struct {
	mu sync.Mutex
	of map[ServerID]chan struct{} // holds a token for each snapshot that is being sent
}

// enter waits for a place, and returns what gives it back. The error says that ctx has ended. A node that
// stands alone has nil, and doesn't wait.
func (p *streamPlaces) enter(ctx context.Context, to ServerID) (leave func(), err error) {
	if p == nil {
		return func() {}, nil
	}
	p.mu.Lock()
	if p.of == nil {
		p.of = make(map[ServerID]chan struct{})
	}
	places := p.of[to]
	if places == nil {
		places = make(chan struct{}, maxSends)
		p.of[to] = places
	}
	p.mu.Unlock()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
