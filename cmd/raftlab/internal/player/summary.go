package player

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A Summary is what there is to tell of a whole run. What goes on from one step to the next is given
// by its changes.
type Summary struct {
	Title     string     `json:"title"`
	Servers   int        `json:"servers"`
	Steps     int        `json:"steps"`
	Hash      string     `json:"hash"`
	Violation *Violation `json:"violation"`
	Broken    int        `json:"broken"` // the step of the violation; -1 for none
	Notes     []string   `json:"notes"`  // what a reader must know about what is shown
	Start     int        `json:"start"`  // the step at which a reader begins

	Parameters []Value `json:"parameters"`
	Counts     []Value `json:"counts"`

	Lanes [][]Lane `json:"lanes"` // by server: its roles and terms
	Marks []Mark   `json:"marks"` // faults, and events that are one
	Cuts  [][2]int `json:"cuts"`  // how many links are cut, by steps
	Turns []int    `json:"turns"` // the steps at which a reader wants to stop

	Link     string `json:"link"`     // the fragment that opens this run; "" if it is too large
	LinkFail string `json:"linkFail"` // why there is none
}

// A Violation is an invariant that was found broken.
type Violation struct {
	Name    string `json:"name"`
	Meaning string `json:"meaning"` // what the invariant demands
	Text    string `json:"text"`    // the whole, as a transcript has it
	Stack   string `json:"stack"`   // of a panic
}

// A Value is a parameter or a count with its name. It is a text: a browser's numbers can't hold all
// parameters.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Lane is the role and the term of a server from a step on.
type Lane struct {
	Step int    `json:"step"`
	Role string `json:"role"`
	Term uint64 `json:"term"`
}

// A Mark is a step that is a fault.
type Mark struct {
	Step   int    `json:"step"`
	Server int    `json:"server"`
	Text   string `json:"text"`
}

// Summary returns what there is to tell of the run.
func (p *Player) Summary() Summary {
	s := Summary{
		Title: p.title(), Servers: p.servers, Steps: len(p.steps),
		Hash: fmt.Sprintf("%016x", p.result.Hash), Broken: p.broken, Notes: p.notes(), Start: p.start(),
		Parameters: []Value{}, Counts: p.counts(), Lanes: p.lanes(), Marks: p.faults(), Cuts: [][2]int{}, Turns: p.turns,
	}
	if v := p.result.Violation; v != nil {
		s.Violation = &Violation{v.Name, sim.Meaning(v.Name), v.Error(), v.Stack}
	}
	p.params.Each(func(name string, value int64) { s.Parameters = append(s.Parameters, Value{name, fmt.Sprint(value)}) })
	for _, c := range p.cuts {
		s.Cuts = append(s.Cuts, [2]int{c.step, bits.OnesCount64(c.links)})
	}
	whole := p.run
	whole.Step = -1
	fragment, err := whole.Fragment()
	if s.Link = fragment; err != nil {
		s.LinkFail = strings.TrimPrefix(err.Error(), "link: ")
	}
	return s
}

func (p *Player) title() string {
	if p.run.Schedule == nil {
		return fmt.Sprintf("seed %d", uint64(p.params.Seed))
	}
	if n := len(p.run.Schedule.Events); n != 1 {
		return fmt.Sprintf("schedule of %d events", n)
	}
	return "schedule of 1 event"
}

// start returns the step at which a reader begins: the one that the link names, or the violation. A
// run that broke something elsewhere begins at its end, and any other one at its beginning.
func (p *Player) start() int {
	last := len(p.steps) - 1
	switch {
	case p.run.Step >= 0:
		return min(p.run.Step, last)
	case p.broken >= 0:
		return p.broken
	case p.run.Told != "" || p.run.Schedule != nil && p.run.Schedule.Expect != "":
		return last
	}
	return 0
}

// What the page says where this run isn't the one that was found
const (
	standIn = "This page hasn't the state machine that was tested: the simulator's own takes its commands. " +
		"What the servers, disks and network do is shown; results, states and invariants of the tested machine are not. " +
		"Where snapshots are sent, their sizes differ, and so may what follows."
	nothing = "Here it breaks nothing: either that is about the tested state machine, or this version of the library is right."
)

// notes says what a reader must know: above all, where this run isn't the one that was found.
func (p *Player) notes() []string {
	notes := []string{}
	violation := ""
	if v := p.result.Violation; v != nil {
		violation = v.Error()
	}
	schedule := p.run.Schedule
	switch {
	case p.run.Told != "" && p.run.Told != violation:
		notes = append(notes, "Where this run was found, it broke: "+p.run.Told)
		if violation == "" {
			notes = append(notes, nothing)
		}
	case schedule != nil && schedule.Expect != "" && violation == "":
		notes = append(notes, "This schedule once broke "+schedule.Expect+": "+sim.Meaning(schedule.Expect), nothing)
	}
	if p.hasCommands() {
		notes = append(notes, standIn)
	}
	if p.cut {
		notes = append(notes, fmt.Sprintf("The run goes on: only its first %d steps are shown, which is all that this page keeps of a run.", len(p.steps)))
	}
	return notes
}

// hasCommands reports whether the run proposes commands of a tested state machine.
func (p *Player) hasCommands() bool {
	if p.run.Schedule == nil {
		return false
	}
	for i := range p.run.Schedule.Events {
		if e := &p.run.Schedule.Events[i]; e.Data != nil && e.Op != sim.OpChange {
			return true
		}
	}
	return false
}

func (p *Player) counts() []Value {
	s := &p.result.Stats
	var list []Value
	for _, c := range []struct {
		name  string
		count int
	}{
		{"events at cores", s.Events}, {"messages", s.Messages}, {"messages lost", s.Dropped},
		{"elections", s.Elections}, {"crashes", s.Crashes}, {"writes", s.Writes}, {"writes lost", s.Lost},
		{"commands committed", s.Commands}, {"calls answered", s.Answered}, {"refused", s.Refused},
		{"outcome unknown", s.Unknown}, {"reads", s.Reads},
	} {
		list = append(list, Value{c.name, fmt.Sprint(c.count)})
	}
	return list
}

func (p *Player) lanes() [][]Lane {
	lanes := make([][]Lane, p.servers)
	for i := range lanes {
		for _, s := range p.states[i] {
			n := len(lanes[i])
			if n == 0 || lanes[i][n-1].Role != s.role || lanes[i][n-1].Term != uint64(s.term) {
				lanes[i] = append(lanes[i], Lane{s.step, s.role, uint64(s.term)})
			}
		}
	}
	return lanes
}

func (p *Player) faults() []Mark {
	marks := []Mark{}
	for i := range p.steps {
		if s := &p.steps[i]; p.isFault(i) {
			marks = append(marks, Mark{i, s.server, s.text})
		}
	}
	return marks
}

// isFault reports whether a step is a fault. Of links that are cut together it is the first one.
func (p *Player) isFault(number int) bool {
	s := &p.steps[number]
	switch s.op {
	case sim.OpCrash, sim.OpWipe, sim.OpLose, sim.OpRot, sim.OpFill, sim.OpFailWrite, sim.OpFailSync, sim.OpSpoil,
		sim.OpPutBack, sim.OpLogBack, sim.OpMachineBack:
		return s.kind == sim.StepEvent || s.kind == sim.StepBroken
	case sim.OpCut:
		return number == 0 || p.steps[number-1].op != sim.OpCut
	}
	return s.kind == sim.StepFault || s.kind == sim.StepBroken
}

// A Row is a step in the list of all.
type Row struct {
	Step    int    `json:"step"`
	At      int64  `json:"at"`
	Kind    string `json:"kind"`
	Inside  bool   `json:"inside"`
	Server  int    `json:"server"`
	Text    string `json:"text"`
	Effects string `json:"effects"`
}

// maxRows is the number of rows that Rows returns at most.
const maxRows = 1000

// Rows returns the steps from first on, as far as there are any: count of them, or 1000 at most.
func (p *Player) Rows(first, count int) []Row {
	rows := []Row{}
	for i := max(first, 0); i < len(p.steps) && len(rows) < min(count, maxRows); i++ {
		s := &p.steps[i]
		rows = append(rows, Row{i, s.at, p.kind(i), s.inside, s.server, s.text, strings.Join(s.effects, "; ")})
	}
	return rows
}

// Find returns the next step after a step whose text or effects hold a text, in either direction (1
// or -1). It goes on at the other end of the run, and returns -1 if there is no such step.
func (p *Player) Find(text string, from, direction int) int {
	text = strings.ToLower(text)
	n := len(p.steps)
	for i := 1; i <= n && text != ""; i++ {
		at := ((from+i*direction)%n + n) % n
		s := &p.steps[at]
		if strings.Contains(strings.ToLower(s.text), text) || strings.Contains(strings.ToLower(strings.Join(s.effects, "; ")), text) {
			return at
		}
	}
	return -1
}

// OpenText performs the run of a schedule's file.
func OpenText(text []byte) (*Player, error) {
	if len(text) > link.MaxText {
		return nil, fmt.Errorf("the file has %d bytes; a schedule may have %d", len(text), link.MaxText)
	}
	if strings.HasPrefix(string(text[:min(len(text), 100)]), "raft program") {
		return nil, errors.New("this is a program: the calls of a single state machine, without any cluster; rafttest.Replay repeats it")
	}
	schedule := new(sim.Schedule)
	if err := schedule.UnmarshalText(text); err != nil {
		return nil, err
	}
	return Open(link.Run{Schedule: schedule, Step: -1})
}

// OpenLink performs the run that the fragment of a link holds.
func OpenLink(fragment string) (*Player, error) {
	run, err := link.Parse(fragment)
	if err != nil {
		return nil, err
	}
	return Open(run)
}
