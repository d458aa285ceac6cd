package wal_test

import (
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// brim leaves no room on a disk.
func brim(disk *simfs.FS) { disk.SetCapacity(disk.Used()) }

// entriesOf returns entries with these sizes of data.
func entriesOf(first raft.Index, sizes ...int) []raft.Entry {
	var all []raft.Entry
	for i, size := range sizes {
		all = append(all, commands(first+raft.Index(i), 1, size)...)
	}
	return all
}

// Writes of as many bytes as there is room for succeed on a disk that is full, however they are cut,
// and the room gets smaller by no more than each of them.
func TestRoomIsOwned(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		disk := simfs.New(seed)
		options := small(disk)
		options.SegmentSize = []int64{16 << 10, 64 << 10, 256 << 10}[seed%3]
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		last := raft.Index(0)
		write := func(most int) {
			var sizes []int
			for total := 0; total < most; {
				size := min(256+rng.IntN(4000), most-total)
				sizes = append(sizes, max(size-96, 0))
				total += size
			}
			entries := entriesOf(last+1, sizes...)
			require.NoError(t, l.Write(raft.Write{Entries: entries}), "seed %d", seed)
			last += raft.Index(len(entries))
		}
		for range rng.IntN(40) {
			write(256 + rng.IntN(10_000))
		}
		brim(disk)
		for room := l.Room(); room > 300; {
			most := min(300+rng.IntN(20_000), int(room))
			if rng.IntN(8) == 0 {
				most = int(room)
			}
			write(most)
			require.LessOrEqual(t, room-min(l.Room(), room), uint64(most), "seed %d", seed)
			room -= uint64(most)
		}
		require.NoError(t, l.Close())
		_, saved := load(t, disk)
		require.Equal(t, last, saved.Last, "seed %d", seed)
	}
}

// A log owns from the start what it needs so that its disk doesn't count as full, and each command
// fits beside the reserve.
func TestReserveIsOwned(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NotEmpty(t, disk.Bytes(dir+"/RESERVE"))
	before := l.Room()
	require.NoError(t, l.Reserve(1<<20))
	require.GreaterOrEqual(t, l.Room(), uint64(1<<20))
	require.NoError(t, l.Reserve(1), "less is no reason to give anything away")
	require.GreaterOrEqual(t, l.Room(), uint64(1<<20))
	require.NoError(t, l.Close())
	l = open(t, disk)
	require.GreaterOrEqual(t, l.Room(), uint64(1<<20), "what is owned stays")
	require.NoError(t, l.Close())
	require.Less(t, before, uint64(64<<10))

	disk.SetCapacity(disk.Used() + 300<<10)
	l = open(t, disk)
	require.NoError(t, l.Reserve(4<<20), "a full disk is no error")
	require.Less(t, l.Room(), uint64(4<<20))
	disk.SetCapacity(0)
	require.NoError(t, l.Reserve(4<<20))
	require.GreaterOrEqual(t, l.Room(), uint64(4<<20))
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Reserve(1), fs.ErrClosed)

	options := wal.Options{FS: simfs.New(1), Inline: true}
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	require.GreaterOrEqual(t, l.Room(), uint64(19<<20), "as raft.Start needs with its defaults")
	require.NoError(t, l.Close())
}

// What is said of all groups has to fit into the next segment beside what is written. So the more groups
// there are, the more the log owns: otherwise its disk would pass for a full one. What it promises then is
// true.
func TestRoomBesideManyGroups(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.SegmentSize = 64 << 10
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	for i := range 600 {
		group, err := l.Group(raft.GroupID(strconv.Itoa(i)))
		require.NoError(t, err)
		require.NoError(t, group.Write(raft.Write{State: raft.DurableState{HardState: raft.HardState{Term: 1}}, Entries: commands(1, 1, 100)}))
		require.Greater(t, l.Room(), uint64(16<<10), "with %d groups", i+1) // twice what raft.Start keeps of such a log
	}
	require.NoError(t, l.Close())
	l, err = wal.Open(dir, options)
	require.NoError(t, err)
	brim(disk)
	room := l.Room()
	require.Greater(t, room, uint64(16<<10))
	group, err := l.Group("0")
	require.NoError(t, err)
	require.NoError(t, group.Write(raft.Write{Entries: commands(2, 1, int(room)-100)}))
	require.NoError(t, l.Close())
}

// lacking is a file system on which files don't grow while it is full. The error is what the system
// says.
type lacking struct {
	full atomic.Bool
	err  error
}

func (l *lacking) hook(c simfs.Call) error {
	if l.full.Load() && (c.Op == simfs.OpCreate || c.Op == simfs.OpWrite && c.Length >= 8<<10) {
		return l.err
	}
	return nil
}

// A Write for which even the reserve has no room waits, says so, and has changed nothing. Without a
// further call it goes on within a second of room coming back, and nothing is lost.
func TestWriteWaitsForRoom(t *testing.T) {
	for name, refusal := range map[string]error{"no space": nil, "a quota": syscall.EDQUOT} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := simfs.New(1)
				options := wal.Options{SegmentSize: 16 << 10, FS: disk, Salt: 1}
				l, err := wal.Open(dir, options)
				require.NoError(t, err)
				system := &lacking{err: refusal}
				if refusal == nil {
					refusal = syscall.ENOSPC
					brim(disk)
				} else {
					disk.OnCall(system.hook)
					system.full.Store(true)
				}
				last, done := stored(l, 0)
				require.ErrorIs(t, l.Waiting(), refusal)
				require.Empty(t, disk.Bytes(dir+"/RESERVE"), "it is used up")
				require.Less(t, l.Room(), uint64(3000))
				entries, err := l.Entries(0, last, 1<<20)
				require.NoError(t, err)
				require.Len(t, entries, int(last))
				calls := disk.Calls()
				time.Sleep(time.Hour)
				require.Empty(t, done)
				require.Less(t, disk.Calls()-calls, 30*5*3600, "it tries about five times in a second")
				disk.SetCapacity(0)
				system.full.Store(false)
				time.Sleep(time.Second)
				require.Len(t, done, 1)
				require.NoError(t, <-done)
				require.NoError(t, l.Waiting())
				require.Greater(t, len(disk.Bytes(dir+"/RESERVE")), 8<<10, "it is made good without a further call")
				require.Greater(t, l.Room(), uint64(4<<10))
				require.NoError(t, l.Write(raft.Write{Entries: commands(last+2, 10, 300)}))
				require.NoError(t, l.Close())
				l, err = wal.Open(dir, options)
				require.NoError(t, err)
				saved, err := l.Load()
				require.NoError(t, err)
				require.Equal(t, last+11, saved.Last)
				require.NoError(t, l.Close())
			})
		})
	}
}

// stored writes entries one by one until the log waits. It returns the index of the last one that is
// stored, and the channel that gets the error of the next one.
func stored(l *wal.Log, index raft.Index) (raft.Index, chan error) {
	for ; ; index++ {
		done := make(chan error, 1)
		go func() { done <- l.Write(raft.Write{Entries: commands(index+1, 1, 2000)}) }()
		synctest.Wait()
		if len(done) == 0 || index > 1000 {
			return index, done
		}
	}
}

// Close ends a Write that waits for room. Nothing of it is there.
func TestCloseWhileAWriteWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := wal.Options{SegmentSize: 16 << 10, FS: disk, Salt: 1}
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		brim(disk)
		last, done := stored(l, 0)
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		require.Len(t, closed, 1, "Close waits for no room")
		require.NoError(t, <-closed)
		require.ErrorIs(t, <-done, fs.ErrClosed)
		for range 20 { // each start on a full disk
			l, err = wal.Open(dir, options)
			require.NoError(t, err)
			saved, err := l.Load()
			require.NoError(t, err)
			require.Equal(t, last, saved.Last)
			require.NoError(t, l.Close())
		}
	})
}

// A record that is larger than any segment, and than the reserve, waits like others.
func TestLargeRecordWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l, err := wal.Open(dir, wal.Options{SegmentSize: 16 << 10, FS: disk, Salt: 1})
		require.NoError(t, err)
		disk.SetCapacity(disk.Used() + 100<<10)
		done := make(chan error, 1)
		go func() { done <- l.Write(raft.Write{Entries: commands(1, 1, 1<<20)}) }()
		time.Sleep(time.Minute)
		require.Empty(t, done)
		require.ErrorIs(t, l.Waiting(), syscall.ENOSPC)
		disk.SetCapacity(0)
		time.Sleep(time.Second)
		require.NoError(t, <-done)
		entries, err := l.Entries(0, 1, 1)
		require.NoError(t, err)
		require.Len(t, entries[0].Data, 1<<20)
		require.NoError(t, l.Close())
	})
}

// A disk without room may say so when a file that an earlier life has filled is synced. The log opens
// all the same, doesn't count on that file, and fills it when there is room.
func TestOpensThoughWhatIsFilledFindsNoRoom(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.SegmentSize = 64 << 10
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	room := l.Room()
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 100)}))
	disk.Kill()
	refused := map[string]bool{}
	disk.OnCall(func(c simfs.Call) error {
		name := filepath.Base(c.Name)
		if c.Op != simfs.OpSync || refused[name] || name == "0000000000000001.wal" || name == "ANCHOR" { // they are written already
			return nil
		}
		refused[name] = true
		return syscall.ENOSPC
	})
	l, err = wal.Open(dir, options)
	require.NoError(t, err, "%v", refused)
	require.Equal(t, map[string]bool{"0000000000000002.wal": true, "RESERVE": true, "BALLAST": true}, refused)
	disk.OnCall(nil)
	require.NoError(t, l.Reserve(0))
	require.InDelta(t, room, l.Room(), 2000)
	require.NoError(t, l.Close())
}

// An anchor that was cut short, on a disk that is full since, is completed from what the log owns.
func TestOpensThoughTheAnchorIsShortAndTheDiskFull(t *testing.T) {
	for _, left := range []int{0, 100, 32 << 10, 40_000, 64 << 10, 65 << 10, 80_000} {
		disk := simfs.New(1)
		options := small(disk)
		options.SegmentSize = 1 << 20
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 100)}))
		require.NoError(t, l.Close())
		name := filepath.Join(dir, "ANCHOR")
		whole := disk.Bytes(name)
		require.True(t, disk.Replace(name, whole[:left]))
		disk.SetCapacity(disk.Used())
		l, err = wal.Open(dir, options)
		if left < 32<<10 {
			require.ErrorIs(t, err, raft.ErrCorrupt, "%d bytes left", left) // neither slot is whole
			continue
		}
		require.NoError(t, err, "%d bytes left", left)
		require.NoError(t, l.Write(raft.Write{Entries: commands(4, 4, 100)}))
		require.NoError(t, l.Close())
		require.Len(t, disk.Bytes(name), len(whole))
		l, saved := load(t, disk)
		require.EqualValues(t, 7, saved.Last)
		require.NoError(t, l.Close())
	}
}
