package main

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// TestCounterReplicated: the counter gives the same results on every server, whatever crashes,
// parts or is forgotten. A failure is cut down, printed and drawn. The file that it comes as is
// copied into testdata, and repeated ever after (rafttest.Replay).
func TestCounterReplicated(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine: func() raft.StateMachine { return new(counter) },
		Command: rapid.Custom(func(t *rapid.T) []byte { return encode(rapid.Int64().Draw(t, "amount")) }),
	})
}
