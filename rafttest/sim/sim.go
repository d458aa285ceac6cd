// Package sim runs whole clusters of raft.Core in one thread. Their networks, disks, clocks,
// crashes and clients are simulated, and everything that chance decides follows from a seed. The
// same seed gives the same run, byte for byte, on any machine. After every step the simulator
// checks that no invariant of the protocol is broken.
//
// The run of a seed (World.Run) is a timed one: surroundings that are drawn from the seed act by
// themselves. Everything in it that reaches a core is an Event. The list of these events is a
// Schedule. It repeats the run without any time or chance (World.Replay). It still means something
// when events are left out of it. So a failure can be cut down to the few events that it takes
// (World.Shrink), read as a transcript, and kept as a file.
package sim

import (
	"math/bits"

	"github.com/e17579a5/raft/internal/blame"
)

// A Result is what came of a run.
type Result struct {
	Params    Params
	Stats     Stats
	Hash      uint64 // over everything that happened; equal runs have equal hashes
	Violation *Violation
}

// Run performs the run of a seed, with the parameters that the seed draws (see Swarm).
func (w *World) Run(seed uint64) Result { return w.RunParams(Swarm(seed)) }

// RunParams performs a run with given parameters. A cluster is founded and things go wrong for a
// while. Then all faults end, and the cluster must make progress.
func (w *World) RunParams(p Params) Result {
	w.reset(p)
	w.stamped = true
	w.guard(func() {
		if p.Found != 0 && !w.orphaned() {
			w.step(Event{Op: OpFound}, nil)
		}
		if w.violation == nil {
			w.faultPhase()
		}
		w.step(Event{Op: OpSettle}, nil)
		if w.params.WAL != 0 {
			w.reopen()
		}
	})
	return w.result()
}

// Replay repeats a schedule. It stops at the first violation.
func (w *World) Replay(s *Schedule) Result {
	w.reset(s.Params)
	w.stamped = false
	w.guard(func() {
		for i := range s.Events {
			if w.violation != nil {
				break
			}
			w.step(s.Events[i], nil)
		}
	})
	return w.result()
}

// Record performs a run again and returns it as a schedule. If the run breaks an invariant, the
// schedule ends there and expects that violation.
func (w *World) Record(run func(*World) Result) Schedule {
	w.record = true
	r := run(w)
	if r.Violation != nil && r.Violation.macro > 0 {
		// It happened while time passed by itself. So the events of that time are recorded, too.
		w.expandAt = r.Violation.macro
		r = run(w)
	}
	w.record, w.expandAt = false, 0
	s := Schedule{Params: r.Params, Events: append([]Event(nil), w.history...)}
	if r.Violation != nil {
		s.Expect = r.Violation.Name
	}
	return s
}

// guard calls f. It turns a panic of the core or of a state machine into a violation.
func (w *World) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			w.violation = nil
			w.fail(Assertion, -1, "%v", p)
			w.violation.Stack = blame.Stack()
		}
	}()
	f()
}

func (w *World) result() Result {
	for i := range w.servers {
		w.ends(func() { w.release(&w.servers[i]) }) // a failure of this run, not of the next one
	}
	w.closeStores()
	w.countElections()
	w.stats.Leaders = 0
	for _, commit := range w.ghost.commits {
		if commit > 0 {
			w.stats.Leaders++
		}
	}
	if w.beyond {
		w.stats.Beyond++
	}
	if w.excused != "" {
		w.stats.Excused++
		return Result{w.params, w.stats, w.hash, nil}
	}
	if w.violation != nil {
		w.violation.Step = w.stats.Steps
	}
	return Result{w.params, w.stats, w.hash, w.violation}
}

// ends calls f, which ends something of the user's. A panic of it is a violation if there was none
// before.
func (w *World) ends(f func()) {
	violation, excused := w.violation, w.excused
	w.guard(f)
	if violation != nil {
		w.violation, w.excused = violation, excused
	}
}

// countElections counts the terms in which servers campaigned, and those of them in which votes
// were split.
func (w *World) countElections() {
	w.stats.Campaigns, w.stats.Split = 0, 0
	for _, l := range w.ghost.leaders {
		if l.server != 0 || l.asked != 0 {
			w.stats.Campaigns++
		}
		if l.server == 0 && bits.OnesCount32(l.asked) > 1 {
			w.stats.Split++
		}
	}
}
