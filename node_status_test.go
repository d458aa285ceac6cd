package raft_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

func TestStatusExplainsWhyThereIsNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{Cut: true})
		require.Equal(t, raft.NoLeaderTimeout, c.nodes["a"].Status().NoLeader.Reason)
		time.Sleep(10 * electionTimeout)
		require.Equal(t, &raft.NoLeader{Reason: raft.NoLeaderVotes, For: 10 * electionTimeout,
			Granted: []raft.ServerID{"a"}, Silent: []raft.ServerID{"b", "c"}}, c.nodes["a"].Status().NoLeader)
		require.Equal(t, "no leader for 10s: this server lacks votes; granted: a; silent: b, c",
			c.nodes["a"].Status().NoLeader.String())
		c.network.Heal()
		leader, others := c.leader()
		require.Nil(t, leader.Status().NoLeader)
		require.Nil(t, others[0].Status().NoLeader)

		cut := time.Now()
		id := others[0].Status().ID
		c.network.Isolate(id)
		time.Sleep(5 * electionTimeout)
		explained := others[0].Status().NoLeader
		require.Equal(t, []raft.ServerID{id}, explained.Granted)
		require.Len(t, explained.Silent, 2)
		require.Less(t, explained.For, time.Since(cut), "it took a while to miss the leader")
		require.Greater(t, explained.For, 3*electionTimeout)
		require.NoError(t, others[0].Close(t.Context()))
		require.Nil(t, others[0].Status().NoLeader)
	})
}

func TestStatusExplainsOtherReasonsForNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Bootstrap = nil }
		node := c.start("a")
		require.Equal(t, raft.NoLeaderNoVote, node.Status().NoLeader.Reason)
		require.ErrorIs(t, node.Status().Trouble, raft.ErrNoCluster)
	})
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		release := make(chan struct{})
		c.disks["a"].set(nil, release)
		proposed := propose(t.Context(), c.nodes["a"], "x")
		time.Sleep(electionTimeout / 2)
		status := c.nodes["a"].Status()
		require.Equal(t, &raft.Wait{On: raft.WaitStored, For: electionTimeout / 2, Index: 2, Servers: []raft.ServerID{"a"}}, status.Command)
		require.Equal(t, raft.LaneStatus{Pending: 1, For: electionTimeout / 2}, status.Disk)
		time.Sleep(electionTimeout)
		require.Equal(t, raft.NoLeaderDisk, c.nodes["a"].Status().NoLeader.Reason)
		require.Equal(t, electionTimeout/2, c.nodes["a"].Status().NoLeader.For)
		close(release)
		require.NoError(t, (<-proposed).err)
		require.Zero(t, c.nodes["a"].Status().Disk)
		require.Nil(t, c.nodes["a"].Status().Command)
	})
}

func TestStatusExplainsWhatAnIsolatedLeaderWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		time.Sleep(electionTimeout)
		id := leader.Status().ID
		c.network.Isolate(id)
		propose(within(t, time.Minute), leader, "x")
		read(within(t, time.Minute), leader)
		time.Sleep(electionTimeout / 2)
		status := leader.Status()
		silent := []raft.ServerID{others[0].Status().ID, others[1].Status().ID}
		require.Equal(t, &raft.Wait{On: raft.WaitStored, For: electionTimeout / 2, Index: 2, Servers: silent}, status.Command)
		require.Equal(t, &raft.Wait{On: raft.WaitRound, For: electionTimeout / 2, Servers: silent}, status.Read)
		require.Equal(t, "waits for 500ms on a majority to store (entry 2): "+string(silent[0])+", "+string(silent[1]), status.Command.String())
		for i, peer := range status.Peers {
			require.Equal(t, silent[i], peer.ID)
			require.EqualValues(t, 1, peer.Match)
			require.Greater(t, peer.Silent, electionTimeout/2-time.Millisecond)
			require.LessOrEqual(t, peer.Silent, electionTimeout/2+electionTimeout/10)
			require.Equal(t, "replicating", peer.Sending)
			require.Equal(t, 1, peer.InFlight)
		}

		// The leader steps down. The entry of its successor will show what became of the command.
		time.Sleep(electionTimeout)
		status = leader.Status()
		require.Equal(t, raft.WaitLeader, status.Read.On)
		require.Equal(t, electionTimeout*3/2, status.Read.For)
		require.Equal(t, raft.WaitLeader, status.Command.On)
		require.EqualValues(t, 2, status.Command.Index)
		require.Nil(t, status.Peers)
	})
}

func TestStatusExplainsWhatAFollowerWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		follower, id := others[0], leader.Status().ID
		name := follower.Status().ID
		c.network.Cut(name, id) // the follower hears the leader, but the leader doesn't hear it
		proposed := propose(within(t, time.Minute), follower, "x")
		answered := read(within(t, time.Minute), follower)
		time.Sleep(electionTimeout / 2)
		status := follower.Status()
		asked := &raft.Wait{On: raft.WaitAnswer, For: electionTimeout / 2, Servers: []raft.ServerID{id}}
		require.Equal(t, asked, status.Command)
		require.Equal(t, asked, status.Read)
		c.network.Heal()
		require.NoError(t, (<-proposed).err)
		require.NoError(t, <-answered)

		release := make(chan struct{})
		c.machines[name].whileApplying(func(string) { <-release })
		proposed = propose(t.Context(), follower, "y")
		synctest.Wait()
		answered = read(t.Context(), follower)
		time.Sleep(electionTimeout)
		status = follower.Status()
		require.Equal(t, &raft.Wait{On: raft.WaitMachine, For: electionTimeout, Index: 3}, status.Command)
		require.Equal(t, &raft.Wait{On: raft.WaitMachine, For: electionTimeout, Index: 3}, status.Read)
		require.Equal(t, raft.LaneStatus{Pending: 1, For: electionTimeout}, status.Machine)
		close(release)
		require.NoError(t, (<-proposed).err)
		require.NoError(t, <-answered)
	})
}

// A change of the members waits for new servers to answer, and then to catch up. A transfer waits
// for the next leader.
func TestStatusExplainsWhatACallWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		id := leader.Status().ID
		call := func(node *raft.Node, f func() error) <-chan error {
			done := make(chan error, 1)
			go func() { done <- f() }()
			synctest.Wait()
			return done
		}
		added := call(leader, func() error {
			_, err := leader.AddServer(t.Context(), raft.Server{ID: "x", Address: "nowhere"})
			return err
		})
		time.Sleep(electionTimeout)
		require.Equal(t, &raft.Wait{On: raft.WaitIdentity, For: electionTimeout, Servers: []raft.ServerID{"x"}}, leader.Status().Call)
		require.ErrorIs(t, <-added, raft.ErrUnreachable)
		require.Nil(t, leader.Status().Call)

		// A server that answers, and is then cut off, doesn't catch up.
		c.join("d")
		c.network.SetLinkFaults(id, "d", memory.Faults{MinDelay: electionTimeout / 4, MaxDelay: electionTimeout / 4})
		added = call(others[0], func() error {
			_, err := others[0].AddServer(t.Context(), reached("d"))
			return err
		})
		require.Eventually(t, func() bool { return others[0].Status().Next != nil }, electionTimeout, time.Millisecond)
		c.network.Isolate("d")
		time.Sleep(electionTimeout)
		waits := others[0].Status().Call
		require.Equal(t, raft.WaitCatchUp, waits.On)
		require.Equal(t, []raft.ServerID{"d"}, waits.Servers)
		require.GreaterOrEqual(t, waits.For, electionTimeout)
		c.network.Heal()
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, <-added)

		successor := others[1].Status().ID
		c.network.Isolate(successor)
		handed := call(leader, func() error { return leader.TransferLeadership(t.Context(), successor) })
		time.Sleep(electionTimeout / 2)
		require.Equal(t, &raft.Wait{On: raft.WaitSuccessor, For: electionTimeout / 2, Servers: []raft.ServerID{successor}}, leader.Status().Call)
		require.ErrorIs(t, <-handed, raft.ErrTransferGivenUp)
		require.Equal(t, id, leader.Status().Leader)
	})
}

// A command in the log of a follower waits for the leader's word that it is committed. The leader
// waits for a majority of the disks.
func TestStatusExplainsACommitThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		release := make(chan struct{})
		for _, follower := range others {
			c.disks[follower.Status().ID].set(nil, release)
		}
		proposed := propose(t.Context(), others[0], "x")
		time.Sleep(electionTimeout / 2)
		status := others[0].Status()
		require.Equal(t, &raft.Wait{On: raft.WaitCommit, For: electionTimeout / 2, Index: 2, Servers: []raft.ServerID{leader.Status().ID}}, status.Command)
		require.Equal(t, raft.LaneStatus{Pending: 1, For: electionTimeout / 2}, status.Disk)
		require.Nil(t, leader.Status().Command, "it is another server's")
		close(release)
		require.NoError(t, (<-proposed).err)
	})
}

func TestStatusExplainsWhereASnapshotStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, _ := exported(t, strings.Repeat("x", 1<<20-100))
		f := newFounders("x")
		f.adjust = func(config *raft.Config) { config.SnapshotBytesPerSecond = 256 << 10 }
		f.start(t, "x", file)
		require.NoError(t, f.nodes["x"].Read(t.Context()))
		f.servers, f.disks["y"] = nil, memory.NewStorage()
		f.start(t, "y", nil)
		added := make(chan error, 1)
		go func() {
			_, err := f.nodes["x"].AddServer(t.Context(), raft.Server{ID: "y", Address: "y"})
			added <- err
		}()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		from, to := f.nodes["x"].Status().Peers[0], f.nodes["y"].Status().Receiving
		require.Equal(t, "snapshot", from.Sending)
		for _, side := range []*raft.TransferStatus{from.Snapshot, to} {
			require.Equal(t, "streaming", side.Stage)
			require.EqualValues(t, 2, side.Index)
			require.Greater(t, side.Size, uint64(1<<20-100))
			require.Greater(t, side.Done, uint64(64<<10))
			require.Less(t, side.Done, side.Size)
		}
		require.EqualValues(t, "y", from.Snapshot.Peer)
		require.EqualValues(t, "x", to.Peer)
		require.NoError(t, <-added)
		time.Sleep(time.Second)
		require.Nil(t, f.nodes["x"].Status().Peers[0].Snapshot)
		require.Nil(t, f.nodes["y"].Status().Receiving)
	})
}
