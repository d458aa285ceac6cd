package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// open opens a log in a simulated file system.
func open(t *testing.T, fs *simfs.FS) *wal.Log {
	l, err := wal.Open(dir, small(fs))
	require.NoError(t, err)
	return l
}

// load opens a log and loads it.
func load(t *testing.T, fs *simfs.FS) (*wal.Log, raft.Saved) {
	l := open(t, fs)
	saved, err := l.Load()
	require.NoError(t, err)
	return l, saved
}

// store stores a snapshot, without making it the current one.
func store(t *testing.T, l *wal.Log, meta raft.SnapshotMeta, data []byte) {
	w, err := l.CreateSnapshot(meta)
	require.NoError(t, err)
	_, err = w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	require.NoError(t, w.Commit(), "a second call does nothing")
	require.NoError(t, w.Abort(), "a second call does nothing")
}

// adopt stores a snapshot and makes it the current one.
func adopt(t *testing.T, l *wal.Log, meta raft.SnapshotMeta, data []byte) {
	store(t, l, meta, data)
	require.NoError(t, l.Write(raft.Write{Snapshot: &meta}))
}

// snapshotFiles returns the names of the snapshots.
func snapshotFiles(fs *simfs.FS) []string {
	var names []string
	for _, name := range fs.Names() {
		if strings.Contains(name, ".snapshot") {
			names = append(names, name)
		}
	}
	return names
}

func TestSnapshotOfEverySize(t *testing.T) {
	oneGoroutine(t)
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
	for i, size := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 200_000, 9 << 20} {
		data := bytes.Repeat([]byte("0123456789"), size/10+1)[:size]
		meta := raft.SnapshotMeta{Index: raft.Index(i + 1), Term: 1, ConfigurationIndex: 1}
		meta.Configuration.Members = []raft.Member{{Server: raft.Server{ID: "a", Address: "x:1"}, Role: raft.Voter, Incarnation: 7}}
		adopt(t, l, meta, data)
		got, r, err := l.OpenSnapshot()
		require.NoError(t, err)
		require.Equal(t, meta, got)
		require.NoError(t, iotest.TestReader(r, data))
		require.NoError(t, r.Close())
		require.NoError(t, r.Close(), "a second call does nothing")
	}
	require.NoError(t, l.Close())
	_, saved := load(t, fs)
	require.EqualValues(t, 7, saved.Snapshot.Index)
	require.EqualValues(t, 1, saved.Runs[0].First, "nothing was compacted")
}

func TestStoredSnapshotIsCurrentOnlyAfterAWrite(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
	store(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
	_, _, err := l.OpenSnapshot()
	require.ErrorIs(t, err, raft.ErrNoSnapshot)
	w, err := l.CreateSnapshot(raft.SnapshotMeta{Index: 6, Term: 1})
	require.NoError(t, err)
	_, err = w.Write([]byte("six, but never complete"))
	require.NoError(t, err)
	require.Len(t, snapshotFiles(fs), 2)
	fs.Kill()
	l, saved := load(t, fs)
	require.Zero(t, saved.Snapshot.Index)
	require.Empty(t, snapshotFiles(fs), "neither will ever be current")
	require.NoError(t, l.Close())
}

// A snapshot that is stored when a later one is the current one already is never named: a batch later
// it is gone, and the one that is in reserve is still there. One that may still be named stays, until a
// later one is named.
func TestSnapshotsThatAreNeverNamedGo(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	last := raft.Index(20)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, int(last), 10)}))
	requireAfterABatch := func(want ...raft.Index) {
		t.Helper()
		last++
		require.NoError(t, l.Write(raft.Write{Entries: commands(last, 1, 10)}))
		var found []raft.Index
		for _, name := range snapshotFiles(fs) {
			var index raft.Index
			_, text, _ := strings.Cut(string(fs.Bytes(name)), "of index ")
			_, err := fmt.Sscanf(text, "%d.", &index)
			require.NoError(t, err)
			found = append(found, index)
		}
		require.ElementsMatch(t, want, found)
	}
	meta := func(index raft.Index) raft.SnapshotMeta { return raft.SnapshotMeta{Index: index, Term: 1} }
	text := func(index raft.Index) []byte { return fmt.Appendf(nil, "of index %d.", index) }
	adopt(t, l, meta(4), text(4))
	adopt(t, l, meta(8), text(8))
	requireAfterABatch(4, 8)
	for index := raft.Index(1); index < 8; index++ {
		store(t, l, meta(index), text(index))
		requireAfterABatch(4, 8)
	}
	requireInReserve := func(want raft.Index) {
		t.Helper()
		damaged := fs.Clone()
		damaged.Kill()
		names := snapshotFiles(damaged)
		current := names[len(names)-1]
		require.True(t, damaged.Rot(current, int64(len(damaged.Bytes(current)))-10, 1))
		l, saved := load(t, damaged)
		require.NoError(t, saved.SnapshotDamage)
		require.Equal(t, want, saved.Snapshot.Index)
		require.NoError(t, l.Close())
	}
	requireInReserve(4)
	store(t, l, meta(10), text(10))
	store(t, l, meta(12), text(12))
	requireAfterABatch(4, 8, 10, 12)
	adopt(t, l, meta(14), text(14))
	requireAfterABatch(12, 14)
	requireInReserve(12)
	require.NoError(t, l.Close())
}

func TestReaderKeepsItsSnapshot(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
	data := bytes.Repeat([]byte("old"), 100_000)
	adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, data)
	_, r, err := l.OpenSnapshot()
	require.NoError(t, err)
	for index := raft.Index(6); index < 10; index++ {
		adopt(t, l, raft.SnapshotMeta{Index: index, Term: 1}, []byte("new"))
	}
	require.Len(t, snapshotFiles(fs), 2, "the current one and the one before")
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, data, got)
	require.NoError(t, l.Close(), "with the reader still open")
	_, err = r.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, r.Close())
}

func TestAbortedAndFailedSnapshotsLeaveNothing(t *testing.T) {
	for n := range 12 {
		fs := simfs.New(1)
		l := open(t, fs)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
		if n > 0 {
			fs.FailAt(fs.Calls()+n, errFault)
		}
		err := func() error {
			w, err := l.CreateSnapshot(raft.SnapshotMeta{Index: 5, Term: 1})
			if err != nil {
				return err
			}
			if _, err = w.Write(make([]byte, 100_000)); err != nil || n == 0 {
				require.NoError(t, w.Abort())
				require.NoError(t, w.Abort(), "a second call does nothing")
				require.NoError(t, w.Commit(), "after Abort it does nothing")
				_, late := w.Write([]byte("late"))
				require.Error(t, late)
				return err
			}
			return w.Commit()
		}()
		fs.OnCall(nil)
		if err != nil {
			require.ErrorIs(t, err, errFault)
			require.Empty(t, snapshotFiles(fs), "call %d failed", n)
		}
		require.NoError(t, l.Write(raft.Write{Entries: commands(21, 1, 10)}), "the log isn't touched by it")
		require.NoError(t, l.Close())
	}
}

func TestDamagedSnapshotFallsBack(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
	adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
	adopt(t, l, raft.SnapshotMeta{Index: 9, Term: 1}, bytes.Repeat([]byte("nine"), 20_000))
	require.NoError(t, l.Close())
	files := snapshotFiles(disk)
	require.Len(t, files, 2)
	size := int64(len(disk.Bytes(files[1])))
	offsets := []int64{size - 1, size / 2, 70_000}
	for at := range int64(100) {
		offsets = append(offsets, at)
	}
	for _, at := range offsets {
		fs := disk.Clone()
		require.True(t, fs.Rot(files[1], at, 4))
		l, saved := load(t, fs)
		require.EqualValues(t, 5, saved.Snapshot.Index, "byte %d", at)
		require.Equal(t, []raft.TermRun{{First: 1, Term: 1}}, saved.Runs)
		_, r, err := l.OpenSnapshot()
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, "five", string(got))
		require.NoError(t, r.Close())
		adopt(t, l, raft.SnapshotMeta{Index: 10, Term: 1}, []byte("ten"))
		require.NoError(t, l.Close())
		l, saved = load(t, fs)
		require.EqualValues(t, 10, saved.Snapshot.Index)
		require.NoError(t, l.Close())
	}
	missing := disk.Clone()
	require.NoError(t, missing.Remove(files[1]))
	_, saved := load(t, missing)
	require.EqualValues(t, 5, saved.Snapshot.Index)
}

// The snapshot before a damaged one takes its place only if its own header is intact, bit by bit. By
// a wrong index, entries would be applied twice.
func TestOlderSnapshotWithADamagedHeader(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
	adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
	adopt(t, l, raft.SnapshotMeta{Index: 9, Term: 1}, []byte("nine"))
	require.NoError(t, l.Close())
	files := snapshotFiles(disk)
	require.Len(t, files, 2)
	require.NoError(t, disk.Remove(files[1]))
	for at := range disk.Bytes(files[0]) {
		for bit := range 8 {
			fs := disk.Clone()
			require.True(t, fs.Rot(files[0], int64(at), 1<<bit))
			l, saved := load(t, fs)
			require.ErrorIs(t, saved.SnapshotDamage, raft.ErrCorrupt, "bit %d of byte %d", bit, at)
			require.NoError(t, l.Close())
		}
	}
	l, saved := load(t, disk)
	require.NoError(t, saved.SnapshotDamage)
	require.EqualValues(t, 5, saved.Snapshot.Index)
	require.NoError(t, l.Close())
}

func TestDamagedSnapshotWithoutAnother(t *testing.T) {
	for _, compact := range []raft.Index{0, 9} {
		fs := simfs.New(1)
		l := open(t, fs)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
		adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, []byte("five"))
		adopt(t, l, raft.SnapshotMeta{Index: 9, Term: 1}, []byte("nine"))
		require.NoError(t, l.Write(raft.Write{Compact: compact}))
		require.NoError(t, l.Close())
		files := snapshotFiles(fs)
		require.True(t, fs.Rot(files[len(files)-1], 45, 4))
		if compact == 0 {
			require.True(t, fs.Rot(files[0], 45, 4), "both are damaged")
		} else {
			require.Len(t, files, 1, "the log doesn't go on from the older one")
		}
		l, saved := load(t, fs)
		require.EqualValues(t, 20, saved.Last, "the log is intact")
		require.Len(t, snapshotFiles(fs), len(files), "nothing is removed")
		require.NoError(t, l.Close())
		requireSnapshotDamaged(t, fs, files[len(files)-1])
	}
}

func TestSnapshotDamagedWhileOpenIsFoundByItsReader(t *testing.T) {
	disk := simfs.New(1)
	l := open(t, disk)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 20, 10)}))
	data := bytes.Repeat([]byte("data"), 50_000)
	adopt(t, l, raft.SnapshotMeta{Index: 5, Term: 1}, data)
	require.True(t, disk.Rot(snapshotFiles(disk)[0], 150_000, 1))
	_, r, err := l.OpenSnapshot()
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.True(t, bytes.HasPrefix(data, got), "what was handed out is right")
}

// A snapshot that is cut off anywhere is refused, also if it is cut where a block ends.
func TestSnapshotCutAtEachByteIsRefused(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 10)}))
	adopt(t, l, raft.SnapshotMeta{Index: 1, Term: 1}, []byte("one"))
	require.NoError(t, l.Close())
	fs.Kill()
	names := snapshotFiles(fs)
	require.Len(t, names, 1)
	whole := fs.Bytes(names[0])
	for cut := range whole {
		short := fs.Clone()
		require.NoError(t, short.Remove(names[0]))
		file, err := short.Create(names[0])
		require.NoError(t, err)
		_, err = file.WriteAt(whole[:cut], 0)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		requireSnapshotDamaged(t, short, names[0])
	}
}

// requireSnapshotDamaged requires that a log opens whose only snapshot is damaged, that it reports
// the damage, and that nothing else of it is lost.
func requireSnapshotDamaged(t *testing.T, fs *simfs.FS, name string) {
	t.Helper()
	l, saved := load(t, fs)
	require.ErrorIs(t, saved.SnapshotDamage, raft.ErrCorrupt)
	require.ErrorContains(t, saved.SnapshotDamage, name)
	_, r, err := l.OpenSnapshot()
	if err == nil {
		_, err = io.ReadAll(r)
		require.NoError(t, r.Close())
	}
	require.ErrorIs(t, err, raft.ErrCorrupt)
	adopt(t, l, raft.SnapshotMeta{Index: saved.Snapshot.Index, Term: 1}, []byte("from another server"))
	require.NoError(t, l.Close())
	_, saved = load(t, fs)
	require.NoError(t, saved.SnapshotDamage, "another one of the same index has taken its place")
}

// A snapshot of the current one's index, stored because that one is damaged, stays until a write names
// it: also when the log removes what it doesn't need in the meantime.
func TestSnapshotOfTheSameIndexStays(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
	older, current := raft.SnapshotMeta{Index: 1, Term: 1}, raft.SnapshotMeta{Index: 2, Term: 1}
	adopt(t, l, older, []byte("older"))
	store(t, l, current, []byte("damaged"))
	fails := true
	fs.OnCall(func(c simfs.Call) error {
		if c.Op == simfs.OpRemove && fails {
			return errors.New("not now")
		}
		return nil
	})
	require.NoError(t, l.Write(raft.Write{Snapshot: &current, Compact: 2})) // what isn't needed goes later
	store(t, l, current, []byte("sound"))
	fails = false
	for last := raft.Index(3); last < 40; last++ {
		require.NoError(t, l.Write(raft.Write{Entries: commands(last+1, 1, 200)}))
	}
	require.NoError(t, l.Write(raft.Write{Snapshot: &current}))
	require.NoError(t, l.Close())
	l, saved := load(t, fs)
	require.NoError(t, saved.SnapshotDamage)
	_, reader, err := l.OpenSnapshot()
	require.NoError(t, err)
	data, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "sound", string(data))
	require.NoError(t, reader.Close())
	require.NoError(t, l.Close())
}
