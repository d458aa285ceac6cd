package raft_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A status is all that a node knows, for a page that people look at.
func ExampleNode_Status() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)
	if err := node.Read(ctx); err != nil { // it waits for a leader
		log.Fatal(err)
	}

	status := node.Status()
	fmt.Println(status.ID, "is", status.Role, "of term", status.Term)
	for _, member := range status.Members {
		fmt.Println("member", member.ID, member.Role)
	}
	// Output:
	// a is leader of term 1
	// member a voter
}

// A status explains why there is no leader, and what the oldest call waits for. Here the only other
// server is down.
func ExampleStatus() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config := aloneInMemory(new(tally))
	config.Transport = memory.NewNetwork(memory.Options{}).Join("a")
	config.Bootstrap = []raft.Server{{ID: "a"}, {ID: "b"}}
	config.ElectionTimeout = time.Minute // so long only to show the same reason each time
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)

	status := node.Status()
	if status.NoLeader != nil {
		fmt.Println("no leader:", status.NoLeader.Reason)
	}
	if status.Command == nil {
		fmt.Println("no command waits")
	}
	// Output:
	// no leader: this server waits for its election timeout
	// no command waits
}
