package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// startTally starts a server on a network; one without a list waits to be added.
func startTally(network *memory.Network, id raft.ServerID, storage raft.Storage, list ...raft.Server) *raft.Node {
	node, err := raft.Start(raft.Config{
		ID: id, Machine: &tally{}, Storage: storage, Transport: network.Join(id), Bootstrap: list, Logger: slog.New(slog.DiscardHandler),
		Heartbeat: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		log.Fatal(err)
	}
	return node
}

// A server is added, the leadership goes to it, and the first one is removed. A call that expects another configuration
// than there is changes nothing.
func ExampleNode_AddServer() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	a := startTally(network, "a", memory.NewStorage(), raft.Server{ID: "a", Address: "a"})
	b := startTally(network, "b", memory.NewStorage())

	added, err := a.AddServer(ctx, raft.Server{ID: "b", Address: "b"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("members:", len(a.Status().Members))
	if err := a.TransferLeadership(ctx, "b"); err != nil {
		log.Fatal(err)
	}
	if _, err := b.RemoveServer(ctx, "a", raft.Expect(added)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("members:", len(b.Status().Members))
	_, err = b.AddServer(ctx, raft.Server{ID: "a", Address: "a"}, raft.Expect(added))
	fmt.Println("a conflict:", errors.Is(err, raft.ErrConflict))
	for _, node := range []*raft.Node{a, b} {
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// members: 2
	// members: 1
	// a conflict: true
}
