package raft

import (
	"context"
	"sync"
	"time"
)

const (
	waitsForCommand waiterKind = iota
	waitsForRead
	waitsForLeaseRead
	waitsForStaleRead
	waitsForCall
)

// waiterKind says what a waiter waits for.
type waiterKind uint8

// waiterKindNames are the kinds as a trace names them.
var waiterKindNames = [...]string{
	waitsForCommand: "command", waitsForRead: "read", waitsForLeaseRead: "lease read", waitsForStaleRead: "stale read",
	waitsForCall: "call",
}

// A waiter is a caller of Propose, of a read or of an administrative call that waits for its
// answer. It belongs to the caller until it is in the inbox, and then to the loop. It belongs to
// the caller again from the token in done on.
type waiter struct {
	done   chan struct{} // gets one token when the answer is in the next four fields
	result []byte
	index  Index
	fresh  Instant
	err    error

	kind   waiterKind
	maxAge time.Duration // the age that a stale read allows
	number uint64        // the one that the core gave it
	since  Instant       // when the core got the call
	// bytes is what a command counts for in the memory of the host, until it is answered.
	bytes   int
	account *account
}

// read gives the core a read of the kind that the waiter is for.
func (w *waiter) read(c *Core, now Instant) uint64 {
	switch w.kind {
	case waitsForLeaseRead:
		return c.ReadByLease(now)
	case waitsForStaleRead:
		return c.ReadStale(now, w.maxAge)
	}
	return c.Read(now)
}

// A waiterPool keeps waiters that nobody uses. Each node, or host, has its own pool, because a waiter holds a
// channel, and the channels of one synctest bubble must not get into another.
type waiterPool struct{ pool sync.Pool }

// get returns a waiter, perhaps one that was used before.
func (p *waiterPool) get() *waiter {
	if w, ok := p.pool.Get().(*waiter); ok {
		return w
	}
	return &waiter{done: make(chan struct{}, 1)}
}

// put takes back a waiter that was answered, or that never waited. Nothing else refers to it.
func (p *waiterPool) put(w *waiter) {
	*w = waiter{done: w.done}
	p.pool.Put(w)
}

// wait waits for the answer. It reports false when ctx ended first.
func (w *waiter) wait(ctx context.Context) bool {
	ended := ctx.Done()
	if ended == nil { // a plain receive is quicker than a select
		<-w.done
		return true
	}
	select {
	case <-w.done:
		return true
	case <-ended:
		return false
	}
}

// answer ends the wait. It is called once for each wait.
func (w *waiter) answer(a *Answer) {
	w.result, w.index, w.fresh, w.err = a.Result, a.Index, a.Fresh, a.Err
	w.giveBack()
	w.done <- struct{}{}
}

// giveBack gives back what the command counted for.
func (w *waiter) giveBack() {
	w.account.give(w.bytes)
	w.bytes = 0
}

// waiters finds the callers that wait, by the numbers that the core gave them. Numbers rise one by
// one and are answered roughly in order, so a ring holds nearly all of them: it has a slot for each
// of the next numbers. A waiter moves to a map when it has waited for so long that a newer one
// needs its slot.
type waiters struct {
	ring  []*waiter // the waiter with number i is in slot i modulo the length, a power of 2
	late  map[uint64]*waiter
	count int // how many are in the ring
}

// The ring grows with the number of waiters, from minWaiterRing up to maxWaiterRing.
const (
	minWaiterRing = 64
	maxWaiterRing = 1 << 18
)

// put adds a waiter by its number.
func (t *waiters) put(w *waiter) {
	if 2*t.count >= len(t.ring) && len(t.ring) < maxWaiterRing {
		t.grow()
	}
	slot := &t.ring[w.number&uint64(len(t.ring)-1)]
	if old := *slot; old != nil {
		if t.late == nil {
			t.late = make(map[uint64]*waiter)
		}
		t.late[old.number] = old
		t.count--
	}
	*slot = w
	t.count++
}

// grow doubles the ring. Two numbers with different slots in the smaller ring have different slots
// in the larger one.
func (t *waiters) grow() {
	ring := make([]*waiter, max(minWaiterRing, 2*len(t.ring)))
	for _, w := range t.ring {
		if w != nil {
			ring[w.number&uint64(len(ring)-1)] = w
		}
	}
	t.ring = ring
}

// len returns how many callers wait.
func (t *waiters) len() int { return t.count + len(t.late) }

// take removes the waiter with a number and returns it. It returns nil if there is none.
func (t *waiters) take(number uint64) *waiter {
	if len(t.ring) > 0 {
		slot := &t.ring[number&uint64(len(t.ring)-1)]
		if w := *slot; w != nil && w.number == number {
			*slot = nil
			t.count--
			return w
		}
	}
	w := t.late[number]
	delete(t.late, number)
	return w
}

// holds says whether a waiter still waits for its answer.
func (t *waiters) holds(w *waiter) bool {
	return len(t.ring) > 0 && t.ring[w.number&uint64(len(t.ring)-1)] == w || t.late[w.number] == w
}

// each calls f with every waiter, in no particular order.
func (t *waiters) each(f func(*waiter)) {
	for _, w := range t.ring {
		if w != nil {
			f(w)
		}
	}
	for _, w := range t.late {
		f(w)
	}
}

// explain says what the oldest of the callers waits for, and for how long it has waited.
func (t *waiters) explain(oldest OldestCall, now Instant) *Wait {
	w := t.late[oldest.Number]
	if len(t.ring) > 0 {
		if at := t.ring[oldest.Number&uint64(len(t.ring)-1)]; at != nil && at.number == oldest.Number {
			w = at
		}
	}
	if oldest.Wait != nil && w != nil {
		oldest.Wait.For = time.Duration(now - w.since)
	}
	return oldest.Wait
}
