package raft

import (
	"context"
	"fmt"
	"time"
)

// Propose replicates a command and returns what the state machine answered to it. It can be called at
// any server: the command finds its way to the leader, and is offered to the next one when that
// changes, until it is applied or ctx ends. It is never applied twice. The command is copied before
// Propose returns, for whatever reason it does.
//
// An error is either ErrNotApplied: the command wasn't applied and never will be, so it is safe to
// propose it again; or ErrOutcomeUnknown: it may be applied or not, now or later. Both wrap the reason:
// ctx.Err(), ErrOverloaded, ErrTooLarge, what Config.Validate has returned, ErrClosed, or ErrStopped with the failure that
// stopped the node. It is also a *CallError, which tells who leads.
func (n *Node) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if err := n.checkCommand(ctx, command); err != nil {
		return nil, n.callError(notApplied(err))
	}
	return n.propose(ctx, Proposal{Kind: EntryCommand, Data: n.copyCommand(nil, command)})
}

// callError adds to the error of a call what is known of the leadership.
func (n *Node) callError(err error) error { return &CallError{err, n.Leadership()} }

// checkCommand says why a command isn't to be proposed.
func (n *Node) checkCommand(ctx context.Context, command []byte) error {
	if len(command) > n.config.MaxCommandBytes {
		return fmt.Errorf("%w: %d bytes, more than %d", ErrTooLarge, len(command), n.config.MaxCommandBytes)
	}
	if n.config.Validate != nil {
		if err := guard("Validate", func() error { return n.config.Validate(command) }); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// propose hands a proposal in and waits for its answer.
func (n *Node) propose(ctx context.Context, p Proposal) ([]byte, error) {
	result, err := n.waitForProposal(ctx, p)
	if err != nil {
		return nil, n.callError(err)
	}
	return result, nil
}

func (n *Node) waitForProposal(ctx context.Context, p Proposal) ([]byte, error) {
	w := n.newWaiter()
	p.Fence = fenceOf(ctx)
	if err := n.inbox.propose(w, p); err != nil {
		n.recycle(w)
		return nil, notApplied(err)
	}
	if !w.wait(ctx) {
		// The core knows whether the command has left this server. It answers at once. The waiter isn't
		// used again: the loop may see the cancellation after it gave another answer.
		n.inbox.cancel(w, ctx.Err())
		<-w.done
		return w.result, w.err
	}
	result, err := w.result, w.err
	n.recycle(w)
	return result, err
}

// Read waits until the state machine of this server is at least as new as the call: what was
// acknowledged anywhere before Read was called shows in it when Read returns nil (§6.4). It can be called
// at any server, costs no entry in the log, and many reads share one round to the other servers. The
// state is then read by the caller, who must see to it that this is safe beside Apply.
//
// An error wraps the reason: ctx.Err(), ErrOverloaded, ErrClosed, or ErrStopped with the failure. It is also a
// *CallError, which tells who leads.
func (n *Node) Read(ctx context.Context) error {
	_, err := n.readAs(ctx, waitsForRead, 0)
	return err
}

// LeaseRead is Read, except that the leader needn't ask anybody while it holds a lease (§6.4.1): it is as fresh as long as
// the servers' clocks keep to Config.ClockDrift. Where there is no lease, as with Config.MaxLease 0, it is Read.
func (n *Node) LeaseRead(ctx context.Context) error {
	_, err := n.readAs(ctx, waitsForLeaseRead, 0)
	return err
}

// StaleRead returns nil at once if this server's state was the newest not longer than maxAge ago, as far as it knows, and
// is Read otherwise. It returns how long ago that was at most: everything that was acknowledged before
// shows in the state. The age is counted, on this server's own clock, from when it sent the last request for a read
// that a leader has answered; so it is unknown until this server's first read, of whatever kind, and as old as the last one.
func (n *Node) StaleRead(ctx context.Context, maxAge time.Duration) (age time.Duration, err error) {
	fresh, err := n.readAs(ctx, waitsForStaleRead, Duration(max(maxAge, 0)))
	if err != nil {
		return 0, err
	}
	return time.Duration(n.now() - fresh), nil
}

// readAs hands a read in and waits until it may be served. It returns when the state was the newest.
func (n *Node) readAs(ctx context.Context, kind waiterKind, maxAge Duration) (Instant, error) {
	fresh, err := n.waitToRead(ctx, kind, maxAge)
	if err != nil {
		return 0, n.callError(readFailed(err))
	}
	return fresh, nil
}

func (n *Node) waitToRead(ctx context.Context, kind waiterKind, maxAge Duration) (Instant, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	w := n.newWaiter()
	w.kind, w.maxAge = kind, maxAge
	if err := n.inbox.read(w); err != nil {
		n.recycle(w)
		return 0, err
	}
	if !w.wait(ctx) {
		n.inbox.cancel(w, ctx.Err())
		return 0, ctx.Err()
	}
	fresh, err := w.fresh, w.err
	n.recycle(w)
	return fresh, err
}

// call asks the leader for something about the cluster itself, and returns the index of the configuration that
// it led to. It is as honest about its outcome as Propose.
func (n *Node) call(ctx context.Context, call Call) (Index, error) {
	index, err := n.waitForCall(ctx, call)
	if err != nil {
		return 0, n.callError(err)
	}
	return index, nil
}

func (n *Node) waitForCall(ctx context.Context, call Call) (Index, error) {
	if err := ctx.Err(); err != nil {
		return 0, notApplied(err)
	}
	w := n.newWaiter()
	w.kind = waitsForCall
	if err := n.inbox.call(w, call); err != nil {
		n.recycle(w)
		return 0, notApplied(err)
	}
	if !w.wait(ctx) {
		n.inbox.cancel(w, ctx.Err())
		<-w.done
		return w.index, w.err
	}
	index, err := w.index, w.err
	n.recycle(w)
	return index, err
}

func readFailed(reason error) error { return fmt.Errorf("raft: read not served: %w", reason) }

// waiterKind says what a waiter waits for.
type waiterKind uint8

const (
	waitsForCommand waiterKind = iota
	waitsForRead
	waitsForLeaseRead
	waitsForStaleRead
	waitsForCall
)

// waiterKindNames are the kinds for who traces.
var waiterKindNames = [...]string{waitsForCommand: "command", waitsForRead: "read", waitsForCall: "call"}

// A waiter is a caller of Propose, Read or an administrative call that waits for its answer. It belongs to the caller until it is
// in the inbox, and again from the token in done on; in between, to the loop.
type waiter struct {
	done   chan struct{} // gets one token, when the answer is in the next four
	result []byte
	index  Index
	fresh  Instant
	err    error

	kind   waiterKind
	maxAge Duration // that a stale read allows
	number uint64   // that the core gave
	since  Instant  // when the core got it
}

// read gives the core a read of the kind that the waiter waits for.
func (w *waiter) read(c *Core, now Instant) uint64 {
	switch w.kind {
	case waitsForLeaseRead:
		return c.ReadByLease(now)
	case waitsForStaleRead:
		return c.ReadStale(now, w.maxAge)
	}
	return c.Read(now)
}

// newWaiter returns a waiter, perhaps one that was recycled.
func (n *Node) newWaiter() *waiter {
	if w, ok := n.waiterPool.Get().(*waiter); ok {
		return w
	}
	return &waiter{done: make(chan struct{}, 1)}
}

// recycle gives a waiter back that was answered, or never waited. Nobody else refers to it.
func (n *Node) recycle(w *waiter) {
	*w = waiter{done: w.done}
	n.waiterPool.Put(w)
}

// wait waits for the answer. It reports false when ctx ended first.
func (w *waiter) wait(ctx context.Context) bool {
	ended := ctx.Done()
	if ended == nil { // a plain receive is quicker than a choice
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

// answer ends the wait. It is called once per wait.
func (w *waiter) answer(a *Answer) {
	w.result, w.index, w.fresh, w.err = a.Result, a.Index, a.Fresh, a.Err
	w.done <- struct{}{}
}

// waiters finds the callers that wait by the numbers that the core gave them. Numbers rise one by one and
// are answered roughly in order, so that a ring holds nearly all: a slot for each of the next numbers.
// Who waits so much longer than others that a newer one needs the slot moves to a map.
type waiters struct {
	ring  []*waiter // the waiter with number i is in slot i modulo the length, a power of two
	late  map[uint64]*waiter
	count int // of those in the ring
}

// The ring grows with those who wait, up to its limit.
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

// grow doubles the ring. Numbers that differ in the smaller ring differ in the larger one.
func (t *waiters) grow() {
	ring := make([]*waiter, max(minWaiterRing, 2*len(t.ring)))
	for _, w := range t.ring {
		if w != nil {
			ring[w.number&uint64(len(ring)-1)] = w
		}
	}
	t.ring = ring
}

// take removes the waiter with a number and returns it, or nil.
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

// holds says whether a waiter is still to be answered.
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

// copyCommand copies a command, after a head, into a piece of memory that it shares with its neighbours in time,
// since they live and die together in the log.
func (n *Node) copyCommand(head, command []byte) []byte {
	size := len(head) + len(command)
	if size > slabBytes/8 {
		return append(append(make([]byte, 0, size), head...), command...)
	}
	s, ok := n.slabPool.Get().(*slab)
	if !ok {
		s = new(slab)
	}
	if size > cap(s.free)-len(s.free) {
		s.free = make([]byte, 0, slabBytes)
	}
	from := len(s.free)
	s.free = append(append(s.free, head...), command...)
	data := s.free[from:len(s.free):len(s.free)]
	n.slabPool.Put(s)
	return data
}

// A slab is memory for commands: what lies past its length was never written.
type slab struct{ free []byte }

const slabBytes = 16 << 10
