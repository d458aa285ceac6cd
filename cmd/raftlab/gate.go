package main

import "sync"

// A gate can be shut. Whoever wants through waits until it is open again.
type gate struct {
	mu     sync.Mutex
	shut   bool
	opened chan struct{} // closed when the gate opens; nil while it is open
}

// set shuts the gate or opens it.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && !g.shut:
		g.opened = make(chan struct{})
	case !shut && g.shut:
		close(g.opened)
		g.opened = nil
	}
	g.shut = shut
}

// isShut says whether the gate is shut.
func (g *gate) isShut() bool { return g.barrier() != nil }

// barrier returns a channel that is closed when the gate opens, and nil while it is open.
func (g *gate) barrier() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

// pass waits until all gates are open at one moment. It returns false if end was closed before.
func pass(end <-chan struct{}, gates ...*gate) bool {
	for i := 0; i < len(gates); {
		barrier := gates[i].barrier()
		if barrier == nil {
			i++
			continue
		}
		select {
		case <-barrier:
			i = 0 // a gate that was open may be shut by now
		case <-end:
			return false
		}
	}
	select {
	case <-end:
		return false
	default:
		return true
	}
}
