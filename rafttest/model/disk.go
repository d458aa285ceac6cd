package model

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A slot is what the checks keep of an entry: its term, and a hash over it and everything before
// it. If two logs have equal chains at an index, they are equal up to that index.
type slot struct {
	term  raft.Term
	chain uint64
}

// chainEntry returns the chain of the entry e. prev is the chain of the entry before it.
func chainEntry(prev uint64, e *raft.Entry) uint64 {
	h := mix(prev ^ uint64(e.Term)<<8 ^ uint64(e.Kind))
	h = mix(h ^ uint64(e.Index))
	h = mix(h ^ e.Number ^ e.Origin.Start<<32 ^ uint64(len(e.Origin.Server))<<56)
	return mix(h ^ hashOf(0, []byte(e.Origin.Server)).low ^ hashOf(1, e.Data).high)
}

// extend returns the slots of a log in which entries replace everything from the first one's index
// on. It doesn't change the slots of the old log.
func extend(slots []slot, entries []raft.Entry) []slot {
	if len(entries) == 0 {
		return slots
	}
	from := int(entries[0].Index) - 1
	extended := append(make([]slot, 0, from+len(entries)), slots[:from]...)
	var chain uint64
	if from > 0 {
		chain = slots[from-1].chain
	}
	for i := range entries {
		chain = chainEntry(chain, &entries[i])
		extended = append(extended, slot{entries[i].Term, chain})
	}
	return extended
}

// at returns the slot at an index, or the zero slot if there is none.
func at(slots []slot, i raft.Index) slot {
	if i == 0 || i > raft.Index(len(slots)) {
		return slot{}
	}
	return slots[i-1]
}

// A disk holds what is durable at a server. It is never changed: a write makes another one.
type disk struct {
	state   raft.DurableState
	entries []raft.Entry // from index 1
	slots   []slot       // of entries
	lost    lost         // whose bytes the disk doesn't have any more
}

// A lost is a set of entries by their indexes, one bit each.
type lost uint64

func (l lost) has(i raft.Index) bool { return i < 64 && l>>i&1 != 0 }

// from returns those of the entries that are from an index on.
func (l lost) from(i raft.Index) lost { return l &^ (1<<i - 1) }

// with returns the disk after a write.
func (d disk) with(w *raft.Write) disk {
	d.state = w.State
	for i := range w.Repairs {
		d.lost &^= 1 << w.Repairs[i].Index
	}
	if len(w.Entries) > 0 {
		from := int(w.Entries[0].Index) - 1 // at most len(d.entries): checkWrite has made sure
		d.entries = append(d.entries[:from:from], w.Entries...)
		d.slots = extend(d.slots, w.Entries)
		d.lost &^= d.lost.from(w.Entries[0].Index)
	}
	return d
}

// saved returns what a storage would load.
func (d *disk) saved() raft.Saved {
	saved := raft.Saved{State: d.state, Last: raft.Index(len(d.entries))}
	for i := range d.entries {
		e := &d.entries[i]
		if i == 0 || d.entries[i-1].Term != e.Term {
			saved.Runs = append(saved.Runs, raft.TermRun{First: e.Index, Term: e.Term})
		}
		if e.Kind == wire.EntryConfiguration {
			saved.Configurations = append(saved.Configurations, *e)
		}
		switch n := len(saved.Lost); {
		case !d.lost.has(e.Index):
		case n > 0 && saved.Lost[n-1].Last == e.Index-1:
			saved.Lost[n-1].Last = e.Index
		default:
			saved.Lost = append(saved.Lost, wire.Range{First: e.Index, Last: e.Index})
		}
	}
	return saved
}
