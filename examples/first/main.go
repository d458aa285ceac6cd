// First is a first program: a list of words, kept by a cluster of one.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
)

type words []string // the state that is replicated

func (w *words) Apply(entries []raft.Entry, results [][]byte) {
	for i, entry := range entries {
		*w = append(*w, string(entry.Data))
		results[i] = fmt.Appendf(nil, "word %d", len(*w))
	}
}

func (w *words) Snapshot() (io.WriterTo, error) {
	text, err := json.Marshal(w)
	return bytes.NewReader(text), err
}

func (w *words) Restore(r io.Reader) error { return json.NewDecoder(r).Decode(w) }

func main() {
	node, err := raft.Start(raft.Config{
		ID:        "a",
		Machine:   new(words),
		Storage:   memory.NewStorage(),                           // or wal.Open
		Transport: memory.NewNetwork(memory.Options{}).Join("a"), // or tcp.Listen
		Bootstrap: []raft.Server{{ID: "a"}},                      // and b, and c
	})
	if err != nil {
		log.Fatal(err)
	}
	result, err := node.Propose(context.Background(), []byte("hello")) // at any server
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", result)
	if err := node.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
}
