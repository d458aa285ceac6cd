package raft_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

// A tally is a replicated number. A command is the number to add, in digits; the result is the sum.
// Most examples use it.
type tally struct{ value atomic.Int64 }

func (t *tally) Apply(entries []raft.Entry, results [][]byte) {
	for i, e := range entries {
		add, err := strconv.ParseInt(string(e.Data), 10, 64)
		if err != nil {
			results[i] = []byte("not a number") // the same on every server
			continue
		}
		results[i] = strconv.AppendInt(nil, t.value.Add(add), 10)
	}
}

func (t *tally) Snapshot() (io.WriterTo, error) {
	return nil, errors.New("a tally is replayed from its log")
}

func (t *tally) Restore(io.Reader) error {
	return errors.New("a tally is replayed from its log")
}

// Three servers in one process, on a network in memory and disks in memory. Any of them takes
// commands and serves reads.
func ExampleStart() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	network := memory.NewNetwork(memory.Options{})
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	tallies, nodes := make([]tally, len(servers)), make([]*raft.Node, len(servers))
	for i, server := range servers {
		node, err := raft.Start(raft.Config{
			ID: server.ID, Machine: &tallies[i], Storage: memory.NewStorage(), Transport: network.Join(server.ID),
			Bootstrap: servers, Logger: slog.New(slog.DiscardHandler),
			Heartbeat: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
		})
		if err != nil {
			log.Fatal(err)
		}
		defer func() {
			if err := node.Close(ctx); err != nil {
				log.Print(err)
			}
		}()
		nodes[i] = node
	}

	for _, node := range nodes {
		sum, err := node.Propose(ctx, []byte("5"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("sum:", string(sum))
	}
	if err := nodes[2].Read(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("c has", tallies[2].value.Load())
	// Output:
	// sum: 5
	// sum: 10
	// sum: 15
	// c has 15
}

// aloneInMemory returns the config of a server in memory that is a cluster by itself. An example
// adds what it is about.
func aloneInMemory(machine raft.StateMachine) raft.Config {
	return raft.Config{
		ID: "a", Machine: machine, Storage: memory.NewStorage(),
		Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Bootstrap: []raft.Server{{ID: "a"}}, Logger: slog.New(slog.DiscardHandler),
	}
}

// newTally starts a server that is a cluster by itself, and returns its state machine too.
func newTally() (*raft.Node, *tally) {
	machine := new(tally)
	node, err := raft.Start(aloneInMemory(machine))
	if err != nil {
		log.Fatal(err)
	}
	return node, machine
}

// closeNodes closes the servers of an example.
func closeNodes(ctx context.Context, nodes ...*raft.Node) {
	for _, node := range nodes {
		if err := node.Close(ctx); err != nil {
			log.Print(err)
		}
	}
}
