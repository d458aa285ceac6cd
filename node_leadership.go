package raft

import (
	"context"

	"github.com/e17579a5/raft/wire"
)

// TransferLeadership hands the leadership over to a server (§3.10). It can be called at any server.
// It returns nil when the server leads. If to is "", the leader chooses the best server, and
// TransferLeadership returns nil when a leader of a later term is known.
//
// Until then the leader takes no commands: it brings the server up to date and lets it campaign. If
// the server doesn't lead after an election timeout, the old leader goes on, and the error is
// ErrTransferGivenUp. The error is ErrTransferTarget, at once, if the server leads already, doesn't
// vote or isn't a member, or if to is "" and there is no server to hand over to. (A leader that was
// just elected first finds out who answers.) It is
// ErrTransferInProgress if the leader is handing over to another server.
//
// As for Propose, every error is also a *CallError, and either ErrNotApplied or ErrOutcomeUnknown.
func (n *Node) TransferLeadership(ctx context.Context, to ServerID) error {
	call := wire.Call{Kind: wire.CallTransfer}
	if to != "" {
		call.Members = []Member{{Server: Server{ID: to}}}
	}
	_, err := n.call(ctx, call)
	return err
}

// WhileLeader does what only the leader is to do. It waits until this server leads and its state
// machine has applied the entry that began its term: then everything that was ever acknowledged
// shows in the state (§6.4). It calls f with the term, and returns what f returns. It calls f once:
// a server that is to act in each of its leaderships calls WhileLeader again and again.
//
// The context of f ends with the leadership, with the cause ErrNotLeader. It also ends when ctx or
// the node does. f must return soon after that. Whatever is proposed with this context, or with one
// derived from it, is fenced (see Fence): it is applied in this term or never.
//
// The term is a fence for the outside world too, since a later leader has a higher term. Such a
// fence is needed there: a leader that is cut off or paused learns up to an election timeout late
// that another server leads, so two calls of f at two servers may overlap.
//
// The error is what f returned. If f wasn't called, it wraps ctx.Err(), with the Trouble of a server
// that takes no part, or is ErrClosed, or ErrStopped with the failure that stopped the node.
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
			if _, _, trouble := n.board.shown(); trouble.Err != nil {
				err = because(err, trouble.Err)
			}
			return 0, err
		}
		if l := n.Leadership(); l.Ready {
			return l.Term, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		case <-n.life.done.wait():
			return 0, n.stopReason()
		}
	}
}

// untilDeposed waits until the leadership of a term is over, and returns why.
func (n *Node) untilDeposed(leading context.Context, w *watcher, term Term) error {
	for {
		switch l := n.Leadership(); {
		case l.Role == stoppedRole:
			<-n.life.done.wait()
			return n.stopReason()
		case !l.Ready || l.Term != term:
			return ErrNotLeader
		}
		select {
		case <-w.wake:
		case <-leading.Done():
			return context.Cause(leading)
		case <-n.life.done.wait():
			return n.stopReason()
		}
	}
}

// stopReason returns why the node has stopped, as an error for a caller.
func (n *Node) stopReason() error {
	if n.life.failed == nil {
		return ErrClosed
	}
	return stopped(n.life.failed)
}

// Fence returns a context that fences commands to one term of one leader. A command that is
// proposed with it is appended only by the server at which it was proposed, and only while that
// leads in this term. It is never forwarded to another server, nor offered to another leader:
// instead it gets ErrNotApplied with ErrNotLeader. So when a leader decides by its own state, its
// command can't be applied after another leader has decided otherwise. The context that WhileLeader
// passes to f is fenced already. Term 0 is no fence.
func Fence(ctx context.Context, term Term) context.Context {
	w := wishesOf(ctx)
	w.fence = term
	return context.WithValue(ctx, wishesKey{}, w)
}

// wishesKey is the key of what a context asks of the calls that it is for.
type wishesKey struct{}

// wishes are what a context asks of calls: a fence, if it isn't 0, and to be told what became of
// them, if it isn't nil. They have one key, since each look for a key takes time.
type wishes struct {
	fence Term
	trace *CallTrace
}

// wishesOf returns what a context asks.
func wishesOf(ctx context.Context) wishes {
	w, _ := ctx.Value(wishesKey{}).(wishes)
	return w
}
