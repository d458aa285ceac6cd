package raft

import (
	"context"
	"fmt"
	"sync"

	"github.com/e17579a5/raft/wire"
)

// OpenSession opens a session (§6.3). A session is for a client of the service that may send a
// command more than once, because it lost its connection, or because the server that it spoke to
// crashed. OpenSession can be called at any server. NewSession is the client's side of the session.
//
// A session lives until CloseSession ends it, or until it expires: when there would be more
// sessions than Config.MaxSessions, or more results than Config.MaxSessionBytes, those that were
// used least recently expire. The log alone decides that, never a clock.
//
// The error is a *CallError, and ErrNotApplied or ErrOutcomeUnknown as for Propose. Another reason
// for ErrNotApplied is ErrNotInForce: some server of the cluster doesn't know sessions yet. After
// ErrOutcomeUnknown there may be a session that no client knows of. It does no harm, and expires.
func (n *Node) OpenSession(ctx context.Context) (SessionID, error) {
	if err := ctx.Err(); err != nil {
		return SessionID{}, n.refuseCommand(err)
	}
	limits := wire.SessionLimits{Sessions: uint64(n.config.MaxSessions), Bytes: uint64(n.config.MaxSessionBytes)}
	result, err := n.propose(ctx, Proposal{Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, limits)})
	if err != nil {
		return SessionID{}, err
	}
	return wire.DecodeSessionID(result)
}

// CloseSession ends a session: none of its commands will be applied any more. It can be called at
// any server. If there is no such session, or no longer, that is no error. The errors are those of
// OpenSession.
func (n *Node) CloseSession(ctx context.Context, id SessionID) error {
	if err := ctx.Err(); err != nil {
		return n.refuseCommand(err)
	}
	_, err := n.propose(ctx, Proposal{Kind: wire.EntryCloseSession, Data: wire.AppendSessionID(nil, id)})
	return err
}

// ProposeInSession is Propose for a command of a session. A client may have the command proposed
// any number of times under one number, at any servers and through any crashes of them: it is
// applied once. Every call that returns a result returns the result of that one time. data is the
// command as for Propose, and command says which one of its session it is (Session.Next).
//
// The error is a *CallError, and ErrNotApplied or ErrOutcomeUnknown as for Propose.
// ErrOutcomeUnknown is the reason to send the command again, except with one of two reasons.
// ErrSessionExpired: there is no such session any more. Nobody knows whether an earlier copy of the
// command was applied, but none will be from now on. ErrSessionAnswered: the client has said, with
// a later command, that it won't send this one again.
//
// If command.Only is set, the client promises that it sent no other copy of the command, and sends
// none before this call has returned. It is taken at its word, and both reasons then come with
// ErrNotApplied.
func (n *Node) ProposeInSession(ctx context.Context, command SessionCommand, data []byte) ([]byte, error) {
	if err := command.Check(); err != nil {
		return nil, n.refuseCommand(err)
	}
	if err := n.checkCommand(ctx, data); err != nil {
		return nil, n.refuseCommand(err)
	}
	var buffer [wire.MaxSessionPrefix]byte
	head := wire.AppendSessionCommand(buffer[:0], &command, nil)
	if size := len(head) + len(data); size > wire.MaxCommandSize {
		return nil, n.refuseCommand(fmt.Errorf("%w: %d bytes in a session, more than %d", ErrTooLarge, size, wire.MaxCommandSize))
	}
	return n.propose(ctx, Proposal{Kind: wire.EntrySessionCommand, Data: n.slabs.copy(head, data), Only: command.Only})
}

// A Session is the client's side of a session: it numbers the commands of one client. It needs no
// Node, so a client can use it on another machine. Several goroutines may use it.
type Session struct {
	id SessionID

	mu           sync.Mutex
	lowest, next uint64
	// done says which commands from lowest to next are done, each at its number modulo the length.
	done [wire.MaxSessionCommands]bool
}

// NewSession returns the client's side of a session that was just opened. Its first command has the
// number 1.
func NewSession(id SessionID) *Session { return ResumeSession(id, 1) }

// ResumeSession returns the client's side of a session whose client was started again, or has lost
// count. It sends the commands from the number next on, and none below; 0 stands for 1. As soon as
// the first of them is applied, the servers let go of the results of all commands below.
func ResumeSession(id SessionID, next uint64) *Session {
	next = max(next, 1)
	return &Session{id: id, lowest: next, next: next}
}

// ID returns the session's ID.
func (s *Session) ID() SessionID { return s.id }

// Next returns the number of the next command. The command may then be sent any number of times,
// until Done. At most MaxSessionCommands numbers of package wire may be in use at once: the error
// is ErrOverloaded while the command that many numbers below the next one isn't done.
func (s *Session) Next() (SessionCommand, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next-s.lowest >= wire.MaxSessionCommands {
		return SessionCommand{}, fmt.Errorf("%w: %d commands of session %s are not done", ErrOverloaded, wire.MaxSessionCommands, s.id)
	}
	s.done[s.next%wire.MaxSessionCommands] = false
	s.next++
	return SessionCommand{Session: s.id, Sequence: s.next - 1, Lowest: s.lowest}, nil
}

// Done says that the client won't send a command again, because it knows the outcome, or because
// the outcome doesn't matter any more. The servers learn of it with the next command. A command of
// another session, or one that is done already, is ignored.
func (s *Session) Done(command SessionCommand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if command.Session != s.id || command.Sequence < s.lowest || command.Sequence >= s.next {
		return
	}
	s.done[command.Sequence%wire.MaxSessionCommands] = true
	for s.lowest < s.next && s.done[s.lowest%wire.MaxSessionCommands] {
		s.lowest++
	}
}
