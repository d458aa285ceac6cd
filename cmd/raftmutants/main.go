// Command raftmutants builds the simulator with one bug of the protocol after the other and prints how soon each is
// caught. A bug that the simulator doesn't see is left to the tests of the root package. It fails if one survives
// both, or no longer applies.
//
//	go run ./cmd/raftmutants
//	go run ./cmd/raftmutants -only vote
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/e17579a5/raft/rafttest/mutants"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "raftmutants:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	root, dir string
	runs      int
	limit     time.Duration
	tests     bool
	keep      string
}

func run(arguments []string) error {
	var s settings
	flags := flag.NewFlagSet("raftmutants", flag.ContinueOnError)
	only := flags.String("only", "", "only the mutants whose names contain this")
	flags.IntVar(&s.runs, "runs", 20_000, "runs of the simulator in which a mutant must be caught")
	flags.DurationVar(&s.limit, "limit", 3*time.Minute, "time for each")
	flags.BoolVar(&s.tests, "tests", true, "let the root package's tests try what the simulator doesn't see")
	flags.StringVar(&s.keep, "keep", "", "directory to put the shortened schedules into")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var err error
	if s.root, err = mutants.Root(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "raftmutants"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	all, err := mutants.All()
	if err != nil {
		return err
	}
	survived, tried := 0, 0
	fmt.Printf("%-32s %-26s %9s %8s %8s  %s\n", "mutant", "killed by", "runs", "time", "events", "what it breaks")
	for i := range all {
		m := &all[i]
		if !strings.Contains(m.Name, *only) {
			continue
		}
		tried++
		v, err := s.hunt(m)
		if err != nil {
			return err
		}
		if v.by == "" {
			survived++
			v.by = "SURVIVED"
		}
		fmt.Printf("%-32s %-26s %9s %8s %8s  %s\n", m.Name, v.by, v.runs, v.took.Round(10*time.Millisecond), v.events, m.Breaks)
	}
	fmt.Printf("%d mutants, %d killed, %d survived\n", tried, tried-survived, survived)
	if survived > 0 {
		return fmt.Errorf("%d of %d mutants survived", survived, tried)
	}
	return nil
}

// A verdict says how a mutant was caught.
type verdict struct {
	by, runs, events string
	took             time.Duration
}

var (
	caughtLine  = regexp.MustCompile(`(?m)^caught after (\d+) runs: (.*?)(?: at server \d+)?: `)
	shortLine   = regexp.MustCompile(`(?m)^shortened to (\d+) events`)
	failureLine = regexp.MustCompile(`(?m)^\s*--- FAIL: (\w+)`)
)

// hunt builds the simulator with a mutant and looks for a run that catches it.
func (s *settings) hunt(m *mutants.Mutant) (verdict, error) {
	overlay, err := m.Overlay(s.root, s.dir)
	if err != nil {
		return verdict{}, err
	}
	binary := filepath.Join(s.dir, m.Name+".exe")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", binary, "./cmd/raftsim")
	build.Dir = s.root
	if out, err := build.CombinedOutput(); err != nil {
		return verdict{}, fmt.Errorf("mutant %s doesn't build: %v\n%s", m.Name, err, out)
	}
	defer os.Remove(binary)
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	arguments := []string{"-runs", fmt.Sprint(s.runs), "-first", "-quiet"}
	if s.keep != "" {
		arguments = append(arguments, "-out", filepath.Join(s.keep, m.Name+".schedule"))
	}
	begun := time.Now()
	out, _ := exec.CommandContext(ctx, binary, arguments...).CombinedOutput()
	v := verdict{took: time.Since(begun), runs: "-", events: "-"}
	if caught := caughtLine.FindStringSubmatch(string(out)); caught != nil {
		v.runs, v.by = caught[1], caught[2]
		if short := shortLine.FindStringSubmatch(string(out)); short != nil {
			v.events = short[1]
		}
		return v, nil
	}
	if s.tests {
		v.by = s.testsCatch(m, overlay)
		v.took = time.Since(begun)
	}
	return v, nil
}

// testsCatch returns the first test of the root package that a mutant fails, or "".
func (s *settings) testsCatch(m *mutants.Mutant, overlay string) string {
	ctx, cancel := context.WithTimeout(context.Background(), s.limit)
	defer cancel()
	test := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-p", fmt.Sprint(runtime.GOMAXPROCS(0)), ".")
	test.Dir = s.root
	out, err := test.CombinedOutput()
	if err == nil {
		return ""
	}
	if failed := failureLine.FindStringSubmatch(string(out)); failed != nil {
		return failed[1]
	}
	if strings.Contains(string(out), "panic:") {
		return "a panic in the tests"
	}
	return ""
}
