package wal_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

// named returns commands of one byte each that can be found in a file.
func named(first raft.Index, n int, term raft.Term) []raft.Entry {
	entries := commands(first, n, 0)
	for i := range entries {
		entries[i].Term = term
		entries[i].Data = fmt.Appendf(nil, "<entry %d of term %d>", entries[i].Index, term)
	}
	return entries
}

// spoil damages the bytes of an entry, each time that they stand in a segment.
func spoil(t *testing.T, fs *simfs.FS, e raft.Entry) {
	found := 0
	for _, name := range fs.Names() {
		content := fs.Bytes(name)
		for from := 0; ; found++ {
			at := bytes.Index(content[from:], e.Data)
			if at < 0 {
				break
			}
			require.True(t, fs.Rot(name, int64(from+at), 1))
			from += at + 1
		}
	}
	require.Positive(t, found)
}

// lostOf returns what is lost in a log that isn't open.
func lostOf(t *testing.T, fs *simfs.FS) []wire.Range {
	fs = fs.Clone()
	fs.Kill()
	_, saved := load(t, fs)
	return saved.Lost
}

// lostAt opens a log of which these entries are lost.
func lostAt(t *testing.T, entries []raft.Entry, lost ...raft.Index) (*simfs.FS, *wal.Log) {
	fs := simfs.New(1)
	l := open(t, fs)
	for i := range entries {
		require.NoError(t, l.Write(raft.Write{Entries: entries[i : i+1]}))
	}
	require.NoError(t, l.Close())
	for _, i := range lost {
		spoil(t, fs, entries[i-1])
	}
	l = open(t, fs)
	return fs, l
}

func TestLostEntries(t *testing.T) {
	entries := named(1, 12, 1)
	fs, l := lostAt(t, entries, 3, 4, 7, 12)
	saved, err := l.Load()
	require.NoError(t, err)
	require.Equal(t, []wire.Range{{First: 3, Last: 4}, {First: 7, Last: 7}, {First: 12, Last: 12}}, saved.Lost)
	require.EqualValues(t, 12, saved.Last)
	got, err := l.Entries(0, 12, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entries[:2], got, "what is lost ends it")
	for after, want := range map[raft.Index]wire.Range{2: {First: 3, Last: 4}, 3: {First: 4, Last: 4}, 11: {First: 12, Last: 12}} {
		_, err = l.Entries(after, 12, 1<<20)
		var damaged *raft.DamagedError
		require.ErrorAs(t, err, &damaged)
		require.Equal(t, want, damaged.Lost)
		require.ErrorIs(t, err, raft.ErrCorrupt)
		var corrupt *wal.CorruptError
		require.ErrorAs(t, err, &corrupt)
		require.Equal(t, segmentOne, corrupt.File)
	}

	// A repair may leave gaps, and hold what isn't lost or isn't in the log.
	other := named(7, 1, 2)[0]
	beyond := named(13, 1, 1)[0]
	require.NoError(t, l.Write(raft.Write{Repairs: []raft.Entry{entries[0], entries[3], other, beyond}}))
	require.Equal(t, []wire.Range{{First: 3, Last: 3}, {First: 7, Last: 7}, {First: 12, Last: 12}}, lostOf(t, fs))
	got, err = l.Entries(3, 12, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entries[3:6], got)
	calls := fs.Calls()
	require.NoError(t, l.Write(raft.Write{Repairs: []raft.Entry{entries[0], entries[3], other, beyond}}))
	require.Equal(t, calls, fs.Calls(), "nothing of it is needed")

	// Together with other entries, and with a truncation that takes one of them away.
	more := named(12, 3, 3)
	require.NoError(t, l.Write(raft.Write{Repairs: []raft.Entry{entries[2], entries[6], entries[11]}, Entries: more}))
	want := append(entries[:11:11], more...)
	got, err = l.Entries(0, 14, 1<<20)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Empty(t, lostOf(t, fs))
	require.ErrorIs(t, l.Write(raft.Write{Repairs: []raft.Entry{entries[3], entries[2]}}), wal.ErrWrite, "they rise in index")
	require.NoError(t, l.Close())
	_, saved = load(t, fs)
	require.EqualValues(t, 14, saved.Last)
}

// A repair may come long after the entry, in a much later segment, and stays when the segment goes
// in which the entry was.
func TestRepairOutlivesTheDamagedSegment(t *testing.T) {
	entries := named(1, 300, 1)
	fs, l := lostAt(t, entries, 1, 2, 5)
	var segments int
	for _, name := range fs.Names() {
		if len(name) == len(segmentOne) {
			segments++
		}
	}
	require.Greater(t, segments, 5)
	require.NoError(t, l.Write(raft.Write{Repairs: []raft.Entry{entries[0], entries[1]}}))
	require.Equal(t, []wire.Range{{First: 5, Last: 5}}, lostOf(t, fs))
	adopt(t, l, raft.SnapshotMeta{Index: 200, Term: 1}, nil)
	require.NoError(t, l.Write(raft.Write{Compact: 4}))
	more := named(301, 40, 1)
	require.NoError(t, l.Write(raft.Write{Entries: more}))
	require.NoError(t, l.Write(raft.Write{Repairs: entries[4:5]}))
	got, err := l.Entries(4, 10, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entries[4:10], got)
	require.NoError(t, l.Close())
	for range 2 {
		l, saved := load(t, fs)
		require.Empty(t, saved.Lost)
		got, err = l.Entries(4, 300, 1<<20)
		require.NoError(t, err)
		require.Equal(t, entries[4:], got)
		require.NoError(t, l.Close())
	}
}

// A segment in which the only bytes of an entry stand isn't removed, though all entries that were
// written there at first may be forgotten.
func TestSegmentWithARepairStays(t *testing.T) {
	entries := named(1, 200, 1)
	fs, l := lostAt(t, entries, 200)
	require.NoError(t, l.Write(raft.Write{Repairs: entries[199:]}))
	for i := raft.Index(201); i <= 400; i++ {
		require.NoError(t, l.Write(raft.Write{Entries: named(i, 1, 1)}))
	}
	adopt(t, l, raft.SnapshotMeta{Index: 199, Term: 1}, nil)
	require.NoError(t, l.Write(raft.Write{Compact: 199}))
	for i := raft.Index(401); i <= 500; i++ {
		require.NoError(t, l.Write(raft.Write{Entries: named(i, 1, 1)}))
	}
	got, err := l.Entries(199, 201, 1<<20)
	require.NoError(t, err)
	require.Equal(t, named(200, 2, 1), got)
	require.NoError(t, l.Close())
	require.Empty(t, lostOf(t, fs))
}

// Damage that comes while the log is open is found when it is read, and is no end of the log.
func TestDamageWhileTheLogIsOpen(t *testing.T) {
	entries := named(1, 9, 1)
	fs := simfs.New(1)
	l := open(t, fs)
	for i := range entries {
		require.NoError(t, l.Write(raft.Write{Entries: entries[i : i+1]}))
	}
	spoil(t, fs, entries[3])
	got, err := l.Entries(0, 9, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entries[:3], got)
	var damaged *raft.DamagedError
	for range 2 {
		_, err = l.Entries(3, 9, 1<<20)
		require.ErrorAs(t, err, &damaged)
		require.Equal(t, wire.Range{First: 4, Last: 4}, damaged.Lost)
	}
	got, err = l.Entries(4, 9, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entries[4:], got)
	require.NoError(t, l.Write(raft.Write{Entries: named(10, 1, 1)}), "the log goes on")
	require.NoError(t, l.Write(raft.Write{Repairs: entries[3:4]}))
	got, err = l.Entries(0, 10, 1<<20)
	require.NoError(t, err)
	require.Equal(t, named(1, 10, 1), got)
	require.NoError(t, l.Close())
	require.Empty(t, lostOf(t, fs))
}

// What is found once isn't forgotten: the place may read well again, but nobody relies on it.
func TestLostRangeIsRemembered(t *testing.T) {
	entries := named(1, 5, 1)
	fs := simfs.New(1)
	l := open(t, fs)
	require.NoError(t, l.Write(raft.Write{Entries: entries}))
	spoil(t, fs, entries[2])
	_, err := l.Entries(2, 5, 1<<20)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	at := int64(bytes.Index(fs.Bytes(segmentOne), entries[2].Data[1:])) - 1
	require.True(t, fs.Rot(segmentOne, at, 1), "as it was")
	_, err = l.Entries(2, 5, 1<<20)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.NoError(t, l.Close())
}

// Of a batch, only the entry is lost whose bytes are damaged.
func TestDamagedEntryCostsNoOther(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	entries := named(1, 20, 1)
	require.NoError(t, l.Write(raft.Write{Entries: entries}))
	require.NoError(t, l.Close())
	for _, e := range entries {
		damaged := fs.Clone()
		spoil(t, damaged, e)
		require.Equal(t, []wire.Range{{First: e.Index, Last: e.Index}}, lostOf(t, damaged))
		require.Equal(t, lossy, requireHonest(t, damaged, model{entries: entries}))
	}
}

// A header that is damaged costs nothing: its record is found between the two beside it.
func TestDamagedHeaderCostsNothing(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	var want model
	for i := raft.Index(1); i <= 12; i += 3 {
		write := raft.Write{Entries: named(i, 3, 1)}
		want = want.after(write, "")
		require.NoError(t, l.Write(write))
	}
	require.NoError(t, l.Close())
	var places []int64
	_, err := wal.Inspect(dir, small(fs), func(r *wal.Record) error {
		if r.Kind == "batch" {
			places = append(places, r.Offset)
		}
		return nil
	})
	require.NoError(t, err)
	require.Len(t, places, 4)
	for _, at := range places {
		for i := range int64(40) {
			damaged := fs.Clone()
			damaged.Kill()
			require.True(t, damaged.Rot(segmentOne, at+i, 1))
			require.Equal(t, sound, requireHonest(t, damaged, want, "byte %d of the record at %d", i, at))
		}
	}
}

// More is damaged than a witness covers. A checkpoint behind it says what the log was, and the
// records in between have bytes to give: no more is lost than is damaged.
func TestRecordsBehindLongDamageGiveTheirBytes(t *testing.T) {
	fs := simfs.New(1)
	options := small(fs)
	options.SegmentSize = 1 << 20
	l, err := wal.Open(dir, options)
	require.NoError(t, err)
	var want model
	var first, last raft.Index
	const from, to = 100_000, 200_000
	for i := raft.Index(1); i <= 130; i++ {
		write := raft.Write{Entries: filled(i, 1, 3000, byte(i))}
		want = want.after(write, "")
		require.NoError(t, l.Write(write))
	}
	require.NoError(t, l.Anchor())
	killed := fs.Clone()
	require.NoError(t, l.Close())
	_, err = wal.Inspect(dir, options, func(r *wal.Record) error {
		if r.Kind == "batch" && r.Offset < from {
			first = r.First
		}
		if r.Kind == "batch" && r.Offset < to {
			last = r.First
		}
		return nil
	})
	require.NoError(t, err)
	for name, fs := range map[string]*simfs.FS{"closed": fs, "killed": killed} {
		fs.Kill()
		require.True(t, fs.Overwrite(segmentOne, from, make([]byte, to-from)))
		require.Equal(t, []wire.Range{{First: first, Last: last}}, lostOf(t, fs), name)
		require.Equal(t, lossy, requireHonest(t, fs, want, name))
	}
}

// The configuration is known though its entry is lost: it stands in other places, too.
func TestLostConfigurationIsKnown(t *testing.T) {
	fs := simfs.New(1)
	l := open(t, fs)
	configuration := raft.Configuration{Members: []raft.Member{{Server: raft.Server{ID: "somebody", Address: "x:1"}}}}
	e := raft.Entry{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}
	require.NoError(t, l.Write(raft.Write{Entries: []raft.Entry{e}}))
	require.NoError(t, l.Write(raft.Write{Entries: named(2, 1, 1)}))
	require.NoError(t, l.Close())
	content := fs.Bytes(segmentOne)
	places := 0
	for at := 0; ; places++ {
		i := bytes.Index(content[at:], []byte("somebody"))
		if i < 0 {
			break
		}
		at += i
		damaged := fs.Clone()
		require.True(t, damaged.Rot(segmentOne, int64(at), 1))
		_, saved := load(t, damaged)
		require.Equal(t, []raft.Entry{e}, saved.Configurations)
		at++
	}
	require.Equal(t, 3, places, "the entry, its batch's prelude, and the witness of the next one")
}
