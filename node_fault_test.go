package raft_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

func TestLostLeaderIsReplacedBeforeAnyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		leader, others := c.leader()
		start := time.Now()
		require.NoError(t, leader.Close(t.Context()))
		_, err := others[0].Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.Less(t, time.Since(start), electionTimeout/2)
	})
}

func TestIsolatedLeaderStepsDownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		old, others := c.leader()
		id := old.Status().ID
		c.network.Isolate(id)
		leader, _ := c.leader(id)
		require.NotEqual(t, id, leader.Status().ID)
		require.NotEqual(t, "leader", old.Status().Role, "a leader without a quorum steps down")
		_, err := others[1].Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		term := leader.Status().Term
		time.Sleep(10 * electionTimeout)
		c.network.Heal()
		require.NoError(t, old.Read(t.Context()))
		require.Equal(t, []string{"x"}, c.machines[id].applied())
		require.Equal(t, term, leader.Status().Term, "who comes back deposes nobody")
	})
}

func TestOneWayPartitionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		old, others := c.leader()
		for _, other := range others {
			c.network.Cut(other.Status().ID, old.Status().ID) // the leader sends, but doesn't hear
		}
		for _, other := range others {
			_, err := other.Propose(within(t, 10*electionTimeout), []byte("x"))
			require.NoError(t, err)
		}
	})
}

func TestSlowDiskEndsLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		old, _ := c.leader()
		id := old.Status().ID
		release := make(chan struct{})
		c.disks[id].set(nil, release)
		_, err := old.Propose(within(t, time.Minute), []byte("x"))
		require.NoError(t, err, "the others have it on their disks")
		leader, _ := c.leader(id)
		require.NotEqual(t, id, leader.Status().ID)
		c.disks[id].set(nil, nil)
		close(release)
	})
}

func TestServerWithoutStateAndListWaitsToBeAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Bootstrap = nil }
		node := c.start("a")
		time.Sleep(10 * electionTimeout)
		status := node.Status()
		require.ErrorIs(t, status.Trouble, raft.ErrNoCluster)
		require.Equal(t, "follower", status.Role)
		require.Zero(t, status.Cluster)
		require.Empty(t, status.Members)
		_, err := node.Propose(within(t, time.Second), []byte("x"))
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, raft.ErrNoCluster, "why nothing came of it")
		require.ErrorIs(t, node.Read(within(t, time.Second)), raft.ErrNoCluster)
		require.ErrorIs(t, node.TransferLeadership(within(t, time.Second), ""), raft.ErrNoCluster)
		err = node.WhileLeader(within(t, time.Second), func(context.Context, raft.Term) error { return nil })
		require.ErrorIs(t, err, raft.ErrNoCluster)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestDifferentListsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			if config.ID == "c" {
				config.Bootstrap = config.Bootstrap[1:]
			}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		time.Sleep(10 * electionTimeout)
		require.ErrorIs(t, c.nodes["c"].Status().Trouble, raft.ErrBootstrapMismatch)
		require.ErrorIs(t, c.nodes["b"].Status().Trouble, raft.ErrBootstrapMismatch)
	})
}

func TestStatusTellsTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		id := leader.Status().ID
		require.NoError(t, others[0].Read(t.Context()))
		status := others[0].Status()
		require.Equal(t, "follower", status.Role)
		require.Equal(t, id, status.Leader)
		require.Equal(t, "at "+string(id), status.LeaderAddress)
		require.NotZero(t, status.Cluster)
		require.NoError(t, status.Trouble)
		require.Len(t, status.Members, 3)
		require.Equal(t, raft.Server{ID: "b", Address: "at b"}, status.Members[1].Server)
		require.Equal(t, raft.Voter, status.Members[1].Role)
		require.NotZero(t, status.Commit)
		require.Equal(t, status.Commit, status.Applied)
		status.Members[1].Address = "scribbled"
		require.Equal(t, "at b", others[0].Status().Members[1].Address, "a status is the caller's own")
	})
}

func TestServerFarBehindIsServedFromTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.TailBytes, config.MaxAppendBytes = 1000, 1000 }
		for _, id := range c.ids {
			c.start(id)
		}
		c.leader()
		c.close("c")
		for i := range 500 {
			_, err := c.nodes["a"].Propose(t.Context(), fmt.Append(nil, i))
			require.NoError(t, err)
		}
		c.start("c")
		require.NoError(t, c.nodes["c"].Read(t.Context()))
		require.Equal(t, c.machines["a"].applied(), c.machines["c"].applied())
	})
}

// Clients propose at all servers while links are cut, messages are lost and servers restart. What
// the clients were told must be true. An acknowledged command is applied once. A command that was
// not applied never is. Every other command is applied at most once. All servers apply the same
// commands in the same order.
func TestAnswersAreHonest(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { honest(t, seed) })
		})
	}
}

func honest(t *testing.T, seed uint64) {
	luck := rand.New(rand.NewPCG(seed, 0))
	c := startCluster(t, 3, memory.Faults{MaxDelay: 30 * time.Millisecond, Loss: 0.1, Duplicate: 0.1, Reorder: 0.3})
	c.leader()
	type told struct {
		command string
		err     error
	}
	answers := make(chan told, 10000)
	work, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	const clients = 9
	nodes := make(chan map[raft.ServerID]*raft.Node, 1) // it holds the nodes while nobody uses them
	nodes <- c.nodes
	for client := range clients {
		go func() {
			defer func() { ended <- struct{}{} }()
			for i := 0; work.Err() == nil; i++ {
				list := <-nodes
				node := list[c.ids[(client+i)%3]]
				nodes <- list
				command := fmt.Sprint(client, " ", i)
				ctx, cancel := context.WithTimeout(t.Context(), 800*time.Millisecond)
				_, err := node.Propose(ctx, []byte(command))
				cancel()
				answers <- told{command, err}
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	c.harm(luck, nodes)
	c.network.SetFaults(memory.Faults{MaxDelay: time.Millisecond})
	stop()
	for range clients {
		<-ended
	}
	close(answers)

	for _, id := range c.ids {
		require.NoError(t, c.nodes[id].Read(within(t, time.Minute)))
		require.Equal(t, c.machines["a"].applied(), c.machines[id].applied(), "server %s", id)
	}
	times := map[string]int{}
	for _, command := range c.machines["a"].applied() {
		times[command]++
		require.Equal(t, 1, times[command], "applied more than once: %s", command)
	}
	acknowledged := 0
	for a := range answers {
		switch {
		case a.err == nil:
			acknowledged++
			require.Equal(t, 1, times[a.command], "acknowledged and lost: %s", a.command)
		case errors.Is(a.err, raft.ErrNotApplied):
			require.Zero(t, times[a.command], "applied in spite of %v: %s", a.err, a.command)
		default:
			require.ErrorIs(t, a.err, raft.ErrOutcomeUnknown, a.command)
		}
	}
	require.Greater(t, acknowledged, 5)
}

// harm cuts links, heals links and restarts servers for a while.
func (c *cluster) harm(luck *rand.Rand, nodes chan map[raft.ServerID]*raft.Node) {
	for range 15 {
		id, other := c.ids[luck.IntN(3)], c.ids[luck.IntN(3)]
		switch luck.IntN(4) {
		case 0:
			c.network.Isolate(id)
		case 1:
			c.network.Cut(id, other)
		case 2:
			c.network.Heal()
		case 3:
			list := <-nodes
			c.close(id)
			c.start(id)
			nodes <- list
		}
		time.Sleep(time.Duration(luck.IntN(2000)) * time.Millisecond)
	}
}
