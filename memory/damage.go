package memory

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// withLost returns ranges with the entry at an index, which follows all of them.
func withLost(ranges []wire.Range, index raft.Index) []wire.Range {
	if n := len(ranges); n > 0 && ranges[n-1].Last+1 == index {
		ranges[n-1].Last = index
		return ranges
	}
	return append(ranges, wire.Range{First: index, Last: index})
}

// Damage loses the bytes of the entries from first to last, as far as the log holds them: a test
// shows by it what becomes of a server whose disk is damaged. The storage goes on to know their
// terms. Entries can't read them until a Write has repaired them, and a Load after Reopen names them.
func (s *Storage) Damage(first, last raft.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.data
	for index := max(first, d.first); index <= min(last, d.last); index++ {
		d.record(index).lost = true
	}
}

// checkRepairs refuses a repair that isn't the entry that the log holds.
func (d *contents) checkRepairs(repairs []raft.Entry) error {
	after := raft.Index(0)
	for i := range repairs {
		e := &repairs[i]
		if e.Index < d.first || e.Index > d.last || e.Index <= after {
			return fmt.Errorf("repair of entry %d, after %d, of a log of entries %d to %d", e.Index, after, d.first, d.last)
		}
		after = e.Index
		r := d.record(e.Index)
		data := d.chunks[d.chunk(e.Index)].bytes[r.from:r.to]
		if e.Term != r.term || e.Kind != r.kind || e.Number != r.number || e.Origin != d.origins[r.origin] || !bytes.Equal(e.Data, data) {
			return fmt.Errorf("repair of entry %d, of term %d, isn't the entry that was lost, of term %d", e.Index, e.Term, r.term)
		}
	}
	return nil
}

// record returns what the log holds at an index.
func (d *contents) record(index raft.Index) *record {
	chunk := d.chunks[d.chunk(index)]
	return &chunk.records[index-chunk.first]
}

// lostFrom returns the error of a read that meets a lost entry, or nil if it has met others before.
func (d *contents) lostFrom(index raft.Index, before int) error {
	if before > 0 {
		return nil
	}
	lost := wire.Range{First: index, Last: index}
	for lost.Last < d.last && d.record(lost.Last+1).lost {
		lost.Last++
	}
	return &raft.DamagedError{Lost: lost, Err: errDamaged}
}

// errDamaged is what a storage says of entries that Damage has lost.
var errDamaged = errors.New("memory: Storage.Damage has lost them")
