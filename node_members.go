package raft

import (
	"context"
	"slices"
	"strings"

	"github.com/e17579a5/raft/wire"
)

// A ChangeOption is a condition of a change of the members.
type ChangeOption func(*wire.Call)

// Expect makes a change a conflict (ErrConflict) unless the configuration at this index, as
// Status.ConfigurationIndex and the changes themselves tell it, is still the one that counts.
func Expect(configuration Index) ChangeOption {
	return func(c *wire.Call) { c.Expected = configuration }
}

// AddServer makes a server a voter of the cluster. It can be called at any member, and returns the
// index of the configuration that counts then.
//
// The server must run, without a Bootstrap list, and be reachable at its address; one that doesn't
// answer costs nothing, not even an entry in the log (ErrUnreachable, after two election timeouts).
// It is then sent the log, and counts once it has caught up; one that doesn't is let go again
// (ErrNotCaughtUp). A voter stays as it is; a learner becomes one; a member that is given another
// address has moved there, and must answer there, with the disk that the cluster knows.
//
// The members are changed by one call at a time: another gets ErrChangeInProgress. Whoever leads
// goes on with a change that has begun. An error is either ErrNotApplied or ErrOutcomeUnknown, as
// for Propose, and wraps the reason: besides those named here and in Propose, ErrConflict,
// ErrMembers, ErrForeignServer or ErrRemoved. To call again is always safe: it changes nothing when
// there is nothing left to do.
func (n *Node) AddServer(ctx context.Context, server Server, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallAdd, []Member{{Server: server, Role: Voter}}, options)
}

// AddLearner makes a server a learner: it receives the log and serves reads, but doesn't count
// (§4.2.1). A voter becomes one too. The rest is as for AddServer, except that nobody waits until
// it has caught up.
func (n *Node) AddLearner(ctx context.Context, server Server, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallAdd, []Member{{Server: server, Role: Learner}}, options)
}

// RemoveServer removes a server from the cluster, the leader too: then another one takes over. It
// is done when the server isn't a member. The last voter can't be removed (ErrMembers). A server
// that was removed says so in its Status (ErrRemoved), once it can be told. The rest is as for
// AddServer.
func (n *Node) RemoveServer(ctx context.Context, server ServerID, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallRemove, []Member{{Server: Server{ID: server}}}, options)
}

// Replace lets the present disk of a member take the place of the one that the cluster knows. It is
// the cure for ErrOtherIncarnation and ErrRolledBack: a server that has lost its disk, or whose disk
// has gone back in time and was emptied, runs on an empty one, under its
// old ID and at this address, or the one that the cluster knows if this is empty. The lost disk
// stops counting first, then the present one catches up and counts. If it doesn't catch up, the
// server remains a learner (ErrNotCaughtUp, and that is ErrOutcomeUnknown): AddServer makes it a
// voter later, and another Replace gives it yet another disk. The rest is as for AddServer.
func (n *Node) Replace(ctx context.Context, server Server, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallReplace, []Member{{Server: server}}, options)
}

// SetMembers makes these the members of the cluster, whatever they were, in one step (§4.3). Of
// each, ID and Address are used, and Role: Voter, which 0 stands for, or Learner. An empty Address
// is the one that the cluster knows. The rest is as for AddServer.
func (n *Node) SetMembers(ctx context.Context, members []Member, options ...ChangeOption) (Index, error) {
	sorted := slices.Clone(members)
	for i := range sorted {
		sorted[i].Incarnation = 0 // the cluster knows it, or asks
		if sorted[i].Role == 0 {
			sorted[i].Role = Voter
		}
	}
	slices.SortFunc(sorted, func(a, b Member) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return n.change(ctx, wire.CallSet, sorted, options)
}

// change changes the members.
func (n *Node) change(ctx context.Context, kind wire.CallKind, members []Member, options []ChangeOption) (Index, error) {
	call := wire.Call{Kind: kind, Members: members}
	for _, option := range options {
		option(&call)
	}
	if err := checkMembers(&call); err != nil {
		return 0, n.callError(notApplied(err))
	}
	return n.call(ctx, call)
}
