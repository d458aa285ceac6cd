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

// One of two servers is lost for good, so there is no majority any more. The other one is made a
// cluster of its own while it is stopped.
func ExampleRecover() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	servers := []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}}
	disk := memory.NewStorage()
	a, _, err := start(network, "a", disk, servers...)
	if err != nil {
		log.Fatal(err)
	}
	b, _, err := start(network, "b", memory.NewStorage(), servers...)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := a.Propose(ctx, []byte("first")); err != nil {
		log.Fatal(err)
	}
	for _, node := range []*raft.Node{b, a} {
		if err := node.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}

	disk = disk.Reopen()                       // or wal.Open
	report, err := recovery.Recover(disk, "a") // report.String() says what may be lost
	if err != nil {
		log.Fatal(err)
	}
	if err := disk.Close(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("a record is in the log:", report.Record == report.Last+1)

	a, _, err = start(network, "a", disk.Reopen())
	if err != nil {
		log.Fatal(err)
	}
	count, err := a.Propose(ctx, []byte("second"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("commands:", string(count))
	if err := a.Close(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// a record is in the log: true
	// commands: 2
}
