package raft_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
)

// A trace measures what a node does, to fill counters and histograms. Its functions must not block.
func ExampleTrace() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var writes, commands atomic.Int64
	config := aloneInMemory(new(tally))
	config.Trace = &raft.Trace{
		Wrote: func(raft.WriteTrace) { writes.Add(1) }, // Took goes into a histogram
		Answered: func(a raft.AnswerTrace) {
			if a.Kind == "command" && a.Err == nil {
				commands.Add(1)
			}
		},
	}
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if _, err := node.Propose(ctx, []byte("1")); err != nil {
			log.Fatal(err)
		}
	}
	closeNodes(ctx, node)
	fmt.Println(commands.Load(), "commands; written:", writes.Load() > 0)
	// Output: 3 commands; written: true
}
