package raft_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// others returns the servers of a cluster without one.
func (c *cluster) others(id raft.ServerID) (ids []raft.ServerID) {
	for _, other := range c.ids {
		if other != id {
			ids = append(ids, other)
		}
	}
	return ids
}

func TestTransferLeadershipAtAnyServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		for _, at := range c.ids {
			leader, _ := c.leader()
			was := leader.Status().ID
			to := c.others(was)[0]
			require.NoError(t, c.nodes[at].TransferLeadership(t.Context(), to))
			leader, _ = c.leader()
			require.Equal(t, to, leader.Status().ID)

			err := c.nodes[at].TransferLeadership(t.Context(), to)
			require.ErrorIs(t, err, raft.ErrTransferTarget, "it leads already")
			require.ErrorIs(t, err, raft.ErrNotApplied)
			require.Equal(t, 1, strings.Count(err.Error(), "leads in term"), "%v", err)
			require.ErrorIs(t, c.nodes[at].TransferLeadership(t.Context(), "nobody"), raft.ErrTransferTarget)
		}
	})
}

// Close hands over first. The cluster has another leader without having missed the old one, and the
// commands that were on their way get their results.
func TestCloseHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
		leader, _ := c.leader()
		time.Sleep(electionTimeout)
		was := leader.Status()
		answers := make([]<-chan outcome, 10)
		for i := range answers {
			answers[i] = propose(t.Context(), leader, fmt.Sprint(i))
		}
		synctest.Wait()
		start := time.Now()
		c.close(was.ID)
		require.Less(t, time.Since(start), electionTimeout/4)
		for _, answer := range answers {
			require.NoError(t, (<-answer).err)
		}
		next, _ := c.leader(was.ID)
		require.Less(t, time.Since(start), electionTimeout/4, "nobody had to miss the leader")
		require.Equal(t, was.Term+1, next.Status().Term)
	})
}

// If no server can take over from the leader, it closes after an election timeout, or when the
// context of Close ends.
func TestCloseDoesNotWaitForASuccessorForEver(t *testing.T) {
	for _, patience := range []time.Duration{0, electionTimeout / 10, 10 * electionTimeout} {
		synctest.Test(t, func(t *testing.T) {
			c := startCluster(t, 3, memory.Faults{})
			leader, _ := c.leader()
			time.Sleep(electionTimeout)
			c.network.Isolate(leader.Status().ID)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			err := leader.Close(ctx)
			require.LessOrEqual(t, time.Since(start), min(patience, electionTimeout))
			if patience < electionTimeout {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				require.NoError(t, err)
			}
			<-leader.Done()
		})
	}
}

func TestWhileLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, _ := c.leader()
		id := leader.Status().ID
		failure := errors.New("what f returns")
		var led context.Context
		var term raft.Term
		err := leader.WhileLeader(t.Context(), func(ctx context.Context, now raft.Term) error {
			led, term = ctx, now
			require.Equal(t, leader.Status().Term, term)
			_, err := leader.Propose(ctx, []byte("fenced"))
			require.NoError(t, err)
			require.NoError(t, leader.TransferLeadership(context.WithoutCancel(ctx), c.others(id)[0]))
			<-ctx.Done()
			require.ErrorIs(t, context.Cause(ctx), raft.ErrNotLeader)
			return failure
		})
		require.Equal(t, failure, err)

		_, err = leader.Propose(context.WithoutCancel(led), []byte("too late"))
		require.ErrorIs(t, err, raft.ErrNotLeader)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.NoError(t, leader.TransferLeadership(t.Context(), id))
		_, err = leader.Propose(context.WithoutCancel(led), []byte("of another term"))
		require.ErrorIs(t, err, raft.ErrNotLeader)
		_, err = leader.Propose(raft.Fence(t.Context(), leader.Status().Term), []byte("of this term"))
		require.NoError(t, err)
		require.NoError(t, leader.Read(t.Context()))
		require.Equal(t, []string{"fenced", "of this term"}, c.machines[id].applied())
	})
}

// WhileLeader waits for the leadership. Its wait ends with its context, or with the node.
func TestWhileLeaderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, _ := c.leader()
		id := leader.Status().ID
		follower := c.nodes[c.others(id)[0]]
		never := func(context.Context, raft.Term) error { return errors.New("it doesn't lead") }

		ctx, cancel := context.WithTimeout(t.Context(), 10*electionTimeout)
		defer cancel()
		require.ErrorIs(t, follower.WhileLeader(ctx, never), context.DeadlineExceeded)

		ended := make(chan error, 2)
		go func() { ended <- follower.WhileLeader(t.Context(), never) }()
		go func() {
			ended <- leader.WhileLeader(t.Context(), func(ctx context.Context, _ raft.Term) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
		synctest.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		_ = follower.Close(ctx)
		require.ErrorIs(t, <-ended, raft.ErrClosed)
		c.network.Isolate(id) // nobody takes the leadership over before it has stopped
		_ = leader.Close(ctx)
		require.ErrorIs(t, <-ended, raft.ErrClosed)
		require.ErrorIs(t, leader.WhileLeader(t.Context(), never), raft.ErrClosed)
	})
}

// A leader with a lease serves reads that its followers can't confirm any more, until the lease
// ends.
func TestLeaseRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.MaxLease = electionTimeout / 2 }
		for _, id := range c.ids {
			c.start(id)
		}
		leader, _ := c.leader()
		time.Sleep(electionTimeout)
		c.network.Isolate(leader.Status().ID)
		require.NoError(t, leader.LeaseRead(t.Context()))
		require.Positive(t, leader.Status().Lease)
		require.LessOrEqual(t, leader.Status().Lease, electionTimeout/2)
		time.Sleep(electionTimeout / 2)
		require.Zero(t, leader.Status().Lease)
		ctx, cancel := context.WithTimeout(t.Context(), electionTimeout/10)
		defer cancel()
		require.ErrorIs(t, leader.LeaseRead(ctx), context.DeadlineExceeded)
		c.network.Heal()
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].LeaseRead(t.Context()))
		}
	})
}

// The age that a stale read tells holds: everything that was acknowledged before shows in the
// state.
func TestStaleRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, _ := c.leader()
		id := c.others(leader.Status().ID)[0]
		node := c.nodes[id]
		age, err := node.StaleRead(t.Context(), time.Minute)
		require.NoError(t, err)
		require.Zero(t, age, "the first one asks the leader")
		c.network.Isolate(id)
		time.Sleep(time.Minute)
		age, err = node.StaleRead(t.Context(), time.Minute)
		require.NoError(t, err)
		require.Equal(t, time.Minute, age)
		ctx, cancel := context.WithTimeout(t.Context(), electionTimeout)
		defer cancel()
		_, err = node.StaleRead(ctx, time.Minute-1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
