package kv

import (
	"fmt"
	"testing"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// BenchmarkApply applies entries of 16 commands each.
func BenchmarkApply(b *testing.B) {
	for _, line := range []string{"set key:%d xxx", "get key:%d", "incr key:%d", "hset hash field:%d xxx"} {
		b.Run(line[:4], func(b *testing.B) {
			m := New(&Memory{})
			var entries []raft.Entry
			for n := range 64 {
				var lines []string
				for i := range 16 {
					lines = append(lines, fmt.Sprintf(line, n*16+i))
				}
				entries = append(entries, raft.Entry{Kind: wire.EntryCommand, Data: entry(1, lines...)})
			}
			results := make([][]byte, 8)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				at := n % 8 * 8
				m.Apply(entries[at:at+8], results)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8/16, "ns/command")
		})
	}
}
