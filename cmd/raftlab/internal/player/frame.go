package player

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
)

// maxFlights is the number of messages on their way that a Frame tells of; it counts the others.
const maxFlights = 80

// MaxCells is the number of entries of each log that a Frame may have.
const MaxCells = 200

// A Frame is what is seen after a step. Servers, steps and messages are named by their places, from
// 0; -1 means that there is none.
type Frame struct {
	Step    int      `json:"step"`
	At      int64    `json:"at"` // in nanoseconds since the start of the run
	Kind    string   `json:"kind"`
	Inside  bool     `json:"inside"` // within an event in which time passes by itself
	Text    string   `json:"text"`   // as a transcript has it
	Server  int      `json:"server"`
	Effects []string `json:"effects"` // as a transcript has them

	Servers   []Server `json:"servers"`
	First     int      `json:"first"` // the index of the first cell of each log
	Committed []Cell   `json:"committed"`
	Commit    int      `json:"commit"` // the number of entries that any leader has committed

	Flights []Flight `json:"flights"`
	More    int      `json:"more"`  // messages on their way that Flights leaves out
	Never   int      `json:"never"` // messages sent so far that arrive in no step of the run
	Cut     [][2]int `json:"cut"`   // links, from and to
	Answers []string `json:"answers"`
	Damage  []string `json:"damage"`
	Broken  bool     `json:"broken"`  // an invariant was found broken in this step
	Follows int      `json:"follows"` // the step that sent the message that arrives in this one
}

// A Server is the state of one server after a step.
type Server struct {
	Role    string   `json:"role"` // may also be "down"
	Term    uint64   `json:"term"`
	Vote    string   `json:"vote"`
	Applied uint64   `json:"applied"`
	Commit  uint64   `json:"commit"`
	Stable  uint64   `json:"stable"`
	Last    uint64   `json:"last"`
	Text    string   `json:"text"`    // its column in a transcript
	Changed []string `json:"changed"` // the names of what the step has changed
	Disk    Disk     `json:"disk"`
	Cells   []Cell   `json:"cells"`
}

// A Disk is what a server's disk holds.
type Disk struct {
	Term     uint64 `json:"term"`
	Vote     string `json:"vote"`
	First    uint64 `json:"first"` // its entries, First to Last; none if First is greater
	Last     uint64 `json:"last"`
	Snapshot string `json:"snapshot"` // what it covers and its size; "" for none
	Waiting  int    `json:"waiting"`  // writes that it was given and hasn't done
	Lost     string `json:"lost"`     // the entries whose bytes it has lost, such as "5-7 9"
	Full     bool   `json:"full"`
	New      bool   `json:"new"` // it isn't the server's first disk
}

// A Cell is an entry in a log, or the want of one.
type Cell struct {
	Term  uint64   `json:"term"` // 0 if there is no entry
	Text  string   `json:"text"`
	Full  string   `json:"full"`
	Marks []string `json:"marks"` // "volatile", "committed", "differs", "lost", "waits", "changed"
}

// A Flight is a message that is on its way, or that ends its way in this step.
type Flight struct {
	Message int     `json:"message"`
	From    int     `json:"from"`
	To      int     `json:"to"`
	Kind    string  `json:"kind"`
	Short   string  `json:"short"`
	Text    string  `json:"text"`
	Sent    int     `json:"sent"`
	End     int     `json:"end"`
	Fate    string  `json:"fate"` // "arrives", "cut", "lost" or "down"
	Part    float64 `json:"part"` // of its way, in steps: above 0, and 1 in the step of its end
}

// At returns what is seen after a step, with up to so many cells of each log. A step that isn't in
// the run stands for the nearest that is.
func (p *Player) At(number, cells int) Frame {
	number = min(max(number, 0), len(p.steps)-1)
	cells = min(max(cells, 1), MaxCells)
	s := &p.steps[number]
	f := Frame{
		Step: number, At: s.at, Kind: p.kind(number), Inside: s.inside, Text: s.text, Server: s.server,
		Effects: notNil(s.effects), Answers: []string{}, Damage: []string{}, Broken: number == p.broken, Follows: -1,
		Commit: until(len(p.commits), number, func(i int) int { return p.commits[i] }),
	}
	if s.delivered >= 0 {
		f.Follows = p.messages[s.delivered].sent
	}
	for i := range s.answers {
		f.Answers = append(f.Answers, answerText(&s.answers[i]))
	}
	for i := range s.damage {
		d := &s.damage[i]
		f.Damage = append(f.Damage, fmt.Sprintf("server %d, entries %d to %d: %s", d.Server+1, d.Entries.First, d.Entries.Last, d.What))
	}
	p.logsAt(&f, cells)
	p.flightsAt(&f)
	f.Cut = p.cutAt(number)
	return f
}

// logsAt fills in the servers and their logs.
func (p *Player) logsAt(f *Frame, cells int) {
	longest := f.Commit
	for i := range p.servers {
		longest = max(longest, int(p.stateOf(i, f.Step).last))
	}
	f.First = max(longest-cells, 0) + 1
	f.Committed = []Cell{}
	for i := f.First; i <= longest; i++ {
		entry := -1
		if i <= f.Commit {
			entry = p.committed[i-1]
		}
		f.Committed = append(f.Committed, p.cell(entry))
	}
	for server := range p.servers {
		now := p.stateOf(server, f.Step)
		to := Server{
			Role: now.role, Term: uint64(now.term), Vote: string(now.vote), Applied: uint64(now.applied), Commit: uint64(now.commit),
			Stable: uint64(now.stable), Last: uint64(now.last), Text: now.text, Disk: diskOf(now), Cells: []Cell{},
			Changed: changed(p.stateOf(server, f.Step-1), now),
		}
		for i := raft.Index(f.First); i <= raft.Index(longest); i++ {
			entry := p.entryOf(server, i, f.Step)
			c := p.cell(entry)
			c.Marks = p.marks(server, now, i, entry, f)
			to.Cells = append(to.Cells, c)
		}
		f.Servers = append(f.Servers, to)
	}
}

// cell returns the cell of an entry, or an empty one for -1.
func (p *Player) cell(entry int) Cell {
	c := Cell{Marks: []string{}}
	if entry >= 0 {
		e := &p.entries[entry]
		c.Term, c.Text, c.Full = uint64(e.term), e.short, e.full
	}
	return c
}

// marks says what is to be seen of the entry at an index of a server's log, or of its absence (-1).
func (p *Player) marks(server int, now *state, index raft.Index, entry int, f *Frame) []string {
	marks := []string{}
	mark := func(is bool, name string) {
		if is {
			marks = append(marks, name)
		}
	}
	mark(entry < 0 && index <= now.last, "waits") // the core hasn't handed it to the disk
	if entry < 0 {
		return marks
	}
	mark(index > now.stable, "volatile")
	mark(index <= now.commit, "committed")
	mark(index <= now.commit && int(index) <= f.Commit && p.committed[index-1] != entry, "differs")
	mark(inRanges(now.lost, index), "lost")
	mark(p.entryOf(server, index, f.Step-1) != entry, "changed")
	return marks
}

// inRanges reports whether an index is in one of some ranges, such as "5-7 9".
func inRanges(ranges string, index raft.Index) bool {
	for text := range strings.FieldsSeq(ranges) {
		var first, last raft.Index
		if n, _ := fmt.Sscanf(text, "%d-%d", &first, &last); n == 1 {
			last = first
		}
		if first <= index && index <= last {
			return true
		}
	}
	return false
}

func diskOf(s *state) Disk {
	d := &s.disk
	to := Disk{
		Term: uint64(d.Term), Vote: string(d.Vote), First: uint64(d.Base) + 1, Last: uint64(d.Last),
		Waiting: s.writes, Lost: s.lost, Full: s.full, New: s.wiped,
	}
	if d.Snapshot.Index > 0 {
		to.Snapshot = fmt.Sprintf("%d/t%d of %d bytes", d.Snapshot.Index, d.Snapshot.Term, d.SnapshotBytes)
	}
	return to
}

// changed returns the names of what is different in the later one of two states.
func changed(was, now *state) []string {
	list := []string{}
	for _, field := range []struct {
		name string
		is   bool
	}{
		{"role", was.role != now.role}, {"term", was.term != now.term}, {"vote", was.vote != now.vote},
		{"applied", was.applied != now.applied}, {"commit", was.commit != now.commit},
		{"stable", was.stable != now.stable}, {"last", was.last != now.last},
		{"disk", was.disk != now.disk || was.lost != now.lost || was.full != now.full || was.wiped != now.wiped},
		{"waiting", was.writes != now.writes},
	} {
		if field.is {
			list = append(list, field.name)
		}
	}
	return list
}

// flightsAt fills in the messages that are on their way: all that were sent and haven't ended, and
// those that end in this step. The ones that were sent last come first.
func (p *Player) flightsAt(f *Frame) {
	f.Flights = []Flight{}
	add := func(number int) {
		m := &p.messages[number]
		if m.end < f.Step || m.from < 0 || m.to < 0 {
			return
		}
		if len(f.Flights) == maxFlights {
			f.More++
			return
		}
		f.Flights = append(f.Flights, Flight{
			Message: number, From: m.from, To: m.to, Kind: m.kind, Short: m.short, Text: m.text, Sent: m.sent, End: m.end, Fate: m.fate,
			Part: float64(f.Step-m.sent+1) / float64(m.end-m.sent+1),
		})
	}
	begin := f.Step / block * block
	for i := f.Step; i >= begin; i-- {
		for _, number := range slices.Backward(p.steps[i].sent) {
			add(number)
		}
	}
	for _, number := range slices.Backward(p.open[f.Step/block]) {
		add(number)
	}
	f.Never = until(len(p.never), f.Step, func(i int) int { return p.never[i] })
}

// cutAt returns the links that are cut after a step.
func (p *Player) cutAt(step int) [][2]int {
	list := [][2]int{}
	n := until(len(p.cuts), step, func(i int) int { return p.cuts[i].step })
	if n == 0 {
		return list
	}
	for from := range p.servers {
		for to := range p.servers {
			if p.cuts[n-1].links>>(from*sim.MaxServers+to)&1 != 0 {
				list = append(list, [2]int{from, to})
			}
		}
	}
	return list
}

// kind says what a step is: the name of its event, or what it is besides.
func (p *Player) kind(number int) string {
	s := &p.steps[number]
	switch s.kind {
	case sim.StepBegin:
		return "begin"
	case sim.StepEnd:
		return "end"
	case sim.StepFault:
		return "fault"
	case sim.StepMiss:
		return "miss"
	case sim.StepBroken:
		return "broken"
	}
	return s.op.String()
}

// answerText says what a caller is told.
func answerText(a *sim.Told) string {
	what := "command"
	switch {
	case a.Read:
		what = "read"
	case a.Call:
		what = "change"
	}
	switch {
	case a.Err == nil:
		return fmt.Sprintf("%s %d: done, at index %d", what, a.Operation, a.Index)
	case errors.Is(a.Err, raft.ErrOutcomeUnknown):
		return fmt.Sprintf("%s %d: outcome unknown: %v", what, a.Operation, a.Err)
	}
	return fmt.Sprintf("%s %d: refused: %v", what, a.Operation, a.Err)
}

// notNil returns the list, so that its JSON is a list even if it is empty.
func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
