// Package rafttest holds tests for what users build on package raft.
//
//   - Check is a property test of a state machine. It takes single copies, and then simulated
//     clusters, each from a seed. These lose messages, crash, and forget what was not synced. A
//     failure is cut down. It is told as a few calls, or as a transcript, which is also drawn as
//     a page. Either is kept as a file that Replay repeats.
//   - CheckHosts checks a state machine on real hosts that serve several groups.
//   - Cluster runs real nodes, or hosts of many groups, in a bubble of testing/synctest. It is for tests
//     of a whole service.
//   - TestStorage, TestTransport and TestStateMachine check an implementation of these interfaces
//     and say which rules it breaks.
//
// Three packages stand beside it: history judges what clients saw, sim is the simulator, and model
// is the model checker.
package rafttest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/diagram"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A Property is a state machine together with what must hold for it.
type Property struct {
	// Machine returns a state machine in its initial state. Each server of a cluster gets one, and
	// another one each time that it restarts. It must not be nil, unless Store is set.
	Machine func() raft.StateMachine

	// Store, when not nil, replaces Machine for a state machine that keeps its own durable state
	// (raft.Config.Durable). It returns an empty store, on which the machine of one server keeps
	// its state across crashes.
	//
	// A node calls Save after each Apply and each Restore, before anything else. Check does so too,
	// with one exception: the copies that it compares with apply the commands one by one, and are
	// captured by Snapshot, without any Save. So Snapshot must have what was applied, saved or not.
	Store func() Store

	// Command generates the commands. It must not be nil.
	Command *rapid.Generator[[]byte]

	// Invariant is called with every copy of the state machine after every batch of commands,
	// unless it is nil. An error that it returns fails the property.
	Invariant func(raft.StateMachine) error
}

// A Store is what a durable state machine of one server keeps its state on. See sim.Store.
type Store = sim.Store

// maxCommands bounds the number of different commands in one run. A run proposes them again and
// again.
const maxCommands = 64

// Check is a property test of a state machine. rapid draws the commands and the seed of each run;
// its flag -rapid.checks sets the number of runs. A run has two parts.
//
// The first part takes single copies of the state machine and demands what raft.StateMachine and
// raft.DurableMachine demand. A copy gets commands in batches, is captured, and is written to a
// file while it applies more; copies with another state are restored from that file. Lent memory is
// overwritten after each call. The power of a durable machine fails before and after calls of Save.
// All the time a copy must behave like one that has applied the same commands one by one.
//
// The second part runs a cluster that replicates the state machine. Servers crash and come back,
// networks part, and disks lose what was not synced. Three things must hold:
//
//   - Each command has, on every copy, the result that it has when the same commands are applied
//     one by one. It doesn't matter in which batches the copy got its commands.
//   - The snapshots of all copies are equal in the end.
//   - The invariants of the protocol hold, and so does Invariant.
//
// If a failure takes no more than one copy, Check names the rule that is broken and shows the calls
// that break it, as few as it finds. It writes them as a program. Otherwise it cuts the run down to
// the events that the failure takes. It writes them as a schedule, and as a diagram for a browser,
// and prints a link with which cmd/raftlab replays it.
// Replay repeats both kinds of files. For a state machine that isn't deterministic Check shows,
// instead, a few commands that two copies answer differently: such a failure can't be repeated.
//
// A call of the property, of a state machine or of a store that hasn't returned within a minute of
// real time hangs. Check names the type and the method then, makes no other call, and fails.
func Check(t *testing.T, p Property) {
	t.Helper()
	if p.Machine == nil && p.Store == nil || p.Command == nil {
		t.Fatal("rafttest: Check needs a Machine or a Store, and a generator of Commands")
	}
	var failed *run
	var last string // the verdict on a machine that does something else each time, or that hangs
	defer func() {
		if failed != nil && last == "" {
			for _, text := range failed.told(t.Name(), p) {
				t.Log(text)
			}
		}
	}()
	rapid.Check(t, func(rt *rapid.T) {
		r := &run{
			seed:     rapid.Uint64().Draw(rt, "seed"),
			commands: rapid.SliceOfN(p.Command, 1, maxCommands).Draw(rt, "commands"),
		}
		// Once last is set, every later draw gets it: nothing is to be had from another try.
		verdict := last
		if verdict == "" {
			if verdict, last = r.judge(p); verdict == "" {
				return
			}
			failed = r
		}
		rt.Fatalf("%s", verdict)
	})
}

// judge performs the run. It says what fails, or returns "" if nothing does. last is the same if
// another try makes no sense.
func (r *run) judge(p Property) (verdict, last string) {
	var fails, differs string
	if err := p.watching(func(p *Property) {
		if fails = r.fails(p); fails != "" {
			differs = r.unsteady(*p)
		}
	}); err != nil {
		return err.Error(), err.Error()
	}
	return cmp.Or(differs, fails), differs
}

// A run is what rapid draws for one run of the simulator.
type run struct {
	seed     uint64
	commands [][]byte
	durable  bool     // the state machine keeps its own durable state
	program  program  // that fails; nil if none does
	short    program  // the same, shortened
	found    *finding // by it
}

// programs is the number of programs in a run.
const programs = 8

// fails performs the run. It says what fails, or returns "" if nothing does.
func (r *run) fails(p *Property) string {
	luck := rand.New(rand.NewPCG(r.seed, 5))
	for range programs {
		if r.try(p, drawProgram(luck, r.commands, false, p.Store != nil)) {
			return r.found.verdict()
		}
	}
	if violation := r.do(sim.NewWorld(r.options(*p))).Violation; violation != nil {
		return violation.Error()
	}
	return ""
}

func (r *run) options(p Property) sim.Options {
	r.durable = p.Store != nil
	return sim.Options{
		Machine:   p.Machine,
		Store:     p.Store,
		Command:   func(n int64) []byte { return r.commands[n%int64(len(r.commands))] },
		Invariant: p.Invariant,
	}
}

func (r *run) do(w *sim.World) sim.Result {
	params := sim.Swarm(r.seed)
	params.Events /= 4 // many short runs find more than a few long ones
	params.ClientTime = params.Election / 20
	if !r.durable {
		params.Durable = 0 // no server goes on from what its machine had
	}
	return w.RunParams(params)
}

// unsteady gives all commands that the run proposed to several copies of the state machine and says
// how the copies differ. It returns "" if they don't.
func (r *run) unsteady(p Property) (differs string) {
	defer func() { _ = recover() }() // the failure is the panic itself
	var commands [][]byte
	for i := range r.program {
		commands = append(commands, r.program[i].commands...)
	}
	if r.program == nil {
		w := sim.NewWorld(r.options(p))
		r.do(w)
		commands = w.Commands()
	}
	t := &trial{property: &p}
	defer t.end()
	return unsteady(func() raft.StateMachine {
		m, _, _ := t.open() // if a copy can't be opened, that is the failure, and a panic
		return m
	}, commands)
}

// try runs a program. If it fails, try keeps it, shortened, and returns true.
func (r *run) try(p *Property, steps program) bool {
	f := p.run(steps, mercy{})
	if f == nil {
		return false
	}
	r.program = steps
	r.short, r.found = p.shorten(steps, f)
	return true
}

// alone reports whether a program fails. If it was a cluster that has failed, it looks for a
// program of the commands that the cluster has applied, and keeps it.
func (r *run) alone(p *Property) bool {
	const tries = 100
	if r.program != nil {
		return true
	}
	w := sim.NewWorld(r.options(*p))
	r.do(w)
	commands := w.Commands()
	luck := rand.New(rand.NewPCG(r.seed, 6))
	for try := 0; try < tries && len(commands) > 0 && r.program == nil; try++ {
		r.try(p, drawProgram(luck, commands, true, p.Store != nil))
	}
	return r.program != nil
}

// told returns what there is to tell of the failure of a test.
func (r *run) told(test string, p Property) []string {
	var told []string
	if err := p.watching(func(p *Property) { told = r.explain(test, p) }); err != nil {
		return []string{err.Error()}
	}
	return told
}

// explain shortens the failure of a test and writes it to a file. It returns what there is to tell.
func (r *run) explain(test string, p *Property) []string {
	if r.alone(p) {
		told := r.found.text(r.short)
		name, err := keep(test, "program", r.short.marshal(r.found.rule))
		if err != nil {
			return []string{told, fmt.Sprintf("the program can't be kept: %v", err)}
		}
		return []string{told, repetition(name)}
	}
	w := sim.NewWorld(r.options(*p))
	schedule, proof := w.Shrink(w.Record(r.do), sim.DefaultBudget)
	text, err := schedule.MarshalText()
	if err != nil {
		return []string{fmt.Sprintf("the schedule can't be written: %v", err)}
	}
	name, err := keep(test, "schedule", text)
	if err != nil {
		return []string{fmt.Sprintf("the schedule can't be kept: %v", err)}
	}
	told := []string{fmt.Sprintf("shortened to %d events: %v", len(schedule.Events), proof)}
	return append(append(told, shown(w, &schedule, name)...), repetition(name))
}

// repetition says how the failure in a file is repeated.
func repetition(name string) string {
	return fmt.Sprintf("to repeat it: mkdir -p testdata && cp %q testdata/ and, in a test, rafttest.Replay(t, \"testdata/*%s\", …)", name, filepath.Ext(name))
}

// shown returns the invariant that the schedule violates and its transcript. It draws the diagram
// beside the schedule's file. name is the name of that file, which need not exist yet.
func shown(w *sim.World, schedule *sim.Schedule, name string) []string {
	var told []string
	var b strings.Builder
	if v := w.Transcript(&b, schedule, false).Violation; v != nil {
		panicked := ""
		if v.Stack != "" {
			panicked = "the panic came from\n" + v.Stack
		}
		told = append(told, fmt.Sprintf("%v\n%s: %s\n%scolumns are servers: role and term, applied/commit/stable/last\n%s", v, v.Name, sim.Meaning(v.Name), panicked, &b))
	}
	picture := strings.TrimSuffix(name, ".schedule") + ".html"
	trace := w.Trace(func(w *sim.World) sim.Result { return w.Replay(schedule) })
	if err := diagram.WriteFile(picture, &trace, "rafttest.Replay(t, \"testdata/"+filepath.Base(name)+"\", …)"); err != nil {
		return append(told, fmt.Sprintf("the diagram can't be kept: %v", err))
	}
	return append(told, fmt.Sprintf("to see it, open %s in a browser", picture), replayed(schedule, trace.Result.Violation))
}

// replayed says how to go through a failure step by step. The page has no state machine of a user, so
// that the link tells what was found.
func replayed(schedule *sim.Schedule, violation *sim.Violation) string {
	run := link.Run{Schedule: schedule, Step: -1}
	if violation != nil {
		run.Told = violation.Error()
	}
	address, err := run.URL()
	if err != nil {
		return fmt.Sprintf("no link to a replay: %v; the page of go run github.com/e17579a5/raft/cmd/raftlab opens the schedule", err)
	}
	return fmt.Sprintf("to replay what servers, disks and network did, step by step: go run github.com/e17579a5/raft/cmd/raftlab, and open\n%s", address)
}
