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
// which a browser shows. Of a state machine that isn't deterministic the few commands are shown that copies of it answer
// differently: there is nothing to repeat.
func Check(t *testing.T, p Property) {
	t.Helper()
	if p.Machine == nil || p.Command == nil {
		t.Fatal("rafttest: Check needs a Machine and a generator of Commands")
	}
	var failed *run
	var differs string // copies of a machine that isn't deterministic
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
		verdict := differs // if there is one, whatever is drawn: such a machine does something else each time
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

// unsteady says how copies of the state machine differ that get all that was proposed; "" if they don't.
func (r *run) unsteady(p Property) (differs string) {
	defer func() {
		if recover() != nil {
			differs = "" // that it panics is what is wrong with it
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

// explain shortens a failure, writes it down, and prints it.
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

// show prints what a schedule violates and its transcript, and draws it beside where name is: a file to be.
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
// broke an invariant once must not break any now. One that does is printed and drawn as by Check.
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

// ReplayFile repeats the schedule in a file. It returns the violation of an invariant, with a transcript, or an error
// that says why the file can't be read.
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

// world returns one for schedules, which hold their commands.
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
