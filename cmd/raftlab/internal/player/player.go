// Package player performs a run of the simulator once, keeps what happened, and tells of any step of
// it what an observer of the whole cluster sees there. It is the part of the replay page that needs
// no browser: cmd/raftlab/wasm compiles it to WebAssembly, and the page draws what it tells.
//
// A step is looked up, not computed from the first one on, so that a reader can go to any step of a
// long run at once.
package player

import (
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/diagram"
	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// MaxSteps is the number of steps that are kept of a run. It is more than most runs have that are
// given up for want of progress (sim.MaxEvents).
const MaxSteps = 300_000

// A Player is a run that was performed.
type Player struct {
	run     link.Run
	params  sim.Params
	result  sim.Result
	cut     bool // the run has more steps than are kept
	servers int

	steps     []step
	messages  []message
	open      [][]int // by block: the messages that are on their way when the block begins
	never     []int   // the steps in which messages were sent that don't arrive, in order
	entries   []entry
	numbers   map[entry]int
	states    [sim.MaxServers][]stateAt
	logs      [sim.MaxServers][][]entryAt // by index, from 1
	committed []int                       // entries, in order
	commits   []int                       // by index, from 1: the step in which a leader first committed it
	cuts      []cutAt
	broken    int // the step in which an invariant was found broken; -1 for none
	turns     []int
}

// block is the number of steps in a block.
const block = 256

// A step is what is kept of a sim.Step besides what others of the lists above hold.
type step struct {
	kind      sim.StepKind
	inside    bool
	op        sim.Op
	at        int64
	text      string
	server    int
	delivered int   // a message; -1 for none
	sent      []int // messages
	effects   []string
	answers   []sim.Told
	damage    []sim.DamageChange
}

// A message is one that left a core.
type message struct {
	from, to int // -1 for a stranger
	kind     string
	short    string
	text     string
	sent     int    // a step
	end      int    // the step in which it arrived last, or was lost; -1 for never
	fate     string // "arrives", "cut", "lost", "down" or "never"
}

// An entry is one that stood in the log of any server.
type entry struct {
	index       raft.Index
	term        raft.Term
	short, full string
}

// A stateAt is the state of a server from a step on.
type stateAt struct {
	step int
	state
}

// A state is a sim.ServerState that can be compared.
type state struct {
	up                            bool
	role                          string
	term                          raft.Term
	vote                          raft.ServerID
	applied, commit, stable, last raft.Index
	writes                        int
	wiped, full                   bool
	lost                          string // such as "5-7 9"
	disk                          sim.DiskState
	text                          string
}

// An entryAt is what stands at an index of a server's log from a step on: an entry, or -1 for none.
type entryAt struct{ step, entry int }

// A cutAt says which links are cut from a step on: a bit for each pair of servers.
type cutAt struct {
	step  int
	links uint64
}

// Open performs a run and keeps what happens in it. A panic is an error: what a link or a file says
// may be anything.
func Open(run link.Run) (*Player, error) { return open(run, MaxSteps) }

// open performs a run and keeps no more than a number of its steps.
func open(run link.Run, most int) (p *Player, err error) {
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, fmt.Errorf("the run can't be performed: %v", r)
		}
	}()
	p = &Player{run: run, params: run.Params, numbers: map[entry]int{}, broken: -1}
	perform := func(w *sim.World) sim.Result { return w.RunParams(run.Params) }
	if run.Schedule != nil {
		p.params = run.Schedule.Params
		perform = func(w *sim.World) sim.Result { return w.Replay(run.Schedule) }
	}
	p.servers = p.params.All()
	p.result, p.cut = sim.NewWorld(sim.Options{}).Watch(func(s *sim.Step) bool {
		if len(p.steps) == most {
			return false
		}
		p.add(s)
		return true
	}, perform)
	if len(p.steps) == 0 {
		return nil, errors.New("nothing happens in this run: it has no event that is possible")
	}
	p.finish()
	return p, nil
}

// add keeps a step.
func (p *Player) add(s *sim.Step) {
	number := len(p.steps)
	to := step{
		kind: s.Kind, inside: s.Inside, op: s.Event.Op, at: s.At, text: s.Text, server: s.Server,
		delivered: s.Delivered - 1, effects: s.Effects, answers: s.Answers, damage: s.Damage,
	}
	for i := range s.Sent {
		to.sent = append(to.sent, len(p.messages))
		m := &s.Sent[i].Content
		p.messages = append(p.messages, message{
			from: serverOf(m.From), to: serverOf(m.To), kind: m.Kind().String(),
			short: diagram.MessageText(m), text: sim.MessageText(m), sent: number, end: -1, fate: "never",
		})
	}
	if to.delivered >= 0 {
		m := &p.messages[to.delivered]
		if m.end, m.fate = number, "arrives"; s.Kind == sim.StepMiss {
			m.fate = "down"
		}
	}
	for _, f := range s.Lost {
		if f.Message == 0 {
			continue
		}
		m := &p.messages[f.Message-1]
		if m.end, m.fate = number, "lost"; f.Cut {
			m.fate = "cut"
		}
	}
	p.steps = append(p.steps, to)
	for i := range s.Servers {
		p.see(number, i, &s.Servers[i])
	}
	for i := range s.Logs {
		p.log(number, &s.Logs[i])
	}
	for i := range s.Committed {
		p.committed = append(p.committed, p.entry(&s.Committed[i]))
		p.commits = append(p.commits, number)
	}
	p.links(number, s)
	if number == 0 || p.turn(number, s) {
		p.turns = append(p.turns, number)
	}
}

// see keeps the state of a server, if it has changed.
func (p *Player) see(number, i int, s *sim.ServerState) {
	now := state{
		up: s.Up, role: s.Role, term: s.Term, vote: s.Vote, applied: s.Applied, commit: s.Commit, stable: s.Stable, last: s.Last,
		writes: s.Writes, wiped: s.Wiped, full: s.Full, lost: diagram.RangesText(s.LostRanges), disk: s.Disk,
	}
	if !now.up {
		now.role = "down"
	}
	if n := len(p.states[i]); n > 0 {
		was := p.states[i][n-1].state
		if was.text = ""; was == now {
			return
		}
	}
	now.text = s.Text()
	p.states[i] = append(p.states[i], stateAt{number, now})
}

// log keeps a change of a server's log.
func (p *Player) log(number int, c *sim.LogChange) {
	log := p.logs[c.Server]
	put := func(index, entry int) { // indexes count from 0 here
		if index == len(log) {
			log = append(log, nil)
		}
		log[index] = append(log[index], entryAt{number, entry})
	}
	for i := range c.Entries {
		put(int(c.After)+i, p.entry(&c.Entries[i]))
	}
	for i := int(c.After) + len(c.Entries); i < len(log) && holds(log[i]); i++ {
		put(i, -1)
	}
	p.logs[c.Server] = log
}

// holds reports whether an entry stands at an index at last.
func holds(history []entryAt) bool {
	n := len(history)
	return n > 0 && history[n-1].entry >= 0
}

// entry returns the number of an entry in the list of all.
func (p *Player) entry(e *raft.Entry) int {
	n := entry{index: e.Index, term: e.Term}
	n.short, n.full = diagram.EntryText(e)
	number, known := p.numbers[n]
	if !known {
		number = len(p.entries)
		p.numbers[n] = number
		p.entries = append(p.entries, n)
	}
	return number
}

// links keeps which links are cut.
func (p *Player) links(number int, s *sim.Step) {
	var was uint64
	if n := len(p.cuts); n > 0 {
		was = p.cuts[n-1].links
	}
	now := was
	bit := func() uint64 { return 1 << (int(s.Event.Peer)*sim.MaxServers + int(s.Event.Server)) }
	switch {
	case s.Kind == sim.StepFault || s.Kind == sim.StepMiss:
	case s.Event.Op == sim.OpCut:
		now |= bit()
	case s.Event.Op == sim.OpJoin:
		now &^= bit()
	case s.Event.Op == sim.OpHeal, s.Event.Op == sim.OpSettle && s.Kind == sim.StepBegin:
		now = 0
	}
	if now != was {
		p.cuts = append(p.cuts, cutAt{number, now})
	}
}

// turn reports whether a step, which has just been added, is one at which a reader wants to stop.
func (p *Player) turn(number int, s *sim.Step) bool {
	if s.Kind == sim.StepBegin || s.Kind == sim.StepFault || s.Kind == sim.StepBroken || len(s.Damage) > 0 {
		return true
	}
	switch s.Event.Op {
	case sim.OpStart, sim.OpHeal, sim.OpChange, sim.OpHandOver:
		return s.Kind == sim.StepEvent
	case sim.OpJoin: // the first of several
		return p.steps[number-1].op != s.Event.Op
	}
	if p.isFault(number) {
		return true
	}
	for i := range p.servers {
		n := len(p.states[i])
		if n > 1 && p.states[i][n-1].step == number && p.states[i][n-1].role != p.states[i][n-2].role {
			return true
		}
	}
	return false
}

// finish computes what depends on the whole run.
func (p *Player) finish() {
	last := len(p.steps) - 1
	if v := p.result.Violation; v != nil {
		p.broken = last
		for v.Name != sim.Convergence && p.broken > 0 && p.steps[p.broken].kind == sim.StepEnd {
			p.broken--
		}
		p.turns = append(p.turns, p.broken)
	}
	p.turns = append(p.turns, last)
	slices.Sort(p.turns)
	p.turns = slices.Compact(p.turns)

	p.open = make([][]int, last/block+1)
	for i := range p.messages {
		m := &p.messages[i]
		if m.end < 0 {
			p.never = append(p.never, m.sent)
		}
		for b := m.sent/block + 1; b*block <= m.end; b++ {
			p.open[b] = append(p.open[b], i)
		}
	}
}

// until returns how many of a list, which is in the order of its steps, have happened after a step.
func until(count, step int, stepOf func(i int) int) int {
	return sort.Search(count, func(i int) bool { return stepOf(i) > step })
}

// stateOf returns the state of a server after a step. Before step 0, all are down.
func (p *Player) stateOf(server, step int) *state {
	list := p.states[server]
	n := until(len(list), step, func(i int) int { return list[i].step })
	if n == 0 {
		return &state{role: "down"}
	}
	return &list[n-1].state
}

// entryOf returns what stands at an index of a server's log after a step, or -1 if nothing does.
func (p *Player) entryOf(server int, index raft.Index, step int) int {
	if index < 1 || index > raft.Index(len(p.logs[server])) {
		return -1
	}
	list := p.logs[server][index-1]
	n := until(len(list), step, func(i int) int { return list[i].step })
	if n == 0 {
		return -1
	}
	return list[n-1].entry
}

// serverOf returns the number of a server from its ID in the simulator, from 0; -1 for a stranger.
func serverOf(id raft.ServerID) int {
	if len(id) == 1 && id[0] >= '1' && id[0] < '1'+sim.MaxServers {
		return int(id[0] - '1')
	}
	return -1
}
