package raft_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A server whose log is damaged starts, says so, and gets what it has lost from the others. The disks
// are damaged at other entries each, so that every entry is intact somewhere.
func TestDamagedLogsAreRepairedByPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		c.leader()
		commands := proposeMany(t, c.nodes["a"], "command", 30)
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Read(t.Context()))
		}
		for _, id := range c.ids {
			c.close(id)
		}
		for i, id := range c.ids {
			c.disks[id].Damage(raft.Index(5+10*i), raft.Index(14+10*i))
			c.machines[id] = &journal{}
		}
		c.network.SetFaults(memory.Faults{Cut: true})
		for _, id := range c.ids {
			c.start(id)
		}
		time.Sleep(electionTimeout)
		status := c.nodes["b"].Status()
		require.Equal(t, []wire.Range{{First: 15, Last: 24}}, status.Damage.Lost)
		require.Equal(t, electionTimeout, status.Damage.For)
		require.NotEmpty(t, status.Damage.Asked)
		require.Equal(t, raft.NoLeaderReason("this server lacks bytes that its disk has lost"), status.NoLeader.Reason)
		c.network.Heal()
		c.network.SetFaults(memory.Faults{MaxDelay: time.Millisecond})
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Read(within(t, time.Minute)))
			require.Equal(t, commands, c.machines[id].applied())
		}
		time.Sleep(10 * electionTimeout)
		for _, id := range c.ids {
			require.Nil(t, c.nodes[id].Status().Damage, "server %s", id)
			for event := range c.nodes[id].Events(t.Context()) {
				if damage, ok := event.(raft.Damage); ok {
					require.Empty(t, damage.Lost, "the last one says that nothing is lost any more")
					break
				}
			}
		}
	})
}

// Damage that shows when a running server reads its disk for a peer doesn't stop the server: it gets
// the bytes from the third one.
func TestDamageThatShowsOnReadingIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		c.adjust = func(config *raft.Config) { config.TailBytes, config.MaxAppendBytes = 1000, 1000 }
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		away := others[0].Status().ID
		c.network.Isolate(away)
		commands := proposeMany(t, leader, "command", 300)
		c.disks[leader.Status().ID].Damage(100, 120)
		c.network.Heal()
		require.NoError(t, c.nodes[away].Read(within(t, time.Minute)))
		require.Equal(t, commands, c.machines[away].applied())
		time.Sleep(10 * electionTimeout)
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Err())
			require.Nil(t, c.nodes[id].Status().Damage)
		}
		_, err := c.disks[leader.Status().ID].Entries(99, 120, 1<<20)
		require.NoError(t, err, "the disk has them again")
	})
}

// A server that is alone, and needs what it has lost, doesn't start: nobody can give it.
func TestOnlyServerWithADamagedLogDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		proposeMany(t, c.nodes["a"], "command", 10)
		c.close("a")
		c.disks["a"].Damage(4, 5)
		config := c.config("a")
		config.Storage = c.disks["a"].Reopen()
		_, err := raft.Start(config)
		var damage *raft.DamagedError
		require.ErrorAs(t, err, &damage)
		require.Equal(t, wire.Range{First: 4, Last: 5}, damage.Lost)
		require.ErrorContains(t, err, "no other server")
	})
}
