package raft_test

import (
	"context"
	"fmt"
	"log"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// Events tell what a node knows, now and whenever it changes. They are for supervision, and for a
// service that keeps a table of who leads.
func ExampleNode_Events() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	var closing sync.WaitGroup
	defer closing.Wait()
	for event := range node.Events(ctx) {
		switch e := event.(type) {
		case raft.Leadership:
			if !e.Ready {
				continue // this server isn't ready to act as the leader, or another one leads
			}
			fmt.Println("this server leads in term", e.Term)
			closing.Go(func() { closeNodes(ctx, node) })
		case raft.Trouble:
			if e.Err != nil {
				log.Print("this server takes no part in its cluster: ", e.Err)
			}
		case raft.Stopped:
			fmt.Println("stopped:", e.Err)
		}
	}
	// Output:
	// this server leads in term 1
	// stopped: <nil>
}

// Done and Err tell a supervisor that a node has stopped, and why. The process should then end, or
// start the server again.
func ExampleNode_Done() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	ended := make(chan error, 1)
	go func() {
		<-node.Done()
		// A failure of the disk, the state machine or the transport; nil after Close.
		ended <- node.Err()
	}()

	closeNodes(ctx, node)
	fmt.Println("failure:", <-ended)
	// Output: failure: <nil>
}

// A process that ends closes its node, which hands the leadership over first. The deadline says for
// how long a disk or a state machine that hangs may hold up the end of the process.
func ExampleNode_Close() {
	node, _ := newTally()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := node.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(node.Status().Role)
	// Output: stopped
}
