package raft_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
)

// After Read, the local state shows everything that was acknowledged anywhere before. It is for
// reads that must see the newest state.
func ExampleNode_Read() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, machine := newTally()
	defer closeNodes(ctx, node)
	if _, err := node.Propose(ctx, []byte("3")); err != nil {
		log.Fatal(err)
	}

	if err := node.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", machine.value.Load())
	// Output: sum: 3
}

// LeaseRead saves the round of messages. It is for services whose clocks can be trusted: they set
// Config.MaxLease, and bound the drift with Config.ClockDrift.
func ExampleNode_LeaseRead() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	machine := new(tally)
	config := aloneInMemory(machine)
	config.ElectionTimeout, config.MaxLease = time.Second, time.Second // the same on all servers
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)
	if _, err := node.Propose(ctx, []byte("3")); err != nil {
		log.Fatal(err)
	}

	if err := node.LeaseRead(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", machine.value.Load())
	// Output: sum: 3
}

// StaleRead is for a reader that is content with what was true a while ago, like a dashboard. It
// says how old the state is at most.
func ExampleNode_StaleRead() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, machine := newTally()
	defer closeNodes(ctx, node)
	if _, err := node.Propose(ctx, []byte("3")); err != nil {
		log.Fatal(err)
	}

	age, err := node.StaleRead(ctx, time.Minute)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", machine.value.Load(), "at most a minute ago:", age <= time.Minute)
	// Output: sum: 3 at most a minute ago: true
}
