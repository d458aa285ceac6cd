package rafttest_test

import (
	"fmt"
	"testing"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
)

// This is a property test of a state machine. It runs clusters that crash, part and lose messages,
// and shows the commands that make a copy of the state machine go astray. (An example has no
// testing.T: in a test file, the inner function is a function named Test….)
func ExampleCheck() {
	testLedger := func(t *testing.T) {
		rafttest.Check(t, rafttest.Property{
			Machine: func() raft.StateMachine { return new(ledger) },
			Command: amounts(),
			Invariant: func(machine raft.StateMachine) error {
				if sum := machine.(*ledger).sum; sum < 0 {
					return fmt.Errorf("the sum is %d", sum)
				}
				return nil
			},
		})
	}
	_ = testLedger
}

// Schedules that once broke an invariant are kept beside the tests, and must break none any more.
// (An example has no testing.T: in a test file, the inner function is a function named Test….)
func ExampleReplay() {
	testSchedules := func(t *testing.T) {
		rafttest.Replay(t, "testdata/*.schedule", rafttest.Property{
			Machine: func() raft.StateMachine { return new(ledger) },
			Command: amounts(),
		})
	}
	_ = testSchedules
}
