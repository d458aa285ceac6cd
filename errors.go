package raft

import (
	"errors"
	"fmt"
	"strings"

	"github.com/e17579a5/raft/wire"
)

// A proposal has one of three outcomes: a result; an error that wraps ErrNotApplied, and then the
// command was not applied and never will be; or an error that wraps ErrOutcomeUnknown, and then it
// may or may not be applied, now or later. Every error of Propose wraps one of the two.
var (
	// ErrNotApplied says that the command was not applied and never will be. It is safe to propose
	// it again.
	ErrNotApplied = errors.New("raft: command not applied")

	// ErrOutcomeUnknown says that the wait ended while the command was on its way. It may have been
	// applied, or may be applied later.
	ErrOutcomeUnknown = errors.New("raft: outcome of command unknown")
)

// Reasons why a command was not applied, or a read was not served.
var (
	// ErrOverloaded says that callers at this server ask for more at one time than a limit allows.
	// The text names the limit, a field of Config or HostConfig: mostly MaxPending or MaxPendingBytes. It makes
	// sense to wait before the next attempt. Whoever asks for less is made to wait, not refused.
	ErrOverloaded = errors.New("raft: overloaded")

	// ErrFull says that there is no room for the command on the disks: a quorum has none beside its
	// reserve (Config.ReserveBytes). Whoever asks again later may have more luck: the servers free
	// what they can, and go on by themselves when there is room. Reads are served, leaders are elected
	// and members are changed all the same.
	ErrFull = errors.New("raft: the disks are full")

	// ErrTooLarge says that the command has more bytes than Config.MaxCommandBytes.
	ErrTooLarge = errors.New("raft: command too large")

	// ErrNotLeader says that this server doesn't lead in the term to which the proposal was fenced
	// (Fence), or that a leadership is over (Node.WhileLeader).
	ErrNotLeader = errors.New("raft: not leader")

	// ErrNotInForce says that not all servers of the cluster know what was asked for: some of them
	// are of an older version.
	ErrNotInForce = errors.New("raft: not all servers of the cluster know this yet")

	// ErrSnapshotInstalled says that this server has received a snapshot in place of the entries
	// among which the command may be. So it can't tell what became of the command.
	ErrSnapshotInstalled = errors.New("raft: a snapshot was installed over the command")
)

// Errors of the commands of a session.
var (
	// ErrSessionExpired says that there is no such session any more: it was closed, or other
	// sessions took its place (Config.MaxSessions). This copy of the command wasn't applied. Nobody
	// knows any more whether an earlier copy was.
	ErrSessionExpired = errors.New("raft: session expired")

	// ErrSessionAnswered says that the command's Sequence is below the Lowest that another command
	// of the session has named. The client has said thereby that it has the result, so the result
	// is no longer kept. This copy of the command wasn't applied.
	ErrSessionAnswered = errors.New("raft: the session has said that it has the answer")
)

// Reasons why the members of the cluster were not changed.
var (
	// ErrConflict says that the cluster's configuration isn't the one that the caller expected
	// (Expect).
	ErrConflict = errors.New("raft: the configuration has changed")

	// ErrChangeInProgress says that another change of the members is under way. It must end first.
	ErrChangeInProgress = errors.New("raft: another change of the members is under way")

	// ErrMembers says that no cluster can have the members that were asked for: none of them votes,
	// one is named twice, two have one address, nobody is found at an address, or there are too
	// many.
	ErrMembers = errors.New("raft: no cluster can have these members")

	// ErrNotMember says that the server that a call names isn't a member.
	ErrNotMember = errors.New("raft: not a member")

	// ErrUnreachable says that a server that was to become a member doesn't answer at its address.
	// The leader asks for two election timeouts.
	ErrUnreachable = errors.New("raft: a new server doesn't answer")

	// ErrForeignServer says that a server that was to become a member belongs to another cluster.
	ErrForeignServer = errors.New("raft: a new server belongs to another cluster")

	// ErrNotCaughtUp says that a server that was to be a voter didn't catch up. Either it got
	// nothing for ten election timeouts, neither entries nor bytes of a snapshot; or it is too slow
	// to keep up with the log; or no majority of the future voters answers.
	ErrNotCaughtUp = errors.New("raft: a server that is to be a voter didn't catch up")

	// ErrUnknownCall says that the leader's version doesn't know the call that it was asked for.
	ErrUnknownCall = errors.New("raft: the leader's version doesn't know this call")
)

// Reasons why the leadership was not handed over.
var (
	// ErrTransferTarget says that the leadership can't be handed to the server that was named: it
	// leads already, is no member, or doesn't vote. If no server was named, none is fit to take
	// over.
	ErrTransferTarget = errors.New("raft: no server to hand over to")

	// ErrTransferInProgress says that the leader is handing over to another server.
	ErrTransferInProgress = errors.New("raft: the leader is handing over to another server")

	// ErrTransferGivenUp says that the server that was to take over didn't lead within an election
	// timeout.
	ErrTransferGivenUp = errors.New("raft: handing over was given up")
)

// Why a node has ended, and takes no more calls.
var (
	// ErrClosed says that the node was closed.
	ErrClosed = errors.New("raft: closed")

	// ErrStopped says that the node has stopped because of a failure. Node.Err returns the failure.
	ErrStopped = errors.New("raft: stopped")
)

// Errors of a start and of a storage.
var (
	// ErrConfig says that a Config can't be used, with this storage or at all. The text says why.
	ErrConfig = errors.New("raft: invalid config")

	// ErrCorrupt says that stored data is damaged.
	ErrCorrupt = errors.New("raft: stored data is corrupt")

	// ErrLocked says that the storage is in use: by another process, or by another part of this
	// one.
	ErrLocked = errors.New("raft: storage is in use")

	// ErrOutdated says that a server doesn't know the level that is in force in its cluster: its
	// version is too old, or Config.Level is too low.
	ErrOutdated = errors.New("raft: the server is too old for its cluster")

	// ErrCompacted says that the log doesn't hold the entries that were asked for, any more or yet.
	ErrCompacted = errors.New("raft: entries not in the log")

	// ErrNoSnapshot says that there is no snapshot, or nothing yet to take one of.
	ErrNoSnapshot = errors.New("raft: no snapshot")
)

// Reasons why a server takes no part in a cluster, as Status.Trouble says.
var (
	// ErrBootstrapMismatch says that two servers were given different Bootstrap lists. Or a server of
	// this one's list belongs to a cluster that was founded without this one.
	ErrBootstrapMismatch = errors.New("raft: servers have different Bootstrap lists")

	// ErrOtherIncarnation says that the cluster knows this server with another disk than the
	// present one. With that disk the server may have voted, or acknowledged entries, so it can't
	// just go on with this one. Node.Replace, called at any other member, makes the present disk
	// the one that counts.
	ErrOtherIncarnation = errors.New("raft: the cluster knows this server with another disk: call Replace at another member")

	// ErrRolledBack says that the server's disk has forgotten what the server had promised: an
	// older state of it was put back, or it has lost a write that it had said to be durable. A copy
	// of the disk that was started elsewhere looks the same: each of the two has forgotten what the
	// other one promised. The disk says so from then on. The cure is that of a lost disk: the server is started on an empty disk,
	// and Replace, called at another member, makes that the one that counts.
	ErrRolledBack = errors.New("raft: this server's disk has gone back in time, or a copy of it was started: start it on an empty one, and call Replace at another member")

	// ErrRemoved says that the server was removed from its cluster.
	ErrRemoved = errors.New("raft: this server was removed from the cluster")

	// ErrOtherCluster says that this server gets messages of another cluster, and none of a leader
	// of its own. The other one may be what a recovery made of its own cluster, without it.
	ErrOtherCluster = errors.New("raft: messages from another cluster")

	// ErrMoved says that the cluster looks for this server at another address than its own, and that
	// it hears no leader. AddServer, called with the new address at another member, tells the
	// cluster; Config.Moved does if there is no leader.
	ErrMoved = errors.New("raft: the cluster looks for this server at another address")

	// ErrNoCluster says that a server has neither state nor a Bootstrap list, and waits to be added
	// to a cluster.
	ErrNoCluster = errors.New("raft: no state and no Bootstrap: waiting to be added to a cluster")
)

// A reasoned error is one with its reason. It wraps both.
type reasoned struct{ what, reason error }

// because returns an error that wraps what has happened and its reason. The text names this package
// once.
func because(what, reason error) error { return &reasoned{what, reason} }

// Error tells both.
func (e *reasoned) Error() string {
	return e.what.Error() + ": " + strings.TrimPrefix(e.reason.Error(), "raft: ")
}

// Unwrap returns both.
func (e *reasoned) Unwrap() []error { return []error{e.what, e.reason} }

// notApplied returns an error that wraps ErrNotApplied and its reason.
func notApplied(reason error) error { return because(ErrNotApplied, reason) }

// These say which limit callers exceed.
var (
	errMaxPending      = fmt.Errorf("%w: MaxPending", ErrOverloaded)
	errMaxPendingBytes = fmt.Errorf("%w: MaxPendingBytes", ErrOverloaded)
	errHostBytes       = fmt.Errorf("%w: HostConfig.MaxBytes", ErrOverloaded)
)

// stopped returns an error that wraps ErrStopped and its cause.
func stopped(cause error) error { return because(ErrStopped, cause) }

// outcomeUnknown returns an error that wraps ErrOutcomeUnknown and its reason.
func outcomeUnknown(reason error) error { return because(ErrOutcomeUnknown, reason) }

// A DamagedError says that a storage has lost the bytes of some entries, though it knows their
// terms. The storage goes on: the entries may be stored again (Write.Repairs). It wraps ErrCorrupt.
type DamagedError struct {
	Lost wire.Range // the entries whose bytes are lost
	Err  error      // what is damaged: the file, the place in it, and how that was found; may be nil
}

func (e *DamagedError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: entries %d to %d", ErrCorrupt, e.Lost.First, e.Lost.Last)
	}
	return fmt.Sprintf("%v: entries %d to %d: %v", ErrCorrupt, e.Lost.First, e.Lost.Last, e.Err)
}

// Unwrap returns ErrCorrupt and the cause.
func (e *DamagedError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrCorrupt}
	}
	return []error{ErrCorrupt, e.Err}
}
