package typed

import (
	"context"
	"errors"

	"github.com/e17579a5/raft"
)

// A Session sends the commands of one client, each of which is applied once. Several goroutines may
// use it, for at most wire.MaxSessionCommands commands at a time.
type Session[C, R any] struct {
	node *Node[C, R]
	side *raft.Session
}

// OpenSession opens a session of this cluster, as raft.Node.OpenSession does.
func (n *Node[C, R]) OpenSession(ctx context.Context) (*Session[C, R], error) {
	id, err := n.raftNode.OpenSession(ctx)
	if err != nil {
		return nil, err
	}
	return n.Session(raft.NewSession(id)), nil
}

// Session returns the Session of a client that has opened it already, or has resumed it
// (raft.ResumeSession).
func (n *Node[C, R]) Session(side *raft.Session) *Session[C, R] { return &Session[C, R]{n, side} }

// Side returns the client's side of the session: its ID, and the numbers by which a command may be
// sent again at other servers (Node.ProposeInSession).
func (s *Session[C, R]) Side() *raft.Session { return s.side }

// Propose sends a command until its outcome is known, under one number. The result and the errors are
// those of Node.ProposeInSession. The outcome is unknown only if ctx ends or the server stops. A
// caller who wants to send the command again then takes a number of his own (Side).
func (s *Session[C, R]) Propose(ctx context.Context, command C) (R, error) {
	number, err := s.side.Next()
	if err != nil {
		return none[R](), notApplied(err)
	}
	defer s.side.Done(number)
	for {
		result, err := s.node.ProposeInSession(ctx, number, command)
		if !errors.Is(err, raft.ErrSnapshotInstalled) || ctx.Err() != nil {
			return result, err
		}
	}
}

// Close ends the session.
func (s *Session[C, R]) Close(ctx context.Context) error {
	return s.node.CloseSession(ctx, s.side.ID())
}
