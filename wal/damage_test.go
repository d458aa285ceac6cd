package wal_test

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// written is a log whose last batch has no mark, and the process that wrote it is gone.
type written struct {
	fs      *simfs.FS
	before  model  // without the last batch
	after   model  // with it
	segment string // that the last batch went to
	old     []byte // the segment without it
	new     []byte // and with it
}

// writeLog makes a log of a few segments.
func writeLog(t *testing.T, seed uint64) written {
	fs := simfs.New(seed)
	w := newWriter(seed)
	require.NoError(t, w.open(small(fs)))
	require.NoError(t, w.steps(24))
	entries := commands(w.now.last()+1, 3, 60)
	files := map[string][]byte{}
	write := raft.Write{State: w.now.state, Entries: entries[:1]}
	require.NoError(t, w.write(write, ""))
	for _, name := range fs.Names() {
		files[name] = fs.Bytes(name)
	}
	log := written{fs: fs, before: w.now}
	write.Entries = entries[1:]
	require.NoError(t, w.write(write, ""))
	log.after = w.now
	fs.Kill()
	for name, old := range files {
		if now := fs.Bytes(name); string(now) != string(old) {
			require.Empty(t, log.segment, "the last batch began a segment: choose another seed")
			log.segment, log.old, log.new = name, old, now
		}
	}
	require.NotEmpty(t, log.segment)
	return log
}

// changed returns where the last batch begins and ends.
func (w *written) changed() (from, to int64) {
	from = -1
	for i := range w.old {
		if w.old[i] != w.new[i] {
			if from < 0 {
				from = int64(i)
			}
			to = int64(i) + 1
		}
	}
	return from, to
}

// opens opens a log and returns nil if it is one of the models.
func opens(fs *simfs.FS, models ...model) error {
	l, err := wal.Open(dir, small(fs))
	if err != nil {
		return err
	}
	defer l.Close()
	saved, err := l.Load()
	if err != nil {
		return err
	}
	for _, m := range models {
		if err = m.differs(l, saved); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: %w", errLost, err)
}

func TestTailCutAtEachByte(t *testing.T) {
	log := writeLog(t, 1)
	from, to := log.changed()
	for cut := from; cut <= to; cut++ {
		for _, garbage := range []byte{0, 0x5a} {
			fs := log.fs.Clone()
			for i := cut; i < to; i++ {
				if mask := log.old[i] ^ log.new[i] ^ garbage; mask != 0 {
					require.True(t, fs.Rot(log.segment, i, mask))
				}
			}
			want := log.before
			if cut == to {
				want = log.after
			}
			require.NoError(t, opens(fs, want), "cut at %d of %d to %d, garbage %#x", cut, from, to, garbage)
		}
	}
}

func TestTornSectorsOfTheTail(t *testing.T) {
	log := writeLog(t, 1)
	from, to := log.changed()
	for i := from; i < to; i++ {
		fs := log.fs.Clone()
		require.True(t, fs.Rot(log.segment, i, 0x10))
		require.NoError(t, opens(fs, log.before, log.after), "byte %d of the last batch, from %d to %d, is wrong", i, from, to)
	}
}

// Every byte before the last acknowledged record counts: one that is wrong is reported, or makes no
// difference because nothing is stored in it.
func TestEachFlippedByteIsFound(t *testing.T) {
	t.Parallel()
	log := writeLog(t, 1)
	last, _ := log.changed()
	found, harmless := 0, 0
	for _, name := range log.fs.Names() {
		if !strings.HasSuffix(name, ".wal") {
			continue
		}
		size := int64(len(log.fs.Bytes(name)))
		for i := int64(0); i < size; i++ {
			if name > log.segment || name == log.segment && i >= last {
				continue // it isn't before the last record
			}
			fs := log.fs.Clone()
			require.True(t, fs.Rot(name, i, 1<<(i%8)))
			err := opens(fs, log.after)
			if err == nil {
				harmless++
				continue
			}
			found++
			var corrupt *wal.CorruptError
			require.ErrorAs(t, err, &corrupt, "byte %d of %s", i, name)
			require.ErrorIs(t, err, raft.ErrCorrupt)
			require.Contains(t, err.Error(), "/log/")
		}
	}
	require.Greater(t, found, 1000, "of these and %d harmless ones", harmless)
}

// With a mark behind it, the last batch counts too.
func TestFlippedByteBeforeTheMark(t *testing.T) {
	log := writeLog(t, 1)
	from, to := log.changed()
	l, err := wal.Open(dir, small(log.fs))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	log.fs.Kill()
	for i := from; i < to; i++ {
		fs := log.fs.Clone()
		require.True(t, fs.Rot(log.segment, i, 0x80))
		if err := opens(fs, log.after); err != nil {
			require.ErrorIs(t, err, raft.ErrCorrupt, "byte %d", i)
		} else {
			require.Equal(t, log.old[i], log.new[i], "byte %d is wrong, and nobody minds", i)
		}
	}
}

func TestDamagedEntryIsFoundWhenRead(t *testing.T) {
	log := writeLog(t, 1)
	l, err := wal.Open(dir, small(log.fs))
	require.NoError(t, err)
	from, to := log.changed()
	require.True(t, log.fs.Rot(log.segment, (from+to)/2, 1), "after it was opened")
	_, err = l.Entries(log.before.last(), log.after.last(), 1<<20)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.NoError(t, l.Close())
}

func TestMissingSegmentIsRefused(t *testing.T) {
	log := writeLog(t, 1)
	var segments []string
	for _, name := range log.fs.Names() {
		if strings.HasSuffix(name, ".wal") {
			segments = append(segments, name)
		}
	}
	require.Greater(t, len(segments), 3)
	for i, name := range segments {
		fs := log.fs.Clone()
		require.NoError(t, fs.Remove(name))
		switch err := opens(fs, log.after); {
		case i == len(segments)-1:
			require.NoError(t, err, "%s has not begun", name)
		case i > 0 || err != nil: // the first one may be waiting to be used again
			require.ErrorIs(t, err, raft.ErrCorrupt, name)
		}
	}
	for _, name := range segments {
		require.NoError(t, log.fs.Remove(name))
	}
	require.ErrorIs(t, opens(log.fs, log.after), raft.ErrCorrupt, "the snapshots are still there")
}

func TestSegmentOfAnotherLogIsRefused(t *testing.T) {
	fs := simfs.New(1)
	for _, salt := range []uint64{1, 2} {
		options := small(fs)
		options.Salt = salt
		l, err := wal.Open(fmt.Sprint("/", salt), options)
		require.NoError(t, err)
		require.NoError(t, l.Write(raft.Write{Entries: commands(1, 60, 100)}))
		require.NoError(t, l.Close())
	}
	require.NoError(t, fs.Rename("/1/0000000000000002.wal", "/2/0000000000000002.wal"))
	_, err := wal.Open("/2", small(fs))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "another log")
}

// The last record of a segment may leave the log as long as it was: then it isn't the head of the next segment that
// misses it.
func TestDamagedReplacementIsFound(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 1, 100)}))
	before := fs.Bytes(segmentOne)
	replacement := commands(1, 1, 100)
	replacement[0].Term = 2
	require.NoError(t, l.Write(raft.Write{Entries: replacement}))
	after := fs.Bytes(segmentOne)
	next := commands(2, 1, 4000)
	next[0].Term = 2
	require.NoError(t, l.Write(raft.Write{Entries: next}))
	fs.Kill()
	require.Equal(t, after, fs.Bytes(segmentOne), "the next one begins another segment")
	for i := range after {
		if before[i] == after[i] {
			continue
		}
		damaged := fs.Clone()
		require.True(t, damaged.Rot(segmentOne, int64(i), 1))
		_, err := wal.Open(dir, small(damaged))
		require.ErrorIs(t, err, raft.ErrCorrupt, "byte %d", i)
		require.ErrorContains(t, err, segmentOne)
	}
}

// A log whose oldest entries are gone, without a snapshot of what they did, isn't opened.
func TestGapBeforeTheLogIsRefused(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	for index := raft.Index(1); index <= 6; index++ {
		require.NoError(t, l.Write(raft.Write{Entries: commands(index, 1, 3000)}))
		if index == 2 {
			adopt(t, l, raft.SnapshotMeta{Index: 1, Term: 1}, []byte("one"))
		}
	}
	require.NoError(t, l.Close())
	fs.Kill()
	require.NoError(t, fs.Remove(segmentOne))
	require.NoError(t, fs.Remove(segmentTwo))
	_, err := wal.Open(dir, small(fs))
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.ErrorContains(t, err, "but the snapshot ends at 1")
}

// A snapshot that was cut off anywhere isn't one, also where a block ends.
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

// requireSnapshotDamaged requires that a log opens whose only snapshot is damaged, and says so. Nothing else of it is lost.
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
