package raft_test

import (
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A tight is a durable state machine on a disk of its own, which has no room while full is set.
type tight struct {
	ledger
	full  atomic.Bool
	fails atomic.Int64
}

// lacks is the error of a disk without room, or of a process without file descriptors.
func (m *tight) lacks() error {
	if !m.full.Load() {
		return nil
	}
	reasons := []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE}
	reason := reasons[m.fails.Add(1)%int64(len(reasons))]
	return fmt.Errorf("ledger: %w", &fs.PathError{Op: "write", Path: "ledger", Err: reason})
}

func (m *tight) durable() *raft.DurableMachine {
	durable := m.ledger.durable()
	save := durable.Save
	durable.Save = func(applied raft.Index, beside []byte) error {
		if err := m.lacks(); err != nil {
			return err
		}
		return save(applied, beside)
	}
	return durable
}

func (m *tight) Restore(r io.Reader) error {
	if err := m.lacks(); err != nil {
		return err
	}
	return m.ledger.Restore(r)
}

// A durable state machine that finds no room holds up its server and stops nothing. The server says
// what it waits for, and goes on by itself within a second. What was applied is saved once.
func TestDurableMachineWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		machine := &tight{}
		c.adjust = func(config *raft.Config) { config.Machine, config.Durable = machine, machine.durable() }
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "before", 3)
		machine.full.Store(true)
		answered := make(chan error, 1)
		go func() {
			_, err := c.nodes["a"].Propose(t.Context(), []byte("meanwhile"))
			answered <- err
		}()
		time.Sleep(time.Minute)
		require.Empty(t, answered)
		require.NoError(t, c.nodes["a"].Err())
		require.ErrorContains(t, c.nodes["a"].Status().Machine.Waits, "ledger: ")
		require.Less(t, machine.fails.Load(), int64(150), "it tries about twice in a second")
		saves := machine.batches
		machine.full.Store(false)
		time.Sleep(time.Second)
		require.Len(t, answered, 1)
		require.NoError(t, <-answered)
		require.Equal(t, saves+1, machine.batches)
		require.NoError(t, c.nodes["a"].Status().Machine.Waits)
		require.Equal(t, append(commands, "meanwhile"), machine.applied())

		machine.full.Store(true)
		go func() {
			_, err := c.nodes["a"].Propose(t.Context(), []byte("at the end"))
			answered <- err
		}()
		time.Sleep(time.Second)
		c.close("a") // waits for no room
		require.Error(t, <-answered)
	})
}

// A snapshot for which the state machine finds no room is restored once more, from its beginning.
func TestRestoreWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.start("a")
		commands := proposeMany(t, c.nodes["a"], "before", 3)
		_, err := c.nodes["a"].Snapshot(t.Context())
		require.NoError(t, err)
		c.close("a")
		machine := &tight{}
		machine.full.Store(true)
		c.adjust = func(config *raft.Config) { config.Machine, config.Durable = machine, machine.durable() }
		c.start("a")
		time.Sleep(time.Minute)
		require.NoError(t, c.nodes["a"].Err())
		require.Error(t, c.nodes["a"].Status().Machine.Waits)
		machine.full.Store(false)
		time.Sleep(time.Second)
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, commands, machine.applied())
	})
}

// A snapshot for which the disk has no room says how much is missing, though its writing ended
// early.
func TestSnapshotSaysHowMuchRoomIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.start("a")
		for range 20 {
			_, err := c.nodes["a"].Propose(t.Context(), make([]byte, 10_000))
			require.NoError(t, err)
		}
		c.disks["a"].SetSize(50_000)
		_, err := c.nodes["a"].Snapshot(t.Context())
		require.ErrorIs(t, err, syscall.ENOSPC)
		var has, stored int
		_, needs, _ := strings.Cut(err.Error(), "the snapshot has ")
		_, scanned := fmt.Sscanf(needs, "%d bytes, and there was room for %d of them", &has, &stored)
		require.NoError(t, scanned, "%v", err)
		require.Greater(t, has, 200_000)
		require.LessOrEqual(t, stored, 50_000)
		require.ErrorContains(t, c.nodes["a"].Status().SnapshotTrouble, fmt.Sprint("has ", has, " bytes"))
		c.disks["a"].SetSize(4 << 20)
		_, err = c.nodes["a"].Snapshot(t.Context())
		require.NoError(t, err)
	})
}
