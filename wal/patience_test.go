package wal_test

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// A crowded is a file system of a process that may have run out of file descriptors.
type crowded struct {
	vfs.FS
	full  atomic.Bool
	tries atomic.Int64 // how many calls have found no descriptor
}

func (c *crowded) lacks() error {
	if !c.full.Load() {
		return nil
	}
	c.tries.Add(1)
	return &fs.PathError{Op: "open", Path: "it", Err: syscall.EMFILE}
}

func (c *crowded) Create(name string) (vfs.File, error) {
	if err := c.lacks(); err != nil {
		return nil, err
	}
	return c.FS.Create(name)
}

func (c *crowded) Open(name string) (vfs.File, error) {
	if err := c.lacks(); err != nil {
		return nil, err
	}
	return c.FS.Open(name)
}

func (c *crowded) SyncDir(dir string) error {
	if err := c.lacks(); err != nil {
		return err
	}
	return c.FS.SyncDir(dir)
}

// stored writes entries one by one until the log waits for a descriptor. It returns the index of
// the last one that is stored, and the channel that gets the error of the next one.
func (c *crowded) stored(t *testing.T, l *wal.Log, index raft.Index) (raft.Index, <-chan error) {
	for ; ; index++ {
		require.Less(t, index, raft.Index(1000))
		done := make(chan error, 1)
		go func() { done <- l.Write(raft.Write{Entries: commands(index+1, 1, 300)}) }()
		synctest.Wait()
		select {
		case err := <-done:
			require.NoError(t, err)
		default:
			return index, done
		}
	}
}

// A log that needs its next file, and can't have one, waits and says so. Nothing was promised yet,
// and what is stored can be read. When there is a file descriptor again, it goes on, and nothing is
// lost: neither what it has written, nor the order in which old files go.
func TestLogWaitsForADescriptor(t *testing.T) {
	for name, before := range map[string]func(*wal.Log){
		"for a new file": func(*wal.Log) {},
		"for a file that is used again": func(l *wal.Log) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(6, 200, 300)}))
			adopt(t, l, raft.SnapshotMeta{Index: 205, Term: 1}, nil)
			require.NoError(t, l.Write(raft.Write{Compact: 205}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				system := &crowded{FS: simfs.New(1)}
				options := wal.Options{SegmentSize: 16 << 10, FS: system, Salt: 1}
				l, err := wal.Open(dir, options)
				require.NoError(t, err)
				require.NoError(t, l.Write(raft.Write{Entries: commands(1, 5, 300)}))
				before(l)
				system.full.Store(true)
				saved := raft.Index(5)
				if name != "for a new file" {
					saved = 205
				}
				last, done := system.stored(t, l, saved)
				require.Greater(t, last, saved, "what is prepared is used")
				require.ErrorIs(t, l.Waiting(), syscall.EMFILE)
				entries, err := l.Entries(saved, last, 1<<20)
				require.NoError(t, err)
				require.Len(t, entries, int(last-saved))

				tries := system.tries.Load()
				time.Sleep(10 * time.Minute)
				require.Empty(t, done)
				require.Less(t, system.tries.Load()-tries, int64(1300), "it tries about twice in a second")
				system.full.Store(false)
				time.Sleep(time.Second)
				require.NoError(t, <-done)
				require.NoError(t, l.Waiting())
				for index := last + 2; index < last+200; index++ {
					require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 300)}))
				}
				adopt(t, l, raft.SnapshotMeta{Index: last + 199, Term: 1}, nil)
				require.NoError(t, l.Write(raft.Write{Compact: last + 199}))
				synctest.Wait()
				disk := system.FS.(*simfs.FS)
				require.Less(t, len(disk.Names())-len(sizes(disk, ".ready")), 10, "old segments are removed or used again")
				require.NoError(t, l.Close())
				l, err = wal.Open(dir, options)
				require.NoError(t, err)
				loaded, err := l.Load()
				require.NoError(t, err)
				require.Equal(t, last+199, loaded.Last)
				require.NoError(t, l.Close())
			})
		})
	}
}

// Close doesn't wait for a descriptor, and what was stored stays.
func TestCloseWhileTheLogWaitsForADescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := &crowded{FS: simfs.New(1)}
		options := wal.Options{SegmentSize: 16 << 10, FS: system, Salt: 1}
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 5, 300)}))
		system.full.Store(true)
		last, done := system.stored(t, l, 5)
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		synctest.Wait() // no time passes: a Close that waits for the Write isn't waited for
		ended := len(closed) == 1 && len(done) == 1
		system.full.Store(false) // which ends whatever still waits
		require.True(t, ended, "Close waits for a descriptor")
		require.NoError(t, <-closed)
		require.ErrorIs(t, <-done, fs.ErrClosed)
		l, err = wal.Open(dir, options)
		require.NoError(t, err)
		saved, err := l.Load()
		require.NoError(t, err)
		require.Equal(t, last, saved.Last)
		require.NoError(t, l.Close())

		system.full.Store(true)
		_, err = wal.Open(dir, options)
		require.ErrorIs(t, err, syscall.EMFILE, "a log that isn't open has nobody who waits")
	})
}

// idle is a state machine that does nothing.
type idle struct{}

func (idle) Apply([]raft.Entry, [][]byte)   {}
func (idle) Snapshot() (io.WriterTo, error) { return nil, fmt.Errorf("there is no state") }
func (idle) Restore(io.Reader) error        { return nil }
func alone(log *wal.Log) (*raft.Node, error) {
	return raft.Start(raft.Config{
		ID: "a", Machine: idle{}, Storage: log, Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	})
}

// proposeMany proposes more than a segment holds, one command after the other. It returns the channel
// that gets the errors.
func proposeMany(t *testing.T, node *raft.Node) <-chan error {
	ends := make(chan error, 100)
	go func() {
		for range cap(ends) {
			_, err := node.Propose(t.Context(), make([]byte, 3000))
			ends <- err
		}
	}()
	return ends
}

// A node says what its log waits for, and its callers get their results when the wait is over.
func TestStatusSaysThatTheLogWaitsForADescriptor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := &crowded{FS: simfs.New(1)}
		l, err := wal.Open(dir, wal.Options{SegmentSize: 16 << 10, FS: system, Salt: 1})
		require.NoError(t, err)
		node, err := alone(l)
		require.NoError(t, err)
		require.NoError(t, node.Read(t.Context()))
		require.NoError(t, node.Status().Disk.Waits)
		system.full.Store(true)
		ends := proposeMany(t, node)
		time.Sleep(time.Minute)
		require.Less(t, len(ends), cap(ends))
		require.ErrorIs(t, node.Status().Disk.Waits, syscall.EMFILE)
		system.full.Store(false)
		for range cap(ends) {
			require.NoError(t, <-ends)
		}
		require.NoError(t, node.Status().Disk.Waits)
		require.NoError(t, node.Close(t.Context()))
	})
}
