package rafttest

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// hanging returns a property of which one call hangs, after a number of others, until the test is
// over. No other call may follow.
func hanging(t *testing.T, p Property, method string, others int) Property {
	ended, hung := make(chan struct{}), false
	t.Cleanup(func() { close(ended) })
	p.Invariant = func(raft.StateMachine) error { return nil }
	return *p.by(func(call string, f func()) {
		assert.False(t, hung, "%s is called after a call that hangs", call)
		if strings.HasSuffix(call, ": "+method) {
			if others--; others < 0 {
				hung = true
				<-ended
			}
		}
		f()
	})
}

// TestCheckNamesWhatHangs demands that each call of a user's code that hangs is named within a
// minute, and that nothing more is called, whatever it hangs in: the program of one copy, or a
// cluster.
func TestCheckNamesWhatHangs(t *testing.T) {
	plain := []string{"Machine", "Apply", "Snapshot", "WriteTo", "Close of what was captured", "Restore", "Invariant"}
	for _, c := range []struct {
		flaw    string
		methods []string
	}{
		{"", plain},
		{"durable ", append(plain[1:], "Store", "Open", "Load", "Save", "Crash")},
	} {
		for _, method := range c.methods {
			t.Run(c.flaw+method, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					began := time.Now()
					verdict, last := drawn(3).judge(hanging(t, property(c.flaw), method, 0))
					require.Contains(t, verdict, "the state machine breaks a rule: each call returns")
					require.Contains(t, verdict, ": "+method+" hasn't returned within 1m0s: it hangs")
					require.Equal(t, verdict, last, "another try takes another minute")
					require.Equal(t, callPatience, time.Since(began))
				})
			})
		}
	}
}

// TestSlowMachineIsAcquitted demands that no call which returns within a minute is convicted.
func TestSlowMachineIsAcquitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := property("")
		slow := p.by(func(_ string, f func()) {
			time.Sleep(callPatience - 1)
			f()
		})
		verdict, _ := (&run{seed: 3, commands: [][]byte{[]byte("a")}}).judge(*slow)
		require.Empty(t, verdict)
	})
}

// TestReplayNamesWhatHangs demands the same of the files of failures, with the name of the file.
func TestReplayNamesWhatHangs(t *testing.T) {
	schedule, err := (&sim.Schedule{Params: sim.Params{Servers: 1}, Events: []sim.Event{{Op: sim.OpFound}, {Op: sim.OpPropose, N: 1}, {Op: sim.OpPass, N: 2e9}}}).MarshalText()
	require.NoError(t, err)
	for what, text := range map[string][]byte{
		"program":  program{{kind: stepApply, commands: [][]byte{[]byte("a")}}}.marshal(ruleSame),
		"schedule": schedule,
	} {
		name := filepath.Join(t.TempDir(), "kept."+what)
		require.NoError(t, os.WriteFile(name, text, 0o600))
		synctest.Test(t, func(t *testing.T) {
			err := ReplayFile(name, hanging(t, property(""), "Machine", 0))
			require.ErrorIs(t, err, errHung)
			require.ErrorContains(t, err, name+": the state machine breaks a rule: each call returns")
		})
	}
}

// TestExplainNamesWhatHangs demands that a machine which hangs only when its failure is told is
// named, too.
func TestExplainNamesWhatHangs(t *testing.T) {
	r := drawn(3)
	p := property("tires")
	for r.do(sim.NewWorld(r.options(p))).Violation == nil {
		r = drawn(r.seed + 1)
	}
	synctest.Test(t, func(t *testing.T) {
		told := r.told(t.Name(), hanging(t, p, "Apply", 1000))
		require.Len(t, told, 1)
		require.Contains(t, told[0], ": Apply hasn't returned within 1m0s: it hangs")
	})
}

// TestGoneGoroutineIsAVerdict demands that Check doesn't wait for a call that has ended its
// goroutine.
func TestGoneGoroutineIsAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := property("")
		p.Invariant = func(raft.StateMachine) error { runtime.Goexit(); return nil }
		verdict, last := drawn(3).judge(p)
		require.Contains(t, verdict, "each call returns: a state machine waits for nobody: a call doesn't return, but ends its goroutine, as t.FailNow does")
		require.Equal(t, verdict, last)
	})
}

// TestWatchHidesNothing demands that what a user leaves out is missing under the watch, too.
func TestWatchHidesNothing(t *testing.T) {
	load := func() (raft.Index, []byte, error) { return 0, nil, nil }
	save := func(raft.Index, []byte) error { return nil }
	store := func(d raft.DurableMachine) Property {
		return Property{Store: func() Store { return &odd{machine: newNotebook(""), durable: d} }}
	}
	for _, c := range []struct {
		want string
		p    Property
	}{
		{"Machine returned nil", Property{Machine: func() raft.StateMachine { return nil }}},
		{"Store returned nil", Property{Store: func() Store { return nil }}},
		{"opens without a state machine", Property{Store: func() Store { return &odd{} }}},
		{"opens without Load or without Save", store(raft.DurableMachine{Load: load})},
		{"opens without Load or without Save", store(raft.DurableMachine{Save: save})},
	} {
		verdict, _ := drawn(3).judge(c.p)
		require.Contains(t, verdict, c.want)
	}
	m := watchMachine(&odd{notebook: newNotebook(""), none: true}, newWatch().caller())
	_, err := snapshotOf(m)
	require.ErrorContains(t, err, "neither a capture nor an error")
}
