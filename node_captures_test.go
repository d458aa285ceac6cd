package raft_test

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A reader is a state machine whose captures hold a read transaction: it allows one at a time.
type reader struct {
	*journal
	writes func(to io.Writer) error // called by each WriteTo, unless it is nil
	closes error                    // what Close returns

	mu                     sync.Mutex
	opened, written, ended int
}

func (r *reader) Snapshot() (io.WriterTo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened > r.ended {
		return nil, errors.New("another transaction is open")
	}
	captured, err := r.journal.Snapshot()
	if err != nil {
		return nil, err
	}
	r.opened++
	return &transaction{captured, r}, nil
}

func (r *reader) counts() (opened, written, ended int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened, r.written, r.ended
}

// A transaction is what a reader has captured.
type transaction struct {
	io.WriterTo
	of *reader
}

func (c *transaction) WriteTo(w io.Writer) (int64, error) {
	c.of.mu.Lock()
	c.of.written++
	c.of.mu.Unlock()
	if c.of.writes != nil {
		if err := c.of.writes(w); err != nil {
			return 0, err
		}
	}
	return c.WriterTo.WriteTo(w)
}

func (c *transaction) Close() error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.ended++
	return c.of.closes
}

// A shelf is a storage whose snapshots can fail. It counts the writers that are open.
type shelf struct {
	raft.Storage
	create, write, commit error // write is that of the second Write

	mu   sync.Mutex
	open int
}

func (s *shelf) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	if s.create != nil {
		return nil, s.create
	}
	into, err := s.Storage.CreateSnapshot(meta)
	if err == nil {
		s.count(1)
	}
	return &shelfWriter{into, s, 0}, err
}

func (s *shelf) count(n int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	return s.open
}

type shelfWriter struct {
	raft.SnapshotWriter
	of     *shelf
	writes int
}

func (w *shelfWriter) Write(b []byte) (int, error) {
	if w.writes++; w.of.write != nil && w.writes > 1 {
		return 0, w.of.write
	}
	return w.SnapshotWriter.Write(b)
}

func (w *shelfWriter) Commit() error {
	if w.of.commit != nil {
		return w.of.commit
	}
	w.of.count(-1)
	return w.SnapshotWriter.Commit()
}

func (w *shelfWriter) Abort() error {
	w.of.count(-1)
	return w.SnapshotWriter.Abort()
}

// TestCapturesAreClosed: a capture is closed exactly once, and its writer ended, however storing it
// goes. Otherwise a transaction stays open, and the state machine can't be captured any more.
func TestCapturesAreClosed(t *testing.T) {
	for name, c := range map[string]struct {
		breaks  func(s *shelf, r *reader) // nil: nothing fails
		written int
	}{
		"stored":                   {nil, 1},
		"no room for a snapshot":   {func(s *shelf, _ *reader) { s.create = errFull }, 0},
		"no room for its bytes":    {func(s *shelf, _ *reader) { s.write = errFull }, 1},
		"not synced":               {func(s *shelf, _ *reader) { s.commit = errFull }, 1},
		"the state machine fails":  {func(_ *shelf, r *reader) { r.writes = func(io.Writer) error { return errFull } }, 1},
		"the state machine panics": {func(_ *shelf, r *reader) { r.writes = func(io.Writer) error { panic(errFull) } }, 1},
		"the state machine ends the goroutine": {func(_ *shelf, r *reader) {
			r.writes = func(io.Writer) error { runtime.Goexit(); return nil }
		}, 1},
		"closing fails": {func(_ *shelf, r *reader) { r.closes = errFull }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := newCluster(t, 1, memory.Faults{})
				storage, machine := &shelf{}, &reader{}
				if c.breaks != nil {
					c.breaks(storage, machine)
				}
				cluster.adjust = func(config *raft.Config) {
					machine.journal, storage.Storage = cluster.machines["a"], config.Storage
					config.Machine, config.Storage = machine, storage
				}
				cluster.start("a")
				proposeMany(t, cluster.nodes["a"], "command", 3)
				_, err := cluster.nodes["a"].Snapshot(t.Context())
				require.Equal(t, c.breaks == nil, err == nil, "%v", err)
				synctest.Wait()
				opened, written, ended := machine.counts()
				require.Equal(t, []int{1, c.written, 1}, []int{opened, written, ended}, "captured, written, closed")
				require.Zero(t, storage.count(0), "a writer is open")

				storage.create, storage.write, storage.commit, machine.writes, machine.closes = nil, nil, nil, nil, nil
				proposeMany(t, cluster.nodes["a"], "command", 3)
				_, err = cluster.nodes["a"].Snapshot(t.Context())
				require.NoError(t, err, "the state machine can be captured again")
			})
		})
	}
}

// TestCapturesAreClosedByANodeThatStops: the node stops while a capture is written. The capture is
// closed once WriteTo has returned.
func TestCapturesAreClosedByANodeThatStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		hang := make(chan struct{})
		machine := &reader{writes: func(io.Writer) error { <-hang; return nil }}
		c.adjust = func(config *raft.Config) {
			machine.journal = c.machines["a"]
			config.Machine = machine
		}
		c.start("a")
		proposeMany(t, c.nodes["a"], "command", 3)
		go func() { _, _ = c.nodes["a"].Snapshot(t.Context()) }()
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- c.nodes["a"].Close(t.Context()) }()
		synctest.Wait()
		_, _, ended := machine.counts()
		require.Zero(t, ended, "WriteTo hasn't returned")
		close(hang)
		require.NoError(t, <-closed)
		opened, written, ended := machine.counts()
		require.Equal(t, []int{1, 1, 1}, []int{opened, written, ended}, "captured, written, closed")
	})
}
