package raft_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"time"

	"github.com/e17579a5/raft"
)

// A node takes snapshots by itself. A service asks for one when it wants the log to be short, for
// instance before a planned restart.
func ExampleNode_Snapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := raft.Start(aloneInMemory(new(words)))
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)
	if _, err := node.Propose(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}

	applied := node.Status().Applied
	index, err := node.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("it covers what was applied:", index >= applied)
	// Output: it covers what was applied: true
}

// An exported snapshot is a backup: a file by itself, which shows when it was damaged.
func ExampleNode_ExportSnapshot() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := raft.Start(aloneInMemory(new(words)))
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)
	if _, err := node.Propose(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}

	var file bytes.Buffer // or an os.File, which has to be synced and closed
	if _, err := node.ExportSnapshot(ctx, &file); err != nil {
		log.Fatal(err) // what was written is of no use
	}
	fmt.Println("it holds the state:", bytes.Contains(file.Bytes(), []byte("hello")))
	// Output: it holds the state: true
}

// Another cluster is founded with the state in an exported snapshot: to restore a backup, or to try
// something on a copy.
func ExampleConfig_bootstrapFrom() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	old, err := raft.Start(aloneInMemory(new(words)))
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, old)
	if _, err := old.Propose(ctx, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := old.ExportSnapshot(ctx, &file); err != nil {
		log.Fatal(err)
	}

	state := new(words)
	config := aloneInMemory(state)
	// It may just as well open a file.
	config.BootstrapFrom = func() (io.ReadCloser, error) { return io.NopCloser(&file), nil }
	fresh, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, fresh)
	if err := fresh.Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("the new cluster begins with", string(*state))
	// Output: the new cluster begins with hello
}
