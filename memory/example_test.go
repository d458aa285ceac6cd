package memory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A counter counts the commands.
type counter struct{ value atomic.Int64 }

func (c *counter) Apply(entries []raft.Entry, results [][]byte) {
	for i := range entries {
		results[i] = fmt.Append(nil, c.value.Add(1))
	}
}

func (c *counter) Snapshot() (io.WriterTo, error) {
	return nil, errors.New("a counter is replayed from its log")
}

func (c *counter) Restore(io.Reader) error {
	return errors.New("a counter is replayed from its log")
}

// A storage in memory outlives the node that wrote it, so a test can restart a server.
func ExampleStorage_Reopen() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	network, storage := memory.NewNetwork(memory.Options{}), memory.NewStorage()
	for range 2 {
		node, err := raft.Start(raft.Config{
			ID: "a", Machine: &counter{}, Storage: storage, Transport: network.Join("a"),
			Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			log.Fatal(err)
		}
		count, err := node.Propose(ctx, []byte("count"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(count))
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
		storage = storage.Reopen()
	}
	// Output:
	// 1
	// 2
}

// Two of three servers go on without the third one. It catches up when the network is whole again.
func ExampleNetwork_Isolate() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	network := memory.NewNetwork(memory.Options{
		Faults: memory.Faults{MinDelay: time.Millisecond, MaxDelay: 2 * time.Millisecond, Loss: 0.01},
	})
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	counters := make([]counter, len(servers))
	var nodes []*raft.Node
	for i, server := range servers {
		node, err := raft.Start(raft.Config{
			ID: server.ID, Machine: &counters[i], Storage: memory.NewStorage(),
			Transport: network.Join(server.ID), Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			Heartbeat: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
		})
		if err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	propose := func() {
		count, err := nodes[0].Propose(ctx, []byte("count"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(count))
	}
	propose()
	network.Isolate("c")
	propose()
	fmt.Println("c is behind:", counters[2].value.Load() < 2)
	network.Heal()
	if err := nodes[2].Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("c has", counters[2].value.Load())
	for _, node := range nodes {
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 1
	// 2
	// c is behind: true
	// c has 2
}
