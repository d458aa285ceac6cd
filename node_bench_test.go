package raft_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A nothing is a state machine without state, whose results are the commands.
type nothing struct{ journal }

func (*nothing) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		results[i] = entries[i].Data
	}
}

func (*nothing) Snapshot() (io.WriterTo, error) { return nil, nil }

// BenchmarkNodes measures the protocol by itself: three servers in memory, and clients at the
// leader, each of which proposes one command after the other.
func BenchmarkNodes(b *testing.B) {
	for _, load := range []struct{ clients, bytes int }{{1, 16}, {64, 128}, {256, 128}, {1024, 128}, {64, 4096}} {
		b.Run(fmt.Sprintf("%dx%d", load.clients, load.bytes), func(b *testing.B) {
			network := memory.NewNetwork(memory.Options{})
			servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
			var leader *raft.Node
			var nodes []*raft.Node
			for _, server := range servers {
				node, err := raft.Start(raft.Config{
					ID: server.ID, Machine: &nothing{}, Storage: memory.NewStorage(), Transport: network.Join(server.ID),
					Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
					Heartbeat: 20 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
				})
				if err != nil {
					b.Fatal(err)
				}
				defer node.Close(context.Background())
				nodes = append(nodes, node)
			}
			for leader == nil {
				if _, err := nodes[0].Propose(b.Context(), nil); err != nil {
					b.Fatal(err)
				}
				for _, node := range nodes {
					if node.Status().Role == "leader" {
						leader = node
					}
				}
			}
			command := make([]byte, load.bytes)
			b.ReportAllocs()
			b.ResetTimer()
			var clients sync.WaitGroup
			for c := range load.clients {
				commands := (b.N + c) / load.clients
				clients.Go(func() {
					ctx, cancel := context.WithCancel(b.Context()) // callers then share no lock
					defer cancel()
					for range commands {
						if _, err := leader.Propose(ctx, command); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
		})
	}
}
