package raft

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/e17579a5/raft/wire"
)

// Propose replicates a command and returns the result that the state machine gave for it. It can be
// called at any server. The command finds its way to the leader. If the leader changes, it is
// offered to the next one, until it is applied or ctx ends. It is never applied twice. Propose
// copies the command: the caller may use the memory again as soon as Propose has returned.
//
// Every error is one of two. ErrNotApplied: the command wasn't applied and never will be, so it is
// safe to propose it again. ErrOutcomeUnknown: the command may be applied or not, now or later.
// Both wrap the reason:
//
//   - ctx.Err(), when ctx has ended
//   - ErrOverloaded, when too much waits already (Config.MaxPending and the limits beside it)
//   - ErrTooLarge, when the command exceeds Config.MaxCommandBytes
//   - the error of Config.Validate
//   - ErrNotLeader, when ctx has a fence (see Fence)
//   - ErrSnapshotInstalled, when a snapshot took the place of the entries that the command may be
//     in
//   - ErrRemoved, when this server was removed from the cluster
//   - ErrClosed, after Close
//   - ErrStopped, with the failure that stopped the node
//
// The error is also a *CallError, which tells who leads.
func (n *Node) Propose(ctx context.Context, command []byte) ([]byte, error) {
	if err := n.checkCommand(ctx, command); err != nil {
		return nil, n.refuseCommand(err)
	}
	return n.propose(ctx, Proposal{Kind: wire.EntryCommand, Data: n.slabs.copy(nil, command)})
}

// checkCommand returns an error if the command must not be proposed.
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
	wishes := wishesOf(ctx)
	p.Fence = wishes.fence
	if err := n.inbox.propose(w, p); err != nil {
		n.waiters.put(w)
		return nil, n.refused(waitsForCommand, notApplied(err))
	}
	if !w.wait(ctx) {
		if err := n.giveUp(ctx, w); err != nil {
			return nil, err
		}
		wishes.trace.note(w)
		return w.result, w.err
	}
	wishes.trace.note(w)
	result, err := w.result, w.err
	n.waiters.put(w)
	return result, err
}

// giveUp ends a wait because ctx has ended. The loop knows why the caller has waited, and whether
// the command has left this server: so it is let answer, which it does at once. Then giveUp returns
// nil, and the answer is in the waiter. While the loop stands still inside a function of the user's,
// giveUp returns what is known without it.
//
// The waiter isn't used again: the loop may take the cancellation after it has given another
// answer.
func (n *Node) giveUp(ctx context.Context, w *waiter) error {
	n.inbox.cancel(w, ctx.Err())
	patience := time.NewTimer(n.config.patience())
	defer patience.Stop()
	select {
	case <-w.done:
		return nil
	case <-patience.C:
	}
	stuck := fmt.Errorf("%w, and the node stands still: %s", ctx.Err(), n.step.holdsUp())
	switch withdrawn := n.inbox.withdraw(w); {
	case w.kind != waitsForCommand && w.kind != waitsForCall:
		return stuck
	case withdrawn:
		return notApplied(stuck)
	}
	return outcomeUnknown(stuck)
}

// Read makes a read of the local state linearizable (§6.4). When it returns nil, the state machine
// of this server shows everything that was acknowledged anywhere before Read was called. The caller
// then reads the state itself, and must see to it that this is safe beside Apply.
//
// Read can be called at any server, a learner included. It writes nothing to the log, and many
// reads share one round of messages to the other servers. It waits until a leader has confirmed the
// read, or ctx ends.
//
// The error wraps the reason: ctx.Err(), ErrOverloaded, ErrRemoved, ErrClosed, or ErrStopped with
// the failure that stopped the node. It is also a *CallError, which tells who leads. A read that
// failed can always be tried again.
func (n *Node) Read(ctx context.Context) error {
	_, err := n.readAs(ctx, waitsForRead, 0)
	return err
}

// LeaseRead is Read without the round of messages: while the leader holds a lease, it answers
// without asking other servers (§6.4.1). So its promise rests on the clocks: it is that of Read as
// long as the servers' clocks keep to Config.ClockDrift. Where the leader holds no lease, LeaseRead
// does what Read does; with Config.MaxLease 0 it always does. Its errors are those of Read.
func (n *Node) LeaseRead(ctx context.Context) error {
	_, err := n.readAs(ctx, waitsForLeaseRead, 0)
	return err
}

// StaleRead is for reads that may be a little old. It returns nil at once if this server knows that
// its state was the newest at some moment in the last maxAge. Otherwise it does what Read does. It
// returns the age: how long ago that moment is at most. Everything that was acknowledged anywhere
// before that moment shows in the state.
//
// The moment is when this server sent the last request for a read that the leader has confirmed, by
// this server's own clock. So the age is unknown until the first read at this server, of whatever
// kind, and grows from one confirmed read to the next. A negative maxAge is 0. The errors are those
// of Read.
func (n *Node) StaleRead(ctx context.Context, maxAge time.Duration) (age time.Duration, err error) {
	fresh, err := n.readAs(ctx, waitsForStaleRead, max(maxAge, 0))
	if err != nil {
		return 0, err
	}
	return time.Duration(n.clock.now() - fresh), nil
}

// readAs hands a read in and waits until it may be served. It returns the moment at which the state
// was the newest.
func (n *Node) readAs(ctx context.Context, kind waiterKind, maxAge time.Duration) (Instant, error) {
	fresh, err := n.waitToRead(ctx, kind, maxAge)
	if err != nil {
		return 0, n.callError(readFailed(err))
	}
	return fresh, nil
}

func (n *Node) waitToRead(ctx context.Context, kind waiterKind, maxAge time.Duration) (Instant, error) {
	if err := ctx.Err(); err != nil {
		return 0, n.refused(kind, err)
	}
	w := n.waiters.get()
	w.kind, w.maxAge = kind, maxAge
	if err := n.inbox.read(w); err != nil {
		n.waiters.put(w)
		return 0, n.refused(kind, err)
	}
	if !w.wait(ctx) {
		if err := n.giveUp(ctx, w); err != nil {
			return 0, err
		}
		wishesOf(ctx).trace.note(w)
		return w.fresh, w.err
	}
	wishesOf(ctx).trace.note(w)
	fresh, err := w.fresh, w.err
	n.waiters.put(w)
	return fresh, err
}

// call asks the leader for something about the cluster itself. It returns the index of the
// configuration that this led to. Its error is as honest about the outcome as that of Propose.
func (n *Node) call(ctx context.Context, call wire.Call) (Index, error) {
	index, err := n.waitForCall(ctx, call)
	if err != nil {
		return 0, n.callError(err)
	}
	return index, nil
}

func (n *Node) waitForCall(ctx context.Context, call wire.Call) (Index, error) {
	if err := ctx.Err(); err != nil {
		return 0, n.refused(waitsForCall, notApplied(err))
	}
	w := n.waiters.get()
	w.kind = waitsForCall
	if err := n.inbox.call(w, call); err != nil {
		n.waiters.put(w)
		return 0, n.refused(waitsForCall, notApplied(err))
	}
	if !w.wait(ctx) {
		if err := n.giveUp(ctx, w); err != nil {
			return 0, err
		}
		wishesOf(ctx).trace.note(w)
		return w.index, w.err
	}
	wishesOf(ctx).trace.note(w)
	index, err := w.index, w.err
	n.waiters.put(w)
	return index, err
}

func readFailed(reason error) error { return because(errors.New("raft: read not served"), reason) }

// unserved is the reason for which a caller gave up, with what it had waited for.
type unserved struct {
	error
	wait     *Wait
	noLeader *NoLeader
}

// Unwrap returns the reason.
func (e *unserved) Unwrap() error { return e.error }

// A CallError is the error of a call that a leader must answer: Propose and ProposeInSession, the
// three reads, OpenSession and CloseSession, TransferLeadership, and the calls that change the
// members. It adds what this server knew of the leadership when the call ended, and so it says
// where to try again.
//
// Err is the outcome with its reason. errors.Is finds both in it: ErrNotApplied or
// ErrOutcomeUnknown, and ErrOverloaded, ctx.Err() and so on. The error of a read has only a reason.
// If the call ended because ctx did, and the server takes no part in its cluster, errors.Is finds
// the Trouble of its Status too.
type CallError struct {
	Err        error
	Leadership Leadership
	// Wait and NoLeader explain a call that ended because its context did: what the oldest call of
	// its kind at this server waited for, and why there was no leader. Each is nil when there is
	// nothing to explain.
	Wait     *Wait
	NoLeader *NoLeader
}

// callError adds to the error of a call what this server knows of the leadership, and what the call
// has waited for.
func (n *Node) callError(err error) error {
	failed := &CallError{Err: err, Leadership: n.Leadership()}
	var why *unserved
	if errors.As(err, &why) {
		failed.Wait, failed.NoLeader = why.wait, why.noLeader
	}
	return failed
}

// Error tells the outcome, the reason, who leads, and what the call has waited for.
func (e *CallError) Error() string {
	l, text := &e.Leadership, e.Err.Error()
	switch {
	case l.Role == stoppedRole:
		return text
	case l.Leader == "":
		text += fmt.Sprintf(" (no leader is known in term %d)", l.Term)
	case l.LeaderAddress == "":
		text += fmt.Sprintf(" (%s leads in term %d)", l.Leader, l.Term)
	default:
		text += fmt.Sprintf(" (%s at %s leads in term %d)", l.Leader, l.LeaderAddress, l.Term)
	}
	switch {
	case e.NoLeader != nil:
		text += ": " + e.NoLeader.why()
	case e.Wait != nil:
		text += ": " + e.Wait.oldest(l.Leader)
	}
	return text
}

// Unwrap returns Err.
func (e *CallError) Unwrap() error { return e.Err }
