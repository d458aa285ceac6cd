package raft_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
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

// An askCount counts the questions that a server has asked, and that weren't answered.
type askCount struct{ open, most atomic.Int64 }

func (a *askCount) trace() *raft.Trace {
	return &raft.Trace{
		Sent: func(m wire.Message) {
			if m.Kind() == wire.KindRepairRequest {
				a.most.Store(max(a.most.Load(), a.open.Add(1)))
			}
		},
		Received: func(m wire.Message) {
			if m.Kind() == wire.KindRepairResponse {
				a.open.Add(-1)
			}
		},
	}
}

// Many places are asked for at a time, so that they are back after a few round trips. What one of the
// members has lost, too, comes from the other one.
func TestManyLostPlacesAreBackAfterFewRoundTrips(t *testing.T) {
	const delay, places = 5 * time.Millisecond, 1000
	for name, elsewhere := range map[string]int{"nowhere else": 0, "every tenth at another server": 10, "each at one of the others": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, memory.Faults{MinDelay: delay, MaxDelay: delay})
				asks := map[raft.ServerID]*askCount{"a": {}, "b": {}, "c": {}}
				c.adjust = func(config *raft.Config) { config.TailBytes, config.Trace = 1000, asks[config.ID].trace() }
				for _, id := range c.ids {
					c.start(id)
				}
				leader, others := c.leader()
				proposeMany(t, leader, "command", 2*places+100)
				ids := []raft.ServerID{leader.Status().ID, others[0].Status().ID, others[1].Status().ID}
				for _, node := range others {
					require.NoError(t, node.Read(t.Context()))
				}
				c.close(ids[2])
				for n := range raft.Index(places) {
					at := 5 + 2*n
					c.disks[ids[2]].Damage(at, at)
					if elsewhere > 0 && int(n)%elsewhere == 0 {
						c.disks[ids[(int(n)/elsewhere)%2]].Damage(at, at)
					}
				}
				times := watchRepair(t, c.start(ids[2]))
				took := (<-times.repaired).Sub(<-times.found)
				t.Logf("%d round trips", took/(2*delay))
				require.Less(t, took, 40*2*delay)
				require.Equal(t, int64(64), asks[ids[2]].most.Load(), "so many questions at a time, and no more")
			})
		})
	}
}
