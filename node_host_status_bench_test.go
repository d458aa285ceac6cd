package raft_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// BenchmarkHostStatus measures what it costs to ask a host how its groups are.
func BenchmarkHostStatus(b *testing.B) {
	for _, groups := range []int{100, 10_000} {
		b.Run(fmt.Sprint(groups, " groups"), func(b *testing.B) {
			host, err := raft.StartHost(raft.HostConfig{
				ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
				Group: func(raft.GroupID) raft.Config {
					return raft.Config{Machine: &journal{}, Bootstrap: []raft.Server{{ID: "a"}}}
				},
			})
			require.NoError(b, err)
			defer host.Close(context.Background())
			for i := range groups {
				_, err := host.Group(raft.GroupID(fmt.Sprint("group/", i)))
				require.NoError(b, err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if s := host.Status(); s.Running != groups {
					b.Fatal(s.Running)
				}
			}
		})
	}
}
