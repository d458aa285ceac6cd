package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
)

// inspect inspects a log and returns the report, and the log that the records make. It requires
// that this changes nothing, and that Inspect and Open agree.
func inspect(t *testing.T, fs *simfs.FS, about ...any) (wal.Report, model) {
	t.Helper()
	opened := fs.Clone()
	seen := fs.Clone()
	var changes []string
	seen.OnCall(func(c simfs.Call) error {
		switch c.Op {
		case simfs.OpOpen, simfs.OpList, simfs.OpLock, simfs.OpRead, simfs.OpSize, simfs.OpClose:
		default:
			changes = append(changes, c.String())
		}
		return nil
	})
	var m model
	report, err := wal.Inspect(dir, small(seen), func(r *wal.Record) error {
		m = m.afterRecord(r)
		return nil
	})
	require.NoError(t, err, about...)
	require.Empty(t, changes, about...)
	require.Equal(t, fs.Names(), seen.Names(), about...)
	for _, name := range fs.Names() {
		require.True(t, bytes.Equal(fs.Bytes(name), seen.Bytes(name)), about...)
	}

	l, err := wal.Open(dir, small(opened))
	if err != nil {
		require.Error(t, report.Err, about...)
		require.ErrorContains(t, err, report.Err.Error(), about...)
		require.ErrorIs(t, err, raft.ErrCorrupt, about...)
		require.NotEmpty(t, report.Damage, about...)
		return report, m
	}
	require.NoError(t, report.Err, about...)
	saved, err := l.Load()
	require.NoError(t, err, about...)
	require.Equal(t, fmt.Sprint(saved), fmt.Sprint(report.Saved), about...)
	require.NoError(t, l.Close())
	_, err = wal.Open(dir, small(seen))
	require.NoError(t, err, "the lock is free again")
	return report, m
}

// afterRecord returns the model after a record, as far as the segments that are left tell. It
// doesn't know the bytes of snapshots.
func (m model) afterRecord(r *wal.Record) model {
	if r.Durable != nil {
		m.state = *r.Durable
	}
	if r.Snapshot != nil {
		m.snapshot = *r.Snapshot
	}
	if first := m.before == 0 && len(m.entries) == 0; r.Drops || r.Kind == "head" && first {
		m.before, m.entries = r.Last, nil
	}
	if r.Drops {
		m.before = r.Snapshot.Index
	}
	if len(r.Entries) == 0 {
		return m
	}
	if first := r.Entries[0].Index; first > m.before {
		m.entries = append(slices.Clone(m.entries), make([]raft.Entry, first)...)[:first-m.before-1] // some may be damaged
	} else { // the entries that it replaces were in a segment that is gone
		m.before, m.entries = first-1, nil
	}
	for _, e := range r.Entries {
		e.Data = bytes.Clone(e.Data)
		m.entries = append(m.entries, e)
	}
	return m
}

func TestInspectAgreesWithOpen(t *testing.T) {
	for seed := range uint64(30) {
		fs := simfs.New(seed)
		w := newWriter(seed)
		require.NoError(t, w.run(fs, 60))
		if seed%2 == 0 {
			require.NoError(t, w.log.Close())
		}
		fs.Kill()
		report, m := inspect(t, fs, "seed %d", seed)
		require.Empty(t, report.Damage)
		report.Saved.LogBytes, report.Saved.KeptBytes = 0, 0 // estimates
		require.Equal(t, fmt.Sprint(w.now.saved()), fmt.Sprint(report.Saved), "seed %d", seed)
		require.Equal(t, w.now.last(), m.last())
		for i := w.now.before + 1; i <= m.last(); i++ {
			require.True(t, sameEntry(w.now.entry(i), m.entry(i)), "seed %d: entry %d", seed, i)
		}
		require.Equal(t, w.now.before, report.Compacted)
		if seed%2 == 0 {
			require.Equal(t, wal.TailClosed, report.Tail.State)
			require.Zero(t, report.Tail.Unproven)
		}
		current := 0
		for _, s := range report.Snapshots {
			require.NoError(t, s.Err)
			if s.Current {
				current++
				require.Equal(t, fmt.Sprint(w.now.snapshot), fmt.Sprint(s.Meta))
				var b bytes.Buffer
				meta, err := wal.ReadSnapshot(&b, dir, s.Name, small(fs))
				require.NoError(t, err)
				require.Equal(t, w.now.bytes, b.String())
				require.Equal(t, fmt.Sprint(w.now.snapshot), fmt.Sprint(meta))
			}
		}
		require.Equal(t, w.now.snapshot.Index > 0, current == 1)
	}
}

// A power cut at any moment leaves a log with which a server can start. Nothing in it is taken for
// damage.
func TestInspectAfterAPowerCut(t *testing.T) {
	torn := 0
	for seed := range uint64(150) {
		fs := simfs.New(seed)
		w := newWriter(seed)
		fs.PowerOffAfter(40 + int(seed)*3)
		if err := w.run(fs, 60); err != nil {
			require.ErrorIs(t, err, simfs.ErrPower)
		}
		fs.Cut()
		report, _ := inspect(t, fs, "seed %d", seed)
		require.Empty(t, report.Damage, "seed %d", seed)
		if report.Tail.State == wal.TailTorn {
			torn++
		}
	}
	require.Positive(t, torn, "otherwise the test says little")
}

// Whichever byte is wrong, Inspect judges as Open does: a torn tail isn't damage, and damage isn't
// a torn tail.
func TestInspectTellsDamageFromATornTail(t *testing.T) {
	oneGoroutine(t)
	log := writeLog(t, 1)
	from, to := log.changed()
	states := map[wal.TailState]int{}
	for i := from; i < to; i++ {
		fs := log.fs.Clone()
		require.True(t, fs.Rot(log.segment, i, 0x10))
		report, _ := inspect(t, fs, "byte %d of the last batch", i)
		require.Empty(t, report.Damage, "byte %d of the last batch", i)
		states[report.Tail.State]++
	}
	require.Greater(t, states[wal.TailTorn], states[wal.TailOpen])
	require.Positive(t, states[wal.TailOpen], "nothing may be left of the header")
	damaged := 0
	for _, name := range log.fs.Names() {
		for i := int64(0); i < int64(log.fs.Size(name)); i += 37 {
			fs := log.fs.Clone()
			require.True(t, fs.Rot(name, i, 1<<(i%8)))
			report, _ := inspect(t, fs, "byte %d of %s", i, name)
			if len(report.Damage) > 0 {
				damaged++
				var corrupt *wal.CorruptError
				require.ErrorAs(t, report.Damage[0], &corrupt)
				require.Equal(t, name, corrupt.File)
			}
		}
	}
	require.Greater(t, damaged, 50)
}

func TestInspectRefuses(t *testing.T) {
	fs := simfs.New(1)
	_, err := wal.Inspect(dir, small(fs), nil)
	require.Error(t, err, "there is no directory")
	require.NoError(t, fs.MkdirAll(dir))
	_, err = wal.Inspect(dir, small(fs), nil)
	require.ErrorIs(t, err, wal.ErrNoLog)
	l := open(t, fs)
	_, err = wal.Inspect(dir, small(fs), nil)
	require.ErrorIs(t, err, raft.ErrLocked)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 3, 10)}))
	require.NoError(t, l.Close())

	enough := errors.New("enough")
	calls := 0
	_, err = wal.Inspect(dir, small(fs), func(*wal.Record) error { calls++; return enough })
	require.ErrorIs(t, err, enough)
	require.Equal(t, 1, calls)
	l = open(t, fs) // the lock is free
	require.NoError(t, l.Close())

	for _, name := range []string{"x", "0000000000000001.wal", "../log/0000000000000001.snapshot", ""} {
		_, err := wal.ReadSnapshot(&bytes.Buffer{}, dir, name, small(fs))
		require.ErrorContains(t, err, "isn't the name of a snapshot")
	}
}

// As long as another snapshot can take the place of a damaged one, the log can be opened, and the
// damage is in the report.
func TestInspectFindsTheDamagedSnapshot(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: commands(1, 9, 10)}))
	adopt(t, l, raft.SnapshotMeta{Index: 3, Term: 1}, []byte("three"))
	adopt(t, l, raft.SnapshotMeta{Index: 6, Term: 1}, []byte("six"))
	require.NoError(t, l.Close())
	names := snapshotFiles(fs)
	require.Len(t, names, 2)
	for _, name := range names {
		require.True(t, fs.Rot(name, int64(fs.Size(name))-10, 1))
		report, _ := inspect(t, fs)
		for _, s := range report.Snapshots {
			require.Equal(t, filepath.Base(name) == s.Name, s.Err != nil)
			require.Equal(t, strings.HasPrefix(s.Name, "0000000000000002"), s.Current)
		}
		require.Len(t, report.Damage, 1)
		require.True(t, fs.Rot(name, int64(fs.Size(name))-10, 1))
	}
	require.NoError(t, fs.Remove(names[1]))
	report, _ := inspect(t, fs)
	require.ErrorContains(t, report.Damage[0], "it is missing")
	require.EqualValues(t, 3, report.Saved.Snapshot.Index)
}
