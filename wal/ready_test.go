package wal_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wal/vfs"
)

// A filling is a file system that watches how files are filled beforehand.
type filling struct {
	vfs.FS
	hollow  bool          // what is filled is thrown away
	takes   time.Duration // how long a sync of such a file takes,
	after   int           // except the first ones
	gate    chan struct{} // if not nil, such a sync waits for it
	syncing atomic.Int64
	most    atomic.Int64 // how many were synced at one time

	mu    sync.Mutex
	steps []int // bytes between two syncs
	since int
}

// taken returns the steps that were taken.
func (f *filling) taken() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.steps)
}

type fillingFile struct {
	vfs.File
	system *filling
}

func (f *filling) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	if err != nil || !strings.HasSuffix(name, ".ready") {
		return file, err
	}
	return fillingFile{file, f}, nil
}

func (f fillingFile) WriteAt(b []byte, at int64) (int, error) {
	f.system.mu.Lock()
	f.system.since += len(b)
	f.system.mu.Unlock()
	if f.system.hollow {
		return len(b), nil
	}
	return f.File.WriteAt(b, at)
}

func (f fillingFile) Sync() error {
	s := f.system
	s.most.Store(max(s.most.Load(), s.syncing.Add(1)))
	defer s.syncing.Add(-1)
	if s.gate != nil {
		<-s.gate
	}
	if len(s.taken()) >= s.after {
		time.Sleep(s.takes)
	}
	s.mu.Lock()
	s.steps = append(s.steps, s.since)
	s.since = 0
	s.mu.Unlock()
	return f.File.Sync()
}

// openFilling opens a log on such a file system.
func openFilling(t *testing.T, system *filling, at string, options wal.Options) *wal.Log {
	options.FS, options.Salt, options.Logger = system, 1, slog.New(slog.DiscardHandler)
	l, err := wal.Open(at, options)
	require.NoError(t, err)
	return l
}

// sizes returns the sizes of the files whose names end so.
func sizes(disk *simfs.FS, suffix string) (sizes []int) {
	for _, name := range disk.Names() {
		if strings.HasSuffix(name, suffix) {
			sizes = append(sizes, disk.Size(name))
		}
	}
	return sizes
}

// A new log fills eight files beforehand, before anything is written, in few steps: each is twice as
// large as the one before, as long as the disk is quick. The next log in the folder takes them over.
func TestNewLogFillsFilesBeforehand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		system := &filling{FS: disk}
		l := openFilling(t, system, dir, wal.Options{Ahead: 32 << 20})
		time.Sleep(5 * time.Second)
		ready := slices.Repeat([]int{4 << 20}, 8)
		require.Equal(t, ready, sizes(disk, ".ready"))
		require.Len(t, sizes(disk, ".wal"), 2)
		const kib = 1 << 10
		require.Equal(t, []int{256 * kib, 512 * kib, 1024 * kib, 2048 * kib, 256 * kib}, system.taken()[:5])
		require.Len(t, system.taken(), 8*5)
		calls := disk.Calls()
		time.Sleep(time.Hour)
		require.Equal(t, calls, disk.Calls(), "then it rests")
		require.NoError(t, l.Close())

		l = openFilling(t, system, dir, wal.Options{Ahead: 32 << 20})
		require.Equal(t, ready, sizes(disk, ".ready"))
		time.Sleep(time.Hour)
		require.Len(t, system.taken(), 8*5)
		require.NoError(t, l.Close())
		for _, options := range []wal.Options{{Ahead: 16 << 20}, {Ahead: -1}, {Inline: true}} {
			l = openFilling(t, system, dir, options)
			require.Empty(t, sizes(disk, ".ready"), "they are of another size")
			require.NoError(t, l.Close())
		}
	})
}

// Of the files that another process has left, only those are taken over that are complete. One that
// begins like a segment was never ready, and may be what somebody looks for: it stays.
func TestWhichReadyFilesAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := wal.Options{SegmentSize: 8 << 10}
		l := openFilling(t, &filling{FS: disk}, dir, options)
		synctest.Wait() // it has made its spare, and the next one needs no file for that
		require.NoError(t, l.Close())
		leave := func(name string, b []byte) {
			file, err := disk.Create(dir + "/" + name)
			require.NoError(t, err)
			_, err = file.WriteAt(b, 0)
			require.NoError(t, err)
			require.NoError(t, file.Close())
		}
		leave("0000000000000003.ready", make([]byte, 8<<10))
		leave("0000000000000004.ready", make([]byte, 8<<10-1))
		leave("0000000000000005.ready", disk.Bytes(dir+"/0000000000000001.wal"))
		leave("0000000000000006.ready", nil)
		leave("none.ready", nil)
		l = openFilling(t, &filling{FS: disk}, dir, options)
		require.Equal(t, []int{8 << 10, 8 << 10, 0}, sizes(disk, ".ready"))
		time.Sleep(time.Second)
		require.Len(t, sizes(disk, ".ready"), 8+2)
		require.NotNil(t, disk.Bytes(dir+"/0000000000000005.ready"))
		require.NotNil(t, disk.Bytes(dir+"/0000000000000007.ready"), "names go on from there")
		require.NoError(t, l.Close())
	})
}

// A log that is closed at once has made no file ready.
func TestShortLivedLogFillsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l := openFilling(t, &filling{FS: disk}, dir, wal.Options{})
		time.Sleep(49 * time.Millisecond)
		require.Empty(t, sizes(disk, ".ready"))
		require.NoError(t, l.Close())
	})
}

// On a slow disk the steps stay small, so that they don't keep it from others.
func TestSlowDiskIsFilledInSmallSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := &filling{FS: simfs.New(1), takes: 10 * time.Millisecond}
		l := openFilling(t, system, dir, wal.Options{Ahead: 8 << 20})
		time.Sleep(time.Second)
		require.Equal(t, slices.Repeat([]int{256 << 10}, 32), system.taken())
		require.NoError(t, l.Close())
	})
}

// A disk that becomes slow gets smaller steps again.
func TestStepsBecomeSmallerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := &filling{FS: simfs.New(1), takes: 10 * time.Millisecond, after: 3}
		l := openFilling(t, system, dir, wal.Options{Ahead: 128 << 20})
		time.Sleep(300 * time.Millisecond)
		const kib = 1 << 10
		require.Equal(t, []int{256 * kib, 512 * kib, 1024 * kib, 2048 * kib, 1024 * kib, 512 * kib, 256 * kib, 256 * kib}, system.taken()[:8])
		require.NoError(t, l.Close())
	})
}

// Files are small where segments are, and there are none if none are wanted.
func TestHowMuchIsFilledBeforehand(t *testing.T) {
	for _, c := range []struct {
		options wal.Options
		want    []int
	}{
		{wal.Options{SegmentSize: 8 << 10}, slices.Repeat([]int{8 << 10}, 8)},
		{wal.Options{Ahead: 32 << 10, SegmentSize: 8 << 10}, slices.Repeat([]int{4 << 10}, 8)},
		{wal.Options{Ahead: 32<<10 - 1, SegmentSize: 8 << 10}, nil},
		{wal.Options{Ahead: -1}, nil},
		{wal.Options{Ahead: 1 << 20, Inline: true}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := simfs.New(1)
			l := openFilling(t, &filling{FS: disk}, dir, c.options)
			time.Sleep(time.Second)
			require.Equal(t, c.want, sizes(disk, ".ready"), "%+v", c.options)
			require.NoError(t, l.Close())
		})
	}
}

// While a log writes, nothing is filled, for this log or another one on the same disk. When they have
// rested for a while, the filling goes on.
func TestNothingIsFilledDuringWrites(t *testing.T) {
	for name, other := range map[string]bool{"its own": false, "another log's": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				system := &filling{FS: simfs.New(1), takes: 3 * time.Millisecond}
				l := openFilling(t, system, dir, wal.Options{Ahead: 4 << 20})
				writes := l
				if other {
					writes = openFilling(t, system, "/other", wal.Options{Ahead: -1, SegmentSize: 64 << 10})
				}
				time.Sleep(51 * time.Millisecond)
				require.Len(t, system.taken(), 0)
				for i := range raft.Index(1000) {
					require.NoError(t, writes.Write(raft.Write{Entries: commands(i+1, 1, 10)}))
					time.Sleep(10 * time.Millisecond)
				}
				require.Len(t, system.taken(), 1, "the step that had begun")
				time.Sleep(3 * time.Second)
				require.Len(t, system.taken(), 16)
				require.NoError(t, l.Close())
				if other {
					require.NoError(t, writes.Close())
				}
			})
		})
	}
}

// A Write doesn't wait for a step, not even when it needs the next segment.
func TestWriteDoesNotWaitForAStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := &filling{FS: simfs.New(1), gate: make(chan struct{})}
		l := openFilling(t, system, dir, wal.Options{SegmentSize: 16 << 10})
		time.Sleep(time.Second)
		require.EqualValues(t, 1, system.syncing.Load())
		for i := range raft.Index(100) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+1, 1, 900)}))
		}
		require.Zero(t, len(system.taken()))
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		system.gate <- struct{}{} // the step that had begun
		require.NoError(t, <-closed)
		require.Len(t, system.taken(), 1, "Close waits for no other one")
		require.Equal(t, []int{16 << 10}, sizes(system.FS.(*simfs.FS), ".ready"), "which has completed a file")
	})
}

// Files that are ready become segments by a rename: the first load of a new log fills none.
func TestReadyFilesBecomeSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l := openFilling(t, &filling{FS: disk}, dir, wal.Options{SegmentSize: 64 << 10})
		time.Sleep(time.Second)
		var created, renamed, zeros int
		disk.OnCall(func(c simfs.Call) error {
			switch {
			case c.Op == simfs.OpCreate:
				created++
			case c.Op == simfs.OpRename:
				renamed++
			case c.Op == simfs.OpWrite && strings.HasSuffix(c.Name, ".wal") && c.Length > 8<<10:
				zeros += c.Length
			}
			return nil
		})
		for i := range raft.Index(5 * 64) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+1, 1, 900)}))
			synctest.Wait()
		}
		require.Zero(t, created)
		require.Equal(t, 4, renamed)
		require.Zero(t, zeros)
		require.NoError(t, l.Close())
		l, saved := load(t, disk)
		require.EqualValues(t, 5*64, saved.Last)
		require.NoError(t, l.Close())
	})
}

// A log that has old segments to use again makes no files ready beside them.
func TestOldSegmentsCountAsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		system := &filling{FS: disk}
		l := openFilling(t, system, dir, wal.Options{SegmentSize: 16 << 10})
		for i := range raft.Index(200) {
			require.NoError(t, l.Write(raft.Write{Entries: commands(i+1, 1, 900)}))
			if i%20 == 19 {
				adopt(t, l, raft.SnapshotMeta{Index: i + 1, Term: 1}, nil)
				require.NoError(t, l.Write(raft.Write{Compact: i + 1}))
			}
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		all := len(sizes(disk, ".ready")) + len(sizes(disk, ".wal"))
		require.LessOrEqual(t, all, 2+8, "the active one, the next one, and eight to be used")
		require.NoError(t, l.Close())
	})
}

// The logs on one disk fill one file at a time, each in its turn.
func TestLogsOnOneDiskTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		system := &filling{FS: disk, takes: 5 * time.Millisecond}
		var logs []*wal.Log
		for i := range 3 {
			logs = append(logs, openFilling(t, system, fmt.Sprint("/log", i), wal.Options{Ahead: 8 << 20}))
		}
		time.Sleep(400 * time.Millisecond) // about half of it
		synctest.Wait()
		require.Less(t, len(sizes(disk, ".ready")), 20)
		for i := range logs {
			require.NotNil(t, disk.Bytes(fmt.Sprintf("/log%d/%016x.ready", i, 3)), "log %d", i)
		}
		time.Sleep(time.Minute)
		require.EqualValues(t, 1, system.most.Load())
		require.Len(t, sizes(disk, ".ready"), 3*8)
		for _, l := range logs {
			require.NoError(t, l.Close())
		}
	})
}

// The logs on one disk fill no more than MaxAhead together.
func TestLogsOnOneDiskShareWhatIsFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		system := &filling{FS: disk, hollow: true, takes: time.Millisecond}
		const size = 48 << 20
		var logs []*wal.Log
		for i := range 3 {
			logs = append(logs, openFilling(t, system, fmt.Sprint("/log", i), wal.Options{Ahead: 8 * size}))
			if i != 1 {
				time.Sleep(time.Minute)
			}
		}
		count := func() int { return len(sizes(disk, ".ready")) }
		require.Equal(t, wal.MaxAhead/size, count())
		mine := 0
		for _, name := range disk.Names() {
			if strings.HasPrefix(name, "/log0/") && strings.HasSuffix(name, ".ready") {
				mine++
			}
		}
		require.Equal(t, 8, mine)
		require.NoError(t, logs[0].Close())
		for _, l := range logs[1:] { // what the first one had is free for the others
			require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 10)}))
		}
		time.Sleep(time.Minute)
		require.Equal(t, mine+wal.MaxAhead/size, count())
		require.NoError(t, logs[1].Close())
		require.NoError(t, logs[2].Close())
	})
}

// Whatever the log needs room for comes before what is filled beforehand: files that are ready are
// removed when the disk is full, and no other ones are made.
func TestReadyFilesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		disk.SetCapacity(900 << 10)
		system := &filling{FS: disk}
		l := openFilling(t, system, dir, wal.Options{SegmentSize: 64 << 10})
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
		time.Sleep(time.Minute)
		require.Len(t, sizes(disk, ".ready"), 8)
		state := make([]byte, 300<<10)
		adopt(t, l, raft.SnapshotMeta{Index: 3, Term: 1}, state)
		require.Empty(t, sizes(disk, ".ready"))
		require.NoError(t, l.Write(raft.Write{Entries: commands(4, 1, 10)}))
		time.Sleep(time.Hour)
		require.Empty(t, sizes(disk, ".ready"))
		require.NoError(t, l.Close())

		disk.SetCapacity(disk.Used() + 100<<10)
		l = openFilling(t, system, dir, wal.Options{SegmentSize: 64 << 10})
		time.Sleep(time.Hour)
		require.Empty(t, sizes(disk, ".ready"), "a file that has no room is given up, and those before it")
		require.NoError(t, l.Write(raft.Write{Entries: commands(5, 1, 10)}))
		require.NoError(t, l.Close())
	})
}
