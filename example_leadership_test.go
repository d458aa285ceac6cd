package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A service asks for the leader at each request, and redirects its client. That costs next to
// nothing.
func ExampleNode_Leadership() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)
	if err := node.Read(ctx); err != nil { // it waits for a leader
		log.Fatal(err)
	}

	leadership := node.Leadership()
	fmt.Println(leadership.Leader, "leads in term", leadership.Term)
	// Output: a leads in term 1
}

// A server does what only the leader is to do, once in each of its leaderships: it hands out work,
// or cleans up. It stops when its leadership ends.
func ExampleNode_WhileLeader() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)

	err := node.WhileLeader(ctx, func(ctx context.Context, term raft.Term) error {
		// With this ctx, a command is applied in this term or never.
		sum, err := node.Propose(ctx, []byte("5"))
		if err != nil {
			return err // the leadership is over: context.Cause(ctx) is raft.ErrNotLeader
		}
		fmt.Println("term", term, "sum", string(sum))
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: term 1 sum 5
}

// A leader decides by its own state, and proposes its decision. The fence sees to it that the
// decision doesn't take effect after another leader has decided otherwise.
func ExampleFence() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, machine := newTally()
	defer closeNodes(ctx, node)
	if err := node.Read(ctx); err != nil { // it waits for a leader
		log.Fatal(err)
	}

	term := node.Leadership().Term
	if machine.value.Load() == 0 { // the decision
		if _, err := node.Propose(raft.Fence(ctx, term), []byte("5")); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("sum:", machine.value.Load())
	_, err := node.Propose(raft.Fence(ctx, term+1), []byte("5"))
	fmt.Println("not leader of another term:", errors.Is(err, raft.ErrNotLeader))
	// Output:
	// sum: 5
	// not leader of another term: true
}

// The leadership goes to another server before this one is taken down for maintenance. (Close hands
// it over by itself, to the server that is best prepared.)
func ExampleNode_TransferLeadership() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	a, b := startTwo()
	defer closeNodes(ctx, a, b)
	if _, err := a.AddServer(ctx, raft.Server{ID: "b", Address: "b"}); err != nil {
		log.Fatal(err)
	}

	for {
		err := a.TransferLeadership(ctx, "b")
		if errors.Is(err, raft.ErrTransferGivenUp) {
			continue // b was too slow, and a has led on
		}
		if err != nil && !errors.Is(err, raft.ErrTransferTarget) { // that is: b leads already
			log.Fatal(err)
		}
		break
	}
	err := b.WhileLeader(ctx, func(context.Context, raft.Term) error {
		fmt.Println("b leads")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: b leads
}

// A higher priority is for a server that should rather lead, because it is near the clients or has
// the fastest disk. The leader hands over to that server once it has caught up.
func ExampleConfig_priority() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	a := startTally(network, "a", raft.Server{ID: "a", Address: "a"})
	config := aloneInMemory(new(tally))
	config.ID, config.Transport, config.Bootstrap, config.Priority = "b", network.Join("b"), nil, 1
	b, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, a, b)
	if _, err := a.AddServer(ctx, raft.Server{ID: "b", Address: "b"}); err != nil {
		log.Fatal(err)
	}

	err = b.WhileLeader(ctx, func(context.Context, raft.Term) error {
		fmt.Println("b leads")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: b leads
}
