// Package rafttest holds tests for what users build on package raft.
//
//   - Check is a property test of a state machine. It runs simulated clusters, each from a seed.
//     They lose messages, crash, and forget what was not synced. A failure is cut down, told as a
//     transcript, drawn as a page, and can be kept as a file that Replay repeats.
//   - Cluster runs real nodes in a bubble of testing/synctest. It is for tests of a whole service.
//   - TestStorage, TestTransport and TestStateMachine check an implementation of these interfaces
//     and say which rules it breaks.
//
// Three packages stand beside it: history judges what clients saw, sim is the simulator, and model
// is the model checker.
package rafttest

import (
	"cmp"
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

// A Property is a state machine together with what must hold for it.
type Property struct {
	// Machine returns a state machine in its initial state. Each server of a cluster gets one, and
	// another one each time that it restarts. It must not be nil.
	Machine func() raft.StateMachine

	// Command generates the commands. It must not be nil.
	Command *rapid.Generator[[]byte]

	// Invariant is called with every copy of the state machine after every batch of commands,
	// unless it is nil. An error that it returns fails the property.
	Invariant func(raft.StateMachine) error
}

// maxCommands bounds the number of different commands in one run. A run proposes them again and
// again.
const maxCommands = 64

// Check is a property test of a state machine. It runs clusters that replicate the state machine.
// rapid draws the commands and the seed of each run; its flag -rapid.checks sets the number of
// runs. Servers crash and come back, networks part, and disks lose what was not synced. Three
// things must hold:
//
//   - Each command has, on every copy, the result that it has when the same commands are applied
//     one by one. It doesn't matter in which batches the copy got its commands.
//   - The snapshots of all copies are equal in the end.
//   - The invariants of the protocol hold, and so does Invariant.
//
// A state machine fails that isn't deterministic, that keeps the memory that it was lent, or that
// panics.
//
// Check cuts a failure down to the events that it takes. It writes them as a schedule, which Replay
// repeats, and as a diagram for a browser. For a state machine that isn't deterministic it shows,
// instead, a few commands that two copies answer differently: such a failure can't be repeated.
func Check(t *testing.T, p Property) {
	t.Helper()
	if p.Machine == nil || p.Command == nil {
		t.Fatal("rafttest: Check needs a Machine and a generator of Commands")
	}
	var failed *run
	var differs string // how copies of a machine that isn't deterministic differ
	defer func() {
		if failed != nil && differs == "" {
			failed.explain(t, p)
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{
			seed:     rapid.Uint64().Draw(rt, "seed"),
			commands: rapid.SliceOfN(p.Command, 1, maxCommands).Draw(rt, "commands"),
		}
		// Once differs is set, every later draw gets it: such a machine does something else each
		// time.
		verdict := differs
		if verdict == "" {
			violation := r.do(sim.NewWorld(r.options(p))).Violation
			if violation == nil {
				return
			}
			failed, differs = r, r.unsteady(p)
			verdict = cmp.Or(differs, violation.Error())
		}
		rt.Fatalf("%s", verdict)
	})
}

// A run is what rapid draws for one run of the simulator.
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

// unsteady gives all commands that the run proposed to several copies of the state machine and says
// how the copies differ. It returns "" if they don't.
func (r *run) unsteady(p Property) (differs string) {
	defer func() {
		if recover() != nil {
			differs = "" // the failure is the panic itself
		}
	}()
	w := sim.NewWorld(r.options(p))
	schedule := w.Record(r.do)
	var commands [][]byte
	for i := range schedule.Events {
		if e := &schedule.Events[i]; e.Op == sim.OpPropose {
			commands = append(commands, e.Data)
		}
	}
	return unsteady(p.Machine, commands)
}

// explain shortens the failure, writes it to a file, and prints it.
func (r *run) explain(t *testing.T, p Property) {
	t.Helper()
	w := sim.NewWorld(r.options(p))
	schedule, proof := w.Shrink(w.Record(r.do), sim.DefaultBudget)
	name, err := keep(t, &schedule)
	if err != nil {
		t.Logf("the schedule can't be kept: %v", err)
		return
	}
	t.Logf("shortened to %d events: %v", len(schedule.Events), proof)
	show(t, w, &schedule, name)
	t.Logf("to repeat it: mkdir -p testdata && cp %q testdata/ and, in a test, rafttest.Replay(t, \"testdata/*.schedule\", …)", name)
}

// show prints the invariant that the schedule violates and its transcript. It draws the diagram
// beside the schedule's file. name is the name of that file, which need not exist yet.
func show(t *testing.T, w *sim.World, schedule *sim.Schedule, name string) {
	t.Helper()
	var b strings.Builder
	if v := w.Transcript(&b, schedule, false).Violation; v != nil {
		t.Logf("%v\n%s: %s\ncolumns are servers: role and term, applied/commit/stable/last\n%s", v, v.Name, sim.Meaning(v.Name), &b)
	}
	picture := strings.TrimSuffix(name, ".schedule") + ".html"
	trace := w.Trace(func(w *sim.World) sim.Result { return w.Replay(schedule) })
	if err := diagram.WriteFile(picture, &trace, "rafttest.Replay(t, \"testdata/"+filepath.Base(name)+"\", …)"); err != nil {
		t.Logf("the diagram can't be kept: %v", err)
		return
	}
	t.Logf("to see it, open %s in a browser", picture)
}

// keep writes a schedule to a new file in a temporary directory, which outlives the test, and
// returns the file's name.
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

// Replay repeats the schedules that Check or cmd/raftsim has written to the files that match a
// pattern (see filepath.Glob). Each file is a subtest. A schedule broke an invariant once; it must
// break none now. If it does, Replay prints and draws the failure as Check does.
func Replay(t *testing.T, pattern string, p Property) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("rafttest: no schedule matches %s (%v)", pattern, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			schedule, err := read(name)
			if err != nil {
				t.Fatal(err)
			}
			w := p.world()
			violation := w.Replay(&schedule).Violation
			if violation == nil {
				return
			}
			dir, err := os.MkdirTemp("", "rafttest")
			if err != nil {
				t.Fatal(violation, err)
			}
			show(t, w, &schedule, filepath.Join(dir, filepath.Base(name)))
			t.Fatal(violation)
		})
	}
}

// ReplayFile repeats the schedule in a file. It returns an error with the violated invariant and a
// transcript, or one that says why the file can't be read. It returns nil if no invariant is
// violated.
func ReplayFile(name string, p Property) error {
	schedule, err := read(name)
	if err != nil {
		return err
	}
	w := p.world()
	if r := w.Replay(&schedule); r.Violation != nil {
		var b strings.Builder
		w.Transcript(&b, &schedule, false)
		return fmt.Errorf("%s: %w\n%s", name, r.Violation, &b)
	}
	return nil
}

// world returns a world that repeats schedules. It needs no generator: a schedule holds its
// commands.
func (p *Property) world() *sim.World {
	return sim.NewWorld(sim.Options{Machine: p.Machine, Invariant: p.Invariant})
}

// read reads the schedule in a file.
func read(name string) (sim.Schedule, error) {
	var schedule sim.Schedule
	text, err := os.ReadFile(name)
	if err != nil {
		return schedule, err
	}
	if err := schedule.UnmarshalText(text); err != nil {
		return schedule, fmt.Errorf("%s: %w", name, err)
	}
	return schedule, nil
}
