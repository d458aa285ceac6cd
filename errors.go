package raft

import (
	"errors"
	"fmt"

	"github.com/e17579a5/raft/wire"
)

// The outcome of a proposal is one of three: a result; an error that is ErrNotApplied, and the
// command has not been and will never be applied; or an error that is ErrOutcomeUnknown, and it may
// or may not be applied, now or later. Every error of Propose is one of the two.
var (
	// ErrNotApplied says that the command was not applied and never will be. It is safe to propose it again.
	ErrNotApplied = errors.New("raft: command not applied")

	// ErrOutcomeUnknown says that the wait ended with the command in flight.
	ErrOutcomeUnknown = errors.New("raft: outcome of command unknown")
)

// Reasons why a command was not applied, or a read not served.
var (
	// ErrOverloaded says that too much is waiting already: to be committed, applied or sent to a leader.
	ErrOverloaded = errors.New("raft: overloaded")

	// ErrTooLarge says that the command exceeds Config.MaxCommandBytes.
	ErrTooLarge = errors.New("raft: command too large")

	// ErrUnknownCall says that the leader is of a version that doesn't know what it was asked for.
	ErrUnknownCall = errors.New("raft: the leader's version doesn't know this call")

	// ErrSessionExpired says that there is no such session: it was closed, or others took its place (Config.MaxSessions).
	// Whether an earlier copy of the command was applied isn't known any more; this one wasn't.
	ErrSessionExpired = errors.New("raft: session expired")

	// ErrSessionAnswered says that a command's Sequence is below a Lowest that its session has named: the result is
	// gone, if there was one. This copy of the command wasn't applied.
	ErrSessionAnswered = errors.New("raft: the session has said that it has the answer")

	// ErrConflict says that the configuration isn't the one that the caller expected.
	ErrConflict = errors.New("raft: the configuration has changed")

	// ErrChangeInProgress says that another change of the members is under way: it must end first.
	ErrChangeInProgress = errors.New("raft: another change of the members is under way")

	// ErrMembers says that no cluster can have such members: none of them votes, one is named twice, or there are too
	// many.
	ErrMembers = errors.New("raft: no cluster can have these members")

	// ErrNotMember says that a server isn't a member.
	ErrNotMember = errors.New("raft: not a member")

	// ErrUnreachable says that a server that was to become a member doesn't answer at its address.
	ErrUnreachable = errors.New("raft: a new server doesn't answer")

	// ErrForeignServer says that a server that was to become a member belongs to another cluster.
	ErrForeignServer = errors.New("raft: a new server belongs to another cluster")

	// ErrNotCaughtUp says that a server that is to be a voter didn't catch up: it got nothing for ten election
	// timeouts, neither entries nor bytes of a snapshot, or is too slow to keep up with the log; or that of the voters to be no majority answers.
	ErrNotCaughtUp = errors.New("raft: a server that is to be a voter didn't catch up")

	// ErrNotInForce says that not all servers of the cluster know what was asked for: some are of an older version.
	ErrNotInForce = errors.New("raft: not all servers of the cluster know this yet")

	// ErrOutdated says that a server's version doesn't know the level that is in force in its cluster, or is
	// configured not to (Config.Level).
	ErrOutdated = errors.New("raft: the server is too old for its cluster")

	// ErrDiverged says that the results of two state machines differ. A Divergence wraps it.
	ErrDiverged = errors.New("raft: results of state machines differ")

	// ErrNotLeader says that this server doesn't lead in the term that the proposal was fenced to.
	ErrNotLeader = errors.New("raft: not leader")

	// ErrTransferTarget says that a server can't be handed the leadership: it leads already, is unknown, or doesn't
	// vote; or that there is nobody to hand over to.
	ErrTransferTarget = errors.New("raft: no server to hand over to")

	// ErrTransferInProgress says that the leader is handing over to another server.
	ErrTransferInProgress = errors.New("raft: the leader is handing over to another server")

	// ErrTransferGivenUp says that the server that was to lead didn't within an election timeout.
	ErrTransferGivenUp = errors.New("raft: handing over was given up")

	// ErrSnapshotInstalled says that this server has received a snapshot in the place of the entries among which the
	// command may be.
	ErrSnapshotInstalled = errors.New("raft: a snapshot was installed over the command")

	// ErrClosed says that the node was closed.
	ErrClosed = errors.New("raft: closed")

	// ErrStopped says that the node has stopped because of a failure, which Node.Err tells.
	ErrStopped = errors.New("raft: stopped")
)

// Errors of a storage, and of starting on one.
var (
	// ErrCompacted says that entries were asked for that the log doesn't hold (any more).
	ErrCompacted = errors.New("raft: entries not in the log")

	// ErrNoSnapshot says that there is no snapshot.
	ErrNoSnapshot = errors.New("raft: no snapshot")

	// ErrCorrupt says that stored data is damaged.
	ErrCorrupt = errors.New("raft: stored data is corrupt")

	// ErrLocked says that another process, or another part of this one, uses the storage.
	ErrLocked = errors.New("raft: storage is in use")

	// ErrConfig says that a Config can't be used.
	ErrConfig = errors.New("raft: invalid config")
)

// Reasons why a server takes no part in its cluster; Status reports them.
var (
	// ErrBootstrapMismatch says that two servers were given different Bootstrap lists.
	ErrBootstrapMismatch = errors.New("raft: servers have different Bootstrap lists")

	// ErrOtherIncarnation says that the cluster knows this server with another disk than the one it has. It
	// may have voted or acknowledged with that disk, so it can't just go on: Node.Replace, at any other member, makes
	// the present disk the one that counts.
	ErrOtherIncarnation = errors.New("raft: the cluster knows this server with another disk: call Replace at another member")

	// ErrRolledBack says that the server's disk has forgotten what the server had promised: an older state of it was
	// put back, or it has lost a write that it had said to be durable. It has the cure of a lost disk: the server is
	// started on an empty one, and Replace, called at another member, makes that the one that counts.
	ErrRolledBack = errors.New("raft: this server's disk has gone back in time: start it on an empty one, and call Replace at another member")

	// ErrRemoved says that the server was removed from its cluster.
	ErrRemoved = errors.New("raft: this server was removed from the cluster")

	// ErrOtherCluster says that messages of another cluster arrive, and none of a leader of this one.
	ErrOtherCluster = errors.New("raft: messages from another cluster")

	// ErrNoCluster says that a server has neither state nor a Bootstrap list, and waits to be added to a cluster.
	ErrNoCluster = errors.New("raft: no state and no Bootstrap: waiting to be added to a cluster")
)

// ErrMalformed says that bytes are not what they should encode.
var ErrMalformed = wire.ErrMalformed

// notApplied returns an error that is both ErrNotApplied and its reason.
func notApplied(reason error) error { return fmt.Errorf("%w: %w", ErrNotApplied, reason) }

// stopped returns an error that is both ErrStopped and its cause.
func stopped(cause error) error { return fmt.Errorf("%w: %w", ErrStopped, cause) }

// outcomeUnknown returns an error that is both ErrOutcomeUnknown and its reason.
func outcomeUnknown(reason error) error { return fmt.Errorf("%w: %w", ErrOutcomeUnknown, reason) }
