package memory_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// entriesOf makes entries of one term, from an index on.
func entriesOf(term raft.Term, first raft.Index, data ...string) []raft.Entry {
	entries := make([]raft.Entry, len(data))
	for i, d := range data {
		entries[i] = raft.Entry{
			Index: first + raft.Index(i), Term: term, Kind: wire.EntryCommand,
			Origin: raft.Origin{Server: "a", Start: 1}, Number: uint64(i), Data: []byte(d),
		}
	}
	return entries
}

// storeSnapshot stores the bytes of a snapshot and commits them.
func storeSnapshot(t require.TestingT, s raft.Storage, index raft.Index, term raft.Term, data string) *raft.SnapshotMeta {
	meta := raft.SnapshotMeta{Index: index, Term: term}
	w, err := s.CreateSnapshot(meta)
	require.NoError(t, err)
	_, err = io.WriteString(w, data)
	require.NoError(t, err)
	require.NoError(t, w.Commit())
	return &meta
}

// A plainLog is the stupid version of a storage. memory.Storage is compared with it.
type plainLog struct {
	before  raft.Index // the entry before the first one
	entries []raft.Entry
}

func (p *plainLog) last() raft.Index { return p.before + raft.Index(len(p.entries)) }

func TestStorageKeepsWhatAPlainLogKeeps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(&storageComparison{storage: memory.NewStorage(), term: 1}))
	})
}

// A storageComparison does the same things to a memory.Storage and to a plainLog.
type storageComparison struct {
	storage  *memory.Storage
	plain    plainLog
	term     raft.Term
	state    raft.DurableState
	snapshot raft.SnapshotMeta
}

// Append writes entries after the last one, or in place of some entries.
func (c *storageComparison) Append(t *rapid.T) {
	from := raft.Index(rapid.Uint64Range(uint64(max(c.plain.before, c.snapshot.Index))+1, uint64(c.plain.last())+1).Draw(t, "from"))
	c.term += raft.Term(rapid.IntRange(0, 1).Draw(t, "rise"))
	c.state.HardState = raft.HardState{Term: c.term, Vote: "b"}
	var entries []raft.Entry
	for i, size := range rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 10, 3000, 5000}), 1, 40).Draw(t, "sizes") {
		kind := rapid.SampledFrom([]wire.EntryKind{wire.EntryCommand, wire.EntryNoOp, wire.EntryConfiguration}).Draw(t, "kind")
		e := raft.Entry{Index: from + raft.Index(i), Term: c.term, Kind: kind, Data: bytes.Repeat([]byte{byte(i)}, size)}
		if kind == wire.EntryCommand {
			e.Origin = raft.Origin{Server: raft.ServerID(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "server")), Start: uint64(c.term)}
			e.Number = uint64(i) + 1
		}
		entries = append(entries, e)
	}
	require.NoError(t, c.storage.Write(raft.Write{State: c.state, Entries: entries}))
	c.plain.entries = append(c.plain.entries[:from-c.plain.before-1:from-c.plain.before-1], entries...)
}

// Snapshot makes a snapshot the current one: a snapshot of the log, of more than the log, or of
// another log.
func (c *storageComparison) Snapshot(t *rapid.T) {
	index := raft.Index(rapid.Uint64Range(uint64(max(c.plain.before, c.snapshot.Index)), uint64(c.plain.last())+3).Draw(t, "index"))
	if index == 0 || index == c.snapshot.Index {
		return
	}
	var at raft.Term
	if index > c.plain.before && index <= c.plain.last() && rapid.Bool().Draw(t, "agrees") {
		at = c.plain.entries[index-c.plain.before-1].Term
	} else {
		c.term++
		at = c.term
	}
	meta := storeSnapshot(t, c.storage, index, at, fmt.Sprint(index))
	require.NoError(t, c.storage.Write(raft.Write{State: c.state, Snapshot: meta}))
	if index > c.plain.last() || index <= c.plain.before || c.plain.entries[index-c.plain.before-1].Term != at {
		c.plain = plainLog{before: index}
	}
	c.snapshot = *meta
}

// Compact forgets a part of what the snapshot covers.
func (c *storageComparison) Compact(t *rapid.T) {
	if c.snapshot.Index == 0 {
		return
	}
	to := raft.Index(rapid.Uint64Range(1, uint64(c.snapshot.Index)).Draw(t, "to"))
	require.NoError(t, c.storage.Write(raft.Write{State: c.state, Compact: to}))
	if to > c.plain.before {
		c.plain = plainLog{before: to, entries: c.plain.entries[to-c.plain.before:]}
	}
}

// Reopen stands for a restart of the server.
func (c *storageComparison) Reopen(t *rapid.T) { c.storage = c.storage.Reopen() }

// Entries reads a range of entries, which the log may not hold.
func (c *storageComparison) Entries(t *rapid.T) {
	after := raft.Index(rapid.Uint64Range(0, uint64(c.plain.last())+2).Draw(t, "after"))
	last := after + raft.Index(rapid.Uint64Range(0, 50).Draw(t, "count"))
	limit := rapid.IntRange(0, 20000).Draw(t, "limit")
	got, err := c.storage.Entries(after, last, limit)
	if after < c.plain.before || after >= c.plain.last() || last == after {
		require.ErrorIs(t, err, raft.ErrCompacted)
		return
	}
	require.NoError(t, err)
	var want []raft.Entry
	for bytes, i := 0, after-c.plain.before; i < raft.Index(len(c.plain.entries)); i++ {
		e := c.plain.entries[i]
		if len(want) > 0 {
			bytes += len(e.Data)
		}
		if e.Index > last || bytes > limit {
			break
		}
		want = append(want, e)
	}
	require.Equal(t, want, got)
}

// Check compares what the two hold, after each step.
func (c *storageComparison) Check(t *rapid.T) {
	c.storage = c.storage.Reopen() // a storage is loaded once
	saved, err := c.storage.Load()
	require.NoError(t, err)
	require.Equal(t, c.state, saved.State)
	require.Equal(t, c.snapshot, saved.Snapshot)
	require.Equal(t, c.plain.last(), saved.Last)
	var runs []raft.TermRun
	var configurations []raft.Entry
	require.Equal(t, c.plain.before, saved.Base)
	for _, e := range c.plain.entries {
		if len(runs) == 0 || runs[len(runs)-1].Term != e.Term {
			runs = append(runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == wire.EntryConfiguration && e.Index > c.snapshot.Index {
			configurations = append(configurations, e)
		}
	}
	require.Equal(t, runs, saved.Runs)
	require.Equal(t, configurations, saved.Configurations)
}

func TestStorageHandsOutWhatStays(t *testing.T) {
	storage := memory.NewStorage()
	given := entriesOf(1, 1, "one", "two", "three")
	require.NoError(t, storage.Write(raft.Write{Entries: given}))
	copy(given[1].Data, "XXX")
	got, err := storage.Entries(0, 3, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entriesOf(1, 1, "one", "two", "three"), got, "what was handed in isn't kept")

	require.NoError(t, storage.Write(raft.Write{Entries: entriesOf(2, 2, "TWO", "THREE")}))
	require.Equal(t, entriesOf(1, 1, "one", "two", "three"), got, "what was handed out isn't changed by a truncation")
	got, err = storage.Entries(1, 3, 1<<20)
	require.NoError(t, err)
	require.Equal(t, entriesOf(2, 2, "TWO", "THREE"), got)
}

func TestStorageSnapshotIsCurrentOnlyOnceNamed(t *testing.T) {
	storage := memory.NewStorage()
	_, _, err := storage.OpenSnapshot()
	require.ErrorIs(t, err, raft.ErrNoSnapshot)
	require.NoError(t, storage.Write(raft.Write{Entries: entriesOf(1, 1, "one", "two")}))

	first := storeSnapshot(t, storage, 1, 1, "state at 1")
	_, _, err = storage.OpenSnapshot()
	require.ErrorIs(t, err, raft.ErrNoSnapshot, "its bytes are stored, but no Write has named it")
	require.NoError(t, storage.Write(raft.Write{Snapshot: first}))
	meta, reader, err := storage.OpenSnapshot()
	require.NoError(t, err)
	require.Equal(t, *first, meta)

	require.NoError(t, storage.Write(raft.Write{Snapshot: storeSnapshot(t, storage, 2, 1, "state at 2")}))
	data, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Equal(t, "state at 1", string(data), "an open reader stays readable")

	w, err := storage.CreateSnapshot(raft.SnapshotMeta{Index: 3, Term: 1})
	require.NoError(t, err)
	require.NoError(t, w.Abort())
	require.NoError(t, w.Commit(), "a second end does nothing")
	_, err = w.Write([]byte("x"))
	require.Error(t, err)
	require.ErrorContains(t, storage.Write(raft.Write{Snapshot: &raft.SnapshotMeta{Index: 3, Term: 1}}), "not committed")
}

func TestStorageRefusesForEverAfterAFailedWrite(t *testing.T) {
	for name, bad := range map[string]raft.Write{
		"a gap":                         {Entries: entriesOf(1, 4, "four")},
		"an entry out of order":         {Entries: append(entriesOf(1, 3, "three"), entriesOf(1, 5, "five")...)},
		"an unknown snapshot":           {Snapshot: &raft.SnapshotMeta{Index: 2, Term: 1}},
		"compaction without a snapshot": {Compact: 1},
	} {
		t.Run(name, func(t *testing.T) {
			storage := memory.NewStorage()
			require.NoError(t, storage.Write(raft.Write{Entries: entriesOf(1, 1, "one", "two")}))
			bad.State.Term = 9
			failure := storage.Write(bad)
			require.Error(t, failure)
			require.Equal(t, failure, storage.Write(raft.Write{Entries: entriesOf(1, 3, "three")}))
			saved, err := storage.Reopen().Load()
			require.NoError(t, err)
			saved.LogBytes, saved.KeptBytes = 0, 0
			require.Equal(t, raft.Saved{Last: 2, Runs: []raft.TermRun{{First: 1, Term: 1}}}, saved, "nothing of it was stored")
		})
	}
}

func TestStorageFailsOnceClosed(t *testing.T) {
	storage := memory.NewStorage()
	w, err := storage.CreateSnapshot(raft.SnapshotMeta{Index: 1, Term: 1})
	require.NoError(t, err)
	require.NoError(t, storage.Close())
	require.NoError(t, storage.Close())
	require.ErrorIs(t, storage.Write(raft.Write{}), fs.ErrClosed)
	require.ErrorIs(t, w.Commit(), fs.ErrClosed)
	_, err = storage.Load()
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = storage.Entries(0, 1, 1)
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = storage.CreateSnapshot(raft.SnapshotMeta{})
	require.ErrorIs(t, err, fs.ErrClosed)
	_, _, err = storage.OpenSnapshot()
	require.ErrorIs(t, err, fs.ErrClosed)
}

// Entries that were lost can't be read, are named, and can be stored again.
func TestDamageIsNamedAndRepaired(t *testing.T) {
	s := memory.NewStorage()
	var entries []raft.Entry
	for index := raft.Index(1); index <= 6; index++ {
		entries = append(entries, raft.Entry{Index: index, Term: 1, Kind: wire.EntryCommand, Data: []byte{byte(index)}})
	}
	require.NoError(t, s.Write(raft.Write{Number: 1, State: raft.DurableState{Server: "a", HardState: raft.HardState{Term: 1}}, Entries: entries}))
	s.Damage(2, 3)
	s.Damage(6, 9)
	var damage *raft.DamagedError
	_, err := s.Entries(1, 6, 100)
	require.ErrorAs(t, err, &damage)
	require.ErrorIs(t, err, raft.ErrCorrupt)
	require.Equal(t, wire.Range{First: 2, Last: 3}, damage.Lost)
	read, err := s.Entries(3, 6, 100)
	require.NoError(t, err)
	require.Equal(t, entries[3:5], read, "lost entries end what is read")

	s = s.Reopen()
	saved, err := s.Load()
	require.NoError(t, err)
	require.Equal(t, []wire.Range{{First: 2, Last: 3}, {First: 6, Last: 6}}, saved.Lost)
	require.Len(t, saved.Runs, 1)
	require.NoError(t, s.Write(raft.Write{Number: 2, State: saved.State, Repairs: []raft.Entry{entries[1], entries[5]}}))
	read, err = s.Entries(5, 6, 100)
	require.NoError(t, err)
	require.Equal(t, entries[5:], read)
	other := entries[2]
	other.Data = []byte("other")
	require.ErrorContains(t, s.Write(raft.Write{Number: 3, State: saved.State, Repairs: []raft.Entry{other}}), "isn't the entry that was lost")
}
