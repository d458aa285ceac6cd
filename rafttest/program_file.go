package rafttest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// programHeader is the first line of a program's file. It names the version of the format.
// programKind begins it in every version.
const (
	programKind   = "raft program"
	programHeader = programKind + " 1"
)

// stepNames are the words for the kinds of steps in a program's file.
var stepNames = [...]string{
	stepApply: "apply", stepCapture: "capture", stepWrite: "write", stepRestore: "restore", stepCrash: "crash",
}

// isProgram reports whether a file holds a program, of whatever version.
func isProgram(text []byte) bool { return bytes.HasPrefix(text, []byte(programKind)) }

// marshal returns the program in its text format. The first line names the version of the format,
// and the second one the rule that the program breaks. Then come an empty line, and a line for each
// step: its kind, its commands as Go strings, and "cut" if the power fails before Save.
func (p program) marshal(rule string) []byte {
	b := fmt.Appendf(nil, "%s\nexpect %s\n\n", programHeader, rule)
	for i := range p {
		s := &p[i]
		b = append(b, stepNames[s.kind]...)
		for _, command := range s.commands {
			b = strconv.AppendQuote(append(b, ' '), string(command))
		}
		if s.cut {
			b = append(b, " cut"...)
		}
		b = append(b, '\n')
	}
	return b
}

// unmarshal reads what marshal wrote. A program without steps is one, too: of a copy in its initial
// state. A line that begins with # is a comment, and so is what follows a # behind a step.
func (p *program) unmarshal(text []byte) error {
	*p = program{}
	inSteps := false
	for i, raw := range strings.Split(string(text), "\n") {
		line := strings.TrimSpace(raw)
		switch {
		case i == 0:
			if line != programHeader {
				return fmt.Errorf("program: line 1 is %q, not %q", line, programHeader)
			}
		case strings.HasPrefix(line, "#"):
		case line == "":
			inSteps = true
		case inSteps:
			s, err := parseStep(line)
			if err != nil {
				return fmt.Errorf("program: line %d: %w", i+1, err)
			}
			*p = append(*p, s)
		case !strings.HasPrefix(line, "expect "):
			return fmt.Errorf("program: line %d: %q means nothing before the first empty line", i+1, line)
		}
	}
	return nil
}

// parseStep parses the line of a step.
func parseStep(line string) (step, error) {
	word, rest, _ := strings.Cut(line, " ")
	var s step
	for int(s.kind) < len(stepNames) && stepNames[s.kind] != word {
		s.kind++
	}
	if int(s.kind) == len(stepNames) {
		return s, fmt.Errorf("no step is called %q", word)
	}
	for {
		rest = strings.TrimSpace(rest)
		switch {
		case rest == "" || rest[0] == '#':
			return s, nil
		case rest[0] == '"':
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return s, fmt.Errorf("%s: %s doesn't begin with a string in quotes", word, rest)
			}
			command, _ := strconv.Unquote(quoted) // QuotedPrefix returns nothing that can't be unquoted
			s.commands, rest = append(s.commands, []byte(command)), rest[len(quoted):]
		case rest == "cut" || strings.HasPrefix(rest, "cut "):
			s.cut, rest = true, rest[len("cut"):]
		default:
			return s, fmt.Errorf("%s: %q means nothing here", word, rest)
		}
	}
}
