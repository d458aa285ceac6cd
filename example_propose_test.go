package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
)

// A command is proposed at any server. Its result is what the state machine has returned for it.
func ExampleNode_Propose() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, _ := newTally()
	defer closeNodes(ctx, node)

	sum, err := node.Propose(ctx, []byte("7"))
	switch {
	case err == nil:
		fmt.Println("sum:", string(sum))
	case errors.Is(err, raft.ErrNotApplied):
		log.Fatal("not applied, and safe to propose again: ", err)
	default: // raft.ErrOutcomeUnknown
		log.Fatal("applied or not, now or later: ", err)
	}
	// Output: sum: 7
}
