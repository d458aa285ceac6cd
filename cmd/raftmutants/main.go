// Command raftmutants puts one bug after the other into the source. It prints what catches each
// bug, and how soon: the simulator, or the tests that the mutant names. If a bug of the core
// escapes the simulator, the tests of the root package may still catch it. A failure that the
// simulator finds is shortened, written to a file, and repeated from the file. The command fails if
// a bug survives, if it no longer applies to the source, or if a file doesn't repeat its failure.
//
// In the end it names the mutants that took longest, and those that a test noticed only because its
// time was up.
//
//	go run ./cmd/raftmutants
//	go run ./cmd/raftmutants -only vote
//	go run ./cmd/raftmutants -some 10 -turn 3
//
// With -apart it tries the changes of each mutant of several changes, one by one. It names those
// that are caught alone: they aren't one of two lines of defence, and should be mutants of their
// own.
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
	apart     bool
	turn      int
	limit     time.Duration
	keep      string
	sound     map[string]sound // how the tests of each package end without a mutant
	rapid     map[string]bool  // which packages' tests use rapid
}

// A sound outcome is that of a package's tests without a mutant.
type sound struct {
	err  error
	took time.Duration
}

// maxEvents bounds the events that may be left of a mutant's failure without an explanation.
// maxShrink bounds the CPU time that the shortening should take.
const (
	maxEvents = 40
	maxShrink = 10 * time.Second
)

func run(arguments []string) error {
	s := settings{sound: map[string]sound{}, rapid: map[string]bool{}}
	flags := flag.NewFlagSet("raftmutants", flag.ContinueOnError)
	flags.StringVar(&s.only, "only", "", "only the mutants whose names contain this")
	flags.BoolVar(&s.simulated, "simulated", false, "only the mutants that the simulator must catch")
	flags.BoolVar(&s.apart, "apart", false, "try each change of the mutants of several changes alone")
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
	if s.apart {
		return s.takeApart(s.choose(all))
	}
	return s.table(s.choose(all))
}

// choose returns the mutants that the flags ask for.
func (s *settings) choose(all []mutants.Mutant) []mutants.Mutant {
	all = slices.DeleteFunc(all, func(m mutants.Mutant) bool {
		return !strings.Contains(m.Name, s.only) || s.simulated && len(m.Tests) > 0 || s.apart && len(m.Changes) == 1
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
	var sums totals
	const row = "%-36s %-52s %6s %7s %6s %7s %-6s  %s\n"
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
			if v.unlike != nil {
				unrepeated++
				repeat = "NO"
			}
		}
		sums.add(m.Name, &v)
		fmt.Printf(row, m.Name, v.killer(), runs, seconds(v.took), left, shrink, repeat, m.Breaks)
		if v.events > maxEvents {
			fmt.Printf("    %s\n", v.proof)
		}
		if err := cmp.Or(err, v.unlike); err != nil {
			fmt.Printf("    %v\n", err)
		}
	}
	fmt.Printf("%d mutants, %d killed, %d survived, %d not tried, in %s\n",
		len(all), len(all)-survived-failed, survived, failed, seconds(time.Since(begun)))
	sums.print()
	if survived > 0 || failed > 0 || unrepeated > 0 {
		return fmt.Errorf("of %d mutants %d survived and %d couldn't be tried; %d failures aren't repeated by their files",
			len(all), survived, failed, unrepeated)
	}
	return nil
}

// killer names what has caught a mutant, with the seed of the run if the simulator has.
func (v *verdict) killer() string {
	if v.seed == "" {
		return v.by
	}
	return v.by + ", seed " + v.seed
}

// totals are what is told of all mutants in the end.
type totals struct {
	tried  []tried
	hung   []string
	events []int         // that are left of the failures which the simulator found
	shrink time.Duration // CPU time of the longest shortening
}

// A tried mutant is one of which there is a verdict.
type tried struct {
	name string
	verdict
}

func (t *totals) add(name string, v *verdict) {
	t.tried = append(t.tried, tried{name, *v})
	if v.hung {
		t.hung = append(t.hung, name)
	}
	if v.runs > 0 {
		t.events = append(t.events, v.events)
		t.shrink = max(t.shrink, v.shrink)
	}
}

// slowest is how many of the mutants that took longest are named.
const slowest = 5

func (t *totals) print() {
	slices.SortStableFunc(t.tried, func(a, b tried) int { return cmp.Compare(b.took, a.took) })
	for _, m := range t.tried[:min(slowest, len(t.tried))] {
		fmt.Printf("among the slowest: %s, %s, %s\n", m.name, seconds(m.took), m.killer())
	}
	if len(t.hung) > 0 {
		fmt.Printf("noticed only because the time of a test was up: %s\n", strings.Join(t.hung, ", "))
	}
	if n := len(t.events); n > 0 {
		slices.Sort(t.events)
		longer := n - len(slices.DeleteFunc(slices.Clone(t.events), func(left int) bool { return left > maxEvents }))
		fmt.Printf("the simulator killed %d: events left, median %d, most %d, more than %d in %d; shortening took at most %s of CPU, %s are allowed\n",
			n, t.events[n/2], t.events[n-1], maxEvents, longer, seconds(t.shrink), seconds(maxShrink))
	}
}

// takeApart tries each change of the mutants alone, and prints what came of it. What is caught is an
// error.
func (s *settings) takeApart(all []mutants.Mutant) error {
	caught, changes := 0, 0
	const row = "%-40s %-52s %7s  %s\n"
	fmt.Printf(row, "change", "killed by", "time", "the line of defence that it removes")
	for i := range all {
		for j, c := range all[i].Changes {
			m := all[i].Alone(j)
			v, err := s.hunt(&m)
			if err != nil {
				return err
			}
			changes++
			by := "nothing, as it should be"
			if v.by != "" {
				caught++
				by = v.killer()
			}
			fmt.Printf(row, m.Name, by, seconds(v.took), c.Removes)
		}
	}
	if caught > 0 {
		return fmt.Errorf("%d of %d changes are caught alone", caught, changes)
	}
	fmt.Printf("%d changes of %d mutants: none is caught alone\n", changes, len(all))
	return nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
