package raft_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// collect collects the events of a node, until the node stops or ctx ends.
func collect(ctx context.Context, node *raft.Node) <-chan []raft.Event {
	done := make(chan []raft.Event, 1)
	go func() {
		var events []raft.Event
		for event := range node.Events(ctx) {
			events = append(events, event)
		}
		done <- events
	}()
	return done
}

// pick returns the events of one type.
func pick[E raft.Event](events []raft.Event) (picked []E) {
	for _, event := range events {
		if e, ok := event.(E); ok {
			picked = append(picked, e)
		}
	}
	return picked
}

func TestEventsTellALife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		all := collect(t.Context(), c.nodes["a"])
		c.leader()
		for range 3 {
			_, err := c.nodes["a"].Propose(t.Context(), []byte("x"))
			require.NoError(t, err)
		}
		leadership := c.nodes["a"].Leadership()
		status := c.nodes["a"].Status()
		c.close("a")
		events := <-all

		require.Equal(t, raft.Stopped{}, events[len(events)-1], "the end is the last event")
		told := pick[raft.Leadership](events)
		require.Equal(t, raft.Leadership{Role: "stopped", Term: status.Term}, told[len(told)-1])
		require.Equal(t, leadership, told[len(told)-2])
		require.Equal(t, raft.Leadership{Term: status.Term, Role: status.Role, Leader: status.Leader,
			LeaderAddress: "at " + string(status.Leader), Ready: status.Role == "leader"}, leadership)
		for i := 1; i < len(told); i++ {
			require.NotEqual(t, told[i-1], told[i], "only changes are told")
			require.LessOrEqual(t, told[i-1].Term, told[i].Term)
		}
		memberships := pick[raft.Membership](events)
		last := memberships[len(memberships)-1]
		require.True(t, last.Committed)
		require.EqualValues(t, 1, last.Index)
		require.Equal(t, status.Members, last.Configuration.Members)
		require.Equal(t, status.Cluster, last.Configuration.Cluster)
	})
}

// A reader that doesn't come back for a long time holds up nobody. When it comes back, it is shown
// what is now, and not what was in between.
func TestEventsSkipWhatIsOutdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		c.leader()
		resume, events := make(chan struct{}), make(chan raft.Event)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(events)
			for event := range c.nodes["a"].Events(ctx) {
				<-resume
				events <- event
			}
		}()
		synctest.Wait()
		terms := map[raft.Term]bool{}
		for range 10 {
			c.network.Isolate(c.nodes["a"].Leadership().Leader)
			time.Sleep(4 * electionTimeout)
			c.network.Heal()
			c.leader()
			_, err := c.nodes["a"].Propose(t.Context(), []byte("x"))
			require.NoError(t, err, "the node goes on")
			terms[c.nodes["a"].Leadership().Term] = true
		}
		require.Greater(t, len(terms), 5)
		close(resume)
		<-events // the reader had taken this one before all the rest
		last := raft.Leadership{}
		for range 2 { // at most a Membership and a Leadership are left
			synctest.Wait()
			select {
			case event := <-events:
				if e, ok := event.(raft.Leadership); ok {
					last = e
				}
			default:
			}
		}
		require.Equal(t, c.nodes["a"].Leadership(), last)
		requireOpen(t, events)
		cancel()
		_, more := <-events
		require.False(t, more, "the iteration ends with its context")
	})
}

func TestEventsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		broken := errors.New("the disk is broken")
		c.disks["a"].set(broken, nil)
		_, err := c.nodes["a"].Propose(t.Context(), nil)
		require.ErrorIs(t, err, broken)
		<-c.nodes["a"].Done()
		for range 2 {
			events := <-collect(t.Context(), c.nodes["a"])
			require.Len(t, pick[raft.Membership](events), 1)
			require.Equal(t, []raft.Leadership{{Term: 1, Role: "stopped"}}, pick[raft.Leadership](events))
			stopped := events[len(events)-1].(raft.Stopped)
			require.ErrorIs(t, stopped.Err, broken)
			require.Equal(t, c.nodes["a"].Err(), stopped.Err)
		}
	})
}

func TestEventsEndWhenTheCallerBreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		for range c.nodes["a"].Events(t.Context()) {
			break
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range c.nodes["a"].Events(ended) {
			require.Fail(t, "an event after the context has ended")
		}
	})
}

// A leader is ready only after it has applied the entry that began its term, with everything before
// that entry (§6.4).
func TestReadyOnceTheNoOpIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		_, err := c.nodes["a"].Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.True(t, c.nodes["a"].Leadership().Ready)
		c.close("a")
		release := make(chan struct{})
		c.adjust = func(config *raft.Config) {
			c.machines["a"].whileApplying(func(string) { <-release })
		}
		node := c.start("a")
		synctest.Wait()
		require.Equal(t, raft.Leadership{Term: 2, Role: "leader", Leader: "a", LeaderAddress: "at a"}, node.Leadership())
		close(release)
		synctest.Wait()
		require.True(t, node.Leadership().Ready)
		require.Equal(t, []string{"x"}, c.machines["a"].applied())
	})
}

// Whoever has an answer is shown what led to it: the node leads and is ready when the first command has been answered.
func TestAnswersComeAfterWhatTheyFollowFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		var node *raft.Node
		var shown []bool
		c.adjust = func(config *raft.Config) {
			config.Trace = &raft.Trace{Answered: func(raft.AnswerTrace) { shown = append(shown, node.Leadership().Ready) }}
		}
		node = c.start("a")
		_, err := node.Propose(t.Context(), nil) // it waits for the election, and is applied with the first entry of the term
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []bool{true}, shown)
	})
}

func TestTroubleIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Bootstrap = nil }
		node := c.start("a")
		for event := range node.Events(t.Context()) {
			if e, ok := event.(raft.Trouble); ok {
				require.ErrorIs(t, e.Err, raft.ErrNoCluster)
				break
			}
		}
	})
}

// The error of a call names the leader and its address.
func TestErrorsNameTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{Cut: true})
		_, err := c.nodes["a"].Propose(within(t, time.Second/2), nil)
		var failed *raft.CallError
		require.ErrorAs(t, err, &failed)
		require.Empty(t, failed.Leadership.Leader)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorContains(t, err, "context deadline exceeded (no leader is known in term 0): this server waits for its election timeout")
		require.Equal(t, raft.NoLeaderTimeout, failed.NoLeader.Reason)

		c.network.Heal()
		_, others := c.leader()
		follower := others[0]
		leader := follower.Status().Leader
		machine := c.machines[follower.Status().ID]
		release := make(chan struct{})
		machine.whileApplying(func(string) { <-release })
		proposed := propose(within(t, time.Second), follower, "x")
		synctest.Wait()
		reading := read(within(t, time.Second), follower)
		got := <-proposed
		require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown)
		for _, err := range []error{got.err, <-reading} {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorAs(t, err, &failed)
			require.Equal(t, follower.Leadership(), failed.Leadership)
			require.Equal(t, leader, failed.Leadership.Leader)
			require.Equal(t, "at "+string(leader), failed.Leadership.LeaderAddress)
			require.ErrorContains(t, err, " ("+string(leader)+" at at "+string(leader)+" leads in term ")
			require.Equal(t, raft.WaitMachine, failed.Wait.On)
			require.ErrorContains(t, err, ": the oldest call of its kind waits for ")
		}
		close(release)
		require.NoError(t, follower.Close(t.Context()))
		_, err = follower.Propose(t.Context(), nil)
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "stopped", failed.Leadership.Role)
		require.Equal(t, "raft: command not applied: closed", err.Error())
	})
}
