package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/e17579a5/raft/rafttest/mutants"
)

// models are the bounds within which the checker looks for a mutant, one after the other. Those
// that are cheap and catch most come first.
var models = []struct {
	name  string
	flags []string
}{
	{"transfers", []string{"-commands", "1", "-duplicates", "0"}},
	{"four servers", []string{"-servers", "4", "-commands", "0", "-crashes", "0", "-duplicates", "0", "-in-flight", "1"}},
	{"async elections", []string{"-commands", "0", "-duplicates", "0", "-async"}},
	{"async disks", []string{"-commands", "1", "-duplicates", "0", "-async", "-writes", "2"}},
	{"timeouts", []string{"-commands", "0", "-duplicates", "0", "-crashes", "0", "-timeouts", "-rounds", "1"}},
	{"reads", []string{"-commands", "1", "-reads", "1", "-crashes", "0", "-duplicates", "0"}},
	{"read rounds", []string{"-commands", "1", "-reads", "1", "-rounds", "2", "-crashes", "0", "-duplicates", "0"}},
	{"forwards", []string{"-commands", "1", "-duplicates", "0", "-anywhere"}},
	{"members", []string{"-soup", "-terms", "2", "-commands", "0", "-changes", "1", "-crashes", "0"}},
	{"damage", []string{"-soup", "-terms", "2", "-commands", "0", "-crashes", "0", "-damages", "1"}},
	{"damage of two", []string{"-soup", "-servers", "2", "-crashes", "0", "-damages", "2"}},
	{"duplicates", nil},
}

var (
	brokenLine     = regexp.MustCompile(`(?m)^caught: (.*?) at server \d+: `)
	statesLine     = regexp.MustCompile(`(?m): (\d+) distinct states`)
	transcriptLine = regexp.MustCompile(`(?m)^ +(\d+)  .*│`)
)

// hunt builds the checker with one bug of the protocol after the other, and prints what it finds.
// It is no failure if the checker doesn't find a bug in the time: many bugs are beyond any bounds,
// and left to the simulator.
func (s *settings) hunt(out io.Writer) error {
	root, err := mutants.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "raftmodel")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	all, err := mutants.All()
	if err != nil {
		return err
	}
	tried, found := 0, 0
	const row = "%-34s %-42s %9s %7s %6s  %s\n"
	fmt.Fprintf(out, row, "mutant", "caught by", "states", "time", "steps", "what it breaks")
	for i := range all {
		m := &all[i]
		if !strings.Contains(m.Name, s.only) || len(m.Tests) > 0 || outside(m) {
			continue
		}
		tried++
		v, err := s.try(m, root, dir)
		if err != nil {
			return err
		}
		if v.by != "" {
			found++
		}
		fmt.Fprintf(out, row, m.Name, v.by, v.states, v.took.Round(10*time.Millisecond), v.steps, m.Breaks)
	}
	fmt.Fprintf(out, "%d mutants, %d found\n", tried, found)
	return nil
}

// outside says whether a mutant changes anything outside the root package.
func outside(m *mutants.Mutant) bool {
	return slices.ContainsFunc(m.Changes, func(c mutants.Change) bool { return strings.Contains(c.File, "/") })
}

// A verdict says how a mutant was found.
type verdict struct {
	by, states, steps string
	took              time.Duration
}

// try looks for one mutant in each of the models. Each model gets an equal part of the time.
func (s *settings) try(m *mutants.Mutant, root, dir string) (verdict, error) {
	overlay, err := m.Overlay(root, dir)
	if err != nil {
		return verdict{}, err
	}
	binary := filepath.Join(dir, m.Name+".exe")
	build := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlay, "-o", binary, "./cmd/raftmodel")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return verdict{}, fmt.Errorf("mutant %s doesn't build: %v\n%s", m.Name, err, out)
	}
	defer os.Remove(binary)
	limit := s.limit
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*limit)
	defer cancel()
	begun := time.Now()
	v := verdict{states: "-", steps: "-"}
	for _, model := range models {
		arguments := append([]string{"-quiet", "-for", (limit / time.Duration(len(models))).String()}, model.flags...)
		out, _ := exec.CommandContext(ctx, binary, arguments...).CombinedOutput()
		v.took = time.Since(begun)
		broken, states := brokenLine.FindSubmatch(out), statesLine.FindSubmatch(out)
		if broken == nil || states == nil {
			continue
		}
		v.by, v.states = fmt.Sprintf("%s (%s)", broken[1], model.name), string(states[1])
		if lines := transcriptLine.FindAllSubmatch(out, -1); lines != nil {
			v.steps = string(lines[len(lines)-1][1])
		}
		return v, nil
	}
	return v, nil
}
