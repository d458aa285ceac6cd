package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A wreck is a cluster of three servers whose logs hold the same entries: the configuration, and four
// commands behind it. Then all of them start again, and each has lost some of the commands.
const wreckCommands = 4

// wreckOf returns a cluster in which the servers' disks are as they were, but for what they have
// lost: bit 4s+i of lost is command i of server s.
func wreckOf(t *testing.T, sound map[raft.ServerID]*server, lost int) *cores {
	c := &cores{t: t, servers: map[raft.ServerID]*server{}, ids: []raft.ServerID{"a", "b", "c"}, now: 1e12}
	for i, id := range c.ids {
		was := sound[id]
		c.servers[id] = &server{cut: true, config: was.config, saved: was.saved, log: was.log[:len(was.log):len(was.log)]}
		for n := range wreckCommands {
			if lost>>(i*wreckCommands+n)&1 != 0 {
				c.lose(id, raft.Index(len(was.log)-wreckCommands+n+1))
			}
		}
	}
	for _, id := range c.ids {
		c.start(id)
	}
	return c
}

// whole returns a cluster of three servers whose disks hold the same committed commands.
func whole(t *testing.T) map[raft.ServerID]*server {
	c := newCores(t, 3)
	c.elect("a")
	for n := range wreckCommands {
		c.propose("a", fmt.Sprint("command ", n))
	}
	c.pass(2 * heartbeat)
	return c.servers
}

// Every pattern of damage to four entries at three servers: if each entry is intact somewhere, the
// cluster recovers, and nothing is lost. Otherwise it stays down, and names what is missing: it may
// have been acknowledged. That are 7⁴ = 2,401 patterns of the one kind, and 1,695 of the other.
func TestEveryPatternOfDamage(t *testing.T) {
	sound := whole(t)
	recovered, down := 0, 0
	for lost := range 1 << (3 * wreckCommands) {
		missing := lost & (lost >> wreckCommands) & (lost >> (2 * wreckCommands)) & (1<<wreckCommands - 1)
		c := wreckOf(t, sound, lost)
		if missing == 0 {
			c.recovers(lost)
			recovered++
		} else {
			c.staysDown(lost, missing)
			down++
		}
	}
	require.Equal(t, 2401, recovered)
	require.Equal(t, 1695, down)
}

// recovers demands that all servers get whole again, and apply all commands.
func (c *cores) recovers(lost int) {
	healed := func() bool {
		for _, id := range c.ids {
			if s := c.servers[id]; len(s.gone) > 0 || len(c.commands(id)) < wreckCommands {
				return false
			}
		}
		return true
	}
	for rounds := 0; !healed(); rounds++ {
		require.Less(c.t, rounds, 60, "damage %012b: it is still there after 60 election timeouts", lost)
		c.pass(election)
	}
	for _, id := range c.ids {
		require.Equal(c.t, []string{"command 0", "command 1", "command 2", "command 3"}, c.commands(id), "damage %012b", lost)
	}
}

// staysDown demands that nobody leads, applies or gives up anything.
func (c *cores) staysDown(lost, missing int) {
	c.pass(8 * election)
	for _, id := range c.ids {
		status := c.status(id)
		require.NotEqual(c.t, "leader", status.Role, "damage %012b", lost)
		require.Len(c.t, c.servers[id].log, int(status.Last), "damage %012b", lost)
		for n := range wreckCommands {
			if index := raft.Index(len(c.servers[id].log) - wreckCommands + n + 1); missing>>n&1 != 0 {
				require.True(c.t, c.servers[id].gone[index])
				require.Contains(c.t, lostOf(status), index, "damage %012b", lost)
			}
		}
	}
}

// lostOf returns the entries that a server says it has lost.
func lostOf(s raft.CoreStatus) (all []raft.Index) {
	for _, r := range s.Lost {
		for index := r.First; index <= r.Last; index++ {
			all = append(all, index)
		}
	}
	return all
}
