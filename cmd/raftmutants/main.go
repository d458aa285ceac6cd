// Command raftmutants puts one bug after the other into the source. It prints what catches each
// bug, and how soon: the simulator, or the tests that the mutant names. If a bug of the core
// escapes the simulator, the tests of the root package may still catch it. A failure that the
// simulator finds is shortened, written to a file, and repeated from the file. The command fails if
// a bug survives, if it no longer applies to the source, or if a file doesn't repeat its failure.
//
//	go run ./cmd/raftmutants
//	go run ./cmd/raftmutants -only vote
//	go run ./cmd/raftmutants -some 10 -turn 3
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
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
	only      string
	some      int
	simulated bool
	turn      int
	limit     time.Duration
	keep      string
	passed    map[string]error // the outcome of each package's tests without a mutant
	rapid     map[string]bool  // which packages' tests use rapid
}

// maxEvents bounds the events that may be left of a mutant's failure without an explanation.
// maxShrink bounds the CPU time that the shortening should take.
const (
	maxEvents = 40
	maxShrink = 10 * time.Second
)

func run(arguments []string) error {
	s := settings{passed: map[string]error{}, rapid: map[string]bool{}}
	flags := flag.NewFlagSet("raftmutants", flag.ContinueOnError)
	flags.StringVar(&s.only, "only", "", "only the mutants whose names contain this")
	flags.BoolVar(&s.simulated, "simulated", false, "only the mutants that the simulator must catch")
	flags.IntVar(&s.some, "some", 0, "only this number of them, others at every turn; 0 for all")
	flags.IntVar(&s.turn, "turn", int(time.Now().Unix()/3600), "the turn, which chooses the mutants that -some tries; by default the hour")
	flags.DurationVar(&s.limit, "limit", 0, "time for each mutant, instead of the time that its file names")
	flags.StringVar(&s.keep, "keep", "", "directory for the shortened schedules")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if s.some < 0 || s.turn < 0 || s.limit < 0 {
		return errors.New("-some, -turn and -limit must be at least 0")
	}
	var err error
	if s.root, err = mutants.Root(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "raftmutants"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	if s.keep == "" {
		s.keep = s.dir
	}
	if err := os.MkdirAll(s.keep, 0o755); err != nil {
		return err
	}
	all, err := mutants.All()
	if err != nil {
		return err
	}
	for i := range all { // a mutant that no longer applies fails at once, even if it isn't its turn
		if _, err := all[i].Apply(s.root); err != nil {
			return err
		}
	}
	return s.table(s.choose(all))
}

// choose returns the mutants that the flags ask for.
func (s *settings) choose(all []mutants.Mutant) []mutants.Mutant {
	all = slices.DeleteFunc(all, func(m mutants.Mutant) bool {
		return !strings.Contains(m.Name, s.only) || s.simulated && len(m.Tests) > 0
	})
	if s.some == 0 || s.some >= len(all) {
		return all
	}
	fmt.Printf("%d of %d mutants: -some %d -turn %d\n", s.some, len(all), s.some, s.turn)
	// Ordered by a hash of their names, neighbours are of different kinds, and a new mutant moves
	// no other.
	slices.SortFunc(all, func(a, b mutants.Mutant) int { return cmp.Compare(shuffled(a.Name), shuffled(b.Name)) })
	chosen := make([]mutants.Mutant, 0, s.some)
	for i := range s.some {
		chosen = append(chosen, all[(s.turn*s.some+i)%len(all)])
	}
	return chosen
}

func shuffled(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return h.Sum64()
}

// table tries the mutants and prints what came of each.
func (s *settings) table(all []mutants.Mutant) error {
	survived, failed, unrepeated, begun := 0, 0, 0, time.Now()
	var events []int
	var slowest time.Duration
	const row = "%-36s %-44s %6s %7s %6s %7s %-6s  %s\n"
	fmt.Printf(row, "mutant", "killed by", "runs", "time", "events", "CPU", "repeat", "what it breaks")
	for i := range all {
		m := &all[i]
		v, err := s.hunt(m)
		runs, left, shrink, repeat := "-", "-", "-", "-"
		switch {
		case err != nil:
			failed++
			v.by = "NOT TRIED"
		case v.by == "":
			survived++
			v.by = "SURVIVED"
		case v.runs > 0:
			runs, left, shrink, repeat = fmt.Sprint(v.runs), fmt.Sprint(v.events), seconds(v.shrink), "yes"
			events = append(events, v.events)
			slowest = max(slowest, v.shrink)
			if v.unlike != nil {
				unrepeated++
				repeat = "NO"
			}
		}
		fmt.Printf(row, m.Name, v.by, runs, seconds(v.took), left, shrink, repeat, m.Breaks)
		if v.events > maxEvents {
			fmt.Printf("    %s\n", v.proof)
		}
		if err := cmp.Or(err, v.unlike); err != nil {
			fmt.Printf("    %v\n", err)
		}
	}
	fmt.Printf("%d mutants, %d killed, %d survived, %d not tried, in %s\n",
		len(all), len(all)-survived-failed, survived, failed, seconds(time.Since(begun)))
	if n := len(events); n > 0 {
		slices.Sort(events)
		longer := n - len(slices.DeleteFunc(slices.Clone(events), func(left int) bool { return left > maxEvents }))
		fmt.Printf("the simulator killed %d: events left, median %d, most %d, more than %d in %d; shortening took at most %s of CPU, %s are allowed\n",
			n, events[n/2], events[n-1], maxEvents, longer, seconds(slowest), seconds(maxShrink))
	}
	if survived > 0 || failed > 0 || unrepeated > 0 {
		return fmt.Errorf("of %d mutants %d survived and %d couldn't be tried; %d failures aren't repeated by their files",
			len(all), survived, failed, unrepeated)
	}
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
