package rafttest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

var threeGroups = []raft.GroupID{"x", "y", "z"}

// A crash, a cut and a restart hit a server with all its groups. Each of them loses nothing, and has a
// state of its own.
func TestClusterOfHostsSurvivesFaults(t *testing.T) {
	for name, options := range map[string]rafttest.ClusterOptions{
		"in memory": {},
		"on disks that lose what isn't synced": {
			Network: memory.Options{Seed: 5, Faults: memory.Faults{MinDelay: time.Millisecond, MaxDelay: 20 * time.Millisecond, Loss: 0.02}},
			SharedDisk: func(server int) rafttest.SharedDisk {
				return rafttest.SimSharedDisk(simfs.New(uint64(server)), func(fs vfs.FS) (raft.SharedStorage, error) {
					return wal.Open("log", wal.Options{FS: fs})
				})
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			options.Groups = threeGroups
			synctest.Test(t, func(t *testing.T) {
				c := rafttest.NewCluster(t, 5, newLedger, options)
				sums := map[raft.GroupID]int64{}
				addAll := func(server int) {
					for i, group := range threeGroups {
						sums[group] += int64(i + 1)
						require.Equal(t, sums[group], add(t, c.Group(group).Node(server), int64(i+1)))
					}
				}
				addAll(0)
				old := c.Group("y").Leader()
				c.Isolate(old)
				addAll((old + 1) % 5)
				for _, group := range threeGroups {
					require.NotEqual(t, old, c.Group(group).Leader())
				}
				c.Heal()
				addAll(old)
				crashed := c.Leader()
				c.Crash(crashed)
				for _, group := range threeGroups {
					require.Equal(t, "stopped", c.Group(group).Node(crashed).Status().Role)
				}
				require.NotContains(t, c.Group("z").Running(), crashed)
				addAll((crashed + 1) % 5)
				c.Restart(crashed)
				for i := range c.Len() { // all of them at once
					c.Crash(i)
				}
				for i := range c.Len() {
					c.Restart(i)
				}
				addAll(2)
				c.Shutdown(1)
				c.Restart(1)
				for _, group := range threeGroups {
					c.Group(group).Converge()
					for i := range c.Len() {
						require.Equal(t, sums[group], c.Group(group).Machine(i).sum, "%s at %s", group, c.ID(i))
					}
				}
				require.Equal(t, 3, c.Host(4).Status().Running)
			})
		})
	}
}

// Groups come, are closed, and go, by their names. The others go on.
func TestClusterGroupsComeAndGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		configured := map[string]int{}
		c := rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{
			Groups: threeGroups,
			GroupConfig: func(server int, group raft.GroupID, config *raft.Config) {
				configured[fmt.Sprint(server, group)]++
				config.SnapshotMinBytes = 1 << 20
			},
			HostConfig: func(server int, config *raft.HostConfig) { config.ElectionTimeout = 2 * time.Second },
		})
		late := c.Group("late")
		late.StartGroup(1)
		require.EqualValues(t, 5, add(t, late.Node(1), 5))
		late.Converge()
		require.EqualValues(t, 5, late.Machine(2).sum)

		y := c.Group("y")
		add(t, y.Node(0), 1)
		_, err := y.Node(2).RemoveServer(t.Context(), "a")
		require.NoError(t, err)
		y.RemoveGroup(0)
		c.Crash(0)
		c.Restart(0)
		require.EqualValues(t, 3, add(t, y.Node(1), 2))
		y.Converge()
		for _, g := range c.Host(0).Status().Groups {
			require.NotEqual(t, raft.GroupID("y"), g.Group)
		}
		require.NotEqual(t, 0, y.Leader())

		require.NoError(t, c.Node(0).Close(context.Background()))
		require.EqualValues(t, 1, add(t, c.Node(1), 1))
		c.Converge()
		c.StartGroup(0)
		c.Converge()
		require.EqualValues(t, 1, c.Machine(0).sum)
		require.Equal(t, 1, configured["0y"])
		require.Equal(t, 3, configured["0x"], "at the start, after the crash, and after it was closed")
	})
}

// What a Cluster demands of nodes, it demands of each group of a host.
func TestClusterOfHostsFails(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		run  func(c *rafttest.Cluster[*ledger])
	}{
		"a group has stopped by itself": {`group "y"`, func(c *rafttest.Cluster[*ledger]) {
			c.Group("y").Machine(1).drift = func() int64 { panic("a bug") }
			_, _ = c.Group("y").Node(0).Propose(context.Background(), []byte{2})
			time.Sleep(time.Second)
		}},
		"copies of one group differ": {"snapshots differ", func(c *rafttest.Cluster[*ledger]) {
			c.Group("z").Machine(1).sum = 99
			c.Converge()
			c.Group("z").Converge()
		}},
		"a state machine hangs": {"Apply hasn't returned", func(c *rafttest.Cluster[*ledger]) {
			release := make(chan struct{})
			defer close(release)
			c.Group("x").Machine(1).drift = func() int64 { <-release; return 0 }
			_, _ = c.Group("x").Node(0).Propose(context.Background(), []byte{2})
			time.Sleep(2 * time.Minute)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed := &failedTest{TB: t}
				require.Contains(t, failed.run(func(t testing.TB) {
					test.run(rafttest.NewCluster(t, 3, newLedger, rafttest.ClusterOptions{Groups: threeGroups}))
				}), test.text)
			})
		})
	}
}
