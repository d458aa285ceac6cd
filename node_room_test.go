package raft_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// crammed starts three servers whose disks have so many bytes each.
func crammed(t *testing.T, size uint64) *cluster {
	c := newCluster(t, 3, memory.Faults{})
	c.adjust = func(config *raft.Config) { config.ReserveBytes = 2000 }
	for _, id := range c.ids {
		c.disks[id].SetSize(size)
		c.start(id)
	}
	c.leader()
	return c
}

// proposeUntilFull proposes commands at a server until one is refused, and returns those that were
// taken.
func (c *cluster) proposeUntilFull(id raft.ServerID) (taken []string) {
	for range 1000 {
		command := fmt.Sprintf("command %4d %400s", len(taken), "")
		_, err := c.nodes[id].Propose(c.t.Context(), []byte(command))
		if err != nil {
			require.ErrorIs(c.t, err, raft.ErrFull)
			require.ErrorIs(c.t, err, raft.ErrNotApplied)
			return taken
		}
		taken = append(taken, command)
	}
	require.Fail(c.t, "no command was refused")
	return nil
}

// Three servers whose disks are full refuse commands and do everything else: they serve reads, elect
// a leader and start again. When there is room, they go on within a second, and nothing is lost.
func TestClusterSurvivesFullDisks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crammed(t, 12_000)
		events := collect(t.Context(), c.nodes["a"])
		taken := c.proposeUntilFull("a")
		require.Greater(t, len(taken), 5)
		leader, others := c.leader()
		require.NoError(t, leader.Read(t.Context()))
		require.NoError(t, others[0].Read(t.Context()))
		s := leader.Status()
		full := 0
		for _, id := range c.ids {
			if s := c.nodes[id].Status(); s.FullFor > 0 {
				require.Less(t, s.Room, uint64(4000))
				full++
			}
		}
		require.GreaterOrEqual(t, full, 2)
		require.True(t, slices.ContainsFunc(s.Peers, func(p raft.PeerStatus) bool { return p.Full && p.Room < 4000 }))

		require.NoError(t, leader.Close(t.Context())) // another one is elected, on full disks
		leader, _ = c.leader(s.ID)
		c.start(s.ID) // and it starts on a full one
		_, err := leader.Propose(t.Context(), []byte(fmt.Sprintf("%400s", "")))
		require.ErrorIs(t, err, raft.ErrFull)

		for _, id := range c.ids {
			c.disks[id].SetSize(1 << 20)
		}
		time.Sleep(time.Second)
		for _, id := range c.ids {
			_, err := c.nodes[id].Propose(t.Context(), []byte("again "+string(id)))
			require.NoError(t, err)
			require.Zero(t, c.nodes[id].Status().FullFor)
			require.NoError(t, c.nodes[id].Err())
		}
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Read(t.Context()))
			require.Equal(t, append(slices.Clone(taken), "again a", "again b", "again c"), c.machines[id].applied())
		}
		for _, id := range c.ids {
			c.close(id)
		}
		told := pick[raft.DiskFull](<-events)
		require.True(t, slices.ContainsFunc(told, func(e raft.DiskFull) bool { return e.Full }))
	})
}

// A server starts on a disk that is full to the last byte. Its write waits, which its status shows,
// and goes on when there is room.
func TestServerWithoutAnyRoomWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crammed(t, math.MaxUint64)
		_, others := c.leader()
		id := others[0].Status().ID
		require.Equal(t, uint64(math.MaxUint64), others[0].Status().Room)
		c.close(id)
		c.disks[id].SetSize(0)
		c.start(id)
		leader, _ := c.leader(id)
		for i := range 10 {
			_, err := leader.Propose(t.Context(), fmt.Append(nil, "command ", i))
			require.NoError(t, err)
		}
		time.Sleep(10 * electionTimeout)
		s := c.nodes[id].Status()
		require.Zero(t, s.Room)
		require.GreaterOrEqual(t, s.FullFor, 9*electionTimeout)
		require.NoError(t, c.nodes[id].Err())
		require.Less(t, s.Stable, leader.Status().Commit)
		c.disks[id].SetSize(math.MaxUint64)
		time.Sleep(time.Second)
		require.Equal(t, leader.Status().Commit, c.nodes[id].Status().Stable)
		for _, id := range c.ids {
			c.close(id)
		}
	})
}

// A state machine that finds no room for its snapshot stops nothing. Its server says so, and takes
// the snapshot when there is room.
func TestSnapshotWithoutRoomStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := crammed(t, 1<<20)
		node := c.nodes["a"]
		_, err := node.Propose(t.Context(), []byte("command"))
		require.NoError(t, err)
		c.machines["a"].saving = func() error { return syscall.ENOSPC }
		_, err = node.Snapshot(t.Context())
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorIs(t, node.Status().SnapshotTrouble, syscall.ENOSPC)
		_, err = node.Propose(t.Context(), []byte("another"))
		require.NoError(t, err)
		require.NoError(t, node.Err())
		c.machines["a"].mu.Lock()
		c.machines["a"].saving = nil
		c.machines["a"].mu.Unlock()
		_, err = node.Snapshot(t.Context())
		require.NoError(t, err)
		require.NoError(t, node.Status().SnapshotTrouble)
		for _, id := range c.ids {
			c.close(id)
		}
	})
}

// A spoilt disk is one whose snapshots can't be read.
type spoilt struct {
	raft.Storage
	room  atomic.Uint64
	opens func() (raft.SnapshotMeta, io.ReadCloser, error)
}

func (u *spoilt) Room() uint64 { return u.room.Load() }

func (u *spoilt) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	if u.opens != nil {
		return u.opens()
	}
	return u.Storage.OpenSnapshot()
}

// A full server reads its current snapshot before it forgets the log up to it. If the storage fails
// there, or panics, or ends the goroutine, the server goes on, and keeps the log.
func TestLogStaysIfTheSnapshotCantBeRead(t *testing.T) {
	for name, opens := range map[string]func() (raft.SnapshotMeta, io.ReadCloser, error){
		"fails": func() (raft.SnapshotMeta, io.ReadCloser, error) {
			return raft.SnapshotMeta{}, nil, errors.New("input/output error")
		},
		"panics": func() (raft.SnapshotMeta, io.ReadCloser, error) { panic("broken") },
	} {
		synctest.Test(t, func(t *testing.T) {
			storage := &spoilt{Storage: memory.NewStorage(), opens: opens}
			storage.room.Store(math.MaxUint64)
			node, err := startNode(t, raft.Config{
				ID: "a", Machine: &journal{}, Storage: storage, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
				Bootstrap: []raft.Server{{ID: "a"}}, ReserveBytes: 1000, Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err, name)
			for range 3 {
				_, err = node.Propose(t.Context(), []byte("command"))
				require.NoError(t, err)
			}
			_, err = node.Snapshot(t.Context())
			require.NoError(t, err)
			storage.room.Store(1200)
			time.Sleep(5 * time.Second)
			require.NoError(t, node.Err())
			_, err = storage.Entries(0, 1, 1000)
			require.NoError(t, err, "the log is there")
			_, err = node.Propose(t.Context(), []byte("command"))
			require.NoError(t, err)
			require.NoError(t, node.Close(t.Context()))
		})
	}
}
