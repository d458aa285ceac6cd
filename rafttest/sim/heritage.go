package sim

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/recovery"
	"github.com/e17579a5/raft/wire"
)

// A run may begin where another one has ended (Params.After). There are two ways. In one, the first
// cluster has lost a majority of its servers for good, recovery.Recover has made one survivor a
// cluster of its own, and all other servers have empty disks. In the other, a snapshot was exported
// from the first cluster, and a new cluster is founded with its state.
const (
	afterLoss   = 1 + iota // after the loss of a majority
	afterExport            // after the export of a snapshot
)

// A heritage is what one run leaves to another.
type heritage struct {
	of Params // of the run that left it

	// entries are the log from its beginning. From now on all of it counts as committed.
	entries []raft.Entry
	slots   []slot

	survivor *disk // the disk, after a loss
	kept     kept
	snapshot *snapshotFile // after an export

	failure string // what was wrong with the recovery; "" for nothing
}

// heritage returns what a run begins with, or nil if it begins with nothing.
func (w *World) heritage() *heritage {
	p := &w.params
	if p.After == 0 || p.WAL != 0 || w.user() {
		return nil
	}
	before := Swarm(uint64(p.Before)).WithModel()
	before.After, before.Servers, before.Spares = 0, p.Servers, p.Spares
	before.Durable, before.Compare, before.Keys = p.Durable, p.Compare, p.Keys
	if h := w.past; h != nil && h.of == before && (h.snapshot != nil) == (p.After == afterExport) {
		return h
	}
	w.past = nil
	elder := NewWorld(Options{})
	elder.reset(before)
	elder.guard(func() {
		if before.Found != 0 {
			elder.step(Event{Op: OpFound}, nil)
		}
		elder.faultPhase()
		for i := 0; i < elder.n; i++ {
			elder.step(Event{Op: OpCrash, Server: int8(i)}, nil)
		}
	})
	if elder.violation != nil {
		return nil // a run of the elder's seed reports this better
	}
	w.past = &heritage{of: before}
	if p.After == afterLoss && w.past.recover(elder) || p.After == afterExport && w.past.export(elder) {
		return w.past
	}
	w.past = nil
	return nil
}

// A lastStorage is the storage of a survivor. It keeps the last write and doesn't perform it.
type lastStorage struct {
	raft.Storage // nil: no other method is called
	saved        raft.Saved
	written      raft.Write
}

// Load implements raft.Storage.
func (s *lastStorage) Load() (raft.Saved, error) { return s.saved, nil }

// Write implements raft.Storage.
func (s *lastStorage) Write(w raft.Write) error { s.written = w; return nil }

// recover makes the first server a cluster of its own, and checks what raft.RecoverCluster says of
// losses. It reports whether there was anything to recover.
func (h *heritage) recover(elder *World) bool {
	saved, loaded := elder.load(0, 0)
	storage := &lastStorage{saved: saved}
	s := &elder.servers[0]
	r, err := recovery.Recover(storage, s.address)
	if !loaded || err != nil || r.SnapshotDamage != nil {
		return false // the server holds nothing of the cluster, or a damaged snapshot
	}
	d := s.disk.clone()
	h.check(&r, elder, d)
	// The operating system draws the ID of the new cluster and its key; here they must follow from
	// the seed.
	id := raft.ClusterID{1}
	for i := range 8 {
		id[8+i] = byte(elder.hash >> (8 * i))
	}
	write := storage.written
	record := write.Entries[0]
	configuration, err := wire.DecodeConfiguration(record.Data)
	if err != nil {
		h.failure = fmt.Sprintf("the record of the recovery: %v", err)
		return true
	}
	configuration.Cluster, write.State.Cluster = id, id
	if len(configuration.Keys) > 0 {
		configuration.Keys = nil
		if h.of.Keys == keysDrawn {
			configuration.Keys = []wire.ClusterKey{{1, byte(elder.hash), byte(elder.hash >> 8)}}
		}
	}
	record.Data = wire.AppendConfiguration(nil, &configuration)
	write.Entries = []raft.Entry{record}
	d.perform(&write)
	h.survivor, h.kept = d, s.kept
	h.entries, h.slots = d.entries, d.slots
	return true
}

// check checks what a recovery says. The log must hold all that was committed before the term of
// its last entry, and what was committed in that term up to the end of the log. Everything up to
// its snapshot must have been committed.
func (h *heritage) check(r *recovery.Report, elder *World, d *disk) {
	committed := elder.ghost.committed
	if r.Last != d.last() || r.LastTerm != d.term(r.Last) || r.Snapshot != d.current.index() || r.Record != r.Last+1 {
		h.failure = fmt.Sprintf("the recovery reports %+v, but the log ends at %d in term %d and the snapshot covers %d",
			r, d.last(), d.term(d.last()), d.current.index())
	}
	if n := r.Snapshot; n > 0 && (n > raft.Index(len(committed)) || committed[n-1] != d.slots[n-1]) {
		h.failure = fmt.Sprintf("the recovery says that everything up to index %d was committed, but it wasn't", n)
	}
	kept := raft.Index(0)
	for term, commit := range elder.ghost.commits {
		if raft.Term(term) < r.LastTerm {
			kept = max(kept, commit)
		} else if raft.Term(term) == r.LastTerm {
			kept = max(kept, min(commit, r.Last))
		}
	}
	for i := range committed[:kept] {
		if index := raft.Index(i + 1); index > r.Last || d.slots[i] != committed[i] {
			h.failure = fmt.Sprintf("index %d of term %d is lost, though the recovery says that the log holds all that was committed before term %d, and in that term up to index %d",
				index, committed[i].term, r.LastTerm, r.Last)
			return
		}
	}
}

// export takes the snapshot of the first server that has one. It reports whether there is one.
func (h *heritage) export(elder *World) bool {
	for i := 0; i < elder.n; i++ {
		d := elder.servers[i].disk
		if d.current == nil || d.spoiled {
			continue
		}
		f := *d.current
		f.meta.ConfigurationIndex = 0
		f.meta.Configuration = raft.Configuration{Cluster: d.current.meta.Configuration.Cluster}
		f.entries, f.slots = slices.Clone(f.entries), slices.Clone(f.slots)
		h.snapshot, h.entries, h.slots = &f, f.entries, f.slots
		return true
	}
	return false
}

// inherit lets the run begin with what another one has left.
func (w *World) inherit(h *heritage) {
	g := &w.ghost
	if h.failure != "" {
		w.fail(NothingLost, 0, "%s", h.failure)
	}
	command := raft.Index(0)
	for i := range h.entries {
		e := &h.entries[i]
		g.committed, g.entries = append(g.committed, h.slots[i]), append(g.entries, *e)
		if e.Kind == wire.EntryConfiguration && h.survivor != nil {
			g.configurations = append(g.configurations, place(e))
			g.settled = g.configurations[len(g.configurations)-1].configuration
		}
		result, applied := w.sessionStep(0, e)
		if applied {
			command = e.Index
		}
		g.results, g.commands = append(g.results, result), append(g.commands, command)
	}
	w.answer(g.commit()) // clients of the elder cluster must find here what they got answers for
	w.inherited = g.commit()
	if h.survivor != nil {
		d := h.survivor.clone()
		// The elder's times are of another scale.
		d.state.MaxLease = min(d.state.MaxLease, time.Duration(w.params.MaxLease))
		*w.servers[0].disk = *d
		w.servers[0].kept = h.kept
		w.stats.Recovered++
		return
	}
	w.stats.Exported++
	for i := 0; i < int(w.params.Servers); i++ {
		if l := w.luck.draw(luckHeritage, i, 0, 0); i != int(below(w.luck.draw(luckHeritage, 0, 1, 0), w.params.Servers)) && l%2 == 0 {
			continue // the founder sends the snapshot to this server
		}
		d, meta := w.servers[i].disk, h.snapshot.meta
		d.entries, d.slots = slices.Clone(h.entries), slices.Clone(h.slots)
		d.current, d.base = h.snapshot, meta.Index
		d.state = raft.DurableState{HardState: raft.HardState{Term: meta.Term}, Server: w.servers[i].id, Incarnation: w.incarnation(i)}
	}
}

// isHeritage reports whether a snapshot is the one with which the cluster was founded.
func (w *World) isHeritage(meta *raft.SnapshotMeta) bool {
	h := w.past
	return w.inherited > 0 && h.snapshot != nil && meta.Index == h.snapshot.meta.Index && meta.Term == h.snapshot.meta.Term &&
		bytes.Equal(wire.AppendConfiguration(nil, &meta.Configuration), wire.AppendConfiguration(nil, &h.snapshot.meta.Configuration))
}

// orphaned reports whether the run begins with a survivor.
func (w *World) orphaned() bool { return w.inherited > 0 && w.past.survivor != nil }
