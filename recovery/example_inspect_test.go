package recovery_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/recovery"
)

// Inspect shows what a server that is stopped holds. After the loss of a majority one looks at each
// survivor, to choose the one that holds the most.
func ExampleInspect() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	disk := memory.NewStorage()
	node, _, err := start(memory.NewNetwork(memory.Options{}), "a", disk, raft.Server{ID: "a", Address: "a"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := node.Propose(ctx, []byte("first")); err != nil {
		log.Fatal(err)
	}
	if err := node.Close(ctx); err != nil {
		log.Fatal(err)
	}

	disk = disk.Reopen() // or wal.Open
	report, err := recovery.Inspect(disk)
	if err != nil {
		log.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("server", report.Server, "holds entries of term", report.LastTerm)
	// Output: server a holds entries of term 1
}
