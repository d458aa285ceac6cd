package raft

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxTakes is how many groups of a host take a snapshot at a time. They capture and write the states of
// their machines, and sync what they write.
const maxTakes = 4

// takePlaces are the places for the snapshots that a host takes. A group for which one is due waits in a
// line, and may sleep meanwhile. A snapshot of which nothing is written for as long as a stream may stand
// still gives its place up, though it goes on: so no state machine that hangs keeps the others from theirs.
type takePlaces struct {
	host *Host

	mu      sync.Mutex
	running map[*Node]*take // those that are taken
	counted int             // how many of them don't stand still
	waiting []*Node
	timer   *time.Timer // looks at what stands still; it runs while somebody waits
	ringing bool
	ended   bool
}

// A take is a snapshot that is being taken.
type take struct {
	moved atomic.Uint64 // rises with each piece that is written
	// What moved was at the last look, how many looks have found the same, and whether the place was
	// given up.
	seen   uint64
	idle   int
	stands bool
}

// moves notes that a piece is written. A node that stands alone has nil.
func (t *take) moves() {
	if t != nil {
		t.moved.Add(1)
	}
}

func (p *takePlaces) init(h *Host) { p.host, p.running = h, make(map[*Node]*take) }

// ask lets a group wait for its turn, which may come at once. It asks once for each turn.
func (p *takePlaces) ask(n *Node) {
	p.mu.Lock()
	p.waiting = append(p.waiting, n)
	p.admit()
}

// done gives back the place of a group, if it has one.
func (p *takePlaces) done(n *Node) {
	p.mu.Lock()
	if t := p.running[n]; t != nil {
		delete(p.running, n)
		if !t.stands {
			p.counted--
		}
	}
	p.admit()
}

// leave takes a group that has ended out of the line, and gives back its place.
func (p *takePlaces) leave(n *Node, waits bool) {
	p.mu.Lock()
	if waits {
		p.waiting = slices.DeleteFunc(p.waiting, func(other *Node) bool { return other == n })
	}
	p.mu.Unlock()
	p.done(n)
}

// of returns the snapshot that a group is taking.
func (p *takePlaces) of(n *Node) *take {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running[n]
}

// admit gives turns to those that wait, and unlocks mu.
func (p *takePlaces) admit() {
	for p.counted < maxTakes && len(p.waiting) > 0 && !p.ended {
		n := p.waiting[0]
		p.waiting = p.waiting[1:]
		if p.running[n] != nil {
			continue
		}
		err := n.inbox.report(func(l *loop, now Instant) {
			l.core.SnapshotTurn(now)
			l.mayTake = true
		})
		if err == nil { // otherwise it has stopped
			p.running[n] = new(take)
			p.counted++
		}
	}
	if len(p.waiting) > 0 && !p.ringing && !p.ended {
		p.ringing = true
		if every := p.host.settings.ElectionTimeout; p.timer == nil {
			p.timer = time.AfterFunc(every, p.look)
		} else {
			p.timer.Reset(every)
		}
	}
	p.mu.Unlock()
}

// look finds out which snapshots stand still. The timer calls it, in a goroutine of its own.
func (p *takePlaces) look() {
	p.mu.Lock()
	p.ringing = false
	for _, t := range p.running {
		moved := t.moved.Load()
		if t.idle++; moved != t.seen {
			t.seen, t.idle = moved, 0
		}
		if t.idle >= sendingPatience && !t.stands {
			t.stands = true
			p.counted--
		}
	}
	p.admit()
}

// stop ends the timer.
func (p *takePlaces) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended = true; p.timer != nil {
		p.timer.Stop()
	}
}

// count returns how many snapshots are taken, and how many wait for their turn.
func (p *takePlaces) count() (running, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.running), len(p.waiting)
}

// takes returns what is to be told that the snapshot of the node moves.
func (t *transfers) takes() *take {
	if t.snapshots == nil {
		return nil
	}
	return t.snapshots.takes.of(t.Node)
}

// takeTurn asks for a turn if a snapshot is due, and gives one back that has come too late.
func (l *loop) takeTurn() {
	if l.mayTake {
		l.mayTake, l.dueTake = false, false
		if l.effects.TakeSnapshot == nil {
			l.host.snapshots.takes.done(l.Node)
		}
	}
	if l.effects.SnapshotDue && !l.dueTake {
		l.dueTake = true
		l.host.snapshots.takes.ask(l.Node)
	}
}
