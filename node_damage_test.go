package raft_test

import (
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A moldy storage has a snapshot that is damaged.
type moldy struct {
	*memory.Storage
	mu    sync.Mutex
	moldy raft.Index // the snapshot that covers this index can't be read; 0 for none
}

func (m *moldy) set(index raft.Index) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moldy = index
}

// Write repairs the storage when it names another snapshot.
func (m *moldy) Write(w raft.Write) error {
	if w.Snapshot != nil {
		m.set(0)
	}
	return m.Storage.Write(w)
}

func (m *moldy) Load() (raft.Saved, error) {
	saved, err := m.Storage.Load()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.moldy != 0 && saved.Snapshot.Index == m.moldy {
		saved.SnapshotDamage = fmt.Errorf("the snapshot is moldy: %w", raft.ErrCorrupt)
	}
	return saved, err
}

func (m *moldy) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	meta, reader, err := m.Storage.OpenSnapshot()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil && m.moldy == meta.Index {
		return meta, io.NopCloser(io.MultiReader(io.LimitReader(reader, 10), brokenReader{})), nil
	}
	return meta, reader, err
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, raft.ErrCorrupt }

func TestDamagedSnapshotIsReplacedByTheLeadersOrAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		disks := map[raft.ServerID]*moldy{}
		c.adjust = func(config *raft.Config) {
			disks[config.ID] = &moldy{Storage: c.disks[config.ID].Storage}
			config.Storage = disks[config.ID]
		}
		for _, id := range c.ids {
			c.start(id)
		}
		var commands []string
		for range 2 {
			commands = append(commands, proposeMany(t, c.nodes["a"], "command", 3)...)
			for _, id := range c.ids {
				require.NoError(t, c.nodes[id].Read(t.Context()))
				_, err := c.nodes[id].Snapshot(t.Context())
				require.NoError(t, err)
			}
		}
		leader, others := c.leader()
		lost := others[0].Status().ID
		snapshot := others[0].Status().Snapshot

		// A follower whose snapshot is damaged gets the leader's, although its log lacks nothing.
		c.close(lost)
		c.disks[lost] = &disk{Storage: c.disks[lost].Reopen()}
		c.adjust = func(config *raft.Config) {
			disks[config.ID] = &moldy{Storage: c.disks[config.ID].Storage, moldy: snapshot}
			config.Storage = disks[config.ID]
		}
		c.machines[lost] = &journal{}
		node, err := startNode(t, c.config(lost))
		require.NoError(t, err)
		c.nodes[lost] = node
		commands = append(commands, proposeMany(t, leader, "meanwhile", 1)...)
		require.NoError(t, node.Read(within(t, time.Minute)))
		require.Equal(t, commands, c.machines[lost].applied())
		require.Equal(t, 1, c.machines[lost].restored)

		// A leader that finds its own snapshot damaged takes another one, and sends that.
		away := others[1].Status().ID
		c.network.Isolate(away)
		for range 2 {
			commands = append(commands, proposeMany(t, leader, "without one", 2)...)
			_, err := leader.Snapshot(t.Context())
			require.NoError(t, err)
		}
		damaged := leader.Status().Snapshot
		disks[leader.Status().ID].set(damaged)
		c.network.Heal()
		require.NoError(t, c.nodes[away].Read(within(t, time.Minute)))
		require.Equal(t, commands, c.machines[away].applied())
		require.Equal(t, leader.Status().Snapshot, damaged, "of the same index")
		_, reader, err := disks[leader.Status().ID].OpenSnapshot()
		require.NoError(t, err)
		_, err = io.ReadAll(reader)
		require.NoError(t, err, "but intact")
	})
}

func TestOnlyVoterWithADamagedSnapshotDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = small
		c.start("a")
		proposeMany(t, c.nodes["a"], "command", 300)
		synctest.Wait()
		c.close("a")
		storage := &moldy{Storage: c.disks["a"].Reopen()}
		storage.set(c.nodes["a"].Status().Snapshot)
		config := c.config("a")
		config.Storage = storage
		_, err := raft.Start(config)
		require.ErrorIs(t, err, raft.ErrCorrupt)
		require.ErrorContains(t, err, "no other server to get one from")
	})
}

func TestSnapshotThatCannotBeRestoredStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = small
		c.start("a")
		proposeMany(t, c.nodes["a"], "command", 300)
		synctest.Wait()
		c.close("a")
		storage := &moldy{Storage: c.disks["a"].Reopen()}
		config := c.config("a")
		config.Storage = &late{storage, c.nodes["a"].Status().Snapshot}
		node, err := raft.Start(config)
		require.NoError(t, err)
		requireStopped(t, node, raft.ErrCorrupt)
	})
}

// A late storage shows the damage only when the snapshot is read, and not in Load.
type late struct {
	*moldy
	at raft.Index
}

func (l *late) Load() (raft.Saved, error) {
	saved, err := l.Storage.Load()
	l.set(l.at)
	return saved, err
}
