package rafttest_test

import (
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// TestCheckHosts is what a user's test of a service with many groups looks like.
func TestCheckHosts(t *testing.T) {
	rafttest.CheckHosts(t, rafttest.Property{
		Machine:   func() raft.StateMachine { return new(ledger) },
		Command:   amounts(),
		Invariant: solvent,
	})
}

// Machines that keep their own state are checked, too.
func TestCheckHostsWithStores(t *testing.T) {
	rafttest.CheckHosts(t, rafttest.Property{Store: func() rafttest.Store { return new(safe) }, Command: amounts()})
}

// TestCheckHostsFails runs this test binary again with state machines that break a rule in a cluster of
// hosts.
func TestCheckHostsFails(t *testing.T) {
	var copies atomic.Int64
	bugs := map[string]struct {
		machine func() raft.StateMachine
		text    string
	}{
		"batches": {func() raft.StateMachine { return &batched{} }, `the same commands applied one by one, to a copy that nothing else happens to, give`},
		"copies differ": {func() raft.StateMachine {
			n := copies.Add(1)
			return &ledger{drift: func() int64 { return n % 2 }}
		}, `of .+ at index \d+, server \w has the result .+, and server \w`},
		"groups share a state": {func() raft.StateMachine { return sharing }, "the result"},
	}
	if name := os.Getenv("RAFTTEST_FAILS"); name != "" {
		rafttest.CheckHosts(t, rafttest.Property{Machine: bugs[os.Getenv("RAFTTEST_BUG")].machine, Command: amounts()})
		return
	}
	for name, bug := range bugs {
		t.Run(name, func(t *testing.T) {
			t.Setenv("RAFTTEST_BUG", name)
			out := failing(t, "TestCheckHostsFails")
			require.Regexp(t, bug.text, out)
			require.Regexp(t, `TestCheckHostsFails/seed_\d`, out)
		})
	}
}

// sharing is a state machine that all groups share, by mistake.
var sharing = new(ledger)
