package rafttest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// A program is what happens to one copy of a state machine, without a cluster. A deterministic
// state machine needs no time and no network to break a rule, so Check looks for a failing program
// before it runs a cluster, and also when a cluster has failed: a program is short.
type program []step

// A step is one thing that happens in a program. Whatever makes no sense, because an earlier step
// was left out, does nothing.
type step struct {
	kind stepKind
	// commands are a batch to apply. In a stepRestore they are what the copy that is restored has
	// applied before; none for a copy in its initial state.
	commands [][]byte
	// cut says that the power fails before Save, if the state machine is a durable one.
	cut bool
}

type stepKind uint8

const (
	stepApply   stepKind = iota // applies a batch
	stepCapture                 // captures the state; an earlier capture is closed without being written
	stepWrite                   // writes what was captured to a file, and closes it
	stepRestore                 // goes on with another copy, which is restored from the file
	stepCrash                   // cuts the power after Save; only for a durable state machine
)

// drawProgram makes up a program. It takes its commands from those given: one after the other if
// inOrder is set, and otherwise those that luck chooses.
func drawProgram(luck *rand.Rand, commands [][]byte, inOrder, durable bool) program {
	var p program
	next := 0
	batch := func(most int) [][]byte {
		var b [][]byte
		for range 1 + luck.IntN(most) {
			if !inOrder {
				next = luck.IntN(len(commands))
			}
			if next == len(commands) {
				break
			}
			b = append(b, commands[next])
			next++
		}
		return b
	}
	most, kinds := 1+luck.IntN(9), 12
	if durable {
		kinds = 14
	}
	for n := 8 + luck.IntN(24); n > 0 && !inOrder || inOrder && next < len(commands); n-- {
		var s step
		switch luck.IntN(kinds) {
		default:
			s.commands = batch(most)
		case 0, 1:
			s.kind = stepCapture
		case 2, 3:
			s.kind = stepWrite
		case 4, 5:
			if luck.IntN(2) == 0 {
				p = append(p, step{kind: stepCapture}, step{kind: stepWrite})
			}
			s.kind = stepRestore
			for range luck.IntN(12) {
				s.commands = append(s.commands, commands[luck.IntN(len(commands))])
			}
		case 13:
			s.kind = stepCrash
		}
		s.cut = durable && luck.IntN(4) == 0
		p = append(p, s)
	}
	return p
}

// entryOf returns the entry that holds the nth command of a log, counted from 0. The command's
// bytes are a copy. Indexes have gaps, since no-ops lie between commands.
func entryOf(n int, command []byte) raft.Entry {
	index := raft.Index(n + n/5 + 2)
	return raft.Entry{
		Index: index, Term: 1, Kind: wire.EntryCommand, Origin: raft.Origin{Server: "1", Start: 1}, Number: uint64(n) + 1,
		Data: bytes.Clone(command),
	}
}

// A finding is a rule that a program has found broken.
type finding struct {
	rule   string
	at     int      // the step that shows it; the number of steps if the end does
	detail string   // what was found
	stack  string   // of a panic
	lines  []string // what the steps gave
}

// verdict is the finding in one line.
func (f *finding) verdict() string {
	return fmt.Sprintf("the state machine breaks a rule: %s: %s", f.rule, f.detail)
}

// text tells the finding with the program that shows it.
func (f *finding) text(p program) string {
	var b strings.Builder
	fmt.Fprintf(&b, "the rule that is broken: %s\nit takes one copy of the state machine, and no cluster:\n", f.rule)
	b.WriteString("      m := a new state machine\n")
	for i := range min(f.at+1, len(p)) {
		line := p[i].text()
		if i < len(f.lines) && f.lines[i] != "" {
			line += "  → " + f.lines[i]
		}
		fmt.Fprintf(&b, "%4d  %s\n", i+1, line)
	}
	fmt.Fprintf(&b, "      %s\n", f.detail)
	if f.stack != "" {
		fmt.Fprintf(&b, "the panic came from\n%s", f.stack)
	}
	return b.String()
}

// text writes a step like a statement of a test.
func (s *step) text() string {
	cut := ""
	if s.cut {
		cut = ", and a crash before Save"
	}
	switch s.kind {
	case stepApply:
		return fmt.Sprintf("m.Apply(%s)%s", listed(s.commands), cut)
	case stepCapture:
		return "s := m.Snapshot()"
	case stepWrite:
		return "s.WriteTo(file)"
	case stepRestore:
		if len(s.commands) > 0 {
			return fmt.Sprintf("m = a new state machine; m.Apply(%s); m.Restore(file)%s", listed(s.commands), cut)
		}
		return "m = a new state machine; m.Restore(file)" + cut
	}
	return "a crash"
}

// listed shows a list of commands or of results.
func listed(list [][]byte) string {
	var shown []string
	for _, b := range list {
		shown = append(shown, sim.Show(b))
	}
	return strings.Join(shown, ", ")
}
