package raft

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft/internal/logbook"
)

// A lifetime follows a node from its start to its end. It counts the goroutines, and holds what is
// left when they are gone.
type lifetime struct {
	ctx    context.Context // ends when the node stops
	cancel context.CancelFunc

	done   chan struct{} // closed when the node has stopped
	failed error         // set before done is closed: the failure, or nil after Close
	last   Status        // set before done is closed

	goroutines   atomic.Int32  // how many run
	storageUsers atomic.Int32  // how many of them may write or read the log
	released     chan struct{} // closed when none runs any more
	log          diary         // ended by the last of them
	// closing is the error of closing the transport, and storageClose that of closing the storage.
	// They are set before released is closed.
	closing, storageClose error
}

// begin counts the loop.
func (f *lifetime) begin(log diary) {
	f.log = log
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.done, f.released = make(chan struct{}), make(chan struct{})
	f.goroutines.Store(1)
	f.storageUsers.Store(1)
}

// enter counts another goroutine, which ends with leave.
func (f *lifetime) enter() { f.goroutines.Add(1) }

// enterStorage counts another goroutine that uses the storage, which ends with leaveStorage.
func (f *lifetime) enterStorage() {
	f.storageUsers.Add(1)
	f.enter()
}

// leave is the last call of each goroutine. The last of them waits until the log is written, or for
// a Logger that blocks up to logbook.Patience.
func (f *lifetime) leave() {
	if f.goroutines.Add(-1) == 0 {
		patience := time.NewTimer(logbook.Patience)
		defer patience.Stop()
		f.log.book.Close(patience.C)
		close(f.released)
	}
}

// leaveStorage is the last call of each goroutine that uses the storage. The last of them closes
// it.
func (n *Node) leaveStorage() {
	if n.life.storageUsers.Add(-1) == 0 {
		n.life.storageClose = guard("storage", n.config.Storage.Close)
	}
	n.life.leave()
}

// ended is called when the loop takes no more turns.
func (n *Node) ended(l *loop, cause error, intact bool) {
	defer n.leaveStorage()
	if l.host != nil {
		l.host.book.ended(n.group)
		if l.scrubbing {
			l.host.scrub.done()
		}
	}
	n.finish(l, cause, intact)
	n.inbox.account.close()
	l.tail.close()
}

// finish ends the node's part in the cluster. Every caller gets an honest answer, and then
// everything is let go. intact says that the core can still be asked.
func (n *Node) finish(l *loop, cause error, intact bool) {
	reason := ErrClosed
	if cause != errClose {
		n.life.failed = cause
		reason = stopped(cause)
		l.logFailure(cause)
	}
	// Whoever hears that the node has stopped, by an answer or by Done, finds that it no longer leads.
	n.board.post(Leadership{Term: n.board.leadership().Term, Role: stoppedRole})
	rest := n.inbox.close(reason)
	n.life.cancel()
	n.life.last = l.end(&rest, reason, intact)
	close(n.life.done)
	n.board.post(Stopped{n.life.failed})
	n.lanes.close()
	n.life.enterStorage() // the loop still is one
	go n.discardReceived()
	n.life.closing = guard("transport", n.config.Transport.Close)
}

// discardReceived throws away what has come of a snapshot, when the node has stopped. A stream that
// still stores throws it away itself.
func (n *Node) discardReceived() {
	defer n.leaveStorage()
	n.transfers.receiver.stop(&n.transfers)
}

// end answers everybody who waits for the loop, which takes no more turns. It returns the last
// status. rest is what the inbox still held. intact says that the core can still be asked.
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

// settle lets the core answer what it can. The core knows which commands were applied, and which
// commands never left this server.
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
