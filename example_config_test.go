package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// A server with a log on its disk and a TCP port, as a service starts it. All else has defaults.
func ExampleConfig() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	storage, err := wal.Open(dir, wal.Options{})
	if err != nil {
		log.Fatal(err)
	}
	transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{}) // a real service adds TLS
	if err != nil {
		log.Fatal(err)
	}
	address := transport.Addr().String()

	node, err := raft.Start(raft.Config{
		ID: "a", Address: address, Machine: new(tally), Storage: storage, Transport: transport,
		Bootstrap: []raft.Server{{ID: "a", Address: address}}, // the same list on each founder
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node) // this closes the storage and the transport too
	sum, err := node.Propose(ctx, []byte("5"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sum:", string(sum))
	// Output: sum: 5
}

// Validate refuses a command before it gets into the log. It sees the command alone: what depends
// on the state is for Apply to judge.
func ExampleConfig_validate() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	errNoNumber := errors.New("no number")
	config := aloneInMemory(new(tally))
	config.Validate = func(command []byte) error {
		if _, err := strconv.ParseInt(string(command), 10, 64); err != nil {
			return errNoNumber
		}
		return nil
	}
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)

	_, err = node.Propose(ctx, []byte("five"))
	fmt.Println("not applied:", errors.Is(err, raft.ErrNotApplied))
	fmt.Println("because:", errors.Is(err, errNoNumber))
	// Output:
	// not applied: true
	// because: true
}

// Everything has a limit. What exceeds it is refused with an error that says so, and not applied.
func ExampleConfig_limits() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	config := aloneInMemory(new(tally))
	config.MaxCommandBytes = 1 << 10     // of one command
	config.MaxPending = 100              // commands and reads that wait at this server
	config.MaxUncommittedBytes = 4 << 20 // of commands that aren't committed yet
	node, err := raft.Start(config)
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)

	_, err = node.Propose(ctx, make([]byte, 2<<10))
	fmt.Println("too large:", errors.Is(err, raft.ErrTooLarge))
	// Output: too large: true
}
