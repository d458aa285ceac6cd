package raft

import (
	"context"
	"fmt"
	"time"

	"github.com/e17579a5/raft/wire"
)

// Propose replicates a command and returns what the state machine answered to it. It can be called
// at any server: the command finds its way to the leader, and is offered to the next one when that
// changes, until it is applied or ctx ends. It is never applied twice. The command is copied before
// Propose returns, for whatever reason it does.
//
// An error is either ErrNotApplied: the command wasn't applied and never will be, so it is safe to
// propose it again; or ErrOutcomeUnknown: it may be applied or not, now or later. Both wrap the
// reason: ctx.Err(), ErrOverloaded, ErrTooLarge, what Config.Validate has returned, ErrClosed, or
// ErrStopped with the failure that stopped the node. It is also a *CallError, which tells who
// leads.
func (n *Node) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if err := n.checkCommand(ctx, command); err != nil {
		return nil, n.callError(notApplied(err))
	}
	return n.propose(ctx, Proposal{Kind: wire.EntryCommand, Data: n.slabs.copy(nil, command)})
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
	w := n.waiters.get()
	p.Fence = fenceOf(ctx)
	if err := n.inbox.propose(w, p); err != nil {
		n.waiters.put(w)
		return nil, notApplied(err)
	}
	if !w.wait(ctx) {
		// The core knows whether the command has left this server. It answers at once. The waiter
		// isn't used again: the loop may see the cancellation after it gave another answer.
		n.inbox.cancel(w, ctx.Err())
		<-w.done
		return w.result, w.err
	}
	result, err := w.result, w.err
	n.waiters.put(w)
	return result, err
}

// Read waits until the state machine of this server is at least as new as the call: what was
// acknowledged anywhere before Read was called shows in it when Read returns nil (§6.4). It can be
// called at any server, costs no entry in the log, and many reads share one round to the other
// servers. The state is then read by the caller, who must see to it that this is safe beside Apply.
//
// An error wraps the reason: ctx.Err(), ErrOverloaded, ErrClosed, or ErrStopped with the failure.
// It is also a *CallError, which tells who leads.
func (n *Node) Read(ctx context.Context) error {
	_, err := n.readAs(ctx, waitsForRead, 0)
	return err
}

// LeaseRead is Read, except that the leader needn't ask anybody while it holds a lease (§6.4.1): it
// is as fresh as long as the servers' clocks keep to Config.ClockDrift. Where there is no lease, as
// with Config.MaxLease 0, it is Read.
func (n *Node) LeaseRead(ctx context.Context) error {
	_, err := n.readAs(ctx, waitsForLeaseRead, 0)
	return err
}

// StaleRead returns nil at once if this server's state was the newest not longer than maxAge ago,
// as far as it knows, and is Read otherwise. It returns how long ago that was at most: everything
// that was acknowledged before shows in the state. The age is counted, on this server's own clock,
// from when it sent the last request for a read that a leader has answered; so it is unknown until
// this server's first read, of whatever kind, and as old as the last one.
func (n *Node) StaleRead(ctx context.Context, maxAge time.Duration) (age time.Duration, err error) {
	fresh, err := n.readAs(ctx, waitsForStaleRead, max(maxAge, 0))
	if err != nil {
		return 0, err
	}
	return time.Duration(n.clock.now() - fresh), nil
}

// readAs hands a read in and waits until it may be served. It returns when the state was the
// newest.
func (n *Node) readAs(ctx context.Context, kind waiterKind, maxAge time.Duration) (Instant, error) {
	fresh, err := n.waitToRead(ctx, kind, maxAge)
	if err != nil {
		return 0, n.callError(readFailed(err))
	}
	return fresh, nil
}

func (n *Node) waitToRead(ctx context.Context, kind waiterKind, maxAge time.Duration) (Instant, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	w := n.waiters.get()
	w.kind, w.maxAge = kind, maxAge
	if err := n.inbox.read(w); err != nil {
		n.waiters.put(w)
		return 0, err
	}
	if !w.wait(ctx) {
		n.inbox.cancel(w, ctx.Err())
		return 0, ctx.Err()
	}
	fresh, err := w.fresh, w.err
	n.waiters.put(w)
	return fresh, err
}

// call asks the leader for something about the cluster itself, and returns the index of the
// configuration that it led to. It is as honest about its outcome as Propose.
func (n *Node) call(ctx context.Context, call wire.Call) (Index, error) {
	index, err := n.waitForCall(ctx, call)
	if err != nil {
		return 0, n.callError(err)
	}
	return index, nil
}

func (n *Node) waitForCall(ctx context.Context, call wire.Call) (Index, error) {
	if err := ctx.Err(); err != nil {
		return 0, notApplied(err)
	}
	w := n.waiters.get()
	w.kind = waitsForCall
	if err := n.inbox.call(w, call); err != nil {
		n.waiters.put(w)
		return 0, notApplied(err)
	}
	if !w.wait(ctx) {
		n.inbox.cancel(w, ctx.Err())
		<-w.done
		return w.index, w.err
	}
	index, err := w.index, w.err
	n.waiters.put(w)
	return index, err
}

func readFailed(reason error) error { return fmt.Errorf("raft: read not served: %w", reason) }

// A CallError is every error of Propose, of Read and of the calls that change the members. It tells
// what became of the call, and what this server knew of the leadership when the call ended: so it
// tells where to try again. Err is the outcome with its reason. errors.Is finds both in it:
// ErrNotApplied or ErrOutcomeUnknown, and ErrOverloaded, ctx.Err(), and so on.
type CallError struct {
	Err        error
	Leadership Leadership
}

// Error tells the outcome, the reason and the leadership.
func (e *CallError) Error() string {
	l := &e.Leadership
	switch {
	case l.Role == stoppedRole:
		return e.Err.Error()
	case l.Leader == "":
		return fmt.Sprintf("%v (no leader is known in term %d)", e.Err, l.Term)
	case l.LeaderAddress == "":
		return fmt.Sprintf("%v (%s leads in term %d)", e.Err, l.Leader, l.Term)
	}
	return fmt.Sprintf("%v (%s at %s leads in term %d)", e.Err, l.Leader, l.LeaderAddress, l.Term)
}

// Unwrap returns Err.
func (e *CallError) Unwrap() error { return e.Err }
