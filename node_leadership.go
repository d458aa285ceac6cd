package raft

import (
	"context"

	"github.com/e17579a5/raft/wire"
)

// TransferLeadership hands the leadership over to a server (§3.10), or to the best one if to is "".
// It can be called at any server. It returns nil when the server leads, or, for "", when another
// one than before does.
//
// The leader takes no commands from now until then: it brings the server up to date and lets it
// campaign. If that one doesn't lead after an election timeout, the leader goes on, and the error
// is ErrTransferGivenUp. It is ErrTransferTarget at once if the server leads already, doesn't vote
// or isn't a member, and ErrTransferInProgress if the leader is handing over to another one. As for
// Propose, every error is also ErrNotApplied or ErrOutcomeUnknown.
func (n *Node) TransferLeadership(ctx context.Context, to ServerID) error {
	call := wire.Call{Kind: wire.CallTransfer}
	if to != "" {
		call.Members = []Member{{Server: Server{ID: to}}}
	}
	if _, err := n.call(ctx, call); err != nil {
		return n.callError(err)
	}
	return nil
}

// WhileLeader waits until this server leads and its state machine has applied the entry that began
// its term, so that everything that was ever acknowledged shows in it. Then it calls f with the
// term, and returns what f returns. It calls f once: who wants to act in each leadership calls
// WhileLeader again.
//
// The context of f ends when the leadership does, with the cause ErrNotLeader, or when ctx or the
// node does. What is proposed with it, or with one made of it, is fenced (Fence): it is applied in
// this term or never.
//
// The term is a fence for the world outside too: a later leader has a higher one. A leader that is
// cut off, or paused, learns up to an election timeout late that another one leads, and so two
// calls of f, at two servers, may overlap.
//
// The error is what f returned, or, when f wasn't called, ctx.Err(), ErrClosed, or ErrStopped with
// the failure.
func (n *Node) WhileLeader(ctx context.Context, f func(ctx context.Context, term Term) error) error {
	w := n.board.watch()
	defer n.board.leave(w)
	term, err := n.untilLeader(ctx, w)
	if err != nil {
		return err
	}
	leading, cancel := context.WithCancelCause(Fence(ctx, term))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		cancel(n.untilDeposed(leading, w, term))
	}()
	defer func() {
		cancel(nil)
		<-watched
	}()
	return f(leading, term)
}

// untilLeader waits until this server leads, and returns the term.
func (n *Node) untilLeader(ctx context.Context, w *watcher) (Term, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if l := n.Leadership(); l.Ready {
			return l.Term, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		case <-n.life.done:
			return 0, n.stopReason()
		}
	}
}

// untilDeposed waits until the leadership of a term is over, and returns why.
func (n *Node) untilDeposed(leading context.Context, w *watcher, term Term) error {
	for {
		if l := n.Leadership(); !l.Ready || l.Term != term {
			return ErrNotLeader
		}
		select {
		case <-w.wake:
		case <-leading.Done():
			return context.Cause(leading)
		case <-n.life.done:
			return n.stopReason()
		}
	}
}

// stopReason says why a node that has stopped did.
func (n *Node) stopReason() error {
	if n.life.failed == nil {
		return ErrClosed
	}
	return stopped(n.life.failed)
}

// fenceKey is the key of a context's fence.
type fenceKey struct{}

// Fence returns a context with which commands are proposed in this term only, and at this server
// only: while it leads in the term, they are appended; they are never forwarded, nor offered to
// another leader, and refused with ErrNotLeader instead. So what a leader decides by its own state
// can't be applied after another leader has decided otherwise. The context of WhileLeader is one.
func Fence(ctx context.Context, term Term) context.Context {
	return context.WithValue(ctx, fenceKey{}, term)
}

// fenceOf returns the fence of a context, or 0.
func fenceOf(ctx context.Context) Term {
	term, _ := ctx.Value(fenceKey{}).(Term)
	return term
}
