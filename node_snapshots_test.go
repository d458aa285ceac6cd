package raft_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// small makes the nodes of a cluster take snapshots all the time.
func small(config *raft.Config) {
	config.SnapshotMinBytes, config.SnapshotFactor, config.TailBytes = 2000, 1, 1
}

// proposeMany proposes commands of a hundred bytes each, and returns them.
func proposeMany(t *testing.T, node *raft.Node, name string, count int) []string {
	t.Helper()
	var commands []string
	for i := range count {
		command := fmt.Sprintf("%s %d %s", name, i, strings.Repeat("x", 100))
		_, err := node.Propose(within(t, time.Minute), []byte(command))
		require.NoError(t, err)
		commands = append(commands, command)
	}
	return commands
}

func TestSnapshotsBoundTheLogAndAStartGoesOnFromOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = small
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "command", 500)
		synctest.Wait()
		status := c.nodes["a"].Status()
		require.Greater(t, status.Snapshot, raft.Index(0))
		require.Less(t, status.Last-status.Snapshot, raft.Index(500), "most of the log is covered")
		_, err := c.disks["a"].Entries(0, 1, 1)
		require.ErrorIs(t, err, raft.ErrCompacted, "and gone")
		_, err = c.disks["a"].Entries(status.Snapshot-1, status.Snapshot, 1)
		require.NoError(t, err, "but for what lies behind the snapshot before")
		c.close("a")

		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, c.machines["a"].applied())
		require.Equal(t, 1, c.machines["a"].restored)
		commands = append(commands, proposeMany(t, c.nodes["a"], "more", 300)...)
		require.Equal(t, commands, c.machines["a"].applied())
	})
}

func TestSnapshotOnDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		proposeMany(t, others[0], "command", 3)
		for _, node := range []*raft.Node{leader, others[0], others[1]} {
			require.NoError(t, node.Read(t.Context()))
			index, err := node.Snapshot(t.Context())
			require.NoError(t, err)
			require.Equal(t, node.Status().Applied, index)
			require.Equal(t, index, node.Status().Snapshot)
			again, err := node.Snapshot(t.Context())
			require.NoError(t, err)
			require.Equal(t, index, again, "it covers all")
		}
		meta, reader, err := c.disks["a"].OpenSnapshot()
		require.NoError(t, err)
		require.Len(t, meta.Configuration.Members, 3)
		require.EqualValues(t, 1, meta.ConfigurationIndex)
		require.NoError(t, reader.Close())

		c.close("a")
		_, err = c.nodes["a"].Snapshot(t.Context())
		require.ErrorIs(t, err, raft.ErrClosed)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = c.nodes["b"].Snapshot(ended)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestSnapshotOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{Cut: true})
		_, err := c.nodes["a"].Snapshot(t.Context())
		require.ErrorIs(t, err, raft.ErrNoSnapshot)
	})
}

// If a snapshot can't be taken, the caller of Snapshot hears of it, and nothing else comes of it:
// the log stays, and applying goes on.
func TestFailingSnapshotIsReportedAndTriedAgain(t *testing.T) {
	broken := errors.New("no room in the notebook")
	for name, breakIt := range map[string]func(c *cluster, err error){
		"capturing": func(c *cluster, err error) {
			c.machines["a"].whileSaving(func() error { return err })
		},
		"writing": func(c *cluster, err error) {
			c.machines["a"].whileWriting(func() error { return err })
		},
		"panicking": func(c *cluster, err error) {
			c.machines["a"].whileWriting(func() error {
				if err != nil {
					panic(err)
				}
				return nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, memory.Faults{})
				c.adjust = small
				c.start("a")
				breakIt(c, broken)
				commands := proposeMany(t, c.nodes["a"], "command", 100)
				_, err := c.nodes["a"].Snapshot(t.Context())
				require.ErrorIs(t, err, broken)
				require.NoError(t, c.nodes["a"].Err())
				require.Zero(t, c.nodes["a"].Status().Snapshot)
				_, _, err = c.disks["a"].OpenSnapshot()
				require.ErrorIs(t, err, raft.ErrNoSnapshot)
				_, err = c.disks["a"].Entries(0, 1, 1)
				require.NoError(t, err, "the log is as it was")
				breakIt(c, nil)
				time.Sleep(11 * electionTimeout)
				require.Equal(t, c.nodes["a"].Status().Last, c.nodes["a"].Status().Snapshot, "tried again without being asked")
				require.Equal(t, commands, c.machines["a"].applied())
			})
		})
	}
}

func TestApplyGoesOnWhileASnapshotIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		hang := make(chan struct{})
		c.machines["a"].whileWriting(func() error { <-hang; return nil })
		commands := proposeMany(t, c.nodes["a"], "before", 5)
		taken := make(chan raft.Index, 1)
		go func() {
			index, err := c.nodes["a"].Snapshot(t.Context())
			require.NoError(t, err)
			taken <- index
		}()
		synctest.Wait()
		commands = append(commands, proposeMany(t, c.nodes["a"], "meanwhile", 5)...)
		require.Empty(t, taken)
		close(hang)
		index := <-taken
		require.Less(t, index, c.nodes["a"].Status().Applied)
		_, reader, err := c.disks["a"].OpenSnapshot()
		require.NoError(t, err)
		text, err := io.ReadAll(reader)
		require.NoError(t, err)
		require.Contains(t, string(text), "before 4")
		require.NotContains(t, string(text), "meanwhile", "it holds the state at its index, not a later one")
		c.close("a")
		c.start("a")
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, c.machines["a"].applied())
	})
}

// A caller gives up while the snapshot that it has asked for is being written. The node goes on, and
// so does the snapshot.
func TestCallerOfASnapshotGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		proposeMany(t, c.nodes["a"], "command", 3)
		hang := make(chan struct{})
		c.machines["a"].whileWriting(func() error { <-hang; return nil })
		ctx, cancel := context.WithCancel(t.Context())
		taken := make(chan error, 1)
		go func() {
			_, err := c.nodes["a"].Snapshot(ctx)
			taken <- err
		}()
		synctest.Wait()
		cancel()
		require.ErrorIs(t, <-taken, context.Canceled)
		close(hang)
		time.Sleep(electionTimeout)
		proposeMany(t, c.nodes["a"], "more", 1)
		require.NotZero(t, c.nodes["a"].Status().Snapshot)
	})
}

var errFull = errors.New("no space left on device")

func TestCloseWhileASnapshotIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		proposeMany(t, c.nodes["a"], "command", 3)
		hang := make(chan struct{})
		c.machines["a"].whileWriting(func() error { <-hang; return nil })
		taken := make(chan error, 1)
		go func() {
			_, err := c.nodes["a"].Snapshot(t.Context())
			taken <- err
		}()
		synctest.Wait()
		require.ErrorIs(t, c.nodes["a"].Close(within(t, time.Second)), context.DeadlineExceeded, "the state machine is still writing")
		require.ErrorIs(t, <-taken, raft.ErrClosed, "but nobody waits for it")
		close(hang)
		require.NoError(t, c.nodes["a"].Close(t.Context()))
	})
}
