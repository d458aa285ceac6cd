package raft_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// requireClosed requires that a node was closed, without a failure.
func requireClosed(t *testing.T, node *raft.Node) {
	t.Helper()
	<-node.Done()
	require.NoError(t, node.Err())
	_, err := node.Propose(t.Context(), []byte("too late"))
	require.ErrorIs(t, err, raft.ErrNotApplied)
	require.ErrorIs(t, err, raft.ErrClosed)
	require.ErrorIs(t, node.Read(t.Context()), raft.ErrClosed)
	require.Equal(t, "stopped", node.Status().Role)
	require.NoError(t, node.Close(t.Context()), "a second time does nothing")
}

// The bubble of each of these tests ends only when every goroutine in it has ended. So the tests
// also show that a node leaves no goroutine behind.

func TestCloseWhileElecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{Cut: true})
		proposed, answered := propose(t.Context(), c.nodes["a"], "x"), read(t.Context(), c.nodes["a"])
		time.Sleep(10 * electionTimeout)
		start := time.Now()
		c.close("a")
		got := <-proposed
		require.ErrorIs(t, got.err, raft.ErrNotApplied, "it never left")
		require.ErrorIs(t, got.err, raft.ErrClosed)
		require.ErrorIs(t, <-answered, raft.ErrClosed)
		require.Zero(t, time.Since(start))
		requireClosed(t, c.nodes["a"])
	})
}

func TestCloseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		c.close("a")
		requireClosed(t, c.nodes["a"])
	})
}

func TestCloseWithTheCommandInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, _ := c.leader()
		c.network.Isolate(leader.Status().ID)
		proposed, answered := propose(t.Context(), leader, "x"), read(t.Context(), leader)
		requireOpen(t, proposed)
		require.NoError(t, leader.Close(t.Context()))
		got := <-proposed
		require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown)
		require.ErrorIs(t, got.err, raft.ErrClosed)
		require.ErrorIs(t, <-answered, raft.ErrClosed)
		requireClosed(t, leader)
	})
}

func TestCloseWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		node := c.nodes["a"]
		require.NoError(t, node.Read(t.Context()))
		release := make(chan struct{})
		c.disks["a"].set(nil, release)
		proposed := propose(t.Context(), node, "x")
		requireOpen(t, proposed)
		start := time.Now()
		err := node.Close(within(t, time.Second))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		require.ErrorIs(t, (<-proposed).err, raft.ErrOutcomeUnknown)
		require.NoError(t, node.Err())
		_, err = c.disks["a"].Load()
		require.NoError(t, err, "a storage in use isn't closed")
		close(release)
		require.NoError(t, node.Close(t.Context()))
		_, err = c.disks["a"].Load()
		require.Error(t, err, "now it is")
		requireClosed(t, node)
	})
}

func TestCloseWhileTheStateMachineHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		node := c.nodes["a"]
		require.NoError(t, node.Read(t.Context()))
		release := make(chan struct{})
		c.machines["a"].whileApplying(func(string) { <-release })
		proposed := propose(t.Context(), node, "x")
		requireOpen(t, proposed)
		// It waits an election timeout for the answer to the command, and then for the state machine alone.
		require.ErrorIs(t, node.Close(within(t, 2*time.Second)), context.DeadlineExceeded)
		require.ErrorIs(t, (<-proposed).err, raft.ErrOutcomeUnknown)
		_, err := c.disks["a"].Load()
		require.Error(t, err, "the storage needn't wait for the state machine")
		close(release)
		require.NoError(t, node.Close(t.Context()))
		requireClosed(t, node)
	})
}

func TestCloseFromWithinTheStateMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		node := c.nodes["a"]
		require.NoError(t, node.Read(t.Context()))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		closed := make(chan error, 1)
		c.machines["a"].whileApplying(func(string) {
			_ = node.Status()
			closed <- node.Close(ended)
			<-node.Done() // this doesn't wait for the state machine
		})
		got := <-propose(t.Context(), node, "x")
		require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown)
		require.ErrorIs(t, <-closed, context.Canceled)
		require.NoError(t, node.Close(t.Context()))
	})
}

func TestCloseUnderLoad(t *testing.T) {
	for after := range 20 {
		synctest.Test(t, func(t *testing.T) {
			c := startCluster(t, 3, memory.Faults{MaxDelay: 2 * time.Millisecond})
			c.leader()
			acknowledged, refused := make(chan string, 1000), make(chan string, 1000)
			running := make(chan struct{}, 30)
			for i := range cap(running) {
				go func() {
					defer func() { running <- struct{}{} }()
					for n := 0; ; n++ {
						command := fmt.Sprint(i, " ", n)
						_, err := c.nodes[c.ids[i%3]].Propose(t.Context(), []byte(command))
						switch {
						case err == nil:
							acknowledged <- command
						case errors.Is(err, raft.ErrNotApplied):
							refused <- command
						}
						if err != nil {
							return
						}
					}
				}()
			}
			time.Sleep(time.Duration(after) * time.Millisecond)
			for _, id := range c.ids {
				require.NoError(t, c.nodes[id].Close(t.Context()))
			}
			for range cap(running) {
				<-running
			}
			close(acknowledged)
			close(refused)

			for _, id := range c.ids {
				c.start(id)
			}
			require.NoError(t, c.nodes["a"].Read(t.Context()))
			times := map[string]int{}
			for _, command := range c.machines["a"].applied() {
				times[command]++
				require.Equal(t, 1, times[command], command)
			}
			for command := range acknowledged {
				require.Equal(t, 1, times[command], "acknowledged: %s", command)
			}
			for command := range refused {
				require.Zero(t, times[command], "not applied: %s", command)
			}
		})
	}
}

// A storage and a transport whose Close fails.
type (
	unclosableStorage   struct{ *memory.Storage }
	unclosableTransport struct{ raft.Transport }
)

var errStorageStays, errTransportStays = errors.New("the storage stays"), errors.New("the transport stays")

func (s unclosableStorage) Close() error {
	_ = s.Storage.Close()
	return errStorageStays
}

func (t unclosableTransport) Close() error {
	_ = t.Transport.Close()
	return errTransportStays
}

// What closing the storage and the transport returns is told: by every Close, and by a Start that
// fails.
func TestErrorsOfClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			config.Storage, config.Transport = unclosableStorage{c.disks["a"].Storage}, unclosableTransport{config.Transport}
		}
		node := c.start("a")
		for range 2 {
			err := node.Close(t.Context())
			require.ErrorIs(t, err, errStorageStays)
			require.ErrorIs(t, err, errTransportStays)
		}
		require.NoError(t, node.Err())
		c.disks["a"] = &disk{Storage: c.disks["a"].Reopen()}
		config := c.config("a")
		config.Heartbeat = -1
		_, err := raft.Start(config)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorIs(t, err, errStorageStays)
		require.ErrorIs(t, err, errTransportStays)
	})
}
