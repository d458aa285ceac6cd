package wal_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// An anchor that takes more than one sector may be torn. It is never torn in both slots: the one
// that was synced last stays.
func TestAnchorIsNeverTornAltogether(t *testing.T) {
	oneGoroutine(t)
	for seed := range uint64(40) {
		fs := simfs.New(seed)
		options := small(fs)
		options.SegmentSize = 1 << 20
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		configuration := func(index raft.Index) raft.Entry {
			c := raft.Configuration{Members: []raft.Member{{Server: raft.Server{ID: "somebody", Address: fmt.Sprint("x:", index, seed)}}}}
			return raft.Entry{Index: index, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &c)}
		}
		var entries []raft.Entry
		for i := range raft.Index(60) {
			entries = append(entries, configuration(i+1))
		}
		require.NoError(t, l.Write(raft.Write{Entries: entries}))
		if seed%2 == 0 {
			require.NoError(t, l.Close())
			l, err = wal.Open(dir, options)
			require.NoError(t, err)
		}
		last := raft.Index(60)
		for range 1 + seed%4 {
			last++
			require.NoError(t, l.Write(raft.Write{Entries: []raft.Entry{configuration(last)}}))
			require.NoError(t, l.Anchor())
		}
		if seed%3 == 0 { // a start that is cut while it writes the anchor
			fs.Kill()
			fs.PowerOffAfter(fs.Calls() + 14 + int(seed%5))
			if l, err := wal.Open(dir, options); err == nil {
				_ = l.Close()
			}
		}
		fs.Cut()
		l, saved := load(t, fs)
		require.Equal(t, last, saved.Last, "seed %d", seed)
		require.Empty(t, saved.Lost)
		require.NoError(t, l.Close())
	}
}

// A log that was killed and is cut short is refused, though the anchor doesn't know yet what is
// gone: its file is shorter than it was.
func TestCutFileIsNoticedBeforeTheAnchorKnows(t *testing.T) {
	for _, closed := range []bool{false, true} {
		fs := simfs.New(1)
		l := open(t, fs)
		var want model
		for i := raft.Index(1); i <= 3; i++ {
			write := raft.Write{Entries: named(i, 1, 1)}
			want = want.after(write, "")
			require.NoError(t, l.Write(write))
		}
		if closed {
			require.NoError(t, l.Close())
		}
		fs.Kill()
		fs.Flush()
		whole := fs.Bytes(segmentOne)
		for at := 0; at < len(whole); at += 37 {
			put(t, fs, segmentOne, whole[:at])
			v := requireHonest(t, fs.Clone(), want, "cut at %d", at)
			if closed {
				require.NotEqual(t, refused, v, "cut at %d", at)
			} else {
				require.Equal(t, refused, v, "cut at %d", at)
			}
		}
	}
}

// As long as no more is damaged at a time than a witness covers, and a record stands behind it,
// entries are lost, and nothing else is.
func TestWitnessCoversItsWindow(t *testing.T) {
	oneGoroutine(t)
	for _, size := range []int{100, 3000, 70_000} {
		fs := simfs.New(1)
		options := small(fs)
		options.SegmentSize = 1 << 20
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		var want model
		for i := raft.Index(1); i <= raft.Index(max(300_000/size, 12)); i++ {
			e := filled(i, 1, size, byte(i))
			if i%10 == 9 {
				e[0].Data = e[0].Data[:10]
			}
			write := raft.Write{Entries: e, State: want.state}
			if i%17 == 0 {
				write.State.Start++
			}
			want = want.after(write, "")
			require.NoError(t, l.Write(write))
			if i%4 == 0 {
				require.NoError(t, l.Anchor())
			}
		}
		fs.Kill()
		fs.Flush()
		var places []int64
		_, err = wal.Inspect(dir, options, func(r *wal.Record) error {
			if r.Kind == "batch" {
				places = append(places, r.Offset)
			}
			return nil
		})
		require.NoError(t, err)
		last := places[len(places)-1]
		for at := places[3] - 3; at < last; at += 1 + (last-places[3])/23 {
			n := min(64<<10, last-at)
			damaged := fs.Clone()
			require.True(t, damaged.Overwrite(segmentOne, at, make([]byte, n)))
			v := requireHonest(t, damaged, want, "%d bytes at %d", n, at)
			require.True(t, v == lossy || n < 8 && v == sound, "%d bytes at %d, with entries of %d: %s", n, at, size, v)
		}
	}
}

// After Close, any length of damage costs nothing but bytes.
func TestClosedLogKnowsAllThatItHeld(t *testing.T) {
	fs := simfs.New(1)
	w := newWriter(5)
	w.size = 64 << 10
	require.NoError(t, w.open(w.options(fs)))
	require.NoError(t, w.steps(60))
	require.NoError(t, w.log.Close())
	fs.Kill()
	fs.Flush()
	for _, name := range fs.Names() {
		if size := fs.Size(name); len(name) == len(segmentOne) && size > 0 {
			damaged := fs.Clone()
			put(t, damaged, name, make([]byte, size))
			require.NotEqual(t, refused, requireHonest(t, damaged, w.now, name))
			put(t, damaged, name, nil)
			require.NotEqual(t, refused, requireHonest(t, damaged, w.now, name))
		}
	}
}

// A log that was closed, and whose process was killed after it was opened again, isn't taken for one
// that ends where it was closed.
func TestClosedIsTakenBack(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: named(1, 1, 1)}))
	require.NoError(t, l.Close())
	before := fs.Bytes(segmentOne)
	l = open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: named(2, 1, 1)}))
	require.NoError(t, l.Anchor())
	fs.Kill()
	fs.Flush()
	put(t, fs, segmentOne, before) // all that was written since is gone
	_, err := wal.Open(dir, small(fs))
	require.ErrorIs(t, err, raft.ErrCorrupt)
}

// What the anchor says survives a power cut a second later.
func TestAnchorIsSyncedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := simfs.New(1)
		options := small(disk)
		options.Inline = false
		l, err := wal.Open(dir, options)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		require.NoError(t, l.Write(raft.Write{Entries: named(1, 1, 1)}))
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		image := disk.Clone()
		image.Lose()
		require.NoError(t, l.Close())
		name := segmentOne
		content := image.Bytes(name)
		put(t, image, name, append(content[:144:144], make([]byte, len(content)-144)...))
		_, err = wal.Open(dir, small(image))
		require.ErrorIs(t, err, raft.ErrCorrupt, "the batch was promised")
	})
}

// An anchor of another log is none, and so is a log without one.
func TestForeignAnchorIsRefused(t *testing.T) {
	fs := simfs.New(1)
	for _, salt := range []uint64{1, 2} {
		options := small(fs)
		options.Salt = salt
		l, err := wal.Open(fmt.Sprint("/", salt), options)
		require.NoError(t, err)
		require.NoError(t, l.Write(raft.Write{Entries: named(1, 2, 1)}))
		require.NoError(t, l.Close())
	}
	require.NoError(t, fs.Rename("/1/ANCHOR", "/2/ANCHOR"))
	_, err := wal.Open("/2", small(fs))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "another log")
	_, err = wal.Open("/1", small(fs))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "ANCHOR is corrupt: it is missing")
}
