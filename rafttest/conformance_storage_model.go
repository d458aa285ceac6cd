package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A storageModel says what a storage must hold, in the plainest way. It is never changed in place.
type storageModel struct {
	state    raft.DurableState
	snapshot raft.SnapshotMeta
	// entries are those in (before, last]. The storage may have forgotten those up to compacted.
	before, compacted raft.Index
	beforeTerm        raft.Term // of the entry at before
	entries           []raft.Entry
	lost              []raft.Index // the entries whose bytes the disk has lost, in order
}

func (m *storageModel) last() raft.Index { return m.before + raft.Index(len(m.entries)) }

// entry returns the entry at an index in (before, last].
func (m *storageModel) entry(index raft.Index) raft.Entry { return m.entries[index-m.before-1] }

// term returns the term of the entry at an index, if the log or the snapshot tells it.
func (m *storageModel) term(index raft.Index) (raft.Term, bool) {
	switch {
	case index == m.snapshot.Index:
		return m.snapshot.Term, true
	case index <= m.before || index > m.last():
		return 0, false
	}
	return m.entry(index).Term, true
}

// after returns the model after a write.
func (m storageModel) after(w raft.Write) storageModel {
	m.state = w.State
	if w.Snapshot != nil {
		if term, known := m.term(w.Snapshot.Index); !known || term != w.Snapshot.Term {
			m.before, m.compacted, m.beforeTerm, m.entries = w.Snapshot.Index, w.Snapshot.Index, w.Snapshot.Term, nil
			m.lost = nil
		}
		m.snapshot = *w.Snapshot
	}
	if len(w.Entries) > 0 {
		m.entries = slices.Clone(m.entries[:w.Entries[0].Index-m.before-1])
		for _, e := range w.Entries {
			e.Data = bytes.Clone(e.Data)
			m.entries = append(m.entries, e)
		}
	}
	m.compacted = max(m.compacted, w.Compact)
	m.lost = stillLost(m.lost, &w)
	return m
}

// saved returns what Load must return if it says that the log begins after base.
func (m *storageModel) saved(base raft.Index) raft.Saved {
	saved := raft.Saved{State: m.state, Snapshot: m.snapshot, Base: base, BaseTerm: m.beforeTerm, Last: m.last()}
	if base > m.before && base <= m.last() {
		saved.BaseTerm = m.entry(base).Term
	}
	for _, e := range m.entries {
		if e.Index <= base {
			continue
		}
		if n := len(saved.Runs); n == 0 || saved.Runs[n-1].Term != e.Term {
			saved.Runs = append(saved.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == wire.EntryConfiguration && e.Index > m.snapshot.Index {
			saved.Configurations = append(saved.Configurations, e)
		}
	}
	saved.Lost = m.lostRanges(base)
	return saved
}

// differs convicts a storage, from which Load returned saved, that differs from the model.
func (m *storageModel) differs(saved raft.Saved, storage raft.Storage) {
	want := m.saved(saved.Base)
	switch {
	case saved.Base < m.before || saved.Base > max(m.compacted, min(m.compacted+1, m.snapshot.Index)):
		convict("the call of Load returned %d as the base, want %d, or one more if a snapshot covers that", saved.Base, m.compacted)
	case saved.LogBytes != 0 && want.Last == want.Snapshot.Index, saved.LogBytes == 0 && m.soundAfter(want.Snapshot.Index):
		convict("the call of Load returned %d bytes for the entries from %d to %d", saved.LogBytes, want.Snapshot.Index+1, want.Last)
	case saved.KeptBytes != 0 && min(want.Last, want.Snapshot.Index) <= saved.Base:
		convict("the call of Load returned %d bytes for the entries from %d to %d", saved.KeptBytes, saved.Base+1, want.Snapshot.Index)
	case saved.BaseTerm != want.BaseTerm:
		convict("the call of Load returned the term %d of the base at %d, want %d", saved.BaseTerm, saved.Base, want.BaseTerm)
	case saved.State != want.State:
		convict("the call of Load returned the state %+v, want %+v", saved.State, want.State)
	case !sameMeta(saved.Snapshot, want.Snapshot):
		convict("the call of Load returned the snapshot %+v, want %+v", saved.Snapshot, want.Snapshot)
	case saved.Last != want.Last:
		convict("the call of Load returned %d as the last index, want %d", saved.Last, want.Last)
	case !slices.Equal(saved.Runs, want.Runs):
		convict("the call of Load returned the terms %v behind %d, want %v", saved.Runs, saved.Base, want.Runs)
	case !slices.EqualFunc(saved.Configurations, want.Configurations, sameEntry):
		convict("the call of Load returned the configurations %s, want %s",
			describeEntries(saved.Configurations), describeEntries(want.Configurations))
	case !slices.Equal(saved.Lost, want.Lost):
		convict("the call of Load returned %v as the lost entries, want %v", saved.Lost, want.Lost)
	}
	m.differsIn(storage)
}

// differsIn convicts a storage whose entries or snapshot differ from the model.
func (m *storageModel) differsIn(storage raft.Storage) {
	for after := m.compacted; after < m.last(); {
		if slices.Contains(m.lost, after+1) {
			m.damagedAfter(storage, after)
			after++
			continue
		}
		after += raft.Index(m.differsAfter(storage, after, m.last(), 1<<10))
	}
	absent(storage, m.last())
	for after := raft.Index(0); after < m.compacted; after++ {
		if after < m.before {
			absent(storage, after)
		} else if _, err := storage.Entries(after, m.compacted, 1<<10); !errors.Is(err, raft.ErrCompacted) && !slices.Contains(m.lost, after+1) {
			m.differsAfter(storage, after, m.compacted, 1<<10)
		}
	}
	m.differsInSnapshot(storage)
}

// differsAfter checks one call of Entries and returns the number of entries that it gave.
func (m *storageModel) differsAfter(storage raft.Storage, after, last raft.Index, maxBytes int) int {
	call := fmt.Sprintf("Entries(%d, %d, %d)", after, last, maxBytes)
	got, err := storage.Entries(after, last, maxBytes)
	must(fmt.Sprintf("%s of a log with entries %d to %d", call, m.before+1, m.last()), err)
	if len(got) == 0 {
		convict("%s returned nothing, want at least entry %d", call, after+1)
	}
	size := 0
	for i, e := range got {
		index := after + raft.Index(i) + 1
		if index > min(last, m.last()) {
			convict("%s of a log with entries %d to %d returned %s", call, m.before+1, m.last(), describeEntries(got))
		}
		if slices.Contains(m.lost, index) {
			convict("%s returned %s, whose bytes are lost", call, describeEntry(e))
		}
		if want := m.entry(index); !sameEntry(e, want) {
			convict("%s returned %s where %s should be", call, describeEntry(e), describeEntry(want))
		}
		if i > 0 {
			size += len(e.Data)
		}
	}
	if size > maxBytes {
		convict("%s returned %d bytes of data beyond the first entry, want %d at most", call, size, maxBytes)
	}
	return len(got)
}

// absent checks that the entry after an index isn't in the log.
func absent(storage raft.Storage, after raft.Index) {
	got, err := storage.Entries(after, after+1, 1<<10)
	if !errors.Is(err, raft.ErrCompacted) {
		convict("Entries(%d, %d) returned %s and the error %v, want ErrCompacted: it is not in the log", after, after+1, describeEntries(got), err)
	}
}

// differsInSnapshot checks which snapshot is the current one, and its bytes.
func (m *storageModel) differsInSnapshot(storage raft.Storage) {
	if m.snapshot.Index > 0 {
		readsAs("the snapshot", m.openSnapshot(storage), snapshotBytes(m.snapshot))
		return
	}
	if meta, _, err := storage.OpenSnapshot(); !errors.Is(err, raft.ErrNoSnapshot) {
		convict("OpenSnapshot returned snapshot %d and the error %v, want ErrNoSnapshot: no Write has named one", meta.Index, err)
	}
}

// openSnapshot opens the current snapshot, which must be that of the model.
func (m *storageModel) openSnapshot(storage raft.Storage) io.ReadCloser {
	meta, reader, err := storage.OpenSnapshot()
	must("OpenSnapshot", err)
	if !sameMeta(meta, m.snapshot) {
		convict("OpenSnapshot returned the meta %+v, want %+v", meta, m.snapshot)
	}
	return reader
}

// readsAs checks the bytes that a reader of a snapshot gives, and closes it.
func readsAs(what string, reader io.ReadCloser, want []byte) {
	got, err := io.ReadAll(reader)
	must("reading "+what, err)
	must("closing the reader of "+what, reader.Close())
	if !bytes.Equal(got, want) {
		convict("%s reads as %s, want %s", what, describeBytes(got), describeBytes(want))
	}
}

// snapshotBytes returns the bytes that a snapshot has in these checks. They differ for each
// snapshot and fill more than one block.
func snapshotBytes(meta raft.SnapshotMeta) []byte {
	name := "state " + strconv.FormatUint(uint64(meta.Index), 10) + " of term " + strconv.FormatUint(uint64(meta.Term), 10) + ". "
	return bytes.Repeat([]byte(name), 20+int(meta.Index)%3*400)
}

// writeSnapshot writes data in pieces. It overwrites the memory of each piece after the writer has
// returned.
func writeSnapshot(w io.Writer, data []byte) error {
	for len(data) > 0 {
		piece := bytes.Clone(data[:min(len(data), 999)])
		n, err := w.Write(piece)
		if err != nil {
			return fmt.Errorf("writing the snapshot failed: %w", err)
		}
		if n != len(piece) {
			return fmt.Errorf("writing %d bytes of the snapshot returned %d and no error", len(piece), n)
		}
		scribble(piece)
		data = data[n:]
	}
	return nil
}

// commands returns one entry with a command for each of data, in the given term and behind index
// after.
func commands(term raft.Term, after raft.Index, data ...string) []raft.Entry {
	entries := make([]raft.Entry, len(data))
	for i, d := range data {
		index := after + raft.Index(i) + 1
		entries[i] = raft.Entry{
			Index: index, Term: term, Kind: wire.EntryCommand,
			Origin: raft.Origin{Server: "a", Start: 1}, Number: uint64(index), Data: []byte(d),
		}
	}
	return entries
}

// scribble overwrites memory, so that whoever kept it is found out.
func scribble(b []byte) {
	for i := range b {
		b[i] ^= 0xa5
	}
}

func sameEntry(a, b raft.Entry) bool {
	data := bytes.Equal(a.Data, b.Data)
	a.Data, b.Data = nil, nil
	return data && reflect.DeepEqual(a, b)
}

func sameMeta(a, b raft.SnapshotMeta) bool {
	members := slices.Equal(a.Configuration.Members, b.Configuration.Members)
	a.Configuration.Members, b.Configuration.Members = nil, nil
	return members && reflect.DeepEqual(a, b)
}

func describeBytes(b []byte) string {
	if len(b) > 40 {
		return fmt.Sprintf("%q… (%d bytes)", b[:40], len(b))
	}
	return fmt.Sprintf("%q", b)
}

func describeEntry(e raft.Entry) string {
	return fmt.Sprintf("entry %d (term %d, %v, number %d of start %d of %q, data %s)",
		e.Index, e.Term, e.Kind, e.Number, e.Origin.Start, e.Origin.Server, describeBytes(e.Data))
}

func describeEntries(entries []raft.Entry) string {
	switch len(entries) {
	case 0:
		return "nothing"
	case 1:
		return describeEntry(entries[0])
	}
	return fmt.Sprintf("entries %d to %d", entries[0].Index, entries[len(entries)-1].Index)
}

func describeWrite(w *raft.Write) string {
	s := "Write"
	if w.Snapshot != nil {
		s += fmt.Sprintf(" snapshot %d of term %d", w.Snapshot.Index, w.Snapshot.Term)
	}
	if n := len(w.Entries); n > 0 {
		s += fmt.Sprintf(" entries %d to %d of term %d", w.Entries[0].Index, w.Entries[n-1].Index, w.Entries[n-1].Term)
	}
	if n := len(w.Repairs); n > 0 {
		s += fmt.Sprintf(" repairs %d to %d", w.Repairs[0].Index, w.Repairs[n-1].Index)
	}
	if w.Compact > 0 {
		s += fmt.Sprintf(" compact %d", w.Compact)
	}
	return s
}
