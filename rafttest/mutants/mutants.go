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
//
// Where two lines of defence stand against one fault, either can be taken away and nothing fails.
// Such a mutant takes away all of them at once. It has one change for each line, in any number of
// files, and a line "removes" for each change, which says what that line of defence is:
//
//	file election.go
//	breaks what is wrong when all of them are gone
//	removes the first line of defence
//	--- is
//	a text
//	--- becomes
//	the text that replaces it
//	--- also
//	file raft.go
//	removes the second line of defence
//	--- is
//	a text
//	--- becomes
//	the text that replaces it
//
// Several changes may be in one file. Each text is looked for in what the changes before it have
// left of that file. A line of defence that a test holds by itself needs no such company, and is a
// mutant of its own: go run ./cmd/raftmutants -apart shows it.
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
	Breaks  string   // what is wrong with the code
	Flags   []string // of cmd/raftsim
	Tests   []string // packages whose tests must catch it; none if the simulator must
	Runs    int
	Time    time.Duration
	Changes []Change // at least one
}

// A Change replaces a text in a file.
type Change struct {
	File    string // relative to the module's root
	Removes string // the line of defence that the change takes away; "" for a change that is alone
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
	for i, part := range strings.Split(text, "\n--- also\n") {
		head, rest, ok := strings.Cut(part, "--- is\n")
		if !ok {
			return m, fmt.Errorf(`change %d has no line "--- is"`, i+1)
		}
		var c Change
		for line := range strings.Lines(head) {
			key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			if err := m.set(&c, key, value); err != nil {
				return m, err
			}
		}
		if c.Is, c.Becomes, ok = strings.Cut(rest, "\n--- becomes\n"); !ok {
			return m, fmt.Errorf(`change %d has no line "--- becomes"`, i+1)
		}
		c.Becomes = strings.TrimSuffix(c.Becomes, "\n")
		m.Changes = append(m.Changes, c)
	}
	return m, m.check()
}

// set sets what a line of a change's head says. Only the first change has lines about the mutant.
func (m *Mutant) set(c *Change, key, value string) (err error) {
	switch {
	case key == "file":
		c.File = value
	case key == "removes":
		c.Removes = value
	case len(m.Changes) > 0:
		err = fmt.Errorf("%q means nothing behind the first change", key)
	case key == "breaks":
		m.Breaks = value
	case key == "tests":
		m.Tests = strings.Fields(value)
	case key == "flags":
		m.Flags = strings.Fields(value)
	case key == "runs":
		m.Runs, err = strconv.Atoi(value)
	case key == "time":
		m.Time, err = time.ParseDuration(value)
	default:
		err = fmt.Errorf("%q means nothing here", key)
	}
	return err
}

// check says what a mutant's file lacks.
func (m *Mutant) check() error {
	if m.Runs < 1 || m.Time <= 0 {
		return fmt.Errorf("a budget of %d runs and %v is too small", m.Runs, m.Time)
	}
	if m.Breaks == "" {
		return fmt.Errorf("it doesn't say what it breaks")
	}
	for i := range m.Changes {
		if c := &m.Changes[i]; c.File == "" || c.Is == "" || c.Is == c.Becomes {
			return fmt.Errorf("change %d has no file, or changes nothing", i+1)
		} else if (c.Removes != "") != (len(m.Changes) > 1) {
			return fmt.Errorf("change %d of %d: each of several says what it removes, and one alone doesn't", i+1, len(m.Changes))
		}
	}
	return nil
}

// Alone returns a mutant that makes only one of the changes of m.
func (m *Mutant) Alone(i int) Mutant {
	alone := *m
	alone.Name = fmt.Sprintf("%s-%d", m.Name, i+1)
	alone.Changes = m.Changes[i : i+1]
	return alone
}

// Apply returns the texts of the files that the mutant changes, with the bug, by the files' names.
// It returns an error if a text of the mutant isn't found exactly once: the source has changed, and
// the mutant proves nothing any more.
func (m *Mutant) Apply(root string) (map[string]string, error) {
	texts := map[string]string{}
	for i := range m.Changes {
		c := &m.Changes[i]
		text, changed := texts[c.File]
		if !changed {
			source, err := os.ReadFile(filepath.Join(root, c.File))
			if err != nil {
				return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
			}
			text = strings.ReplaceAll(string(source), "\r\n", "\n")
		}
		if n := strings.Count(text, c.Is); n != 1 {
			return nil, fmt.Errorf("mutant %s: the text of change %d is found %d times in %s, not once", m.Name, i+1, n, c.File)
		}
		texts[c.File] = strings.Replace(text, c.Is, c.Becomes, 1)
	}
	return texts, nil
}

// Overlay writes the mutant into dir and returns the name of a file for the flag -overlay of the go
// command.
func (m *Mutant) Overlay(root, dir string) (string, error) {
	texts, err := m.Apply(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, text := range texts {
		changed := filepath.Join(dir, fmt.Sprintf("%s.%d.go", m.Name, len(replace)))
		if err := os.WriteFile(changed, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(root, file)] = changed
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
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
