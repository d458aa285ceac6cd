// First is a first program: three servers in one process agree on a list of words.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"

	"github.com/e17579a5/raft"
)

// words is the state that is replicated: the commands that were applied, in order.
type words struct{ list []string }

func (w *words) Apply(entries []raft.Entry, results [][]byte) {
	for i, entry := range entries {
		w.list = append(w.list, string(entry.Data))
		results[i] = fmt.Appendf(nil, "word %d", len(w.list))
	}
}

func (w *words) Snapshot() (io.WriterTo, error) {
	text, err := json.Marshal(w.list)
	return bytes.NewReader(text), err
}

func (w *words) Restore(r io.Reader) error {
	w.list = nil
	return json.NewDecoder(r).Decode(&w.list)
}

func main() {
	network := raft.NewNetwork(raft.NetworkConfig{}) // or tcp.Listen
	servers := []raft.Server{{ID: "a"}, {ID: "b"}, {ID: "c"}}
	var nodes []*raft.Node
	for _, server := range servers {
		node, err := raft.Start(raft.Config{
			ID:        server.ID,
			Machine:   &words{},
			Storage:   raft.NewMemoryStorage(), // or wal.Open
			Transport: network.Join(server.ID),
			Bootstrap: servers,
		})
		if err != nil {
			log.Fatal(err)
		}
		nodes = append(nodes, node)
	}
	result, err := nodes[1].Propose(context.Background(), []byte("hello")) // any server will do
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result)
	for _, node := range nodes {
		if err := node.Close(context.Background()); err != nil {
			log.Print(err)
		}
	}
}
