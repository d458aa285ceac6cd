package tcp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strconv"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
)

// A tally is a replicated number. A command is the number to add to it, in digits; the result is
// the sum.
type tally struct{ value int64 }

func (t *tally) Apply(entries []raft.Entry, results [][]byte) {
	for i, e := range entries {
		add, err := strconv.ParseInt(string(e.Data), 10, 64)
		if err != nil {
			results[i] = []byte("not a number") // the same on every server
			continue
		}
		t.value += add
		results[i] = strconv.AppendInt(nil, t.value, 10)
	}
}

func (t *tally) Snapshot() (io.WriterTo, error) {
	return nil, errors.New("a tally is replayed from its log")
}

func (t *tally) Restore(io.Reader) error {
	return errors.New("a tally is replayed from its log")
}

// Three servers talk over TCP. In a real cluster, their addresses are fixed, because the cluster
// stores them.
func ExampleListen() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var transports []*tcp.Transport
	var servers []raft.Server
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
		if err != nil {
			log.Fatal(err)
		}
		transports = append(transports, transport)
		servers = append(servers, raft.Server{ID: id, Address: transport.Addr().String()})
	}
	var nodes []*raft.Node
	for i, server := range servers {
		node, err := raft.Start(raft.Config{
			ID: server.ID, Machine: &tally{}, Storage: memory.NewStorage(), Transport: transports[i],
			Bootstrap: servers,
			Heartbeat: 20 * time.Millisecond, ElectionTimeout: 100 * time.Millisecond,
		})
		if err != nil {
			log.Fatal(err)
		}
		defer func() { // Close also closes the transport
			if err := node.Close(ctx); err != nil {
				log.Print(err)
			}
		}()
		nodes = append(nodes, node)
	}
	for _, node := range nodes { // any server will do
		sum, err := node.Propose(ctx, []byte("5"))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("sum:", string(sum))
	}
	// Output:
	// sum: 5
	// sum: 10
	// sum: 15
}
