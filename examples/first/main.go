package main // a first program: a list of words, kept by a cluster of one

import (
	"context"
	"fmt"
	"log"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/typed"
)

type words []string // the state that is replicated

func (w *words) Apply(word string) (int, error) { *w = append(*w, word); return len(*w), nil }

func main() {
	node, err := typed.Start(new(words), raft.Config{ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, // and b, and c
		Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a")}) // or wal.Open, tcp.Listen
	if err != nil {
		log.Fatal(err)
	}
	defer node.Close(context.Background())
	fmt.Println(node.Propose(context.Background(), "hello")) // at any server
}
