package raft_test

import (
	"maps"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// lose lets a disk lose the bytes of entries. A server that is running finds out when it reads them.
func (c *cores) lose(id raft.ServerID, entries ...raft.Index) {
	s := c.servers[id]
	if s.gone == nil {
		s.gone = map[raft.Index]bool{}
	}
	for _, index := range entries {
		require.LessOrEqual(c.t, index, raft.Index(len(s.log)))
		s.gone[index] = true
	}
}

// lostRanges returns what is lost of the log that the disk has, as ranges.
func (s *server) lostRanges() (ranges []wire.Range) {
	for _, index := range slices.Sorted(maps.Keys(s.gone)) {
		n := len(ranges)
		switch {
		case index <= s.base:
		case n > 0 && ranges[n-1].Last+1 == index:
			ranges[n-1].Last = index
		default:
			ranges = append(ranges, wire.Range{First: index, Last: index})
		}
	}
	return ranges
}

// repair does with the lost entries what a write does: it gives some of them back, and others leave
// the log.
func (s *server) repair(w *raft.Write) {
	for i := range w.Repairs {
		delete(s.gone, w.Repairs[i].Index)
	}
	maps.DeleteFunc(s.gone, func(index raft.Index, _ bool) bool { return index <= s.base || index > raft.Index(len(s.log)) })
	if len(w.Entries) > 0 {
		maps.DeleteFunc(s.gone, func(index raft.Index, _ bool) bool { return index >= w.Entries[0].Index })
	}
}

// fetch reads entries from a disk, and reports them to the core.
func (c *cores) fetch(s *server, f raft.Fetch) {
	if f.Snapshot != nil {
		if s.lost {
			require.NoError(c.t, s.core.Damaged(c.now, f, &raft.DamagedError{Err: raft.ErrCorrupt}))
		} else {
			s.core.Fetched(c.now, f, nil)
		}
		return
	}
	last := min(f.Last, raft.Index(len(s.log)))
	for index := f.After + 1; index <= last; index++ {
		if !s.gone[index] {
			continue
		}
		if index == f.After+1 {
			damage := &raft.DamagedError{Lost: wire.Range{First: index, Last: index}, Err: raft.ErrCorrupt}
			require.NoError(c.t, s.core.Damaged(c.now, f, damage))
			return
		}
		last = index - 1
	}
	entries := s.log[max(f.After, s.base):last:last]
	for n, bytes := 1, 0; n < len(entries); n++ {
		if bytes += len(entries[n].Data); bytes > f.MaxBytes {
			entries = entries[:n]
		}
	}
	s.core.Fetched(c.now, f, entries)
}
