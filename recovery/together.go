package recovery

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// ErrCut says that a log must be cut, and not where the caller has said.
var ErrCut = errors.New("the log must be cut elsewhere")

// carryBytes is how many bytes of entries are carried over in one write. A single entry may be larger.
const carryBytes = 256 << 10

// RecoverTogether does what Recover does, for a server whose disk has lost something. First it carries
// over from the other survivors what they still have: a snapshot, and the bytes of entries. The
// storages of the others aren't changed, but for what their opening changes.
//
// If there are entries that the server needs and nobody has, its log is cut before the first of them
// (Plan.Cut). cut must then be the index after which it is cut, and otherwise 0: a person who has read
// the Plan names it. If it is another one, nothing is written, and the error wraps ErrCut. When all
// is done, the storage holds another cluster, so RecoverTogether can't be called for it twice by
// mistake: it demands that all storages belong to one cluster.
//
// The server must be the Plan's Best. The other errors are those of NewPlan, of Recover, and of what
// the storages do. After an error, RecoverTogether may be called again on storages that are opened
// anew: what was carried over is what this server held before.
func RecoverTogether(storage raft.Storage, address string, cut raft.Index, others ...raft.Storage) (Report, error) {
	storages := append([]raft.Storage{storage}, others...)
	var servers []raft.Saved
	for _, s := range storages {
		saved, err := s.Load()
		if err != nil {
			return Report{}, fmt.Errorf("recovery: load: %w", err)
		}
		servers = append(servers, saved)
	}
	plan, err := NewPlan(servers...)
	if err != nil {
		return Report{}, err
	}
	r := plan.Reports[0]
	switch {
	case plan.best != 0:
		return r, fmt.Errorf("recovery: %w: server %s is to be recovered, not server %s: it holds more", raft.ErrConfig, plan.Best, r.Server)
	case plan.Cut == 0 && cut != 0:
		return r, fmt.Errorf("recovery: %w: nothing is to be cut, and the cut is named as %d", ErrCut, cut)
	case plan.Cut != cut:
		return r, fmt.Errorf("recovery: %w: what was in entries %d to %d of server %s is nowhere, so its log must be cut after index %d, by which entries %d to %d are lost; the cut is named as %d",
			ErrCut, plan.Nowhere.First, plan.Nowhere.Last, r.Server, plan.Cut, plan.Cut+1, plan.Last, cut)
	}
	if err := checkNames(&r, address); err != nil {
		return r, err
	}
	c := carrier{to: storage, saved: &servers[0], storages: storages, servers: servers, number: 1}
	if err := c.snapshot(&plan); err != nil {
		return r, err
	}
	if err := c.entries(&plan); err != nil {
		return r, err
	}
	r.Cut, r.Lost, r.SnapshotDamage = plan.Cut, nil, nil
	r.Snapshot = max(r.Snapshot, c.from)
	return record(storage, r, c.saved.State, address, c.number)
}

// A carrier carries over what a server has lost.
type carrier struct {
	to       raft.Storage
	saved    *raft.Saved
	storages []raft.Storage // of all survivors, with what they hold
	servers  []raft.Saved
	number   raft.WriteNumber // of the next write
	from     raft.Index       // up to here a snapshot covers everything
}

// write writes what was carried.
func (c *carrier) write(w raft.Write) error {
	w.Number, w.State = c.number, c.saved.State
	c.number++
	if err := c.to.Write(w); err != nil {
		return fmt.Errorf("recovery: write: %w", err)
	}
	return nil
}

// at returns the place of a server among the survivors.
func (c *carrier) at(id raft.ServerID) int {
	return slices.IndexFunc(c.servers, func(s raft.Saved) bool { return s.State.Server == id })
}

// snapshot carries a snapshot over, if the plan wants one.
func (c *carrier) snapshot(plan *Plan) (err error) {
	if c.saved.SnapshotDamage == nil {
		c.from = c.saved.Snapshot.Index
	}
	if plan.SnapshotOf == "" {
		return nil
	}
	meta, reader, err := c.storages[c.at(plan.SnapshotOf)].OpenSnapshot()
	if err != nil {
		return fmt.Errorf("recovery: open the snapshot of server %s: %w", plan.SnapshotOf, err)
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	writer, err := c.to.CreateSnapshot(meta)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	if _, err := io.Copy(writer, reader); err != nil {
		return errors.Join(fmt.Errorf("recovery: copy the snapshot of server %s: %w", plan.SnapshotOf, err), writer.Abort())
	}
	if err := writer.Commit(); err != nil {
		return fmt.Errorf("recovery: store the snapshot of server %s: %w", plan.SnapshotOf, err)
	}
	c.from = meta.Index
	return c.write(raft.Write{Snapshot: &meta})
}

// entries carries over the bytes of the entries that the server needs and another one has.
func (c *carrier) entries(plan *Plan) error {
	for i := range plan.Losses {
		l := &plan.Losses[i]
		if l.Server != plan.Best || l.Snapshot || l.Last <= c.from || plan.Cut != 0 && l.First > plan.Cut {
			continue
		}
		if err := c.carry(l.Bytes[0], wire.Range{First: max(l.First, c.from+1), Last: l.Last}, l.Term); err != nil {
			return err
		}
	}
	return nil
}

// carry carries over the bytes of entries of one term, which a survivor has.
func (c *carrier) carry(from raft.ServerID, wanted wire.Range, term raft.Term) error {
	for next := wanted.First; next <= wanted.Last; {
		entries, err := c.storages[c.at(from)].Entries(next-1, wanted.Last, carryBytes)
		if err != nil {
			return fmt.Errorf("recovery: read entry %d of server %s: %w", next, from, err)
		}
		for i := range entries {
			if e := &entries[i]; e.Index != next || e.Term != term {
				return fmt.Errorf("recovery: %w: server %s gives entry %d of term %d in the place of entry %d of term %d",
					raft.ErrCorrupt, from, e.Index, e.Term, next, term)
			}
			next++
		}
		if err := c.write(raft.Write{Repairs: entries}); err != nil {
			return err
		}
	}
	return nil
}
