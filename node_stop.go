package raft

import "sync/atomic"

// finish ends the node's part in the cluster: every caller gets an honest answer, and then everything is
// let go. intact says that the core can still be asked.
func (n *Node) finish(cause error, intact bool) {
	reason := ErrClosed
	if cause != errClose {
		n.failed = cause
		reason = stopped(cause)
		n.logFailure(cause)
	}
	rest := n.inbox.close(reason)
	n.cancelCtx()
	if intact {
		intact = guard("core", func() error { n.settle(&rest, reason); return nil }) == nil
	}
	n.last = n.stoppedStatus(intact)
	for _, ev := range []*events{&n.events, &rest} {
		for _, p := range ev.proposals[n.handed:] {
			p.waiter.answer(&Answer{Err: notApplied(reason)}) // the core never saw it
		}
		n.handed = 0
		for _, w := range ev.reads {
			if w != nil {
				w.answer(&Answer{Err: reason})
			}
		}
		for _, asked := range ev.calls {
			if asked.waiter != nil {
				asked.waiter.answer(&Answer{Err: notApplied(reason)})
			}
		}
		for _, q := range ev.queries {
			reply(q, n.last)
		}
	}
	if n.proposing != nil { // the core broke on it
		n.proposing.answer(&Answer{Err: outcomeUnknown(reason)})
	}
	n.proposals.each(func(w *waiter) { w.answer(&Answer{Err: outcomeUnknown(reason)}) })
	n.calls.each(func(w *waiter) { w.answer(&Answer{Err: outcomeUnknown(reason)}) })
	n.reads.each(func(w *waiter) { w.answer(&Answer{Err: reason}) })
	n.proposals, n.reads, n.calls = waiters{}, waiters{}, waiters{}
	close(n.done)
	n.board.post(Leadership{Term: n.last.Term, Role: n.last.Role}, Stopped{n.failed})

	n.writes.close()
	n.fetches.close()
	n.applies.close()
	n.closing = guard("transport", n.config.Transport.Close)
}

// settle lets the core answer what it can: it knows what was applied, and which commands never left this
// server.
func (n *Node) settle(rest *events, reason error) {
	now := n.now()
	for _, ev := range []*events{&n.events, rest} {
		for i := range ev.batches {
			n.core.Applied(now, ev.batches[i])
		}
	}
	n.proposals.each(func(w *waiter) { n.core.Cancel(w.number, reason) })
	n.calls.each(func(w *waiter) { n.core.CancelCall(w.number, reason) })
	n.core.Drain(&n.effects)
	n.answer()
}

// leave is called by each goroutine when it ends. The last user of something closes that.
func (n *Node) leave(users *atomic.Int32, closeIt func()) {
	if users != nil && users.Add(-1) == 0 {
		closeIt()
	}
	if n.users.Add(-1) == 0 {
		close(n.released)
	}
}

func (n *Node) closeStorage() { n.storageClose = guard("storage", n.config.Storage.Close) }
