package model

import (
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"

	"github.com/e17579a5/raft/rafttest/sim"
)

// Transcript writes the run that broke an invariant, in a form for people: a line for each step.
// The line has a column for each server with its role, its term, and applied/commit/stable/last.
// The server to which the step happens is marked. What the server sends follows, and what is lost
// because of it. Transcript writes nothing if no invariant was broken.
func (s *Search) Transcript(out io.Writer) {
	if s.broken == nil {
		return
	}
	t := transcript{out: out, search: s, worker: s.newWorker()}
	one, broken := s.first()
	if broken != nil {
		fmt.Fprintf(out, "*** %v\n", broken)
		return
	}
	t.print("", -1, one, nil)
	for _, ordinal := range s.path(s.broken.state) {
		one = t.follow(one, ordinal)
	}
	t.last(one)
	fmt.Fprintf(out, "*** %v\n", s.broken.violation)
}

// path returns the steps that lead to a state, in order.
func (s *Search) path(number uint32) []uint32 {
	var steps []uint32
	for number != 0 {
		p := s.parents.get(number)
		steps = append(steps, p.step)
		number = p.state
	}
	slices.Reverse(steps)
	return steps
}

type transcript struct {
	out    io.Writer
	search *Search
	worker *worker
	line   int
}

// follow takes one of the steps after a state, prints it, and returns the state after it.
func (t *transcript) follow(one *state, ordinal uint32) *state {
	w := t.worker
	var after *state
	var server int
	var what string
	var effects []string
	w.broken = func(*Violation) {}
	w.found = func(_ []sum, next *state) {
		if w.ordinal != ordinal {
			return
		}
		copied := *next
		copied.messages = slices.Clone(next.messages)
		after, server, what, effects = &copied, w.move.server, t.describe(&w.move), t.effects(&w.move)
	}
	w.expand(one)
	t.print(what, server, after, effects)
	return after
}

// last prints the step that breaks an invariant.
func (t *transcript) last(one *state) {
	w := t.worker
	w.found = func([]sum, *state) {}
	printed := false
	w.broken = func(v *Violation) {
		if *v != *t.search.broken.violation || printed {
			return
		}
		printed = true
		after := *one
		t.nodes(t.describe(&w.move)+" !", w.move.server, &after, w.move.step.after, t.effects(&w.move))
	}
	w.expand(one)
}

// print prints a line.
func (t *transcript) print(what string, server int, after *state, effects []string) {
	t.nodes(what, server, after, nil, effects)
}

// nodes prints a line. If instead isn't nil, it stands for the node of the server.
func (t *transcript) nodes(what string, server int, after *state, instead *node, effects []string) {
	fmt.Fprintf(t.out, "%3d  %-62s", t.line, what)
	t.line++
	for i := range t.search.bounds.Servers {
		n, mark := t.search.tables.nodes.get(after.nodes[i]), " "
		if i == server {
			mark = "•"
			if instead != nil {
				n = instead
			}
		}
		fmt.Fprintf(t.out, " │%s%-12s", mark, n.text())
	}
	if len(effects) > 0 {
		fmt.Fprintf(t.out, " │ %s", strings.Join(effects, "; "))
	}
	fmt.Fprintln(t.out)
}

// text describes a server in a few characters.
func (n *node) text() string {
	role := map[string]string{follows: "F", preCandidates: "P", candidates: "C", recovers: "R", leads: "L"}[n.status.role]
	s := &n.status
	text := fmt.Sprintf("%s%d %d/%d/%d/%d", role, s.term, s.applied, s.commit, s.stable, s.last)
	if n.disk.lost != 0 {
		text += fmt.Sprintf(" !%d", bits.OnesCount64(uint64(n.disk.lost)))
	}
	if len(n.writes) > 0 {
		text += fmt.Sprintf(" w%d", len(n.writes))
	}
	return text
}

// describe says what happens in a step.
func (t *transcript) describe(m *move) string {
	id := idOf(m.server)
	switch e := m.event; {
	case e.arrival():
		c := &t.search.tables.message(uint32(e)).content
		verb := "deliver"
		if m.stays {
			verb = "repeat"
		}
		return fmt.Sprintf("%s %s>%s %s", verb, c.From, c.To, sim.MessageText(c))
	case e == eventTransfer:
		return fmt.Sprintf("%s is told to campaign", id)
	case e == eventOverdue:
		return fmt.Sprintf("%s has waited long enough", id)
	case e == eventPropose:
		return fmt.Sprintf("propose at %s", id)
	case e == eventRead:
		return fmt.Sprintf("read at %s", id)
	case e.kind() == eventRemove:
		return fmt.Sprintf("%s is asked to remove %s", id, idOf(e.number()))
	case e.kind() == eventAdd:
		return fmt.Sprintf("%s is asked to add %s", id, idOf(e.number()))
	case e.kind() == eventHandOver:
		return fmt.Sprintf("%s is asked to hand over to %s", id, idOf(e.number()))
	case e == eventPersist:
		return fmt.Sprintf("%s's write is durable", id)
	case e.kind() == eventCrash:
		return fmt.Sprintf("%s crashes, %d queued writes survive, and starts", id, e.number())
	case e.kind() == eventDamage:
		return fmt.Sprintf("%s crashes, loses index %d, and starts", id, e.number())
	case e.kind() == eventPass:
		return fmt.Sprintf("%s's %s deadline passes", id, t.worker.nodes[m.server].armed[e.number()])
	}
	return fmt.Sprintf("event %d at %s", m.event, id)
}

// effects says what follows from a step.
func (t *transcript) effects(m *move) []string {
	var all []string
	for _, sent := range m.step.sent {
		all = append(all, "→"+string(sent.content.To)+" "+sim.MessageText(&sent.content))
	}
	for i := range m.step.answers {
		a := &m.step.answers[i]
		what := "command"
		if a.Read {
			what = "read"
		} else if a.Call {
			what = "change"
		}
		text := fmt.Sprintf("answers %s %d at %d", what, a.Number, a.Index)
		if a.Err != nil {
			text = fmt.Sprintf("answers %s %d: %v", what, a.Number, a.Err)
		}
		all = append(all, text)
	}
	for _, list := range []struct {
		what     string
		messages []uint32
	}{{"lost", m.lost}, {"answered", m.echoes}} {
		for _, id := range list.messages {
			c := &t.search.tables.message(id).content
			all = append(all, fmt.Sprintf("%s: %s>%s %s", list.what, c.From, c.To, sim.MessageText(c)))
		}
	}
	return all
}
