package shard

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// Shards are founded on three servers, spread to a fourth one, and leave one that is taken out.
func TestShardsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, 3, 12)
		defer s.close()
		begin := time.Now()
		s.await((*Table).Settled)
		t.Log("founded", time.Since(begin))
		want := map[int][]string{}
		for i := range 12 {
			want[i] = []string{fmt.Sprint("first ", i)}
			require.NoError(t, s.propose(t.Context(), i, want[i][0]))
		}
		s.start("d")
		require.NoError(t, s.hosts["b"].Register(t.Context(), s.server("d")))
		begin = time.Now()
		s.await(func(table *Table) bool {
			return table.Settled() && len(table.Servers) == 4 && len(on(table, "d")) == 9
		})
		t.Log("spread", time.Since(begin))
		s.check(want)
		require.NoError(t, s.hosts["c"].Leave(t.Context(), "a"))
		begin = time.Now()
		<-s.hosts["a"].Left()
		t.Log("left", time.Since(begin))
		s.end("a")
		s.await(func(table *Table) bool { return table.Settled() && len(table.Servers) == 3 })
		t.Log("left", time.Since(begin))
		s.check(want)
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
