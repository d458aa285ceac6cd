// Package mutants holds small bugs in the protocol and in the code that carries it out. The
// simulator or a test must catch each of them: this proves that they can fail. A mutant is a file
// like
//
//	file wal/write.go
//	breaks what is wrong with it
//	tests ./wal
//	--- is
//	a text that is found in the file exactly once
//	--- becomes
//	the text that replaces it
//
// An overlay of the build applies the mutant, so the source itself is never touched. The line
// "tests" is for a mutant that the simulator can't catch: it names the packages whose tests must. A
// line "runs" with a number and a line "time" with a duration set a budget other than MaxRuns and
// MaxTime. A line "flags" has flags of cmd/raftsim: the simulator then looks for the mutant only
// among the runs in which it would show.
package mutants

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The budget in which a mutant must be caught, unless its file sets another one: runs of the
// simulator, and time for these runs or for the tests
const (
	MaxRuns = 20_000
	MaxTime = 3 * time.Minute
)

// A Mutant is one bug.
type Mutant struct {
	Name    string
	File    string   // relative to the module's root
	Breaks  string   // what is wrong with the code
	Flags   []string // of cmd/raftsim
	Tests   []string // packages whose tests must catch it; none if the simulator must
	Runs    int
	Time    time.Duration
	Is      string // found exactly once in File
	Becomes string
}

//go:embed testdata/*.mutant
var files embed.FS

// All returns the mutants, sorted by name.
func All() ([]Mutant, error) {
	entries, err := files.ReadDir("testdata")
	if err != nil {
		return nil, err
	}
	var all []Mutant
	for _, e := range entries {
		text, err := files.ReadFile("testdata/" + e.Name())
		if err != nil {
			return nil, err
		}
		m, err := parse(strings.TrimSuffix(e.Name(), ".mutant"), string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all = append(all, m)
	}
	return all, nil
}

// parse parses a mutant's file.
func parse(name, text string) (Mutant, error) {
	m := Mutant{Name: name, Runs: MaxRuns, Time: MaxTime}
	head, rest, ok := strings.Cut(text, "--- is\n")
	if !ok {
		return m, fmt.Errorf(`no line "--- is"`)
	}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		var err error
		switch key {
		case "file":
			m.File = value
		case "breaks":
			m.Breaks = value
		case "tests":
			m.Tests = strings.Fields(value)
		case "flags":
			m.Flags = strings.Fields(value)
		case "runs":
			m.Runs, err = strconv.Atoi(value)
		case "time":
			m.Time, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("%q means nothing here", key)
		}
		if err != nil {
			return m, err
		}
	}
	m.Is, m.Becomes, ok = strings.Cut(rest, "\n--- becomes\n")
	if !ok {
		return m, fmt.Errorf(`no line "--- becomes"`)
	}
	m.Becomes = strings.TrimSuffix(m.Becomes, "\n")
	if m.Runs < 1 || m.Time <= 0 {
		return m, fmt.Errorf("a budget of %d runs and %v is too small", m.Runs, m.Time)
	}
	if m.File == "" || m.Breaks == "" || m.Is == "" || m.Is == m.Becomes {
		return m, fmt.Errorf("the file, what it breaks, or a change is missing")
	}
	return m, nil
}

// Apply returns the text of the mutant's file with the bug. It returns an error if the mutant's
// text isn't found exactly once in the source: the source has changed, and the mutant proves
// nothing any more.
func (m *Mutant) Apply(root string) ([]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, m.File))
	if err != nil {
		return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
	}
	text := strings.ReplaceAll(string(source), "\r\n", "\n")
	if n := strings.Count(text, m.Is); n != 1 {
		return nil, fmt.Errorf("mutant %s: its text is found %d times in %s, not once", m.Name, n, m.File)
	}
	return []byte(strings.Replace(text, m.Is, m.Becomes, 1)), nil
}

// Overlay writes the mutant into dir and returns the name of a file for the flag -overlay of the go
// command.
func (m *Mutant) Overlay(root, dir string) (string, error) {
	text, err := m.Apply(root)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, m.Name+".go")
	if err := os.WriteFile(changed, text, 0o644); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{
		"Replace": {filepath.Join(root, m.File): changed},
	})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, m.Name+".json")
	return name, os.WriteFile(name, overlay, 0o644)
}

// Root returns the directory of the module that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("there is no go.mod above the working directory")
		}
		dir = parent
	}
}
