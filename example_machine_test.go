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

// words is a state machine that appends what is proposed to its state.
type words []byte

// Apply does the same on every server: it looks at nothing but the state and the entries.
func (w *words) Apply(entries []raft.Entry, results [][]byte) {
	for i, e := range entries {
		*w = append(*w, e.Data...)
		results[i] = fmt.Appendf(nil, "%d bytes", len(*w))
	}
}

// Snapshot copies the state, because Apply goes on while the copy is written.
func (w *words) Snapshot() (io.WriterTo, error) { return bytes.NewReader(bytes.Clone(*w)), nil }

// Restore replaces the state.
func (w *words) Restore(r io.Reader) (err error) {
	*w, err = io.ReadAll(r)
	return err
}

// A service implements a StateMachine. rafttest.TestStateMachine and rafttest.Check test it.
func ExampleStateMachine() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	node, err := raft.Start(aloneInMemory(new(words)))
	if err != nil {
		log.Fatal(err)
	}
	defer closeNodes(ctx, node)

	result, err := node.Propose(ctx, []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result))
	// Output: 5 bytes
}
