package raft

import (
	"context"
	"sync/atomic"
)

// A lifetime is the way of a node from its start to its end: its goroutines, and what is left when
// they are gone.
type lifetime struct {
	ctx    context.Context // ends when the node stops
	cancel context.CancelFunc

	done   chan struct{} // closed when the node has stopped
	failed error         // set before done is closed: why, or nil after Close
	last   Status        // likewise

	goroutines   atomic.Int32  // that run
	storageUsers atomic.Int32  // those of them that write or read the log
	released     chan struct{} // closed when none runs any more
	// closing and storageClose are what closing the transport and the storage returned, set before
	// released is closed.
	closing, storageClose error
}

// begin begins with the goroutines that are there from the start: the loop and three lanes, of
// which all but the machine's use the storage.
func (f *lifetime) begin() {
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.done, f.released = make(chan struct{}), make(chan struct{})
	f.goroutines.Store(4)
	f.storageUsers.Store(3)
}

// enter counts another goroutine, which ends with leave.
func (f *lifetime) enter() { f.goroutines.Add(1) }

// leave is the last that each goroutine does.
func (f *lifetime) leave() {
	if f.goroutines.Add(-1) == 0 {
		close(f.released)
	}
}

// leaveStorage is the last that each goroutine does that uses the storage. The last of them closes
// it.
func (n *Node) leaveStorage() {
	if n.life.storageUsers.Add(-1) == 0 {
		n.life.storageClose = guard("storage", n.config.Storage.Close)
	}
	n.life.leave()
}

// run runs the loop to its end.
func (n *Node) run(l *loop) {
	defer n.leaveStorage()
	l.run(func(cause error, intact bool) { n.finish(l, cause, intact) })
}

// finish ends the node's part in the cluster: every caller gets an honest answer, and then
// everything is let go. intact says that the core can still be asked.
func (n *Node) finish(l *loop, cause error, intact bool) {
	reason := ErrClosed
	if cause != errClose {
		n.life.failed = cause
		reason = stopped(cause)
		l.logFailure(cause)
	}
	rest := n.inbox.close(reason)
	n.life.cancel()
	n.life.last = l.end(&rest, reason, intact)
	close(n.life.done)
	n.board.post(Leadership{Term: n.life.last.Term, Role: n.life.last.Role}, Stopped{n.life.failed})
	n.lanes.close()
	n.life.closing = guard("transport", n.config.Transport.Close)
}

// end answers whoever waits for the loop, which takes no more turns, and returns the last status.
// rest is what the inbox held besides.
func (l *loop) end(rest *intake, reason error, intact bool) Status {
	if intact {
		intact = guard("core", func() error { l.settle(rest, reason); return nil }) == nil
	}
	last := l.stoppedStatus(intact)
	for _, got := range []*intake{&l.intake, rest} {
		for _, p := range got.proposals[l.handed:] {
			p.waiter.answer(&Answer{Err: notApplied(reason)}) // the core never saw it
		}
		l.handed = 0
		for _, w := range got.reads {
			if w != nil {
				w.answer(&Answer{Err: reason})
			}
		}
		for _, asked := range got.calls {
			if asked.waiter != nil {
				asked.waiter.answer(&Answer{Err: notApplied(reason)})
			}
		}
		for _, q := range got.queries {
			reply(q, last)
		}
	}
	if l.proposing != nil { // the core broke on it
		l.proposing.answer(&Answer{Err: outcomeUnknown(reason)})
	}
	l.waiting.commands.each(func(w *waiter) { w.answer(&Answer{Err: outcomeUnknown(reason)}) })
	l.waiting.calls.each(func(w *waiter) { w.answer(&Answer{Err: outcomeUnknown(reason)}) })
	l.waiting.reads.each(func(w *waiter) { w.answer(&Answer{Err: reason}) })
	l.waiting = waiting{}
	return last
}

// settle lets the core answer what it can: it knows what was applied, and which commands never left
// this server.
func (l *loop) settle(rest *intake, reason error) {
	now := l.clock.now()
	for _, got := range []*intake{&l.intake, rest} {
		for i := range got.batches {
			l.core.Applied(now, got.batches[i])
		}
	}
	l.waiting.commands.each(func(w *waiter) { l.core.Cancel(w.number, reason) })
	l.waiting.calls.each(func(w *waiter) { l.core.CancelCall(w.number, reason) })
	l.core.Drain(&l.effects)
	l.answer()
}
