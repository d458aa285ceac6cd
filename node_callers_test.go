package raft_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A callKind says which errors a call may return.
type callKind int

const (
	outcomeCall callKind = iota // ErrNotApplied or ErrOutcomeUnknown, in a CallError
	readCall                    // a CallError
	plainCall                   // neither
)

// blockingCalls are all the methods of a Node that wait for something and take a context. Close is
// apart: what it waits for is the rest of the table.
var blockingCalls = map[string]struct {
	kind callKind
	call func(ctx context.Context, n *raft.Node) error
	// reasons are the errors, besides that of the context, with which the call may end before its
	// context does, because the leader says so. "no error" stands for nil, and so does "no error
	// while a machine hangs" where only that is in trouble.
	reasons []string
}{
	"Propose": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.Propose(ctx, []byte("proposed"))
		return err
	}, nil},
	"ProposeInSession": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		command := raft.SessionCommand{Session: raft.SessionID{Index: 1, Term: 1}, Sequence: 1, Lowest: 1}
		_, err := n.ProposeInSession(ctx, command, []byte("in a session"))
		return err
	}, nil},
	"OpenSession": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.OpenSession(ctx)
		return err
	}, nil},
	"CloseSession": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		return n.CloseSession(ctx, raft.SessionID{Index: 1, Term: 1})
	}, nil},
	"Read":      {readCall, func(ctx context.Context, n *raft.Node) error { return n.Read(ctx) }, []string{"no error"}},
	"LeaseRead": {readCall, func(ctx context.Context, n *raft.Node) error { return n.LeaseRead(ctx) }, []string{"no error"}},
	"StaleRead": {readCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.StaleRead(ctx, 0)
		return err
	}, []string{"no error"}},
	"TransferLeadership": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		return n.TransferLeadership(ctx, "c")
	}, []string{"transfer"}},
	"AddServer": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.AddServer(ctx, reached("d"))
		return err
	}, []string{"unreachable"}},
	"AddLearner": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.AddLearner(ctx, reached("d"))
		return err
	}, []string{"unreachable"}},
	"RemoveServer": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.RemoveServer(ctx, "c")
		return err
	}, []string{"no error while a machine hangs"}},
	"Replace": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.Replace(ctx, reached("c"))
		return err
	}, []string{"unreachable", "no error"}},
	"SetMembers": {outcomeCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.SetMembers(ctx, []raft.Member{{Server: reached("a")}, {Server: reached("b")}})
		return err
	}, []string{"no error while a machine hangs"}},
	"Snapshot": {plainCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.Snapshot(ctx)
		return err
	}, []string{"no error", "no snapshot"}},
	"ExportSnapshot": {plainCall, func(ctx context.Context, n *raft.Node) error {
		_, err := n.ExportSnapshot(ctx, io.Discard)
		return err
	}, []string{"no error", "no snapshot"}},
	"WhileLeader": {plainCall, func(ctx context.Context, n *raft.Node) error {
		return n.WhileLeader(ctx, func(ctx context.Context, _ raft.Term) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}, []string{"not leader"}},
	"Events": {plainCall, func(ctx context.Context, n *raft.Node) error {
		for e := range n.Events(ctx) {
			if _, stopped := e.(raft.Stopped); stopped {
				return raft.ErrClosed
			}
		}
		return ctx.Err()
	}, nil},
}

// outcomes are what a call may end with, by the names that reasons uses.
var outcomes = map[string]error{
	"transfer": raft.ErrTransferTarget, "unreachable": raft.ErrUnreachable,
	"no snapshot": raft.ErrNoSnapshot, "not leader": raft.ErrNotLeader,
}

// requireKind requires that an error is of the kind that its call promises.
func requireKind(t *testing.T, kind callKind, err error) {
	t.Helper()
	var called *raft.CallError
	applied := errors.Is(err, raft.ErrNotApplied) || errors.Is(err, raft.ErrOutcomeUnknown)
	switch kind {
	case outcomeCall:
		require.ErrorAs(t, err, &called)
		require.NotEqual(t, errors.Is(err, raft.ErrNotApplied), errors.Is(err, raft.ErrOutcomeUnknown), "%v is one of the two", err)
	case readCall:
		require.ErrorAs(t, err, &called)
		require.False(t, applied, "a read has no outcome: %v", err)
	case plainCall:
		require.False(t, applied, "%v", err)
	}
}

// hungDisks hangs the disks of all servers.
func hungDisks(c *cluster) (relieve func()) {
	release := make(chan struct{})
	for _, id := range c.ids {
		c.disks[id].set(nil, release)
	}
	return func() {
		for _, id := range c.ids {
			c.disks[id].set(nil, nil)
		}
		close(release)
	}
}

// predicaments are states of the cluster in which calls wait. Each function brings one about, and
// returns the server to call and what ends the predicament.
var predicaments = map[string]func(t *testing.T, c *cluster) (at *raft.Node, relieve func()){
	"no leader": func(t *testing.T, c *cluster) (*raft.Node, func()) {
		_, others := c.leader()
		for _, id := range c.ids {
			c.network.Isolate(id)
		}
		time.Sleep(3 * electionTimeout)
		return others[0], c.network.Heal
	},
	"no quorum": func(t *testing.T, c *cluster) (*raft.Node, func()) {
		leader, _ := c.leader()
		c.network.Isolate(leader.Status().ID)
		return leader, c.network.Heal
	},
	"a leader that can't be reached": func(t *testing.T, c *cluster) (*raft.Node, func()) {
		leader, others := c.leader()
		c.network.Cut(others[0].Status().ID, leader.Status().ID)
		return others[0], c.network.Heal
	},
	"hung disks": func(t *testing.T, c *cluster) (*raft.Node, func()) {
		leader, _ := c.leader()
		return leader, hungDisks(c)
	},
	"hung disks, at a follower": func(t *testing.T, c *cluster) (*raft.Node, func()) {
		_, others := c.leader()
		return others[0], hungDisks(c)
	},
	"hung machine": func(t *testing.T, c *cluster) (*raft.Node, func()) {
		leader, _ := c.leader()
		release := make(chan struct{})
		c.machines[leader.Status().ID].whileApplying(func(string) { <-release })
		propose(t.Context(), leader, "the one that hangs")
		synctest.Wait()
		return leader, func() { close(release) }
	},
}

// Every call that waits ends with its context, at once, wherever it waits, with an error of the
// kind that it promises. Nothing of it is left, and the cluster works when the trouble is over.
func TestCallsEndWithTheirContext(t *testing.T) {
	for _, trouble := range slices.Sorted(maps.Keys(predicaments)) {
		for _, name := range slices.Sorted(maps.Keys(blockingCalls)) {
			for _, patience := range []time.Duration{electionTimeout / 4, 5 * electionTimeout} {
				t.Run(fmt.Sprintf("%s/%s/%v", trouble, name, patience), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { callIn(t, trouble, name, patience) })
				})
			}
		}
	}
}

func callIn(t *testing.T, trouble, name string, patience time.Duration) {
	call := blockingCalls[name]
	c := startCluster(t, 3, memory.Faults{})
	_, err := c.nodes["a"].Propose(t.Context(), []byte("before"))
	require.NoError(t, err)
	at, relieve := predicaments[trouble](t, c)
	relieve = sync.OnceFunc(relieve)
	defer relieve()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	err = call.call(ctx, at)
	took := time.Since(start)
	require.LessOrEqual(t, took, patience, "%v", err)
	if err == nil {
		require.True(t, slices.Contains(call.reasons, "no error") ||
			trouble == "hung machine" && slices.Contains(call.reasons, "no error while a machine hangs"))
	} else {
		requireKind(t, call.kind, err)
		if !errors.Is(err, context.DeadlineExceeded) {
			require.True(t, slices.ContainsFunc(call.reasons, func(r string) bool {
				return outcomes[r] != nil && errors.Is(err, outcomes[r])
			}), "after %v: %v", took, err)
		} else {
			require.Equal(t, patience, took)
		}
	}
	synctest.Wait()
	status := at.Status()
	require.Zero(t, status.PendingReads+status.PendingCalls, "nobody is left waiting")
	if trouble != "hung machine" { // there, one command waits that the test has proposed
		require.Zero(t, status.PendingProposals, "nobody is left waiting")
	}
	relieve()
	time.Sleep(5 * electionTimeout)
	_, err = c.nodes["a"].Propose(within(t, time.Minute), []byte("after"))
	require.NoError(t, err)
}

// Close answers every call that waits, at once, with ErrClosed and the kind of error that the call
// promises. Calls that come later get the same.
func TestCloseAnswersEveryCall(t *testing.T) {
	for _, trouble := range slices.Sorted(maps.Keys(predicaments)) {
		t.Run(trouble, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { closeIn(t, trouble) })
		})
	}
}

func closeIn(t *testing.T, trouble string) {
	c := startCluster(t, 3, memory.Faults{})
	_, err := c.nodes["a"].Propose(t.Context(), []byte("before"))
	require.NoError(t, err)
	at, relieve := predicaments[trouble](t, c)
	relieve = sync.OnceFunc(relieve)
	defer relieve()
	type end struct {
		name string
		err  error
	}
	ends := make(chan end, len(blockingCalls))
	for name, call := range blockingCalls {
		go func() { ends <- end{name, call.call(t.Context(), at)} }()
	}
	synctest.Wait()
	waiting := len(blockingCalls) - len(ends) // some of them don't wait in this predicament
	require.Greater(t, waiting, len(blockingCalls)/2)
	for range len(ends) {
		<-ends
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = at.Close(ended) // the error says that something hangs
	<-at.Done()
	for range waiting {
		got := <-ends
		require.Error(t, got.err, got.name)
		require.ErrorIs(t, got.err, raft.ErrClosed, got.name)
		requireKind(t, blockingCalls[got.name].kind, got.err)
	}
	for name, call := range blockingCalls {
		err := call.call(t.Context(), at)
		require.ErrorIs(t, err, raft.ErrClosed, name)
		requireKind(t, call.kind, err)
		if call.kind == outcomeCall {
			require.ErrorIs(t, err, raft.ErrNotApplied, name)
		}
	}
}
