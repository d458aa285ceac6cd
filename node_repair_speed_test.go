package raft_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// repairTimes notes when a server says that something is lost, and when that nothing is lost any more.
type repairTimes struct{ found, repaired chan time.Time }

func watchRepair(t *testing.T, node *raft.Node) repairTimes {
	times := repairTimes{make(chan time.Time, 1), make(chan time.Time, 1)}
	go func() {
		found := false
		for event := range node.Events(t.Context()) {
			damage, ok := event.(raft.Damage)
			switch {
			case !ok:
			case len(damage.Lost) > 0 && !found:
				found = true
				times.found <- time.Now()
			case len(damage.Lost) == 0 && found:
				times.repaired <- time.Now()
				return
			}
		}
	}()
	return times
}

// What a follower has lost is there again a round trip after it was found: when the follower starts, or
// when a running one reads its disk. That holds for a lone entry at each place, and for each member that
// is asked.
func TestLostEntryIsBackAfterARoundTrip(t *testing.T) {
	const delay = 7 * time.Millisecond
	const commands = 200
	for _, running := range []bool{false, true} {
		for index := raft.Index(2); index < 50; index += 7 {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, memory.Faults{MinDelay: delay, MaxDelay: delay})
				c.adjust = func(config *raft.Config) {
					config.ScrubBytesPerSecond, config.TailBytes = 1<<20, 1000 // what is lost is in no memory
				}
				for _, id := range c.ids {
					c.start(id)
				}
				leader, others := c.leader()
				proposeMany(t, leader, "command", commands)
				id := others[index%2].Status().ID
				require.NoError(t, c.nodes[id].Read(t.Context()))
				if !running {
					c.close(id)
				}
				c.disks[id].Damage(index, index)
				if !running {
					c.start(id)
				}
				times := watchRepair(t, c.nodes[id])
				took := (<-times.repaired).Sub(<-times.found)
				require.GreaterOrEqual(t, took, 2*delay, "the bytes come from another server")
				require.LessOrEqual(t, took, 2*delay+time.Millisecond)
				require.Nil(t, c.nodes[id].Status().Damage)
				_, err := c.disks[id].Entries(index-1, index, 1<<20)
				require.NoError(t, err)
			})
		}
	}
}
