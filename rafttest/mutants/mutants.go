// Package mutants holds one-line bugs of the protocol, each of which the simulator or a test must catch: the proof
// that they can fail. A mutant is a file that names a source file, a text found in it exactly once, and what
// takes its place; it is applied by an overlay of the build, so the source itself is never touched.
package mutants

import (
	"embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Mutant is one bug.
type Mutant struct {
	Name    string
	File    string // relative to the module's root
	Breaks  string // what is wrong about it
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

// parse reads a mutant's file.
func parse(name, text string) (Mutant, error) {
	m := Mutant{Name: name}
	head, rest, ok := strings.Cut(text, "--- is\n")
	if !ok {
		return m, fmt.Errorf(`no line "--- is"`)
	}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "file":
			m.File = value
		case "breaks":
			m.Breaks = value
		default:
			return m, fmt.Errorf("%q means nothing here", key)
		}
	}
	m.Is, m.Becomes, ok = strings.Cut(rest, "\n--- becomes\n")
	if !ok {
		return m, fmt.Errorf(`no line "--- becomes"`)
	}
	m.Becomes = strings.TrimSuffix(m.Becomes, "\n")
	if m.File == "" || m.Breaks == "" || m.Is == "" || m.Is == m.Becomes {
		return m, fmt.Errorf("file, what it breaks, or a change is missing")
	}
	return m, nil
}

// Apply returns the mutant's file with its bug. A mutant whose text isn't found exactly once in the source has
// outlived it, and proves nothing any more: an error.
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

// Overlay writes the mutant into dir and returns the name of a file for the -overlay flag of the go command.
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
