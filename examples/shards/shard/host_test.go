package shard

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// Shards are founded on three servers, spread to a fourth one, and leave one that is taken out.
func TestShardsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, 3, 12, memory.Faults{})
		defer s.close()
		s.await((*Table).Settled)
		want := map[int][]string{}
		for i := range 12 {
			want[i] = []string{fmt.Sprint("first ", i)}
			require.NoError(t, s.propose(t.Context(), i, want[i][0]))
		}
		s.start("d")
		require.NoError(t, s.hosts["b"].Register(t.Context(), s.server("d")))
		s.await(func(table *Table) bool { return table.Settled() && len(table.Servers) == 4 && len(on(table, "d")) == 9 })
		s.check(want)
		require.NoError(t, s.hosts["c"].Leave(t.Context(), "a"))
		<-s.hosts["a"].Left()
		s.end("a")
		s.await(func(table *Table) bool { return table.Settled() && len(table.Servers) == 3 })
		s.check(want)
		require.Empty(t, s.hosts["b"].config(name(0)).Bootstrap, "what is founded is never founded again")
	})
}

// on returns the shards that a server has.
func on(t *Table, id raft.ServerID) (shards []int) {
	for i := range t.Shards {
		if t.Shards[i].Has(id) {
			shards = append(shards, i)
		}
	}
	return shards
}

// A shard that an operator has placed stays there, though other servers have fewer shards: others move in its place.
// It moves when its server leaves.
func TestShardsArePlacedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, 3, 8, memory.Faults{})
		defer s.close()
		s.await((*Table).Settled)
		s.start("d")
		require.NoError(t, s.hosts["a"].Register(t.Context(), s.server("d")))
		even := func(table *Table) bool { return table.Settled() && len(on(table, "d")) == 6 }
		s.await(even)
		require.NoError(t, s.propose(t.Context(), 0, "first"))
		var here, there raft.ServerID
		for _, id := range []raft.ServerID{"b", "c", "d"} {
			if s.hosts["a"].Table().Shards[0].Has(id) {
				here = id
			} else {
				there = id
			}
		}
		if there == "" {
			here, there = "b", "a"
		}
		require.NoError(t, s.hosts["b"].Place(t.Context(), Placing{0, here, there}))
		placed := func(table *Table) bool {
			return table.Settled() && table.Shards[0].Has(there) && !table.Shards[0].Has(here) && len(on(table, here)) == 6
		}
		s.await(placed)
		require.NoError(t, s.hosts["b"].Place(t.Context(), Placing{0, here, there}), "it is done")
		time.Sleep(time.Minute)
		s.await(placed)
		s.check(map[int][]string{0: {"first"}})
		require.NoError(t, s.hosts["b"].Place(t.Context(), Placing{0, there, here}), "and back")
		s.await(func(table *Table) bool {
			return table.Settled() && table.Shards[0].Has(here) && !table.Shards[0].Has(there)
		})
		for code, p := range map[string]Placing{
			"no_such_shard": {8, "a", "b"}, "no_such_server": {0, here, "x"}, "not_there": {0, here, here},
		} {
			refusal := new(Refusal)
			require.ErrorAs(t, s.hosts["c"].Place(t.Context(), p), &refusal)
			require.Equal(t, code, refusal.Code)
		}
		s.check(map[int][]string{0: {"first"}})
	})
}

// slow is a network in which a move takes a while.
var slow = memory.Faults{MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond}

// A move comes to its end though one of those that have to do with it crashes, whichever it is and in whatever
// phase. Clients write meanwhile, and what was acknowledged is there once.
func TestMoveSurvivesACrash(t *testing.T) {
	for _, phase := range []Phase{Prepare, Join, Leave} {
		for _, who := range []string{"leader of the table", "leader of the shard", "new server", "old server"} {
			t.Run(string(phase)+", "+who, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { crashInMove(t, phase, who) })
			})
		}
	}
}

func crashInMove(t *testing.T, phase Phase, who string) {
	s := newStore(t, 3, 4, slow)
	defer s.close()
	s.await((*Table).Settled)
	w := s.write(t, 4)
	defer w.end()
	s.start("d")
	require.NoError(t, s.hosts["a"].Register(t.Context(), s.server("d")))
	moving, late := -1, time.After(time.Minute)
	for moving < 0 {
		table, changed := s.hosts["a"].table.latest()
		for i := range table.Shards {
			if table.Shards[i].Move != nil && table.Shards[i].Move.Phase == phase {
				moving = i
			}
		}
		if moving >= 0 {
			break
		}
		select {
		case <-changed:
		case <-late:
			require.Fail(t, "no move is in this phase")
		}
	}
	victim := s.part(who, moving)
	s.crash(victim)
	time.Sleep(3 * time.Second)
	s.start(victim)
	s.await(func(table *Table) bool { return table.Settled() && len(on(table, "d")) == 3 })
	w.check()
}

// part returns the server that has a part in a move.
func (s *store) part(who string, shard int) raft.ServerID {
	move := s.hosts["a"].Table().Shards[shard].Move
	switch who {
	case "leader of the table":
		return s.hosts["a"].node.Leadership().Leader
	case "leader of the shard":
		node, _, _ := s.hosts[move.From].Local(shard)
		if node == nil {
			node, _, _ = s.hosts[s.hosts["a"].Table().Shards[shard].Members[0]].Local(shard)
		}
		return node.Leadership().Leader
	case "new server":
		return move.To
	}
	return move.From
}

// writers write to all shards of a store.
type writers struct {
	*store
	stop    context.CancelFunc
	working sync.WaitGroup

	mu           sync.Mutex
	acknowledged map[int][]string
	unknown      map[string]bool
}

// write begins to write: one command after the other in each shard, each of them another one.
func (s *store) write(t *testing.T, shards int) *writers {
	ctx, stop := context.WithCancel(t.Context())
	w := &writers{store: s, stop: stop, acknowledged: map[int][]string{}, unknown: map[string]bool{}}
	for shard := range shards {
		w.working.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				command := fmt.Sprintf("%d/%d", shard, i)
				call, cancel := context.WithTimeout(ctx, 2*time.Second)
				err := s.propose(call, shard, command)
				cancel()
				w.mu.Lock()
				if err == nil {
					w.acknowledged[shard] = append(w.acknowledged[shard], command)
				} else {
					w.unknown[command] = true
				}
				w.mu.Unlock()
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	return w
}

// end ends the writers.
func (w *writers) end() {
	w.stop()
	w.working.Wait()
}

// check ends the writers, and requires that what was acknowledged is there once, and what is unknown at most
// once.
func (w *writers) check() {
	w.t.Helper()
	time.Sleep(5 * time.Second) // longer than a call takes
	w.end()
	time.Sleep(3 * time.Second) // what is on its way arrives
	want, table := map[int][]string{}, w.running()[0].Table()
	for shard := range table.Shards {
		node, machine, ok := w.hosts[table.Shards[shard].Members[0]].Local(shard)
		require.True(w.t, ok)
		require.NoError(w.t, node.Read(w.t.Context()))
		want[shard] = w.acknowledged[shard]
		for _, command := range machine.(*journal).all() {
			if w.unknown[command] {
				want[shard] = append(want[shard], command)
				delete(w.unknown, command)
			}
		}
		require.NotEmpty(w.t, want[shard])
	}
	w.store.check(want)
}
