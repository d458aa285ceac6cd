package raft_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A server whose list names more servers than the cluster was founded with says so, and doesn't call
// servers silent that answer.
func TestLongerListIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		c.leader()
		c.ids = append(c.ids, "d")
		c.disks["d"] = &disk{Storage: memory.NewStorage()}
		d := c.start("d")
		time.Sleep(5 * electionTimeout)
		trouble := d.Status().Trouble
		require.ErrorIs(t, trouble, raft.ErrBootstrapMismatch)
		require.ErrorContains(t, trouble, "belongs to a cluster without this one")
		_, err := d.Propose(within(t, electionTimeout), []byte("x"))
		require.ErrorIs(t, err, raft.ErrBootstrapMismatch)
		require.NoError(t, c.nodes["a"].Status().Trouble)
		require.NoError(t, d.Close(t.Context()))

		c.adjust = func(config *raft.Config) { config.Bootstrap = nil }
		d = c.start("d")
		_, err = c.nodes["a"].AddServer(t.Context(), reached("d"))
		require.NoError(t, err)
		require.NoError(t, d.Status().Trouble)
	})
}

// If every server's snapshot is damaged, nobody can restore its state machine. The status of each
// says so, and so does a call that waits in vain.
func TestEverySnapshotDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		for range 2 {
			proposeMany(t, c.nodes["a"], "command", 3)
			for _, id := range c.ids {
				require.NoError(t, c.nodes[id].Read(t.Context()))
				_, err := c.nodes[id].Snapshot(t.Context())
				require.NoError(t, err)
			}
		}
		c.adjust = func(config *raft.Config) {
			config.Storage = &moldy{Storage: c.disks[config.ID].Storage, moldy: c.nodes[config.ID].Status().Snapshot}
		}
		for _, id := range c.ids {
			c.close(id)
		}
		for _, id := range c.ids {
			c.start(id)
		}
		time.Sleep(20 * electionTimeout)
		for _, id := range c.ids {
			status := c.nodes[id].Status()
			require.ErrorIs(t, status.SnapshotTrouble, raft.ErrCorrupt)
			require.ErrorContains(t, status.SnapshotTrouble, "moldy")
			_, err := c.nodes[id].Propose(within(t, 20*electionTimeout), []byte("x"))
			var failed *raft.CallError
			require.ErrorAs(t, err, &failed)
			require.NotNil(t, failed.Wait)
			require.Equal(t, raft.WaitSnapshot, failed.Wait.On, "at %s: %v", id, err)
		}
	})
}

// Snapshots that fail for good show in the status until one succeeds. A panic of WriteTo says that
// it was one: to who asked for the snapshot, in the status, and in the log.
func TestSnapshotsThatFailShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedText
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
		node := c.start("a")
		proposeMany(t, node, "command", 3)
		require.NoError(t, node.Status().SnapshotTrouble)
		c.machines["a"].whileSaving(func() error { return errors.New("no room") })
		_, err := node.Snapshot(t.Context())
		require.ErrorContains(t, err, "no room")
		require.ErrorContains(t, node.Status().SnapshotTrouble, "no room")
		c.machines["a"].whileSaving(nil)
		c.machines["a"].whileWriting(func() error { panic("boom") })
		_, err = node.Snapshot(t.Context())
		require.ErrorContains(t, err, "snapshot panicked: boom")
		var panicked *raft.PanicError
		require.ErrorAs(t, node.Status().SnapshotTrouble, &panicked)
		c.machines["a"].whileWriting(nil)
		_, err = node.Snapshot(t.Context())
		require.NoError(t, err)
		require.NoError(t, node.Status().SnapshotTrouble)
		require.NoError(t, node.Close(t.Context()))
		require.Contains(t, log.String(), "snapshot panicked: boom")
		require.Contains(t, log.String(), "stack=")
	})
}

// lockedText is text that several goroutines write.
type lockedText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A sick storage says that something is wrong with it.
type sick struct {
	raft.Storage
	trouble func() error
}

func (s *sick) Trouble() error { return s.trouble() }

func TestTroubleOfTheStorageShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trouble := func() error { return nil }
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			config.Storage = &sick{config.Storage, func() error { return trouble() }}
		}
		c.machines["a"] = &journal{}
		node, err := raft.Start(c.config("a"))
		require.NoError(t, err)
		defer func() { require.NoError(t, node.Close(context.Background())) }()
		require.NoError(t, node.Read(t.Context()))
		require.NoError(t, node.Status().StorageTrouble)
		trouble = func() error { return context.Canceled }
		require.ErrorIs(t, node.Status().StorageTrouble, context.Canceled)
		trouble = func() error { panic("boom") }
		require.ErrorContains(t, node.Status().StorageTrouble, "storage panicked: boom")
		require.NoError(t, node.Read(t.Context()))
	})
}
