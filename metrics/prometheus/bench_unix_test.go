//go:build unix

package prometheus

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// BenchmarkCommands compares servers with metrics with servers without: how long a command took, and
// how much processor. The two take turns while one benchmark runs, so that what else the machine does
// falls on both alike. On a machine that is shared, the processor's time is the better measure.
func BenchmarkCommands(b *testing.B) {
	for _, onDisk := range []bool{false, true} {
		for _, clients := range []int{1, 256} {
			b.Run(fmt.Sprintf("disk=%v/clients=%d", onDisk, clients), func(b *testing.B) {
				var clusters [2]*trio
				var leaders [2]*raft.Node
				for i := range clusters {
					clusters[i] = startTrio(b, onDisk, i == 1)
					defer clusters[i].close()
					leaders[i] = clusters[i].leader(b)
				}
				var spent, worked [2]time.Duration
				left := b.N
				for left > 0 {
					now := min(left, max(clients*200, 2000))
					left -= now
					for i, leader := range leaders {
						start, before := time.Now(), processor(b)
						drive(b, leader, clients, now)
						spent[i] += time.Since(start)
						worked[i] += processor(b) - before
					}
				}
				clusters[1].scrapeAll(b)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(spent[0].Nanoseconds())/float64(b.N), "without-ns/op")
				b.ReportMetric(100*(spent[1].Seconds()/spent[0].Seconds()-1), "%-more-time")
				b.ReportMetric(float64(worked[0].Nanoseconds())/float64(b.N), "without-cpu-ns/op")
				b.ReportMetric(100*(worked[1].Seconds()/worked[0].Seconds()-1), "%-more-cpu")
			})
		}
	}
}

// drive proposes commands by clients, each of which waits for its result.
func drive(b *testing.B, leader *raft.Node, clients, commands int) {
	command := make([]byte, 128)
	var all sync.WaitGroup
	for c := range clients {
		share := (commands + c) / clients
		all.Go(func() {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			for range share {
				if _, err := leader.Propose(ctx, command); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// processor returns how much of the processor's time this process has used.
func processor(b *testing.B) time.Duration {
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
