package rafttest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/sim"
	"github.com/e17579a5/raft/wire"
)

// manyCopies is the number of copies of a state machine that must agree before the machine is taken
// for deterministic.
const manyCopies = 40

// unsteady applies the given commands, one by one, to many new copies of a state machine. It
// returns "" if all copies agree. Otherwise it removes the commands that aren't needed for a
// difference, and returns a text with the rest and with what differs. A schedule couldn't convict
// such a machine: the machine does something else each time.
func unsteady(machine func() raft.StateMachine, commands [][]byte) string {
	if differ(machine, commands) == nil {
		return ""
	}
	for size := max(len(commands)/2, 1); ; size = (size + 1) / 2 {
		for from := 0; from < len(commands); {
			fewer := append(append([][]byte(nil), commands[:from]...), commands[min(from+size, len(commands)):]...)
			if differ(machine, fewer) != nil {
				commands = fewer
			} else {
				from += size
			}
		}
		if size == 1 {
			break
		}
	}
	var found []string
	for tries := 0; found == nil && tries < 100; tries++ {
		found = differ(machine, commands)
	}
	var b strings.Builder
	b.WriteString("the state machine isn't deterministic: copies of it that got the same commands, one by one, differ\n")
	for i, command := range commands {
		fmt.Fprintf(&b, "  %d  %s\n", i+1, sim.Show(command))
	}
	for _, line := range found {
		fmt.Fprintf(&b, "%s\n", line)
	}
	b.WriteString("(look for maps that are ranged over, time, randomness, and what copies share)")
	return b.String()
}

// differ says how two copies differ after the same commands. It returns nil if manyCopies copies
// agree.
func differ(machine func() raft.StateMachine, commands [][]byte) []string {
	var first [][]byte
	for n := range manyCopies {
		now := results(machine(), commands)
		if n == 0 {
			first = now
			continue
		}
		for i := range now {
			if bytes.Equal(first[i], now[i]) {
				continue
			}
			what := fmt.Sprintf("the result of %d", i+1)
			if i == len(commands) {
				what = "the snapshot after all of them"
			}
			return []string{
				fmt.Sprintf("%s is %s in one copy", what, sim.Show(first[i])),
				fmt.Sprintf("%s is %s in another", what, sim.Show(now[i])),
			}
		}
	}
	return nil
}

// results applies commands one by one. It returns their results, followed by the bytes of a
// snapshot at the end.
func results(m raft.StateMachine, commands [][]byte) [][]byte {
	all := make([][]byte, 0, len(commands)+1)
	for i, command := range commands {
		entry := [1]raft.Entry{{Term: 1, Index: raft.Index(i + 1), Kind: wire.EntryCommand, Data: bytes.Clone(command)}}
		var result [1][]byte
		m.Apply(entry[:], result[:])
		all = append(all, bytes.Clone(result[0]))
	}
	var snapshot bytes.Buffer
	if s, err := m.Snapshot(); err == nil && s != nil {
		if _, err := s.WriteTo(&snapshot); errors.Join(err, closeCapture(s)) != nil {
			snapshot.Reset() // other checks judge whether a snapshot can be written
		}
	}
	return append(all, snapshot.Bytes())
}
