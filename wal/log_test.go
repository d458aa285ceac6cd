package wal_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

var update = flag.Bool("update", false, "write the files in testdata anew")

func TestNewLogIsEmpty(t *testing.T) {
	l, err := wal.Open(filepath.Join(t.TempDir(), "a", "b"), wal.Options{})
	require.NoError(t, err)
	saved, err := l.Load()
	require.NoError(t, err)
	require.Equal(t, raft.Saved{}, saved)
	_, err = l.Load()
	require.ErrorContains(t, err, "loaded already")
	_, err = l.Entries(0, 1, 100)
	require.ErrorIs(t, err, raft.ErrCompacted)
	_, _, err = l.OpenSnapshot()
	require.ErrorIs(t, err, raft.ErrNoSnapshot)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close(), "a second call does nothing")
	_, err = l.Load()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = l.Entries(0, 1, 100)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = l.CreateSnapshot(raft.SnapshotMeta{Index: 1})
	require.ErrorIs(t, err, fs.ErrClosed)
	_, _, err = l.OpenSnapshot()
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, l.Write(raft.Write{}), fs.ErrClosed)
	require.ErrorIs(t, l.Anchor(), fs.ErrClosed)
}

// The random walk over simulated disks, on a real one.
func TestLogOnARealDisk(t *testing.T) {
	dir := t.TempDir()
	w := newWriter(7)
	options := wal.Options{SegmentSize: 16 << 10, FS: noSync{vfs.OS}}
	require.NoError(t, w.openAt(dir, options))
	for i := range 300 {
		require.NoError(t, w.step())
		if i%40 == 0 {
			options.Inline = i%80 == 0
			require.NoError(t, w.log.Close())
			require.NoError(t, w.openAt(dir, options))
		}
	}
	require.NoError(t, w.now.differsIn(w.log))
	require.NoError(t, w.log.Close())
	options.FS = vfs.OS
	require.NoError(t, w.openAt(dir, options))
	require.NoError(t, w.steps(20))
	require.NoError(t, w.log.Close())
}

// There is one sync for each Write; a directory is synced after each of its changes; nothing is
// removed before its replacement is durable. The order of the calls proves that, so it is written
// down.
func TestOrderOfCalls(t *testing.T) {
	disk := simfs.New(1)
	var calls strings.Builder
	disk.OnCall(func(c simfs.Call) error {
		if c.Op != simfs.OpSize && c.Op != simfs.OpRead {
			fmt.Fprintln(&calls, c)
		}
		return nil
	})
	step := func(name string) { fmt.Fprintf(&calls, "\n# %s\n", name) }
	step("a new log")
	l := open(t, disk)
	step("a term and a vote")
	require.NoError(t, l.Write(raft.Write{State: raft.DurableState{HardState: raft.HardState{Term: 1, Vote: "a"}}}))
	step("three entries")
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 100)}))
	step("one entry, too large for the rest of the segment")
	require.NoError(t, l.Write(raft.Write{Entries: commands(4, 1, 3500)}))
	step("a snapshot is stored")
	store(t, l, raft.SnapshotMeta{Index: 3, Term: 1}, []byte("three"))
	step("it becomes the current one")
	require.NoError(t, l.Write(raft.Write{Snapshot: &raft.SnapshotMeta{Index: 3, Term: 1}}))
	step("the log before it is forgotten")
	require.NoError(t, l.Write(raft.Write{Compact: 3}))
	step("another segment begins")
	require.NoError(t, l.Write(raft.Write{Entries: commands(5, 1, 3500)}))
	step("another snapshot")
	adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
	step("the log before it is forgotten, and the first snapshot with it")
	require.NoError(t, l.Write(raft.Write{Compact: 5}))
	step("close")
	require.NoError(t, l.Close())
	step("open")
	l = open(t, disk)
	step("one entry")
	require.NoError(t, l.Write(raft.Write{Entries: commands(6, 1, 100)}))
	step("killed, and opened: what isn't proven to be synced is written anew")
	kept := calls.String()
	disk.Kill()
	calls.Reset()
	disk.OnCall(func(c simfs.Call) error {
		if c.Op != simfs.OpSize && c.Op != simfs.OpRead {
			fmt.Fprintln(&calls, c)
		}
		return nil
	})
	l = open(t, disk)
	require.NoError(t, l.Close())
	golden(t, "calls.txt", kept+calls.String())
}

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	name = filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(name, []byte(got), 0o644))
	}
	want, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got, "go test ./wal -run %s -update", t.Name())
}

// All calls that are made at the same time as Close end, with a result or with fs.ErrClosed.
func TestCloseBesideCalls(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			disk := simfs.New(1)
			options := small(disk)
			options.Inline = false
			l, err := wal.Open(dir, options)
			require.NoError(t, err)
			require.NoError(t, l.Write(raft.Write{Entries: commands(1, 100, 100)}))
			var calls sync.WaitGroup
			ended := func(err error) {
				if err != nil && !errors.Is(err, fs.ErrClosed) {
					t.Error(err)
				}
			}
			calls.Go(func() { ended(l.Write(raft.Write{Entries: commands(101, 10, 100)})) })
			calls.Go(func() { _, err := l.Entries(0, 100, 5000); ended(err) })
			calls.Go(func() {
				w, err := l.CreateSnapshot(raft.SnapshotMeta{Index: 50, Term: 1})
				if err == nil {
					_, err = w.Write(make([]byte, 200_000))
				}
				if err == nil {
					err = w.Commit()
				}
				ended(err)
			})
			calls.Go(func() { ended(l.Close()) })
			require.NoError(t, l.Close())
			calls.Wait()
		})
	}
}
