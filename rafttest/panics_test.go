package rafttest

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/sim"
)

// An exploding storage panics in its fifth call of Write, whoever calls it.
type exploding struct {
	*memory.Storage
	writes int
}

func (e *exploding) Write(w raft.Write) error {
	if e.writes++; e.writes == 5 {
		explode()
	}
	return e.Storage.Write(w)
}

// TestStorageMayPanic demands that a panic of a storage is a broken rule, with the stack, also when
// another goroutine of a check has called the storage.
func TestStorageMayPanic(t *testing.T) {
	err := TestStorage(func() Disk {
		storage := memory.NewStorage()
		return Disk{Open: func() (raft.Storage, error) {
			storage = storage.Reopen()
			return &exploding{Storage: storage}, nil
		}}
	})
	for _, check := range []string{"close under load", "concurrency", "random writes"} {
		require.ErrorContains(t, err, "rafttest: storage: "+check+": ")
	}
	require.ErrorContains(t, err, "panic: no more pages\n")
	require.ErrorContains(t, err, "rafttest.explode")
}

// TestClustersConvictOddStores demands that a cluster names the rule that a store breaks, and that
// a panic of it is a violation, with the stack, even if it comes when the run is over.
func TestClustersConvictOddStores(t *testing.T) {
	load := func() (raft.Index, []byte, error) { return 0, nil, nil }
	save := func(raft.Index, []byte) error { return nil }
	for what, c := range map[string]struct {
		store        odd
		name, detail string
	}{
		"opens nothing": {odd{}, sim.DurableState, "opens without a state machine"},
		"no Load":       {odd{machine: newNotebook(""), durable: raft.DurableMachine{Save: save}}, sim.DurableState, "without Load or without Save"},
		"no Save":       {odd{machine: newNotebook(""), durable: raft.DurableMachine{Load: load}}, sim.DurableState, "without Load or without Save"},
		"Crash panics":  {odd{machine: newNotebook(""), durable: raft.DurableMachine{Load: load, Save: save}, crash: explode}, sim.Assertion, "no more pages"},
	} {
		t.Run(what, func(t *testing.T) {
			p := Property{Store: func() Store { s := c.store; return &s }}
			w := p.world()
			s := sim.Schedule{Params: sim.Params{Servers: 1}, Events: []sim.Event{{Op: sim.OpFound}}}
			for range 2 { // the second run finds nothing of the first one
				v := w.Replay(&s).Violation
				require.NotNil(t, v)
				require.Equal(t, c.name, v.Name)
				require.ErrorContains(t, v, c.detail)
			}
			if v := w.Replay(&s).Violation; c.name == sim.Assertion {
				require.Contains(t, v.Stack, "rafttest.explode")
				told := shown(w, &s, filepath.Join(t.TempDir(), "kept.schedule"))
				require.Contains(t, told[0], "the panic came from\n")
				require.Contains(t, told[0], "rafttest.explode")
				told = shown(w, &s, filepath.Join(t.TempDir(), "none", "kept.schedule"))
				require.Contains(t, told[1], "the diagram can't be kept: ")
			}
		})
	}
}
