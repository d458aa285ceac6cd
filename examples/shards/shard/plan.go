package shard

import (
	"slices"

	"github.com/e17579a5/raft"
)

// plan returns moves to begin, so that at most limit are under way: away from servers that are leaving
// first, and then from the server with the most shards to the one with the fewest, while they differ by
// more than one. Shards that an operator has placed move only for servers that are leaving. What it
// returns follows from the table alone, and a move that is under way counts as done.
func (t *Table) plan(limit int) (shards []int, moves []Move) {
	load := map[raft.ServerID]int{} // of the servers that stay
	for _, s := range t.Servers {
		if !s.Leaving {
			load[s.ID] = 0
		}
	}
	for i := range t.Shards {
		if t.Shards[i].Move != nil {
			limit--
		}
		for _, id := range t.Shards[i].after() {
			if _, stays := load[id]; stays {
				load[id]++
			}
		}
	}
	begun := make([]bool, len(t.Shards))
	begin := func(shard int, from, to raft.ServerID) {
		begun[shard] = true
		if _, stays := load[from]; stays {
			load[from]--
		}
		load[to]++
		shards, moves = append(shards, shard), append(moves, Move{From: from, To: to})
	}
	for i := range t.Shards {
		if len(moves) >= limit {
			return shards, moves
		}
		if from := t.leaver(&t.Shards[i]); from != "" && t.Shards[i].free() {
			if to := t.lightest(load, &t.Shards[i]); to != "" {
				begin(i, from, to)
			}
		}
	}
	for i := 0; i < len(t.Shards) && len(moves) < limit; i++ {
		s := &t.Shards[i]
		if begun[i] || !s.free() || s.Placed {
			continue
		}
		from, to := t.heaviest(load, s), t.lightest(load, s)
		if from != "" && to != "" && load[from] > load[to]+1 {
			begin(i, from, to)
		}
	}
	return shards, moves
}

// free says whether a move of the shard may begin.
func (s *Shard) free() bool { return s.Founded && s.Move == nil }

// leaver returns a member of a shard that is leaving; "" if there is none.
func (t *Table) leaver(s *Shard) raft.ServerID {
	for _, id := range s.Members {
		if server := t.Server(id); server == nil || server.Leaving {
			return id
		}
	}
	return ""
}

// lightest returns the server with the fewest shards that doesn't have this one; "" if there is none.
func (t *Table) lightest(load map[raft.ServerID]int, s *Shard) (to raft.ServerID) {
	for _, server := range t.Servers {
		n, stays := load[server.ID]
		if stays && !slices.Contains(s.Members, server.ID) && (to == "" || n < load[to]) {
			to = server.ID
		}
	}
	return to
}

// heaviest returns the member of a shard that has the most shards; "" if none of them stays.
func (t *Table) heaviest(load map[raft.ServerID]int, s *Shard) (from raft.ServerID) {
	for _, id := range s.Members {
		if n, stays := load[id]; stays && (from == "" || n > load[from]) {
			from = id
		}
	}
	return from
}
