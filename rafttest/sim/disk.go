package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A slot is what the checks keep of an entry: its term, and a hash over it and everything before
// it. If two logs have equal chains at an index, they are equal up to that index.
type slot struct {
	term  raft.Term
	chain uint64
	total uint64 // bytes of all commands up to here, as the core counts them
	// weight is the bytes of all entries up to here.
	weight uint64
}

// weight returns the bytes of all entries up to the last one.
func (d *disk) weight() int64 {
	if len(d.slots) == 0 {
		return 0
	}
	return int64(d.slots[len(d.slots)-1].weight)
}

// chainEntry returns the chain of the entry e. prev is the chain of the entry before it.
func chainEntry(prev uint64, e *raft.Entry) uint64 {
	h := mix(prev ^ uint64(e.Term)<<8 ^ uint64(e.Kind))
	h = mix(h ^ uint64(e.Index))
	if e.Number != 0 {
		h = mix(h ^ mix(e.Number^e.Origin.Start<<16) ^ uint64(serverOf(e.Origin.Server))<<32)
	}
	return h ^ hashBytes(e.Data)
}

// next returns the slot of e, which follows the entry of s.
func (s slot) next(e *raft.Entry) slot {
	total := s.total
	if e.Kind == wire.EntryCommand {
		total += uint64(len(e.Data)) + wire.EntryOverhead
	}
	return slot{e.Term, chainEntry(s.chain, e), total, s.weight + uint64(e.Size())}
}

// hashBytes returns a hash of b: FNV-1a over words instead of bytes, mixed at the end. Of many
// bytes it looks at the first and the last few only.
func hashBytes(b []byte) uint64 {
	const many, few = 8 << 10, 1 << 10
	h := uint64(len(b)) + 0xcbf29ce484222325
	if len(b) > many {
		h ^= hashBytes(b[len(b)-few:])
		b = b[:few]
	}
	for len(b) >= 8 {
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		h = (h ^ w) * 0x100000001b3
		h ^= h >> 29
		b = b[8:]
	}
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return mix(h)
}

// A disk holds what is durable at a server. Writes that wait for the disk are in the server's
// queue; a crash loses them. If the server has a real log, the disk is what that log must hold: the
// checks compare the two.
type disk struct {
	wal     *walDisk // nil without a real log
	state   raft.DurableState
	entries []raft.Entry // from index 1
	slots   []slot       // one for each of entries

	// current is the current snapshot. previous is the one before it, while the log still goes on
	// from that one. stored are the snapshots that no write has named yet. The log is forgotten up
	// to base; entries and slots still tell what it held there, or what a received snapshot stands
	// for.
	current, previous *snapshotFile
	stored            []*snapshotFile
	base              raft.Index
	spoiled           bool // the current snapshot is damaged; only without a real log
	// configurations are those among the entries.
	configurations []placed
	back           bool // it went back
	// gone are the entries whose bytes are lost. A real log has to say which.
	gone map[raft.Index]bool
	room room // only of the model
}

func (d *disk) reset() {
	d.state, d.wal = raft.DurableState{}, nil
	d.current, d.previous, d.stored, d.base, d.spoiled = nil, nil, nil, 0, false
	d.back, d.room = false, room{}
	clear(d.gone)
	d.entries = d.entries[:0]
	d.slots = d.slots[:0]
	d.configurations = d.configurations[:0]
}

func (d *disk) last() raft.Index { return raft.Index(len(d.entries)) }

// term returns the term of the entry at i, or 0 if there is no such entry.
func (d *disk) term(i raft.Index) raft.Term {
	if i == 0 || i > d.last() {
		return 0
	}
	return d.slots[i-1].term
}

// perform makes a write durable.
func (d *disk) perform(w *raft.Write) {
	d.state = w.State
	d.takeRoom(w)
	d.repair(w.Repairs)
	if w.Snapshot != nil {
		d.name(w.Snapshot)
	}
	defer d.compact(w.Compact)
	if len(w.Entries) == 0 {
		return
	}
	from := w.Entries[0].Index - 1 // at most d.last(): checkWrite has made sure
	d.forgetLost(from)
	d.entries, d.slots = d.entries[:from], d.slots[:from]
	var before slot
	if from > 0 {
		before = d.slots[from-1]
	}
	d.configurations = truncated(d.configurations, from)
	for i := range w.Entries {
		before = before.next(&w.Entries[i])
		d.slots = append(d.slots, before)
		if w.Entries[i].Kind == wire.EntryConfiguration {
			d.configurations = append(d.configurations, place(&w.Entries[i]))
		}
	}
	d.entries = append(d.entries, w.Entries...)
}

// saved returns what a storage would load.
func (d *disk) saved() raft.Saved {
	saved := raft.Saved{State: d.state, Last: d.last(), Base: d.base, BaseTerm: d.term(d.base), Lost: d.lostRanges()}
	if d.current != nil {
		saved.Snapshot, saved.SnapshotBytes = d.current.meta, uint64(len(d.current.bytes))
		if d.spoiled {
			saved.SnapshotDamage = raft.ErrCorrupt
		}
	}
	for i := int(d.base); i < len(d.entries); i++ {
		e := &d.entries[i]
		if i == int(d.base) || d.entries[i-1].Term != e.Term {
			saved.Runs = append(saved.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Index > saved.Snapshot.Index {
			saved.LogBytes += uint64(e.Size())
		} else {
			saved.KeptBytes += uint64(e.Size())
		}
		if e.Kind == wire.EntryConfiguration && e.Index > saved.Snapshot.Index {
			saved.Configurations = append(saved.Configurations, *e)
		}
	}
	return saved
}

// read returns what Storage.Entries would return.
func (d *disk) read(f raft.Fetch) ([]raft.Entry, error) {
	if d.wal != nil {
		return d.wal.storage.Entries(f.After, f.Last, f.MaxBytes)
	}
	last := min(f.Last, d.last())
	if f.After >= last || f.After < d.base {
		return nil, raft.ErrCompacted
	}
	if err := d.damageAt(f.After + 1); err != nil {
		return nil, err
	}
	bytes, end := 0, f.After
	for end < last && !d.gone[end+1] {
		bytes += len(d.entries[end].Data)
		if bytes > f.MaxBytes && end > f.After {
			break
		}
		end++
	}
	return append([]raft.Entry(nil), d.entries[f.After:end]...), nil
}
