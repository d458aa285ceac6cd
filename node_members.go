package raft

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/e17579a5/raft/wire"
)

// A ChangeOption is a condition under which a change of the members is made.
type ChangeOption func(*wire.Call)

// Expect makes a change fail with ErrConflict unless the configuration at this index is still the
// latest one. Status.ConfigurationIndex and every change of the members return such an index. 0
// expects nothing.
func Expect(configuration Index) ChangeOption {
	return func(c *wire.Call) { c.Expected = configuration }
}

// AddServer makes a server a voter of the cluster (§4.1). It can be called at any member. It
// returns the index of the configuration in which the server is a voter.
//
// The server must run already, without a Bootstrap list, and must be reachable at its address. A
// server that doesn't answer costs nothing, not even an entry in the log: after two election
// timeouts the error is ErrUnreachable. A server that answers is sent the log, and counts once it
// has caught up (§4.2.1). One that doesn't catch up is let go again, with ErrNotCaughtUp.
//
// A server that is a voter already stays as it is, and a learner becomes a voter. A member whose
// disk is known to be lost, or to have gone back, is no voter by that: the error says so
// (ErrOtherIncarnation, ErrRolledBack), and Replace is the cure. A member with a new address has
// moved: it must answer there, with the disk that the cluster knows. The leader itself must have
// been started with that address.
//
// The members are changed by one call at a time; another call gets ErrChangeInProgress. A change
// that has begun goes on under the next leader too.
//
// The error is a *CallError, and ErrNotApplied or ErrOutcomeUnknown as for Propose. Besides the
// reasons above and those of Propose, the reason may be ErrConflict (see Expect), ErrMembers (no
// cluster can have such members), ErrForeignServer (the server belongs to another cluster),
// ErrOtherIncarnation (the server has another disk than the cluster knows), ErrOutdated (the server
// doesn't know the level of the cluster) or ErrUnknownCall (the leader's version doesn't know the
// call). It is always safe to call again: a change that is already made changes nothing.
func (n *Node) AddServer(ctx context.Context, server Server, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallAdd, []Member{{Server: server, Role: Voter}}, options)
}

// AddLearner makes a server a learner: it receives the log and serves reads, but doesn't count in
// elections or for commitment (§4.2.1). A voter becomes a learner by it too. The rest is as for
// AddServer, except that the call doesn't wait until the server has caught up.
func (n *Node) AddLearner(ctx context.Context, server Server, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallAdd, []Member{{Server: server, Role: Learner}}, options)
}

// RemoveServer removes a server from the cluster. It returns when the server isn't a member any
// more, with the index of that configuration. The leader can be removed too: then another server
// takes over. The last voter can't be removed (ErrMembers), nor a server that isn't a member
// (ErrNotMember): so a second call, or a wrong name, gets that. A server that was removed says so in
// its Status (Trouble is ErrRemoved), once it can be told. The rest is as for AddServer.
func (n *Node) RemoveServer(ctx context.Context, server ServerID, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallRemove, []Member{{Server: Server{ID: server}}}, options)
}

// Replace makes the present disk of a member count, in place of the disk that the cluster knows. It
// is the cure for ErrOtherIncarnation and ErrRolledBack. A server that has lost its disk, or whose
// disk went back in time and was emptied, runs on an empty one, under its old ID, at the address of
// the call. An empty Address stands for the one that the cluster knows. A server that isn't a
// member can't be replaced (ErrNotMember).
//
// The lost disk stops counting first. Then the present one catches up, and counts. If it doesn't
// catch up, the server remains a learner, and the error is ErrNotCaughtUp with ErrOutcomeUnknown.
// Another Replace then goes on, with this disk or yet another one, and so does AddServer. The rest
// is as for AddServer.
func (n *Node) Replace(ctx context.Context, server Server, options ...ChangeOption) (Index, error) {
	return n.change(ctx, wire.CallReplace, []Member{{Server: server}}, options)
}

// SetMembers makes these servers the members of the cluster, whoever was a member before, in one
// step (§4.3). It uses the ID, the Address and the Role of each. Role is Voter or Learner, and 0
// stands for Voter. An empty Address stands for the one that the cluster knows. The rest is as for
// AddServer.
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
		return 0, n.refused(waitsForCall, n.callError(notApplied(err)))
	}
	if err := n.checkAddresses(&call); err != nil {
		return 0, n.refused(waitsForCall, n.callError(notApplied(err)))
	}
	return n.call(ctx, call)
}

// checkAddresses refuses members at whose addresses the transport finds nobody. An empty address
// stands for the one that the cluster knows.
func (n *Node) checkAddresses(call *wire.Call) error {
	checker, ok := n.config.Transport.(addressChecker)
	if !ok || call.Kind == wire.CallRemove {
		return nil
	}
	_, present, _ := n.board.shown()
	for i := range call.Members {
		s := call.Members[i].Server
		if s.Address == "" && present.Configuration.Member(s.ID) != nil {
			continue
		}
		if err := guard("transport", func() error { return checker.CheckAddress(s.Address) }); err != nil {
			return because(ErrMembers, fmt.Errorf("the address of server %q: %w", s.ID, err))
		}
	}
	return nil
}
