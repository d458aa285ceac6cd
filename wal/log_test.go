package wal_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

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
	require.ErrorIs(t, l.Mark(), fs.ErrClosed)
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []wal.Options{
		{SegmentSize: wal.MinSegmentSize - 1}, {SegmentSize: wal.MaxSegmentSize + 1}, {MarkAfter: -1},
	} {
		o.FS = simfs.New(1)
		_, err := wal.Open(dir, o)
		require.Error(t, err, "%+v", o)
	}
}

// On a real disk, the same random walk as over the simulated one.
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

func TestDirectoryIsLocked(t *testing.T) {
	const variable = "WAL_TEST_LOCKED"
	if dir := os.Getenv(variable); dir != "" {
		_, err := wal.Open(dir, wal.Options{})
		require.ErrorIs(t, err, raft.ErrLocked, "from another process")
		return
	}
	dir := t.TempDir()
	l, err := wal.Open(dir, wal.Options{})
	require.NoError(t, err)
	_, err = wal.Open(dir, wal.Options{})
	require.ErrorIs(t, err, raft.ErrLocked)
	require.ErrorContains(t, err, dir)
	program, err := os.Executable()
	require.NoError(t, err)
	other := exec.Command(program, "-test.run=^TestDirectoryIsLocked$")
	other.Env = append(os.Environ(), variable+"="+dir)
	out, err := other.CombinedOutput()
	require.NoError(t, err, string(out))
	require.NoError(t, l.Close())
	l, err = wal.Open(dir, wal.Options{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestFullDisk(t *testing.T) {
	disk := simfs.New(1)
	disk.SetCapacity(3*wal.MinSegmentSize + 100)
	l := open(t, disk)
	var err error
	index := raft.Index(1)
	for ; err == nil; index++ {
		require.Less(t, index, raft.Index(1000))
		err = l.Write(raft.Write{Entries: commands(index, 1, 100)})
	}
	last := index - 2
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Greater(t, last, raft.Index(50), "what was preallocated is used")
	require.Error(t, l.Write(raft.Write{Entries: commands(last+1, 1, 100)}))
	require.NoError(t, l.Close())
	for range 3 {
		l, saved := load(t, disk)
		require.Equal(t, last, saved.Last, "a log on a full disk opens")
		require.NoError(t, l.Close())
	}
	disk.SetCapacity(0)
	l = open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(last+1, 100, 100)}))
	require.NoError(t, l.Close())
}

func TestRecordLargerThanASegment(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	want := commands(1, 3, 20*wal.MinSegmentSize)
	require.NoError(t, l.Write(raft.Write{Entries: want}))
	require.NoError(t, l.Write(raft.Write{Entries: commands(4, 1, 10)}))
	disk.Cut()
	l, saved := load(t, disk)
	require.EqualValues(t, 4, saved.Last)
	got, err := l.Entries(0, 4, 1)
	require.NoError(t, err)
	require.Equal(t, want[:1], got, "the first one comes whatever the limit")
	got, err = l.Entries(0, 3, 40*wal.MinSegmentSize)
	require.NoError(t, err)
	require.Equal(t, want, got, "the limit is for those beyond the first")
	require.NoError(t, l.Close())
}

func TestSegmentsAreUsedAgain(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	renamed, created := 0, 0
	count := func(c simfs.Call) error {
		if c.Op == simfs.OpRename && strings.HasSuffix(c.Name, ".wal") {
			renamed++
		}
		if c.Op == simfs.OpCreate && strings.HasSuffix(c.Name, ".wal") {
			created++
		}
		return nil
	}
	disk.OnCall(count)
	for index := raft.Index(1); index < 2000; index += 10 {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
		adopt(t, l, raft.SnapshotMeta{Index: index + 9, Term: 1}, nil)
		require.NoError(t, l.Write(raft.Write{Compact: index + 5}))
		if index%100 == 1 {
			disk.Kill()
			l = open(t, disk)
			disk.OnCall(count)
		}
	}
	require.Greater(t, renamed, 40)
	require.Less(t, created, 30)
	require.Less(t, len(disk.Names()), 10)
	require.NoError(t, l.Close())
	_, saved := load(t, disk)
	require.EqualValues(t, 2000, saved.Last)
}

// A hooked file system calls a function, once, before it reads from a file.
type hooked struct {
	vfs.FS
	before func()
}

type hookedFile struct {
	vfs.File
	system *hooked
}

func (h *hooked) Open(name string) (vfs.File, error) {
	file, err := h.FS.Open(name)
	return hookedFile{file, h}, err
}

func (h *hooked) Create(name string) (vfs.File, error) {
	file, err := h.FS.Create(name)
	return hookedFile{file, h}, err
}

func (f hookedFile) ReadAt(b []byte, at int64) (int, error) {
	if before := f.system.before; before != nil {
		f.system.before = nil
		before()
	}
	return f.File.ReadAt(b, at)
}

// A segment that isn't needed any more, and would be used again, stays as it is while somebody reads it.
func TestSegmentThatIsReadStays(t *testing.T) {
	disk := simfs.New(1)
	system := &hooked{FS: disk}
	options := small(disk)
	options.FS = system
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	write := func(from, to raft.Index) {
		for index := from; index < to; index += 10 {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
		}
	}
	write(1, 300)
	renamed := 0
	disk.OnCall(func(c simfs.Call) error {
		if c.Op == simfs.OpRename && strings.HasSuffix(c.Name, ".wal") {
			renamed++
		}
		return nil
	})
	advance := func(from, to raft.Index) {
		for index := from; index < to; index += 10 {
			write(index, index+10)
			adopt(t, l, raft.SnapshotMeta{Index: index + 9, Term: 1}, nil)
			require.NoError(t, l.Write(raft.Write{Compact: index + 5}))
		}
	}
	system.before = func() {
		advance(301, 1501)
		require.Zero(t, renamed, "the first segment is the oldest, and the others wait for it")
	}
	entries, err := l.Entries(0, 20, 1<<20)
	require.NoError(t, err)
	require.Equal(t, commands(1, 10, 100), entries[:10])
	advance(1501, 1601)
	require.Positive(t, renamed)
	require.Less(t, len(disk.Names()), 10)
	require.NoError(t, l.Close())
}

// Segments that are smaller than the next one was to be, as a busy disk makes them, are used again all the same.
func TestSmallSegmentsAreUsedAgain(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	advance := func(from, to raft.Index) {
		for index := from; index < to; index += 10 {
			require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
		}
		adopt(t, l, raft.SnapshotMeta{Index: to - 1, Term: 1}, nil)
		require.NoError(t, l.Write(raft.Write{Compact: to - 1}))
	}
	for index := raft.Index(1); index < 91; index += 10 {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 10, 100)}))
	}
	require.NoError(t, l.Close())

	options.SegmentSize *= 2
	l, err = wal.Open(dir, options)
	require.NoError(t, err)
	again, removed := 0, 0
	disk.OnCall(func(c simfs.Call) error {
		if c.Op == simfs.OpRename && strings.HasSuffix(c.Name, ".wal") {
			again++
		}
		if c.Op == simfs.OpRemove && strings.HasSuffix(c.Name, ".wal") {
			removed++
		}
		return nil
	})
	advance(91, 101)
	advance(101, 201)
	require.Positive(t, again)
	require.Zero(t, removed)
	require.NoError(t, l.Close())
}

func TestNothingToWriteIsNoSync(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	state := raft.DurableState{Start: 1}
	require.NoError(t, l.Write(raft.Write{State: state}))
	calls := disk.Calls()
	require.NoError(t, l.Write(raft.Write{State: state}))
	require.Equal(t, calls, disk.Calls())
	require.NoError(t, l.Close())
}

// One sync for each Write, directories synced after each of their changes, nothing removed before what
// takes its place is durable: the order of the calls is the proof of the log, so it is written down.
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

// golden compares with a file in testdata.
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

func TestMarkFollowsWhenNothingIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := small(disk)
		options.Inline = false
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		quiet := func(d time.Duration) (calls int) {
			synctest.Wait()
			before := disk.Calls()
			time.Sleep(d)
			synctest.Wait()
			return disk.Calls() - before
		}
		quiet(time.Second)
		for i := range raft.Index(10) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+1, 1, 10)}))
			require.Zero(t, quiet(wal.DefaultMarkAfter/2), "while there are writes, there is no mark")
		}
		require.Equal(t, 1, quiet(2*wal.DefaultMarkAfter), "one write, no sync")
		require.Zero(t, quiet(time.Hour), "an idle log sleeps")
		require.NoError(t, l.Close())
	})
}

func TestReadingBesideWriting(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.Inline = false
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		readers.Go(func() {
			for at := raft.Index(0); ; {
				select {
				case <-stop:
					return
				default:
				}
				entries, err := l.Entries(at, at+50, 2000)
				if errors.Is(err, raft.ErrCompacted) {
					_, r, err := l.OpenSnapshot()
					if errors.Is(err, raft.ErrNoSnapshot) {
						continue
					}
					if err != nil || r.Close() != nil {
						t.Error("snapshot", err)
						return
					}
					if at += 7; at > 4000 {
						at = 0
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for i, e := range entries {
					if e.Index != at+1+raft.Index(i) || len(e.Data) != 100 {
						t.Errorf("entry %d in the place of %d", e.Index, at+1+raft.Index(i))
						return
					}
				}
				at += raft.Index(len(entries))
			}
		})
	}
	for index := raft.Index(1); index < 4000; index += 10 {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 20, 100)})) // ten of them anew
		if index%100 == 1 {
			meta := raft.SnapshotMeta{Index: index + 5, Term: 1}
			adopt(t, l, meta, []byte("snapshot"))
			require.NoError(t, l.Write(raft.Write{Compact: max(index, 300) - 299}))
		}
	}
	close(stop)
	readers.Wait()
	require.NoError(t, l.Close())
}

// Calls beside Close all end, with a result or fs.ErrClosed.
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
