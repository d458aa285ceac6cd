package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/e17579a5/raft"
)

// A Status is the answer to GET /status: what the server that was asked knows. It asks no other
// server.
type Status struct {
	ID raft.ServerID `json:"id"`
	// Role is that of raft.Status: "leader", "follower" and so on.
	Role   string        `json:"role"`
	Term   raft.Term     `json:"term"`
	Leader raft.ServerID `json:"leader"` // "" while the server knows none
	// Ready is whether GET /readyz answers 200.
	Ready bool `json:"ready"`
	// Snapshot, Applied, Commit and Last say how far the server has come in the log.
	Snapshot raft.Index `json:"snapshot"`
	Applied  raft.Index `json:"applied"`
	Commit   raft.Index `json:"commit"`
	Last     raft.Index `json:"last"`
	Members  []Member   `json:"members"` // empty until the server belongs to a cluster
	// NoLeader says why there is no leader, as far as the server knows. It is "" while it knows one.
	NoLeader string `json:"no_leader,omitempty"`
	// Trouble says why the server takes no part in its cluster; "" if it takes part.
	Trouble string `json:"trouble,omitempty"`
	// Problems are all other things that aren't well: with the disk, with snapshots, with the state
	// machine.
	Problems []string `json:"problems,omitempty"`
}

// A Member is a server of the cluster.
type Member struct {
	ID      raft.ServerID `json:"id"`
	Address string        `json:"address"`
	Role    string        `json:"role"` // "voter" or "learner"
}

// status answers what this server knows.
func (a *API) status(*http.Request) (any, error) {
	is := a.node.Status()
	s := Status{
		ID: is.ID, Role: is.Role, Term: is.Term, Leader: is.Leader, Ready: a.unready(&is) == nil,
		Snapshot: is.Snapshot, Applied: is.Applied, Commit: is.Commit, Last: is.Last,
		Members: []Member{}, Problems: ProblemsOf(&is),
	}
	for _, m := range is.Members {
		s.Members = append(s.Members, Member{m.ID, m.Address, m.Role.String()})
	}
	if is.NoLeader != nil {
		s.NoLeader = is.NoLeader.String()
	}
	if is.Trouble != nil {
		s.Trouble = is.Trouble.Error()
	}
	return s, nil
}

// ProblemsOf says, in a sentence each, what isn't well with a server beside its Trouble: with the disk,
// with snapshots, with the state machine. It returns nil if all is well.
func ProblemsOf(is *raft.Status) (found []string) {
	note := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	if is.Stuck != "" {
		note("the node stands still: %s", is.Stuck)
	}
	if d := is.Damage; d != nil {
		note("the disk has lost entries for %v: %v", d.For, d.Lost)
	}
	if is.FullFor > 0 {
		note("the disk has been full for %v", is.FullFor)
	}
	if is.StorageTrouble != nil {
		note("storage: %v", is.StorageTrouble)
	}
	if is.SnapshotTrouble != nil {
		note("snapshots: %v", is.SnapshotTrouble)
	}
	if is.Disk.Waits != nil {
		note("disk: %v", is.Disk.Waits)
	}
	if is.Machine.Waits != nil {
		note("state machine: %v", is.Machine.Waits)
	}
	if is.Diverged != nil {
		note("%v", is.Diverged)
	}
	return found
}

// Live says whether the node runs. The error says why it has stopped, or what holds it up
// (raft.Status.Stuck). A node that has stopped doesn't start again by itself: the process must be
// started anew. A node without a leader lives. It is what GET /livez answers.
func (a *API) Live() error {
	if over(a.node.Done()) {
		return a.end()
	}
	if stuck := a.node.Status().Stuck; stuck != "" {
		return unavailable("stuck", "the node stands still: %s", stuck)
	}
	return nil
}

// live answers GET /livez.
func (a *API) live(*http.Request) (any, error) {
	if err := a.Live(); err != nil {
		return nil, err
	}
	return struct {
		Live bool `json:"live"`
	}{true}, nil
}

// over says whether a channel is closed.
func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// end is the answer of a node that has stopped.
func (a *API) end() *Error {
	if err := a.node.Err(); err != nil {
		return unavailable("stopped", "the node has stopped: %v", err)
	}
	return unavailable("closed", "the node was closed")
}

// Ready says whether this server should get requests, and whether the next server may be stopped when
// servers are started anew one after the other: this one is a member, and has applied all that was
// committed when it started. It stays ready while there is no leader: another server could do no
// better. The error says what is in the way. It is what GET /readyz answers.
func (a *API) Ready() error {
	is := a.node.Status()
	if err := a.unready(&is); err != nil {
		return err
	}
	return nil
}

// ready answers GET /readyz.
func (a *API) ready(*http.Request) (any, error) {
	if err := a.Ready(); err != nil {
		return nil, err
	}
	return struct {
		Ready bool `json:"ready"`
	}{true}, nil
}

// unready says why this server isn't ready; nil if it is.
func (a *API) unready(is *raft.Status) *Error {
	self := slices.ContainsFunc(is.Members, func(m raft.Member) bool { return m.ID == is.ID })
	switch {
	case over(a.node.Done()):
		return a.end()
	case over(a.stopping):
		return unavailable("stopping", "this server is about to stop")
	case is.Trouble != nil:
		return unavailable("no_part", "this server takes no part in a cluster: %v", is.Trouble)
	case !self:
		return unavailable("no_part", "this server is not a member")
	case !a.caughtUp.Load():
		return unavailable("catching_up", "this server has not applied yet what was committed when it started")
	}
	return nil
}

// unavailable returns an error of this server, which another one may not have.
func unavailable(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: code, Outcome: NotApplied, Message: fmt.Sprintf(format, args...)}
}

// retryRead is how long catchUp waits after a read that was refused.
const retryRead = time.Second

// catchUp waits until this server has applied what was committed when it started. A server that
// starts doesn't know how much that is: after a crash its disk holds less. A linearizable read asks
// the leader, and waits for it.
func (a *API) catchUp() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		err := a.node.Read(ctx)
		if err == nil {
			a.caughtUp.Store(true)
			return
		}
		if errors.Is(err, raft.ErrClosed) || errors.Is(err, raft.ErrStopped) {
			return
		}
		pause := time.NewTimer(retryRead) // the server was removed, or is overloaded
		select {
		case <-pause.C:
		case <-a.node.Done():
			pause.Stop()
			return
		}
	}
}
