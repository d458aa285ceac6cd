package rafttest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/e17579a5/raft/rafttest/sim"
)

// keep writes the text of a failure to a new file in a temporary directory, which outlives the
// test, and returns the file's name. The name is the test's, and ends with what the file holds.
func keep(test, holds string, text []byte) (string, error) {
	dir, err := os.MkdirTemp("", "rafttest")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, strings.ReplaceAll(test, "/", "_")+"."+holds)
	return name, os.WriteFile(name, text, 0o644)
}

// Replay repeats the failures that Check or cmd/raftsim has written to the files that match a
// pattern (see filepath.Glob). The first line of a file tells whether it is the schedule of a
// cluster or the program of one copy. Each file is a subtest. It broke an invariant or a rule once;
// it must break none now. If it does, Replay prints the failure as Check does, and draws that of a
// schedule.
func Replay(t *testing.T, pattern string, p Property) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("rafttest: no file matches %s (%v)", pattern, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			told, err := repeat(name, p, draw)
			for _, text := range told {
				t.Log(text)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// ReplayFile repeats the schedule or the program in a file. It returns an error with the violated
// invariant and a transcript, or with the broken rule and the calls that break it, or one that says
// why the file can't be read. It returns nil if nothing is violated.
func ReplayFile(name string, p Property) error {
	told, err := repeat(name, p, transcript)
	if len(told) == 0 {
		return err
	}
	return fmt.Errorf("%s: %w\n%s", name, err, strings.Join(told, "\n"))
}

// repeat repeats the failure in a file. It returns what is wrong, and what there is to tell of that;
// show tells it of a schedule.
func repeat(name string, p Property, show func(*sim.World, *sim.Schedule, string) []string) ([]string, error) {
	f, err := read(name)
	if err != nil {
		return nil, err
	}
	var told []string
	var wrong error
	if err := p.watching(func(p *Property) {
		if f.program != nil {
			if found := p.repeat(f.program); found != nil {
				told, wrong = []string{found.text(f.program)}, errors.New(found.verdict())
			}
			return
		}
		w := p.world()
		if violation := w.Replay(&f.schedule).Violation; violation != nil {
			told, wrong = show(w, &f.schedule, name), violation
		}
	}); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return told, wrong
}

// draw shows the schedule of a file, and draws its diagram in a new folder.
func draw(w *sim.World, schedule *sim.Schedule, name string) []string {
	dir, err := os.MkdirTemp("", "rafttest")
	if err != nil {
		return []string{fmt.Sprintf("the diagram can't be kept: %v", err)}
	}
	return shown(w, schedule, filepath.Join(dir, filepath.Base(name)))
}

// transcript shows a schedule without a diagram.
func transcript(w *sim.World, schedule *sim.Schedule, _ string) []string {
	var b strings.Builder
	w.Transcript(&b, schedule, false)
	return []string{b.String()}
}

// world returns a world that repeats schedules. It needs no generator: a schedule holds its
// commands.
func (p *Property) world() *sim.World {
	return sim.NewWorld(sim.Options{Machine: p.Machine, Store: p.Store, Invariant: p.Invariant})
}

// repeat runs a program that was kept. It returns what it finds broken, or nil.
func (p *Property) repeat(steps program) *finding {
	f := p.run(steps, mercy{})
	if f != nil {
		p.judge(steps, f)
	}
	return f
}

// A failure is what a file holds: a program, or a schedule if the program is nil.
type failure struct {
	schedule sim.Schedule
	program  program
}

// read reads the failure in a file.
func read(name string) (failure, error) {
	var f failure
	text, err := os.ReadFile(name)
	if err != nil {
		return f, err
	}
	if isProgram(text) {
		err = f.program.unmarshal(text)
	} else {
		err = f.schedule.UnmarshalText(text)
	}
	if err != nil {
		return f, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}
