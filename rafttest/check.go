// Package rafttest tests what stands on package raft.
//
//   - Check is a property test of a state machine: simulated clusters that lose messages, crash and forget what wasn't
//     synced, by seed. A failure is cut down, told as a transcript, drawn as a page, and can be kept (Replay).
//   - Cluster runs real nodes in a bubble of testing/synctest, to test a whole service.
//   - TestStorage, TestTransport and TestStateMachine say what an implementation of these interfaces does wrong.
//
// Package history beside it judges what clients saw, sim is the simulator, model the model checker.
package rafttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/diagram"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A Property is a state machine and what is to hold for it.
type Property struct {
	// Machine returns a state machine in its initial state. Each server of a cluster gets one, and another each time
	// that it restarts.
	Machine func() raft.StateMachine

	// Command generates the commands.
	Command *rapid.Generator[[]byte]

	// Invariant, when not nil, must return nil for every copy of the state machine after every batch of commands.
	Invariant func(raft.StateMachine) error
}

// maxCommands bounds the different commands of one run. They are proposed again and again.
const maxCommands = 64

// Check is a property test of a state machine. It runs clusters that replicate it, with commands and a seed that rapid
// draws (how many runs, see the flags of rapid: -rapid.checks): servers crash and come back, networks part, disks lose what
// was not synced. On every copy, whatever the batches in which it got its commands, each command must have the result that
// it has when the same commands are applied one by one; snapshots must be equal in the end; and the invariants of the
// protocol must hold. A state machine that isn't deterministic, keeps what it was lent, or panics, fails.
//
// A failure is cut down to the events that it takes and written as a schedule, which Replay repeats, and as a diagram,
// which a browser shows.
func Check(t *testing.T, p Property) {
	t.Helper()
	if p.Machine == nil || p.Command == nil {
		t.Fatal("rafttest: Check needs a Machine and a generator of Commands")
	}
	var failed *run
	defer func() {
		if failed != nil {
			failed.explain(t, p)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{
			seed:     rapid.Uint64().Draw(rt, "seed"),
			commands: rapid.SliceOfN(p.Command, 1, maxCommands).Draw(rt, "commands"),
		}
		if violation := r.do(sim.NewWorld(r.options(p))).Violation; violation != nil {
			failed = r
			rt.Fatalf("%v", violation)
		}
	})
}

// A run is what rapid draws.
type run struct {
	seed     uint64
	commands [][]byte
}

func (r *run) options(p Property) sim.Options {
	return sim.Options{
		Machine:   p.Machine,
		Command:   func(n int64) []byte { return r.commands[n%int64(len(r.commands))] },
		Invariant: p.Invariant,
	}
}

func (r *run) do(w *sim.World) sim.Result {
	params := sim.Swarm(r.seed)
	params.Events /= 4 // many short runs find more than a few long ones
	params.ClientTime = params.Election / 20
	return w.RunParams(params)
}

// explain shortens a failure, writes it down, and prints it.
func (r *run) explain(t *testing.T, p Property) {
	w := sim.NewWorld(r.options(p))
	schedule, proof := w.Shrink(w.Record(r.do), sim.DefaultBudget)
	var b strings.Builder
	w.Transcript(&b, &schedule, false)
	t.Logf("shortened to %d events: %v\ncolumns are servers: role and term, applied/commit/stable/last\n%s", len(schedule.Events), proof, &b)
	name, err := keep(t, &schedule)
	if err != nil {
		t.Logf("the schedule can't be kept: %v", err)
		return
	}
	t.Logf("to repeat it, copy %s into testdata and call rafttest.Replay with it", name)
	picture := strings.TrimSuffix(name, ".schedule") + ".html"
	trace := w.Trace(func(w *sim.World) sim.Result { return w.Replay(&schedule) })
	if err := diagram.WriteFile(picture, &trace, "rafttest.Replay(t, \"testdata/"+filepath.Base(name)+"\", …)"); err != nil {
		t.Logf("the diagram can't be kept: %v", err)
		return
	}
	t.Logf("to see it, open %s in a browser", picture)
}

// keep writes a schedule to a file outside of the test's own directory.
func keep(t *testing.T, s *sim.Schedule) (string, error) {
	text, err := s.MarshalText()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "rafttest")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+".schedule")
	return name, os.WriteFile(name, text, 0o644)
}

// Replay repeats the schedules whose files match a pattern (filepath.Glob), which Check or cmd/raftsim wrote. A schedule that
// broke an invariant once must not break any now.
func Replay(t *testing.T, pattern string, p Property) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("rafttest: no schedule matches %s (%v)", pattern, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			if err := ReplayFile(name, p); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// ReplayFile repeats the schedule in a file. It returns the violation of an invariant, with a transcript, or an error
// that says why the file can't be read.
func ReplayFile(name string, p Property) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var schedule sim.Schedule
	if err := schedule.UnmarshalText(text); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	w := sim.NewWorld(sim.Options{Machine: p.Machine, Invariant: p.Invariant})
	if r := w.Replay(&schedule); r.Violation != nil {
		var b strings.Builder
		w.Transcript(&b, &schedule, false)
		return fmt.Errorf("%s: %w\n%s", name, r.Violation, &b)
	}
	return nil
}
