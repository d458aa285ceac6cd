package wal_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wal"
)

// manyGroups writes entries of 128 bytes for some groups, batch by batch, and closes the log.
func manyGroups(b testing.TB, dir string, groups, entries, batch int) {
	log, err := wal.Open(dir, wal.Options{})
	require.NoError(b, err)
	data := make([]byte, 128)
	for first := 1; first <= entries; first += batch {
		var writes []raft.GroupWrite
		for g := range groups {
			w := raft.GroupWrite{Group: raft.GroupID(fmt.Sprint("group/", g))}
			w.Write.State = raft.DurableState{HardState: raft.HardState{Term: 1, Vote: "server-1"}, Server: "server-1", Incarnation: 7, Cluster: raft.ClusterID{byte(g)}, Start: 1 << 40}
			for i := first; i < first+batch; i++ {
				w.Write.Entries = append(w.Write.Entries, raft.Entry{
					Index: raft.Index(i), Term: 1, Kind: 1, Number: uint64(i), Data: data, Origin: raft.Origin{Server: "server-1", Start: 1 << 40},
				})
			}
			if writes = append(writes, w); len(writes) == 100 {
				_, err := log.WriteGroups(writes)
				require.NoError(b, err)
				writes = writes[:0]
			}
		}
		_, err := log.WriteGroups(writes)
		require.NoError(b, err)
	}
	require.NoError(b, log.Close())
}

// BenchmarkOpenGroups opens a log of 10,000 groups with 100 entries each, which were written one at a
// time or ten at a time.
func BenchmarkOpenGroups(b *testing.B) {
	for _, batch := range []int{1, 10} {
		b.Run(fmt.Sprint(batch, " at a time"), func(b *testing.B) {
			dir := b.TempDir()
			const groups = 10_000
			manyGroups(b, dir, groups, 100, batch)
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				log, err := wal.Open(dir, wal.Options{Ahead: -1})
				require.NoError(b, err)
				b.StopTimer()
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/groups, "B/group")
				require.NoError(b, log.Close())
				b.StartTimer()
			}
		})
	}
}
