package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/e17579a5/raft"
)

// startTally starts a server on a network; one without a list waits to be added.
func startTally(network *raft.Network, id raft.ServerID, storage raft.Storage, list ...raft.Server) *raft.Node {
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
	network := raft.NewNetwork(raft.NetworkConfig{})
	a := startTally(network, "a", raft.NewMemoryStorage(), raft.Server{ID: "a", Address: "a"})
	b := startTally(network, "b", raft.NewMemoryStorage())

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

// Of two servers one is lost for good, so there is no majority any more. The other one is made a cluster of its own, while it is
// stopped.
func ExampleRecoverCluster() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := raft.NewNetwork(raft.NetworkConfig{})
	servers := []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}
	disk := raft.NewMemoryStorage()
	a, b := startTally(network, "a", disk, servers...), startTally(network, "b", raft.NewMemoryStorage(), servers...)
	if _, err := a.Propose(ctx, []byte("5")); err != nil {
		log.Fatal(err)
	}
	for _, node := range []*raft.Node{b, a} {
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}

	disk = disk.Reopen()                            // or wal.Open
	recovery, err := raft.RecoverCluster(disk, "a") // what may be lost, recovery.String() says
	if err != nil {
		log.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("a record is in the log:", recovery.Record == recovery.Last+1)

	a = startTally(network, "a", disk.Reopen())
	sum, err := a.Propose(ctx, []byte("6"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", string(sum))
	if err := a.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// a record is in the log: true
	// sum: 11
}
