package wal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/simfs"
	"github.com/e17579a5/raft/wal"
	"github.com/e17579a5/raft/wire"
)

const dir = "/log"

// small returns the options of a log of many small segments, without a goroutine.
func small(fs *simfs.FS) wal.Options {
	return wal.Options{SegmentSize: wal.MinSegmentSize, FS: fs, Salt: 1, Inline: true}
}

// oneGoroutine is for a long test that has one goroutine only, so the race detector would find nothing in
// it. It is skipped under the race detector, which makes it take ten times as long.
func oneGoroutine(t *testing.T) {
	if raceDetector {
		t.Skip("it has one goroutine")
	}
}

// A model is the stupid version of a log: what the log must hold. It is never changed in place.
type model struct {
	state    raft.DurableState
	snapshot raft.SnapshotMeta
	bytes    string     // of the snapshot
	before   raft.Index // the index before the first entry
	baseTerm raft.Term  // of the entry at before
	entries  []raft.Entry
}

func (m model) last() raft.Index { return m.before + raft.Index(len(m.entries)) }

func (m model) entry(i raft.Index) raft.Entry { return m.entries[i-m.before-1] }

// after returns the model after a write. bytes are those of its snapshot.
func (m model) after(w raft.Write, bytes string) model {
	m.state = w.State
	if s := w.Snapshot; s != nil {
		agrees := s.Index == m.snapshot.Index && s.Term == m.snapshot.Term
		if s.Index > m.before && s.Index <= m.last() {
			agrees = m.entry(s.Index).Term == s.Term
		}
		if !agrees {
			m.before, m.baseTerm, m.entries = s.Index, s.Term, nil
		}
		m.snapshot, m.bytes = *s, bytes
	}
	if len(w.Entries) > 0 {
		m.entries = append(slices.Clone(m.entries[:w.Entries[0].Index-m.before-1]), w.Entries...)
	}
	if w.Compact > m.before {
		m.baseTerm = m.entry(w.Compact).Term
		m.entries = m.entries[w.Compact-m.before:]
		m.before = w.Compact
	}
	return m
}

// saved returns what Load should return.
func (m model) saved() raft.Saved {
	saved := raft.Saved{State: m.state, Snapshot: m.snapshot, SnapshotBytes: uint64(len(m.bytes)), Last: m.last(), Base: m.before, BaseTerm: m.baseTerm}
	for _, e := range m.entries {
		if e.Index <= saved.Base {
			continue
		}
		if n := len(saved.Runs); n == 0 || saved.Runs[n-1].Term != e.Term {
			saved.Runs = append(saved.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == wire.EntryConfiguration && e.Index > m.snapshot.Index {
			saved.Configurations = append(saved.Configurations, e)
		}
	}
	return saved
}

// differs returns an error if a log that was just opened differs from the model. saved is what it
// has loaded.
func (m model) differs(l raft.Storage, saved raft.Saved) error {
	if saved.LogBytes != 0 != (m.last() > m.snapshot.Index) {
		return fmt.Errorf("%d bytes of a log from %d to %d", saved.LogBytes, m.snapshot.Index, m.last())
	}
	saved.LogBytes, saved.KeptBytes = 0, 0
	if want := m.saved(); fmt.Sprint(want) != fmt.Sprint(saved) {
		return fmt.Errorf("loaded\n%v, not\n%v", saved, want)
	}
	return m.differsIn(l)
}

// differsIn returns an error if the entries or the snapshot of an open log differ from the model.
func (m model) differsIn(l raft.Storage) error {
	var got []raft.Entry
	for at := m.before; at < m.last(); {
		entries, err := l.Entries(at, m.last(), 700)
		if err != nil {
			return err
		}
		got = append(got, entries...)
		at += raft.Index(len(entries))
	}
	if len(got) != len(m.entries) {
		return fmt.Errorf("%d entries, not %d", len(got), len(m.entries))
	}
	for i := range got {
		if !sameEntry(got[i], m.entries[i]) {
			return fmt.Errorf("entry %v, not %v", got[i], m.entries[i])
		}
	}
	if _, err := l.Entries(m.last(), m.last()+1, 1); !errors.Is(err, raft.ErrCompacted) {
		return fmt.Errorf("entry after the last one: %v", err)
	}
	if m.before > 0 {
		if _, err := l.Entries(m.before-1, m.last(), 1); !errors.Is(err, raft.ErrCompacted) {
			return fmt.Errorf("entry before the first one: %v", err)
		}
	}
	meta, r, err := l.OpenSnapshot()
	if m.snapshot.Index == 0 {
		if !errors.Is(err, raft.ErrNoSnapshot) {
			return fmt.Errorf("snapshot of nothing: %v", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if fmt.Sprint(meta) != fmt.Sprint(m.snapshot) || string(b) != m.bytes {
		return fmt.Errorf("snapshot %v of %d bytes, not %v of %d", meta, len(b), m.snapshot, len(m.bytes))
	}
	return nil
}

func sameEntry(a, b raft.Entry) bool {
	return bytes.Equal(wire.AppendEntry(nil, &a), wire.AppendEntry(nil, &b))
}

// A writer writes at random to a log, and knows which models the log may equal after a crash.
type writer struct {
	rng  *rand.Rand
	log  *wal.Log
	of   raft.Storage // the storage of the group that it writes for; the log's own if it is nil
	now  model
	term raft.Term
	// next is what the log holds if the write that was under way has become durable.
	next   model
	writes int

	size  int64 // of segments; 0 for small ones
	salt  uint64
	large bool // some entries are larger than what a witness covers
}

// options returns the options with which the log is opened.
func (w *writer) options(fs *simfs.FS) wal.Options {
	options := small(fs)
	if w.size > 0 {
		options.SegmentSize, options.Salt = w.size, w.salt
	}
	return options
}

func newWriter(seed uint64) *writer { return &writer{rng: rand.New(rand.NewPCG(seed, 1)), term: 1} }

// open opens the log and checks that it equals one of the two models.
func (w *writer) open(options wal.Options) error { return w.openAt(dir, options) }

func (w *writer) openAt(dir string, options wal.Options) error {
	l, err := wal.Open(dir, options)
	if err != nil {
		return err
	}
	saved, err := l.Load()
	if err != nil {
		return err
	}
	if now, next := w.now.differs(l, saved), w.next.differs(l, saved); now == nil {
		w.next = w.now
	} else if next == nil {
		w.now = w.next
	} else {
		if !options.Inline {
			_ = l.Close() // it has goroutines
		}
		return fmt.Errorf("%w: %w\nor: %w", errLost, now, next)
	}
	w.log = l
	return nil
}

// errLost says that a log equals none of the models that it may equal.
var errLost = errors.New("the log holds something else")

// storage returns what is written to.
func (w *writer) storage() raft.Storage {
	if w.of != nil {
		return w.of
	}
	return w.log
}

// step does one random thing to the log.
func (w *writer) step() error {
	switch n := w.rng.IntN(12); {
	case n < 8:
		return w.write(w.randomWrite(), "")
	case n == 8:
		return w.log.Anchor()
	case n == 9 && w.now.snapshot.Index > 0:
		write := w.randomWrite()
		write.Compact = w.now.snapshot.Index - min(raft.Index(w.rng.IntN(3)), w.now.snapshot.Index)
		if len(write.Entries) > 0 && write.Entries[0].Index <= w.now.snapshot.Index {
			write.Entries = nil
		}
		return w.write(write, "")
	case n >= 10:
		return w.takeSnapshot()
	}
	return nil
}

func (w *writer) randomWrite() raft.Write {
	var write raft.Write
	if w.rng.IntN(3) == 0 {
		w.term++
	}
	write.State = w.now.state
	write.State.Server = "server"
	write.State.Term = w.term
	write.State.Vote = raft.ServerID(fmt.Sprint("s", w.rng.IntN(3)))
	from := w.now.last() + 1
	if least := max(w.now.snapshot.Index, w.now.before) + 1; w.rng.IntN(4) == 0 && least < from {
		from = least + raft.Index(w.rng.IntN(int(from-least)))
		w.term++
		write.State.Term = w.term
	}
	for i := range raft.Index(w.rng.IntN(7)) {
		e := raft.Entry{Index: from + i, Term: w.term, Kind: wire.EntryCommand, Number: uint64(i)}
		e.Origin = raft.Origin{Server: "server", Start: 3}
		e.Data = bytes.Repeat([]byte{byte(w.writes)}, w.rng.IntN(200))
		switch w.rng.IntN(20) {
		case 0:
			most := 6000
			if w.large {
				most = 150 << 10
			}
			e.Data = bytes.Repeat([]byte{byte(w.writes)}, w.rng.IntN(most))
		case 1:
			e.Kind = wire.EntryConfiguration
			e.Data = wire.AppendConfiguration(nil, &raft.Configuration{})
		}
		write.Entries = append(write.Entries, e)
	}
	return write
}

// write writes to the log and to the model.
func (w *writer) write(write raft.Write, bytes string) error {
	w.writes++
	w.next = w.now.after(write, bytes)
	if err := w.storage().Write(write); err != nil {
		return err
	}
	w.now = w.next
	return nil
}

// takeSnapshot stores a snapshot and, most times, makes it the current one.
func (w *writer) takeSnapshot() error {
	least := max(w.now.before, w.now.snapshot.Index, 1)
	meta := raft.SnapshotMeta{Index: least + raft.Index(w.rng.IntN(int(w.now.last()-min(least, w.now.last()))+2))}
	meta.Term = w.term
	if meta.Index == w.now.snapshot.Index {
		meta.Term = w.now.snapshot.Term
	} else if meta.Index > w.now.before && meta.Index <= w.now.last() && w.rng.IntN(8) > 0 {
		meta.Term = w.now.entry(meta.Index).Term
	}
	data := bytes.Repeat([]byte{byte(w.writes)}, w.rng.IntN(3000))
	if w.rng.IntN(10) == 0 {
		data = bytes.Repeat(data, 60)
	}
	s, err := w.storage().CreateSnapshot(meta)
	if err != nil {
		return err
	}
	if _, err := s.Write(data); err != nil {
		return err
	}
	switch w.rng.IntN(8) {
	case 0:
		return s.Abort()
	case 1:
		return s.Commit()
	}
	if err := s.Commit(); err != nil {
		return err
	}
	write := raft.Write{State: w.now.state, Snapshot: &meta}
	if w.rng.IntN(2) == 0 {
		write.Compact = meta.Index
	}
	if err := w.write(write, string(data)); err != nil {
		return err
	}
	if w.now.last() == meta.Index {
		w.term++ // the log may have been dropped: no other entry may bear the index and the term of one
	}
	return nil
}

// steps does n steps, or fewer when one fails.
func (w *writer) steps(n int) error {
	for range n {
		if err := w.step(); err != nil {
			return err
		}
	}
	return nil
}

// run opens the log and does n steps; now and then it closes the log and opens it again.
func (w *writer) run(fs *simfs.FS, n int) error {
	if err := w.open(w.options(fs)); err != nil {
		return err
	}
	for range n {
		if err := w.step(); err != nil {
			return err
		}
		if w.rng.IntN(15) == 0 {
			if err := w.log.Close(); err != nil {
				return err
			}
			if err := w.open(w.options(fs)); err != nil {
				return err
			}
		}
	}
	return nil
}

// goOn opens the log again after a crash, and checks that it works.
func (w *writer) goOn(t require.TestingT, fs *simfs.FS, about string) {
	require.NoError(t, w.open(small(fs)), about)
	for range 5 {
		require.NoError(t, w.step(), about)
		require.NoError(t, w.now.differsIn(w.log), about)
	}
	require.NoError(t, w.log.Close(), about)
	require.NoError(t, w.open(small(fs)), about)
	require.NoError(t, w.log.Close(), about)
}
