package sim

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A snapshotFile is a snapshot that is durable on a disk. It is never changed.
type snapshotFile struct {
	meta  raft.SnapshotMeta
	bytes []byte
	// entries and slots are the log that the snapshot stands for: what was committed up to its
	// index.
	entries        []raft.Entry
	slots          []slot
	configurations []placed
}

// index returns the index of a snapshot, or 0 if f is nil.
func (f *snapshotFile) index() raft.Index {
	if f == nil {
		return 0
	}
	return f.meta.Index
}

// wantSnapshot makes a call that asks for a snapshot of what is applied.
func (w *World) wantSnapshot(s *server) {
	index := s.core.Status().Applied
	number := s.core.Snapshot(w.local(s))
	for uint64(len(s.wanted)) <= number {
		s.wanted = append(s.wanted, 0)
	}
	s.wanted[number] = index
	if index == 0 {
		s.wanted[number] = noIndex // it must be refused
	}
}

// noIndex stands for the index of a state that has applied nothing.
const noIndex = ^raft.Index(0)

// wantsSnapshot reports whether a call for a snapshot is open.
func (s *server) wantsSnapshot() bool {
	return slices.ContainsFunc(s.wanted, func(index raft.Index) bool { return index != 0 })
}

// checkSnapshotAnswer checks the answer to a call for a snapshot.
func (w *World) checkSnapshotAnswer(i int, a *raft.SnapshotAnswer) {
	s := &w.servers[i]
	if a.Number >= uint64(len(s.wanted)) || s.wanted[a.Number] == 0 {
		w.fail(Answers, i, "answers a call for a snapshot, number %d, that isn't open", a.Number)
		return
	}
	if index := s.wanted[a.Number]; a.Err == nil && (a.Index < index || a.Index > s.disk.current.index()) {
		w.fail(Answers, i, "a call for a snapshot of index %d is answered with that of %d, and the disk has that of %d", index, a.Index, s.disk.current.index())
	}
	s.wanted[a.Number] = 0
}

// lost reports whether the current snapshot is damaged and there is no earlier one.
func (d *disk) lost() bool { return d.spoiled && d.previous == nil }

// hasInstead reports whether a server whose snapshot is lost has stored another server's that covers
// it. What a real log has stored isn't known.
func (s *server) hasInstead() bool {
	covers := func(f *snapshotFile) bool { return f.meta.Index >= s.disk.current.index() }
	return s.disk.lost() && slices.ContainsFunc(s.disk.stored, covers) || s.disk.wal != nil && s.rotten
}

// A kept is what a state machine that keeps its own durable state has on its disk.
type kept struct {
	index  raft.Index
	beside []byte
	state  []byte
	slot   slot // of the log at index
}

// keep lets the state machine of a server make its state durable. Luck may decide that it waits for
// a later state.
func (w *World) keep(i int, applied raft.Index, beside []byte) error {
	s := &w.servers[i]
	if beside != nil {
		s.beside = bytes.Clone(beside)
	}
	if applied > s.disk.last() {
		w.fail(StateMachineSafety, i, "a durable state machine has applied index %d, but the log ends at %d", applied, s.disk.last())
	}
	if w.options.Store != nil {
		w.save(i, applied, beside)
		return nil
	}
	if !permille(w.luck.draw(luckKept, i, 0, uint64(s.life)<<24|uint64(applied)), w.params.Durable) {
		return nil
	}
	var state bytes.Buffer
	if !w.snapshot(s.replica.inner, &state) {
		return nil
	}
	s.kept = kept{applied, s.beside, state.Bytes(), s.slotAt(applied)}
	return nil
}

// slotAt returns the slot of the server's log at an index, or none if the log ends before.
func (s *server) slotAt(i raft.Index) (at slot) {
	if i > 0 && i <= s.disk.last() {
		at = s.disk.slots[i-1]
	}
	return at
}

// resume lets a state machine go on from its durable state.
func (w *World) resume(i int) {
	s := &w.servers[i]
	if w.params.Durable == 0 {
		return
	}
	k := &s.kept
	if k.index > 0 && w.options.Store == nil {
		w.notes("goes on from index %d, where its machine was durable", k.index)
		if err := s.replica.inner.Restore(bytes.NewReader(k.state)); err != nil {
			w.fail(SnapshotSound, i, "what a durable state machine has kept can't be restored: %v", err)
			return
		}
	}
	s.beside = k.beside
	s.replica.command = w.lastCommand(k.index)
	durable := &raft.DurableMachine{Save: func(applied raft.Index, beside []byte) error { return w.keep(i, applied, beside) }}
	if err := s.applier.Resume(durable, k.index, k.beside); err != nil {
		w.fail(SnapshotSound, i, "what is kept beside a durable state machine can't be restored: %v", err)
	} else if k.index > 0 {
		w.checkTable(s, k.index)
	}
}

// find returns the newest stored snapshot with a given index and term that no write has named yet,
// or nil if there is none.
func (d *disk) find(meta *raft.SnapshotMeta) *snapshotFile {
	for i := len(d.stored) - 1; i >= 0; i-- {
		if f := d.stored[i]; f.meta.Index == meta.Index && f.meta.Term == meta.Term {
			return f
		}
	}
	return nil
}

// name makes a snapshot the current one. If the log agrees with the snapshot, the log goes on
// behind it. The snapshot before then stays, in case the current one is damaged.
func (d *disk) name(meta *raft.SnapshotMeta) {
	f := d.find(meta)
	d.previous = d.current
	if d.last() < meta.Index || d.slots[meta.Index-1].term != meta.Term {
		d.entries = append(d.entries[:0], f.entries...)
		d.slots = append(d.slots[:0], f.slots...)
		d.configurations = append(d.configurations[:0], f.configurations...)
		d.base, d.previous = meta.Index, nil
		clear(d.gone)
	}
	if d.spoiled {
		d.previous, d.spoiled = nil, false
	}
	d.current = f
	d.stored = slices.DeleteFunc(d.stored, func(f *snapshotFile) bool { return f.meta.Index <= meta.Index })
}

// compact forgets the log up to an index.
func (d *disk) compact(to raft.Index) {
	d.base = max(d.base, to)
	d.forgetLost(d.last())
	gone := d.base
	if d.wal != nil && gone > 0 {
		gone-- // a log that was opened may begin one entry later than it was compacted to; see recovered
	}
	if d.previous.index() < gone {
		d.previous = nil
	}
}

// clone returns an independent copy of a disk.
func (d *disk) clone() *disk {
	n := *d
	n.entries, n.slots, n.stored = slices.Clone(d.entries), slices.Clone(d.slots), slices.Clone(d.stored)
	n.configurations = slices.Clone(d.configurations)
	n.gone = maps.Clone(d.gone)
	return &n
}

// file returns a snapshot file with the given bytes.
func (w *World) file(meta *raft.SnapshotMeta, content []byte) *snapshotFile {
	g, n := &w.ghost, meta.Index
	return &snapshotFile{meta: *meta, bytes: content, entries: g.entries[:n:n], slots: g.committed[:n:n],
		configurations: truncated(slices.Clone(g.configurations), n)}
}

// checkMeta checks what a snapshot says about itself. It reports whether that is true.
func (w *World) checkMeta(i int, meta *raft.SnapshotMeta) bool {
	g := &w.ghost
	if meta.Index == 0 || meta.Index > g.commit() || g.committed[meta.Index-1].term != meta.Term {
		w.fail(SnapshotSound, i, "a snapshot has index %d in term %d, but only %d entries are committed, or that one is of another term", meta.Index, meta.Term, g.commit())
		return false
	}
	if w.isHeritage(meta) {
		return true
	}
	last := meta.Index
	for last > 0 && g.entries[last-1].Kind != wire.EntryConfiguration {
		last--
	}
	if last != meta.ConfigurationIndex || !bytes.Equal(wire.AppendConfiguration(nil, &meta.Configuration), g.entries[last-1].Data) {
		w.fail(SnapshotSound, i, "a snapshot of index %d has the configuration of index %d; the last one up to there is at %d, or differs",
			meta.Index, meta.ConfigurationIndex, last)
		return false
	}
	return true
}

// checkNamed checks a write that makes a snapshot the current one, or that lets the log be
// forgotten. It then lets the view of the log go on behind the snapshot.
func (w *World) checkNamed(i int, write *raft.Write) {
	s := &w.servers[i]
	d := s.disk
	named := d.current.index()
	for _, queued := range s.writes {
		if queued.Snapshot != nil {
			named = queued.Snapshot.Index
		}
	}
	if meta := write.Snapshot; meta != nil {
		if !w.checkMeta(i, meta) {
			return
		}
		if d.find(meta) == nil {
			w.fail(SnapshotSound, i, "a write names the snapshot of index %d, which isn't stored", meta.Index)
			return
		}
		if meta.Index < named {
			w.fail(SnapshotSound, i, "the snapshot of index %d replaces that of index %d", meta.Index, named)
			return
		}
		named = meta.Index
		if view := raft.Index(len(s.view)); view < meta.Index || s.view[meta.Index-1].term != meta.Term {
			if s.checked > meta.Index {
				w.fail(StateMachineSafety, i, "the snapshot of index %d replaces a log that is committed up to %d", meta.Index, s.checked)
				return
			}
			s.view = append(s.view[:0], w.ghost.committed[:meta.Index]...)
			s.configurations = append(s.configurations[:0], truncated(w.ghost.configurations, meta.Index)...)
			s.termBegin = meta.Index
		}
	}
	w.checkForgotten(i, write)
	if write.Compact > named {
		w.fail(SnapshotSound, i, "the log is forgotten up to %d, but the snapshot covers %d", write.Compact, named)
	}
}

// A capture is a state that a server has captured in order to store it.
type capture struct {
	meta   raft.SnapshotMeta
	state  *raft.Capture // nil if it couldn't be captured
	bytes  []byte
	stored bool // the file operations have run; their end is still to be reported
	syncs  int64
	err    error
}

// captureState lets the state machine of a server capture its state.
func (w *World) captureState(s *server, meta *raft.SnapshotMeta) {
	if !w.checkMeta(w.index(s), meta) {
		return
	}
	w.notes("captures its state at index %d", meta.Index)
	state, err := s.applier.Snapshot(meta.Index)
	s.capture = &capture{meta: *meta, err: err, state: state}
}

// store writes the captured state to the disk. Commands may be applied meanwhile.
func (w *World) store(s *server) bool {
	c := s.capture
	if c == nil || c.stored {
		return false
	}
	c.stored = true
	if c.err != nil {
		return true
	}
	var content bytes.Buffer
	_, c.err = c.state.WriteTo(&content)
	if w.release(s); c.err != nil {
		return true
	}
	c.bytes = content.Bytes()
	head := len(c.bytes) - int(s.replica.last.bytes)
	w.notes("writes the snapshot of index %d: %s", c.meta.Index, ofSize(c.bytes[max(head, 0):]))
	w.checkBytes(w.index(s), &c.meta, c.bytes, head)
	if d := s.disk.wal; d != nil {
		c.err = storeFile(d, &c.meta, c.bytes)
		c.syncs = d.fs.Issued()
	}
	return true
}

// storeFile stores a snapshot in a real log.
func storeFile(d *walDisk, meta *raft.SnapshotMeta, content []byte) error {
	into, err := d.storage.CreateSnapshot(*meta)
	if err != nil {
		return err
	}
	if _, err := into.Write(content); err != nil {
		return errors.Join(err, into.Abort())
	}
	return into.Commit()
}

// storedEnds reports to the core that a snapshot is durable, or that storing it has failed.
func (w *World) storedEnds(s *server, fails bool) bool {
	c := s.capture
	if c == nil || !c.stored {
		return false
	}
	s.capture = nil
	if s.disk.wal != nil {
		s.disk.wal.fs.Settle(c.syncs)
	} else if c.err == nil && (fails || !s.snapshotFits(len(c.bytes))) {
		c.err = errNoRoom
	}
	if c.err != nil {
		w.stats.SnapshotsFailed++
		s.core.SnapshotFailed(w.local(s), c.err)
		return true
	}
	w.stats.Snapshots++
	s.disk.stored = append(s.disk.stored, w.file(&c.meta, c.bytes))
	s.core.SnapshotTaken(w.local(s), uint64(len(c.bytes)))
	return true
}

// restore restores the state machine of a server from its current snapshot.
func (w *World) restore(s *server, meta *raft.SnapshotMeta) {
	i := w.index(s)
	content, err := w.readSnapshot(s, meta)
	if err != nil {
		w.diskFails(s, err)
		return
	}
	w.checkBytes(i, meta, content, -1)
	from := w.ghost.capturedAt(meta.Index)
	w.notes("restores the snapshot of index %d, captured at server %d: %s", meta.Index, from.server+1, ofSize(from.state(content)))
	s.replica.restored = meta.Index
	if err := s.applier.Restore(meta.Index, meta.Term, bytes.NewReader(content)); err != nil {
		w.fail(SnapshotSound, i, "its snapshot of index %d, captured at server %d, can't be restored: %v; it is %s",
			meta.Index, from.server+1, err, ofSize(from.state(content)))
		return
	}
	w.checkTable(s, meta.Index)
	s.replica.command = w.lastCommand(meta.Index)
	w.stats.Restored++
	s.core.Restored(w.local(s))
}

// readSnapshot reads the current snapshot, if that is still the one that meta names.
func (w *World) readSnapshot(s *server, meta *raft.SnapshotMeta) ([]byte, error) {
	d := s.disk
	if d.current.index() != meta.Index || d.current.meta.Term != meta.Term {
		return nil, raft.ErrNoSnapshot
	}
	if d.wal == nil {
		if d.spoiled {
			return nil, raft.ErrCorrupt
		}
		return d.current.bytes, nil
	}
	found, reader, err := d.wal.storage.OpenSnapshot()
	if err != nil {
		return nil, err
	}
	if found.Index != meta.Index || found.Term != meta.Term {
		return nil, raft.ErrNoSnapshot
	}
	var content bytes.Buffer
	_, err = content.ReadFrom(reader)
	return content.Bytes(), errors.Join(err, reader.Close())
}

// spoil damages the current snapshot on the model of a disk. It does so only if an earlier snapshot
// can take its place with the entries behind it, or if other servers can send one. The earlier one is
// about to go when a full disk's core has read the current one and found it sound. It reports whether
// it did.
func (w *World) spoil(s *server) bool {
	d := s.disk
	if d.wal != nil || d.spoiled || d.current == nil {
		return false
	}
	goes := s.sound == d.current || slices.ContainsFunc(s.writes, func(write *raft.Write) bool { return write.Compact > d.previous.index() })
	if (d.previous == nil || goes || d.lacks(d.previous.index(), d.current.index())) && !w.expendable(w.index(s)) {
		return false
	}
	d.spoiled = true
	s.lostAt = s.scrubs
	w.stats.Spoiled++
	return true
}

// fallBack replaces a damaged snapshot by the one before, as a storage does when it is opened.
func (d *disk) fallBack() {
	if d.previous != nil {
		d.current, d.previous, d.spoiled = d.previous, nil, false
	}
}
