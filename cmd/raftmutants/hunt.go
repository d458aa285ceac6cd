package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/e17579a5/raft/rafttest/mutants"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A verdict says how a mutant was caught.
type verdict struct {
	by   string // an invariant or a test; "" if it survived
	took time.Duration
	hung bool // a test noticed it only because its time was up

	// Only for a mutant that the simulator caught:
	runs   int           // number of runs until it was caught
	seed   string        // of the run that caught it
	events int           // number of events that are left of the failure
	shrink time.Duration // CPU time of the shortening
	proof  string        // why nothing shorter fails
	unlike error         // an error if the failure's file doesn't repeat it
}

var (
	caughtLine  = regexp.MustCompile(`(?m)^caught after (\d+) runs: (.*?)(?: at server \d+)?: `)
	shrinkLine  = regexp.MustCompile(`(?m)^shortening took (\S+) of CPU$`)
	shortLine   = regexp.MustCompile(`(?m)^shortened to (\d+) events: (.*)$`)
	seedLine    = regexp.MustCompile(`(?m)^  go run ./cmd/raftsim .*-seed (\d+)`)
	commandLine = regexp.MustCompile(`(?m)^  go run ./cmd/raftsim (.*)$`)
	failureLine = regexp.MustCompile(`(?m)^\s*--- FAIL: ([\w/]+)`)
	runningLine = regexp.MustCompile(`(?m)^\s+(Test\w+)[\w/]* \(\d`)
	frameLine   = regexp.MustCompile(`(?m)^\S*_test\.(Test\w+)`)
)

// hunt lets the tests that a mutant names try to catch it. If it names none, the simulator tries
// first, and then the tests of the root package.
func (s *settings) hunt(m *mutants.Mutant) (verdict, error) {
	overlay, err := m.Overlay(s.root, s.dir)
	if err != nil {
		return verdict{}, err
	}
	limit := m.Time
	if s.limit > 0 {
		limit = s.limit
	}
	if len(m.Tests) > 0 {
		return s.test(m, overlay, limit, m.Tests)
	}
	v, err := s.simulate(m, overlay, limit)
	if err != nil || v.by != "" {
		return v, err
	}
	return s.test(m, overlay, limit, []string{"."})
}

// simulate builds the simulator with a mutant and looks for a run that catches it.
func (s *settings) simulate(m *mutants.Mutant, overlay string, limit time.Duration) (verdict, error) {
	binary := filepath.Join(s.dir, m.Name+".exe")
	build := exec.Command("go", "build", "-buildvcs=false", "-overlay", overlay, "-o", binary, "./cmd/raftsim")
	build.Dir = s.root
	if out, err := build.CombinedOutput(); err != nil {
		return verdict{}, fmt.Errorf("mutant %s doesn't build: %v\n%s", m.Name, err, out)
	}
	defer os.Remove(binary)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	file := filepath.Join(s.keep, m.Name+".schedule")
	begun := time.Now()
	arguments := append([]string{"-runs", strconv.Itoa(m.Runs), "-first", "-quiet", "-out", file}, m.Flags...)
	out, _ := exec.CommandContext(ctx, binary, arguments...).CombinedOutput()
	v := verdict{took: time.Since(begun)}
	caught, shrink, short := caughtLine.FindSubmatch(out), shrinkLine.FindSubmatch(out), shortLine.FindSubmatch(out)
	if caught == nil || shrink == nil || short == nil {
		return v, nil
	}
	v.by = string(caught[2])
	var err error
	if v.runs, err = strconv.Atoi(string(caught[1])); err != nil {
		return v, err
	}
	if v.events, err = strconv.Atoi(string(short[1])); err != nil {
		return v, err
	}
	if v.shrink, err = time.ParseDuration(string(shrink[1])); err != nil {
		return v, err
	}
	if seed := seedLine.FindSubmatch(out); seed != nil {
		v.seed = string(seed[1])
	}
	v.proof = string(short[2])
	if command := commandLine.FindSubmatch(out); v.proof == (sim.Proof{}).String() && command != nil {
		v.unlike = again(binary, strings.Fields(string(command[1])), v.by)
	} else {
		v.unlike = repeat(binary, file, out)
	}
	return v, nil
}

// again repeats the run of a seed, in a process of its own. Some invariants are judged only where
// the surroundings act by themselves (sim.InTime): no schedule shows that they are violated.
func again(binary string, command []string, by string) error {
	out, err := exec.Command(binary, append(command, "-shrink=false")...).CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte(": "+by)) {
		return fmt.Errorf("raftsim %s: %s isn't violated again", strings.Join(command, " "), by)
	}
	return nil
}

// repeat repeats a failure from its file, in a process of its own. It demands the transcript that
// was printed when the failure was shortened, byte for byte. The transcript ends with the invariant
// that was violated.
func repeat(binary, file string, first []byte) error {
	replay := exec.Command(binary, "-v", "-replay", file)
	var transcript, failure bytes.Buffer
	replay.Stdout, replay.Stderr = &transcript, &failure
	if err := replay.Run(); err == nil {
		return fmt.Errorf("%s: no invariant is violated", file)
	}
	if transcript.Len() == 0 {
		return fmt.Errorf("%s: %s", file, strings.TrimSpace(failure.String()))
	}
	if !bytes.Contains(first, transcript.Bytes()) {
		return fmt.Errorf("%s: the transcript has changed", file)
	}
	return nil
}

// soundLimit bounds how long the tests of a package may take without a mutant.
const soundLimit = 20 * time.Minute

// test runs the tests of packages with a mutant. A failure counts only if the tests pass without
// the mutant.
func (s *settings) test(m *mutants.Mutant, overlay string, limit time.Duration, packages []string) (verdict, error) {
	for _, name := range packages {
		was, known := s.sound[name]
		if !known {
			begun := time.Now()
			if out, err := s.goTest(soundLimit, name); err != nil {
				was.err = fmt.Errorf("the tests of %s fail without a mutant: %v\n%s", name, err, out)
			}
			was.took = time.Since(begun)
			s.sound[name] = was
		}
		if was.err != nil {
			return verdict{}, was.err
		}
		limit = max(limit, 2*was.took) // or else a machine that is slow would catch every mutant
	}
	begun := time.Now()
	for _, name := range packages {
		out, err := s.goTest(limit, name, "-overlay", overlay)
		if err == nil {
			continue
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return verdict{}, err
		}
		if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("[setup failed]")) {
			return verdict{}, fmt.Errorf("mutant %s doesn't build:\n%s", m.Name, out)
		}
		by, hung := culprit(out)
		return verdict{by: by, hung: hung, took: time.Since(begun)}, nil
	}
	return verdict{took: time.Since(begun)}, nil
}

// goTest runs the tests of a package. They get the time limit themselves, so that the go command
// names the test that hangs. rapid must not keep what fails with a mutant in the source, where it
// would try it again.
func (s *settings) goTest(limit time.Duration, name string, flags ...string) ([]byte, error) {
	arguments := append([]string{"test", "-vet=off", "-failfast", "-timeout", limit.String()}, flags...)
	arguments = append(arguments, name)
	if s.usesRapid(name) {
		arguments = append(arguments, "-rapid.nofailfile")
	}
	test := exec.Command("go", arguments...)
	test.Dir = s.root
	return test.CombinedOutput()
}

// usesRapid reports whether the tests of a package know the flags of rapid.
func (s *settings) usesRapid(name string) bool {
	uses, known := s.rapid[name]
	if !known {
		list := exec.Command("go", "list", "-test", "-deps", name)
		list.Dir = s.root
		out, err := list.Output()
		uses = err == nil && bytes.Contains(out, []byte("\npgregory.net/rapid"))
		s.rapid[name] = uses
	}
	return uses
}

// culprit returns what caught a mutant, from the output of tests that failed, and whether a test ran
// until its time was up.
func culprit(out []byte) (by string, hung bool) {
	if timeout := bytes.Index(out, []byte("panic: test timed out")); timeout >= 0 {
		if test := runningLine.FindSubmatch(out[timeout:]); test != nil {
			return string(test[1]) + ", which hangs", true
		}
		return "a test that hangs", true
	}
	if failed := failureLine.FindAllSubmatch(out, -1); failed != nil {
		return string(failed[0][1]), false
	}
	if bytes.Contains(out, []byte("deadlock")) {
		return among("a deadlock", out), false
	}
	return among("a panic", out), false
}

// among returns what happened, and the test in which it happened if the stack names one.
func among(what string, out []byte) string {
	if test := frameLine.FindSubmatch(out); test != nil {
		return what + " in " + string(test[1])
	}
	return what
}
