package raft

import (
	"context"
	"errors"
	"runtime/debug"
)

// Done returns a channel that is closed when no group runs any more, by Close or because the disk has
// failed.
func (h *Host) Done() <-chan struct{} { return h.life.done }

// Err returns the failure that stopped the host. It is nil while the host runs, and nil after Close.
func (h *Host) Err() error {
	select {
	case <-h.life.done:
		return h.life.failed
	default:
		return nil
	}
}

// Close stops all groups, and first hands over those that this server leads, as Node.Close does. It returns
// when everything is released. If ctx ends before that, the error wraps ctx.Err(), and the rest is
// released when the calls of the storage, the transport or the state machines return that hold it up.
// Otherwise the error is what closing the transport and the storage returned.
func (h *Host) Close(ctx context.Context) error {
	h.refuse(ErrClosed)
	leading, rest := h.byRole()
	resign(ctx, leading, maxHandovers)
	resign(ctx, rest, len(rest))
	h.stop(errClose)
	select {
	case <-h.life.released:
		return h.life.closing
	default:
	}
	select {
	case <-h.life.released:
		return h.life.closing
	case <-ctx.Done():
		return because(errors.New("raft: close host"), ctx.Err())
	}
}

// maxHandovers is how many groups a host that closes hands over at a time. If there were many more, each would
// take longer than an election timeout.
const maxHandovers = 4096

// resign lets nodes stop, so many at a time, and waits until they have. Those that lead hand over first.
func resign(ctx context.Context, nodes []*Node, atATime int) {
	for i := range len(nodes) + atATime {
		if i >= atATime {
			select {
			case <-nodes[i-atATime].life.done.wait():
			case <-ctx.Done():
			}
		}
		if i < len(nodes) {
			nodes[i].inbox.resign()
		}
	}
}

// byRole returns the nodes of the groups that this server leads, and the others.
func (h *Host) byRole() (leading, rest []*Node) {
	for _, n := range h.nodes() {
		if n.board.leadership().Leader == h.config.ID {
			leading = append(leading, n)
		} else {
			rest = append(rest, n)
		}
	}
	return leading, rest
}

// refuse lets no more groups start.
func (h *Host) refuse(reason error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed == nil {
		h.closed = reason
	}
}

// stop ends the host for a reason, in a goroutine of its own.
func (h *Host) stop(cause error) {
	h.life.end.Do(func() { go h.finish(cause) })
}

// finish ends all groups, and then gives everything back.
func (h *Host) finish(cause error) {
	reason := ErrClosed
	if cause != errClose {
		reason = stopped(cause)
		h.life.failed = cause
	}
	h.refuse(reason)
	nodes := h.nodes()
	for _, n := range nodes {
		n.inbox.stop(cause)
	}
	for _, n := range nodes {
		<-n.life.done.wait()
	}
	h.book.stop()
	h.scrub.stop()
	h.snapshots.takes.stop()
	close(h.life.done)
	err := guard("transport", h.config.Transport.Close)
	h.opener.queue.close()
	for _, n := range nodes {
		<-n.life.released.wait()
	}
	h.disk.queue.close()
	for _, s := range h.shards {
		s.release()
	}
	h.life.goroutines.Wait()
	h.life.closing = errors.Join(err, guard("storage", h.config.Storage.Close))
	h.logger.close()
	close(h.life.released)
}

// protect ends the host if what the caller does panics. It is deferred.
func (h *Host) protect(where string) {
	if r := recover(); r != nil {
		h.stop(&PanicError{Where: where, Value: r, Stack: debug.Stack()})
	}
}
