package wal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// covered makes a log on a full disk that is one segment, and has a snapshot of everything.
func covered(t *testing.T, seed uint64) (*simfs.FS, *wal.Log, raft.Index) {
	disk := simfs.New(seed)
	options := small(disk)
	options.SegmentSize = 64 << 10
	disk.SetCapacity(96<<10 + 64<<10 + 40<<10 + 4<<10) // the anchor, one segment, the reserve and the ballast
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	brim(disk)
	last := raft.Index(0)
	for ; last < 60; last++ {
		require.NoError(t, l.Write(raft.Write{Entries: commands(last+1, 1, 900)}))
	}
	require.Empty(t, disk.Bytes(dir+"/0000000000000002.wal"))
	adopt(t, l, raft.SnapshotMeta{Index: last, Term: 1}, make([]byte, 1000))
	return disk, l, last
}

// On a full disk a compaction frees the active segment, too: segments go as a whole, and nothing
// else may be there to be freed. The power may fail at any time meanwhile.
func TestCompactionFreesTheActiveSegment(t *testing.T) {
	disk, l, last := covered(t, 1)
	first, before := disk.Calls(), l.Room()
	require.NoError(t, l.Write(raft.Write{Compact: last}))
	require.Greater(t, l.Room(), before+10<<10)
	require.NoError(t, l.Close())
	calls := disk.Calls()
	_, saved := load(t, disk)
	require.Equal(t, last, saved.Last)
	for n := first; n < calls; n++ {
		for luck := range uint64(8) {
			disk, l, _ := covered(t, 1)
			disk.PowerOffAfter(n)
			if l.Write(raft.Write{Compact: last}) == nil {
				_ = l.Close() // if that fails, it is as with a process that was killed
			}
			disk.Reseed(luck)
			disk.Cut()
			l, err := wal.Open(dir, small(disk))
			require.NoError(t, err, "power cut after call %d, luck %d", n, luck)
			saved, err := l.Load()
			require.NoError(t, err)
			require.Equal(t, last, saved.Last)
			require.NoError(t, l.Close())
		}
	}
}

// Again and again a log goes on without any room on its disk.
func TestLogLivesOnAFullDisk(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.SegmentSize = 64 << 10
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	adopt(t, l, raft.SnapshotMeta{Index: 1, Term: 1}, make([]byte, 1000))
	require.NoError(t, l.Write(raft.Write{Compact: 1}))
	brim(disk)
	last := raft.Index(1)
	for round := range 50 {
		before := l.Room()
		require.Greater(t, before, uint64(10<<10), "round %d", round)
		for l.Room() > 5000 {
			require.NoError(t, l.Write(raft.Write{Entries: commands(last+1, 1, 900)}), "round %d", round)
			last++
		}
		adopt(t, l, raft.SnapshotMeta{Index: last, Term: 1}, make([]byte, 1000)) // into the ballast
		require.NoError(t, l.Write(raft.Write{Compact: last}))
		disk.SetCapacity(disk.Used() + 20) // what was given back is taken by others
	}
	require.NoError(t, l.Close())
	_, saved := load(t, disk)
	require.Equal(t, last, saved.Last)
}

// On a full disk, snapshots that aren't needed go, though the next segment can't be filled.
func TestOldSnapshotsGoOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l, err := wal.Open(dir, wal.Options{SegmentSize: 16 << 10, FS: disk, Salt: 1})
		require.NoError(t, err)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 5, 300)}))
		for index := raft.Index(1); index < 4; index++ {
			adopt(t, l, raft.SnapshotMeta{Index: index, Term: 1}, make([]byte, 5000))
			brim(disk)
			require.NoError(t, l.Write(raft.Write{Compact: index, Entries: commands(index+5, 1, 4000)}))
			synctest.Wait()
			disk.SetCapacity(disk.Used() + 6000)
		}
		require.Equal(t, 1, count(disk, ".snapshot"))
		require.NoError(t, l.Close())
	})
}

// A full is a writer on a disk that fills up now and then, and is given room again.
type full struct {
	*writer
	disk *simfs.FS
	rng  *rand.Rand
}

// run does n steps. When nothing fits any more, the log is opened anew; most times the disk has room
// again then.
func (f *full) run(n int) error {
	if err := f.open(f.options(f.disk)); err != nil {
		return err
	}
	for range n {
		switch f.rng.IntN(6) {
		case 0:
			f.disk.SetCapacity(f.disk.Used() + int64(f.rng.IntN(3000)))
		case 1:
			f.disk.SetCapacity(0)
		}
		err := f.step()
		if err == nil && f.rng.IntN(3) == 0 && f.now.snapshot.Index > f.now.before {
			err = f.write(raft.Write{State: f.now.state, Compact: f.now.snapshot.Index}, "")
		}
		if errors.Is(err, syscall.ENOSPC) {
			if f.rng.IntN(4) > 0 {
				f.disk.SetCapacity(0)
			}
			f.log.Close()
			err = f.open(f.options(f.disk))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Each boundary between two calls to a disk that fills up, with many subsets of the sectors that
// weren't synced there: nothing is lost that was acknowledged, nothing is taken for damage, and the
// log opens, whether the disk is full or not.
//
//	go test ./wal -run TestCrashImagesOfAFullDisk -images 100000
func TestCrashImagesOfAFullDisk(t *testing.T) {
	oneGoroutine(t)
	t.Parallel()
	const lucks = 4
	seen := 0
	for seed := *imageSeed; seen < *images; seed++ {
		run := func(fs *simfs.FS) *writer {
			f := &full{newWriter(seed), fs, rand.New(rand.NewPCG(seed, 2))}
			f.size, f.salt = []int64{4 << 10, 32 << 10}[seed%2], 1
			if err := f.run(60); err != nil {
				require.ErrorIs(t, err, simfs.ErrPower, "seed %d", seed)
			}
			return f.writer
		}
		whole := simfs.New(seed)
		run(whole)
		step := strideOf(3)
		for n := int(seed) % step; n < whole.Calls() && seen < *images; n += step {
			fs := simfs.New(seed)
			fs.PowerOffAfter(n)
			w := run(fs)
			for luck := range uint64(lucks) {
				image := fs.Clone()
				image.Reseed(luck<<32 ^ seed)
				image.Cut()
				about := fmt.Sprintf("seed %d, luck %d, power cut after call %d", seed, luck, n)
				image.SetCapacity(0)
				if luck%2 == 0 && count(image, ".wal") > 0 {
					brim(image)
				}
				require.NoError(t, opens(image, w.now, w.next), about)
				seen++
			}
		}
	}
	t.Logf("%d images", seen)
}

// count returns how many files of a disk have a name that ends like this.
func count(disk *simfs.FS, suffix string) (n int) {
	for _, name := range disk.Names() {
		if strings.HasSuffix(name, suffix) {
			n++
		}
	}
	return n
}

// A node whose log has no room refuses commands, and goes on when there is room, by itself and
// within a second.
func TestNodeOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		l, err := wal.Open(dir, wal.Options{SegmentSize: 64 << 10, FS: disk, Salt: 1})
		require.NoError(t, err)
		node, err := alone(l)
		require.NoError(t, err)
		require.NoError(t, node.Read(t.Context()))
		require.Zero(t, node.Status().FullFor)
		brim(disk)
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		taken := 0
		for ; ; taken++ {
			_, err := node.Propose(soon, make([]byte, 200_000))
			if err != nil {
				require.ErrorIs(t, err, raft.ErrFull)
				require.ErrorIs(t, err, raft.ErrNotApplied)
				break
			}
		}
		require.Greater(t, taken, 40, "what is beside the reserve is for commands")
		require.NoError(t, node.Read(t.Context()), "reads need no room")
		time.Sleep(time.Minute)
		require.Greater(t, node.Status().FullFor, 50*time.Second)
		require.NoError(t, node.Err())
		disk.SetCapacity(0)
		time.Sleep(time.Second)
		_, err = node.Propose(t.Context(), make([]byte, 200_000))
		require.NoError(t, err)
		require.Zero(t, node.Status().FullFor)
		require.NoError(t, node.Close(t.Context()))
	})
}

// A file that grew before its process was killed may be shorter after a power cut. The log doesn't
// count on what isn't durable of the reserve and the spare, and isn't refused for its lack.
func TestLengthsOfAnEarlierLife(t *testing.T) {
	oneGoroutine(t)
	for name, before := range map[string]func(*simfs.FS){
		"the reserve": func(disk *simfs.FS) {
			disk.SetCapacity(96<<10 + 4<<10 + 5000)
			open(t, disk)
		},
		"the spare": func(disk *simfs.FS) {
			l := open(t, disk)
			require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 100)}))
			disk.SetCapacity(disk.Used() + 2000)
			require.ErrorIs(t, l.Write(raft.Write{Entries: commands(2, 1, 20_000)}), syscall.ENOSPC)
		},
	} {
		history := func(disk *simfs.FS) {
			before(disk)
			disk.Kill()
			brim(disk)
		}
		after := func(disk *simfs.FS) error {
			l, err := wal.Open(dir, small(disk))
			if err != nil {
				return err
			}
			for index := lastOf(l) + 1; err == nil; index++ {
				err = l.Write(raft.Write{Entries: commands(index, 1, 700)})
			}
			return err
		}
		whole := simfs.New(1)
		history(whole)
		first := whole.Calls()
		require.ErrorIs(t, after(whole), syscall.ENOSPC)
		begun := simfs.New(1)
		history(begun)
		for n := first; n < whole.Calls(); n++ {
			off := begun.Clone()
			off.PowerOffAfter(n)
			_ = after(off)
			for luck := range uint64(12) {
				disk := off.Clone()
				disk.Reseed(luck)
				disk.Cut()
				l, err := wal.Open(dir, small(disk))
				require.NoError(t, err, "%s: power cut after call %d, luck %d", name, n, luck)
				require.NoError(t, l.Close())
			}
		}
	}
}

// lastOf returns the last index that a log was opened with.
func lastOf(l *wal.Log) raft.Index {
	saved, _ := l.Load()
	return saved.Last
}

// A snapshot that finds no room is written into the ballast. If it is given up, the ballast is there
// again; and if it is too large, it fails and leaves no trace.
func TestSnapshotIsWrittenIntoTheBallast(t *testing.T) {
	disk := simfs.New(1)
	options := small(disk)
	options.SegmentSize = 8 << 20
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 5, 300)}))
	adopt(t, l, raft.SnapshotMeta{Index: 1, Term: 1}, make([]byte, 600_000))
	require.NoError(t, l.Write(raft.Write{Entries: commands(6, 1, 300)})) // which fills the ballast
	size := disk.Size(dir + "/BALLAST")
	require.Greater(t, size, 900_000, "one and a half of the last snapshot")
	brim(disk)

	w, err := l.CreateSnapshot(raft.SnapshotMeta{Index: 2, Term: 1})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 300_000))
	require.NoError(t, err)
	require.Empty(t, disk.Bytes(dir+"/BALLAST"))
	require.NoError(t, w.Abort())
	require.Len(t, disk.Bytes(dir+"/BALLAST"), size)

	w, err = l.CreateSnapshot(raft.SnapshotMeta{Index: 2, Term: 1})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 2_000_000))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, w.Abort())
	require.Len(t, disk.Bytes(dir+"/BALLAST"), size)
	require.Zero(t, count(disk, ".tmp"))

	data := bytes.Repeat([]byte("snapshot"), 100_000)
	adopt(t, l, raft.SnapshotMeta{Index: 3, Term: 1}, data)
	meta, r, err := l.OpenSnapshot()
	require.NoError(t, err)
	require.EqualValues(t, 3, meta.Index)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, r.Close())
	brim(disk)
	require.NoError(t, l.Write(raft.Write{Compact: 3}))
	require.Greater(t, disk.Size(dir+"/BALLAST"), 600_000, "the snapshot before has become the ballast")
	adopt(t, l, raft.SnapshotMeta{Index: 4, Term: 1}, data[:500_000])
	require.NoError(t, l.Close())
}

// A snapshot that somebody reads doesn't become the ballast: the next one would be written over it.
func TestSnapshotThatIsReadIsNoBallast(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 5, 300)}))
	data := bytes.Repeat([]byte("snapshot"), 1000)
	adopt(t, l, raft.SnapshotMeta{Index: 1, Term: 1}, data)
	_, r, err := l.OpenSnapshot()
	require.NoError(t, err)
	for index := raft.Index(2); index < 5; index++ {
		disk.SetCapacity(disk.Used() + 9000)
		adopt(t, l, raft.SnapshotMeta{Index: index, Term: 1}, make([]byte, 8000))
		brim(disk)
		require.NoError(t, l.Write(raft.Write{Compact: index}))
	}
	require.Equal(t, 1, count(disk, ".snapshot"), "it is removed")
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, r.Close())
	require.NoError(t, l.Close())
}
