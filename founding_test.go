package raft_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func TestThreeServersFoundAClusterAndCommit(t *testing.T) {
	for n := 1; n <= 5; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCores(t, n)
			c.pass(5 * election)
			leader := c.leader()
			require.NotEmpty(t, leader)
			for i, id := range c.ids {
				c.propose(id, fmt.Sprint("command ", i))
				read := c.servers[id].core.Read(c.now)
				c.drain(id)
				c.settle()
				answers := c.servers[id].answers
				require.Len(t, answers, 2)
				require.NoError(t, answers[0].Err)
				require.Equal(t, fmt.Sprint("command ", i), string(answers[0].Result))
				require.Equal(t, raft.Answer{Number: read, Read: true, Index: answers[0].Index, Fresh: c.now}, answers[1])
			}
			c.pass(2 * heartbeat)
			for _, id := range c.ids {
				require.Len(t, c.commands(id), n)
				require.Equal(t, c.commands(leader), c.commands(id))
				require.Equal(t, c.status(leader).Configuration, c.status(id).Configuration)
			}
		})
	}
}

// A cluster is founded once, by all servers of its list. From then on it knows their disks
// (founding.go).

// Where a driver serves many groups, it says when a core may campaign to found its cluster: once for each
// time. Meanwhile the core votes for others, and nothing is due.
func TestFoundingWaitsForTheDriver(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.Coalesced = true })
	a := c.servers["a"].core
	sent := 0
	c.lost = func(*wire.Message) bool { sent++; return true }
	c.pass(10 * election)
	require.Equal(t, raft.NoLeaderReason("other groups of this host elect their leaders first"), a.Explain().NoLeader.Reason)
	for range 3 {
		c.pass(10 * election)
		require.Equal(t, raft.Instant(math.MaxInt64), a.Deadline())
		sent = 0
		c.pass(10 * election)
		require.Zero(t, sent)
		a.MayCampaign(c.now)
		a.Tick(c.now)
		c.drain("a")
		require.Equal(t, "pre-candidate", c.status("a").Role)
		c.settle()
		require.NotZero(t, sent)
	}
	c.lost = nil
	c.elect("b")
	require.Equal(t, "follower", c.status("a").Role)
}

// Whoever hears from the founder doesn't campaign, even if its driver lets it.
func TestFoundingIsLeftToTheFounder(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.Coalesced = true })
	appends := c.electWithout("a", wire.KindAppendRequest)
	require.NotEmpty(t, appends)
	b := c.servers["b"].core
	b.MayCampaign(c.now)
	b.Tick(c.now)
	require.Equal(t, "follower", c.status("b").Role)
	require.Equal(t, c.status("a").Term, c.status("b").Term)
}

func TestFoundingNeedsEveryServer(t *testing.T) {
	c := newCores(t, 3)
	c.servers["c"].cut = true
	c.pass(20 * election)
	require.Empty(t, c.leader())
	c.servers["c"].cut = false
	c.pass(5 * election)
	leader := c.leader()
	require.NotEmpty(t, leader)
	first := c.servers[leader].log[0]
	require.Equal(t, wire.EntryConfiguration, first.Kind)
	configuration, err := wire.DecodeConfiguration(first.Data)
	require.NoError(t, err)
	for i, member := range configuration.Members {
		require.Equal(t, c.status(member.ID).Incarnation, member.Incarnation)
		require.Equal(t, c.ids[i], member.ID)
	}
	require.Equal(t, configuration.Cluster, c.status("c").Cluster)
}

// wipe replaces a server's disk.
func (c *cores) wipe(id raft.ServerID) {
	s := c.servers[id]
	s.config.Incarnation += 1000
	s.saved, s.log = raft.DurableState{}, nil
	c.start(id)
}

// One replaced disk and one server that has lagged behind are a majority of three. They must not
// found the cluster anew.
func TestReplacedDiskDoesNotFoundASecondCluster(t *testing.T) {
	c := newCores(t, 3)
	withheld := c.electWithout("a", wire.KindAppendRequest)
	for _, m := range withheld {
		if m.To == "b" {
			c.deliver(m)
		}
	}
	c.settle()
	require.Equal(t, c.status("a").Last, c.status("a").Commit, "a and b have founded it")
	c.servers["a"].cut = true
	c.wipe("b")
	c.pass(50 * election)
	require.Empty(t, c.status("b").Cluster)
	require.NotEqual(t, "leader", c.status("b").Role)
	require.NotEqual(t, "leader", c.status("c").Role)

	c.servers["a"].cut = false
	c.pass(20 * election)
	require.Equal(t, c.status("a").Cluster, c.status("c").Cluster)
	require.NotEmpty(t, c.leader())
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrOtherIncarnation)
	require.Zero(t, c.status("b").Last, "it takes no part")
}

func TestDifferentBootstrapListsAreReported(t *testing.T) {
	c := newCores(t, 3)
	s := c.servers["c"]
	s.config.Bootstrap = append([]raft.Server(nil), s.config.Bootstrap...)
	s.config.Bootstrap[0].Address = "elsewhere:1"
	c.restart("c")
	c.pass(5 * election)
	require.Empty(t, c.leader())
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrBootstrapMismatch)
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrBootstrapMismatch)
}

// A message of another cluster is refused before it touches the term. It is trouble for a server
// that hears nothing else.
func TestAnotherClusterIsNotHeard(t *testing.T) {
	c := founded(t, 3)
	b := c.status("b")
	stray := wire.AppendRequest{}.Message().In(wire.Envelope{
		From: "a", To: "b", Term: b.Term + 5, Cluster: raft.ClusterID{1}, FromIncarnation: 100,
	})
	c.deliver(stray)
	require.Equal(t, b.Term, c.status("b").Term)
	require.NoError(t, c.status("b").Trouble, "it takes part")

	c.restart("b")
	c.deliver(stray)
	require.Equal(t, b.Term, c.status("b").Term)
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrOtherCluster)
	c.pass(2 * election)
	require.NotEmpty(t, c.status("b").Leader)
	require.NoError(t, c.status("b").Trouble)
}

// A server that has voted for the founder, but has nothing of the cluster yet, still votes in it.
func TestVoterWithoutAClusterStillVotes(t *testing.T) {
	c := newCores(t, 3)
	withheld := c.electWithout("a", wire.KindAppendRequest)
	for _, m := range withheld {
		if m.To == "b" {
			c.deliver(m)
		}
	}
	c.settle()
	c.servers["a"].cut = true
	require.Empty(t, c.status("c").Cluster)
	c.pass(20 * election)
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.Equal(t, c.status("b").Cluster, c.status("c").Cluster)
}

// A server without state and without a list waits. It refuses no cluster.
func TestServerWithoutBootstrapWaits(t *testing.T) {
	core, err := raft.NewCore(raft.CoreConfig{ID: "x", Incarnation: 1})
	require.NoError(t, err)
	core.Tick(core.Deadline() + 1)
	var e raft.Effects
	core.Drain(&e)
	require.Empty(t, e.Messages)
	require.Equal(t, "follower", core.Status().Role)
}

func TestBadCoreConfigsAreNamed(t *testing.T) {
	for name, config := range map[string]raft.CoreConfig{
		"server ID":              {Incarnation: 1},
		"Incarnation":            {ID: "a"},
		"negative":               {ID: "a", Incarnation: 1, Heartbeat: -1},
		"less than twice":        {ID: "a", Incarnation: 1, Heartbeat: 10, ElectionTimeout: 19},
		"twice":                  {ID: "a", Incarnation: 1, Bootstrap: []raft.Server{{ID: "a"}, {ID: "a"}}},
		"doesn't name":           {ID: "a", Incarnation: 1, Bootstrap: []raft.Server{{ID: "b"}}},
		"belongs to":             {ID: "a", Saved: raft.Saved{State: raft.DurableState{Server: "b"}}},
		"MaxAppendBytes is nega": {ID: "a", Incarnation: 1, MaxAppendBytes: -5},
	} {
		_, err := raft.NewCore(config)
		require.ErrorIs(t, err, raft.ErrConfig, name)
		require.ErrorContains(t, err, name)
	}
}
