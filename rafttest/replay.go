package rafttest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/e17579a5/raft/rafttest/sim"
)

// keep writes the text of a failure to a new file in a temporary directory, which outlives the
// test, and returns the file's name. The name ends with what the file holds.
func keep(t *testing.T, holds string, text []byte) (string, error) {
	dir, err := os.MkdirTemp("", "rafttest")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")+"."+holds)
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
			f, err := read(name)
			if err != nil {
				t.Fatal(err)
			}
			if f.program != nil {
				if found := p.repeat(f.program); found != nil {
					t.Fatalf("%s\n%s", found.verdict(), found.text(f.program))
				}
				return
			}
			w := p.world()
			violation := w.Replay(&f.schedule).Violation
			if violation == nil {
				return
			}
			dir, err := os.MkdirTemp("", "rafttest")
			if err != nil {
				t.Fatal(violation, err)
			}
			show(t, w, &f.schedule, filepath.Join(dir, filepath.Base(name)))
			t.Fatal(violation)
		})
	}
}

// ReplayFile repeats the schedule or the program in a file. It returns an error with the violated
// invariant and a transcript, or with the broken rule and the calls that break it, or one that says
// why the file can't be read. It returns nil if nothing is violated.
func ReplayFile(name string, p Property) error {
	f, err := read(name)
	if err != nil {
		return err
	}
	if f.program != nil {
		if found := p.repeat(f.program); found != nil {
			return fmt.Errorf("%s: %s\n%s", name, found.verdict(), found.text(f.program))
		}
		return nil
	}
	w := p.world()
	if r := w.Replay(&f.schedule); r.Violation != nil {
		var b strings.Builder
		w.Transcript(&b, &f.schedule, false)
		return fmt.Errorf("%s: %w\n%s", name, r.Violation, &b)
	}
	return nil
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
