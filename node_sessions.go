package raft

import (
	"context"
	"fmt"
	"sync"

	"github.com/e17579a5/raft/wire"
)

// OpenSession opens a session (§6.3) for a client of the service that may send its commands more
// than once: because it lost its connection, or the server that it spoke to crashed. It can be
// called at any server. A session lives until CloseSession, or until it expires because others took
// its place (Config.MaxSessions), which the log alone decides and never a clock.
//
// An error is ErrNotApplied or ErrOutcomeUnknown, as of Propose. After the latter a session may
// have been opened that nobody knows of; it will expire.
func (n *Node) OpenSession(ctx context.Context) (SessionID, error) {
	if err := ctx.Err(); err != nil {
		return SessionID{}, n.callError(notApplied(err))
	}
	limits := wire.SessionLimits{Sessions: uint64(n.config.MaxSessions), Bytes: uint64(n.config.MaxSessionBytes)}
	result, err := n.propose(ctx, Proposal{Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, limits)})
	if err != nil {
		return SessionID{}, err
	}
	return wire.DecodeSessionID(result)
}

// CloseSession ends a session: none of its commands will be applied any more. That there is no such
// session, or not any more, is no error. It can be called at any server.
func (n *Node) CloseSession(ctx context.Context, id SessionID) error {
	if err := ctx.Err(); err != nil {
		return n.callError(notApplied(err))
	}
	_, err := n.propose(ctx, Proposal{Kind: wire.EntryCloseSession, Data: wire.AppendSessionID(nil, id)})
	return err
}

// ProposeInSession is Propose for a command of a session: however often a client has it proposed
// under one number, at whichever servers and through whatever crashes of theirs, it is applied
// once, and every call that returns a result returns that of the one time.
//
// An error is ErrNotApplied or ErrOutcomeUnknown, as of Propose; the latter is the reason to send
// the command again, unless it is one of two. ErrSessionExpired: there is no such session any more,
// so that nobody knows whether an earlier copy of the command was applied; none will be from now
// on. ErrSessionAnswered: the client has said with a later command that it won't send this one
// again. With Only, that there is no other copy is taken at the caller's word, and both are
// ErrNotApplied.
func (n *Node) ProposeInSession(ctx context.Context, command SessionCommand, data []byte) ([]byte, error) {
	if err := command.Check(); err != nil {
		return nil, n.callError(notApplied(err))
	}
	if err := n.checkCommand(ctx, data); err != nil {
		return nil, n.callError(notApplied(err))
	}
	var buffer [wire.MaxSessionPrefix]byte
	head := wire.AppendSessionCommand(buffer[:0], &command, nil)
	if size := len(head) + len(data); size > wire.MaxCommandSize {
		return nil, n.callError(notApplied(fmt.Errorf("%w: %d bytes in a session, more than %d", ErrTooLarge, size, wire.MaxCommandSize)))
	}
	return n.propose(ctx, Proposal{Kind: wire.EntrySessionCommand, Data: n.slabs.copy(head, data), Only: command.Only})
}

// A Session numbers the commands of one client: it is the client's side of a session, and needs no
// Node. It may be used by several goroutines.
type Session struct {
	id SessionID

	mu           sync.Mutex
	lowest, next uint64
	done         [wire.MaxSessionCommands]bool // of those from lowest to next, at the number modulo the length
}

// NewSession returns the client's side of a session that was just opened.
func NewSession(id SessionID) *Session { return ResumeSession(id, 1) }

// ResumeSession returns the client's side of a session whose client was started again, or has lost
// count: it sends the commands from next on, and none below. The first of them lets go of the
// results of all others.
func ResumeSession(id SessionID, next uint64) *Session {
	next = max(next, 1)
	return &Session{id: id, lowest: next, next: next}
}

// ID returns the session's ID.
func (s *Session) ID() SessionID { return s.id }

// Next returns the number of the next command. It is ErrOverloaded to ask for it while the command
// with the number MaxSessionCommands below it isn't done. The command may be sent any number of
// times, until Done.
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

// Done says that a command will not be sent again, because its outcome is known or doesn't matter
// any more. The servers learn of it with the next command.
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
