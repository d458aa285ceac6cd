package raft

import (
	"context"
	"sync"
	"sync/atomic"
)

// A lifetime follows a node from its start to its end. It counts the goroutines, and holds what is
// left when they are gone.
type lifetime struct {
	stops signal // given when the node stops

	mu     sync.Mutex
	ctx    context.Context // ends when the node stops; nil until somebody needs it
	cancel context.CancelFunc

	done   signal  // given when the node has stopped
	failed error   // set before done is given: the failure, or nil after Close
	last   *Status // set before done is given

	goroutines   atomic.Int32 // how many run
	storageUsers atomic.Int32 // how many of them may write or read the log
	released     signal       // given when none runs any more
	log          *diary       // ended by the last of them
	// closing is the error of closing the transport, and storageClose that of closing the storage.
	// They are set before released is given.
	closing, storageClose error
}

// A signal is given once. Most are given when nobody waits, so the channel is made for the first that
// does.
type signal struct{ channel atomic.Pointer[chan struct{}] }

// closedChannel is the channel of a signal that was given before anybody waited.
var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// wait returns a channel that is closed when the signal is given.
func (s *signal) wait() <-chan struct{} {
	for {
		if c := s.channel.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		s.channel.CompareAndSwap(nil, &c)
	}
}

// give gives the signal.
func (s *signal) give() {
	if c := s.channel.Swap(&closedChannel); c != nil {
		close(*c)
	}
}

// given says whether the signal was given.
func (s *signal) given() bool { return s.channel.Load() == &closedChannel }

// context returns a context that ends when the node stops.
func (f *lifetime) context() context.Context {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ctx == nil {
		f.ctx, f.cancel = context.WithCancel(context.Background())
		if f.stops.given() {
			f.cancel()
		}
	}
	return f.ctx
}

// stop ends that context.
func (f *lifetime) stop() {
	f.stops.give()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cancel != nil {
		f.cancel()
	}
}

// begin counts the loop.
func (f *lifetime) begin(log *diary) {
	f.log = log
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

// useStorage counts a goroutine that uses the storage and that nobody has started who does, like
// enterStorage. It returns false if the storage is closed.
func (f *lifetime) useStorage() bool {
	if !another(&f.goroutines) {
		return false
	}
	if !another(&f.storageUsers) {
		f.leave()
		return false
	}
	return true
}

// another counts one more, unless there is none any more.
func another(users *atomic.Int32) bool {
	for {
		n := users.Load()
		if n == 0 || users.CompareAndSwap(n, n+1) {
			return n > 0
		}
	}
}

// leave is the last call of each goroutine. The last of them waits until the log is written, or for
// a Logger that blocks up to logbook.Patience.
func (f *lifetime) leave() {
	if f.goroutines.Add(-1) == 0 {
		f.log.close()
		f.released.give()
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
	l.wake()
	defer n.leaveStorage()
	if l.host != nil {
		l.host.book.ended(n.group)
		if l.scrubbing {
			l.host.scrub.done()
		}
		l.host.snapshots.takes.leave(n, l.dueTake)
		l.host.snapshots.logs.forget(l)
	}
	n.finish(l, cause, intact)
	n.inbox.commandRoom.close()
	n.inbox.messageRoom.close()
	l.tail.close()
	if l.host != nil {
		l.host.scrub.ends(n.group)
	}
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
	n.life.stop()
	last := l.end(rest, reason, intact)
	n.life.last = &last
	n.life.done.give()
	n.board.post(Stopped{n.life.failed})
	n.lanes.close()
	if !n.transfers.receiver.unused() {
		n.life.enterStorage() // the loop still is one
		go n.discardReceived()
	}
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
		err := guard("core", func() error { l.settle(rest, reason); return nil })
		if intact = err == nil; !intact {
			l.logFailure(err) // nobody would hear of it otherwise
		}
	}
	last := l.stoppedStatus(intact)
	for _, got := range []*intake{l.intake, rest} {
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
	l.waiting = new(waiting)
	return last
}

// settle lets the core answer what it can. The core knows which commands were applied, and which
// commands never left this server.
func (l *loop) settle(rest *intake, reason error) {
	now := l.clock.now()
	for _, got := range []*intake{l.intake, rest} {
		for i := range got.batches {
			l.core.Applied(now, got.batches[i])
		}
	}
	l.waiting.commands.each(func(w *waiter) { l.core.Cancel(w.number, reason) })
	l.waiting.calls.each(func(w *waiter) { l.core.CancelCall(w.number, reason) })
	l.core.Drain(&l.effects)
	l.answer()
}
