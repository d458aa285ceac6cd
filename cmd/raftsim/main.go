// Command raftsim runs simulated clusters on all cores, for a number of runs or for a time. It
// reports every violation of an invariant, with the command that repeats it.
//
//	go run ./cmd/raftsim -runs 10000
//	go run ./cmd/raftsim -for 10m
//	go run ./cmd/raftsim -seed 4711 -v
//	go run ./cmd/raftsim -seed 4711 -html FILE
//	go run ./cmd/raftsim -replay FILE
//	go run ./cmd/raftsim -disk wal -runs 1000
//	go run ./cmd/raftsim -groups 5 -runs 1000
//	go run ./cmd/raftsim -groups 5 -seed 4711 -v
//	go run ./cmd/raftsim -steady -for 10s
package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/e17579a5/raft/rafttest/sim"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(800) // a run takes little memory, and little of that is still in use after it
	}
	if err := run(os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "raftsim:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	runs     int
	duration time.Duration
	start    uint64
	seed     uint64
	verbose  bool
	servers  int
	groups   int
	faults   string
	set      string
	disk     string
	steady   bool
	workers  int
	replay   string
	out      string
	html     string
	quiet    bool
	shrink   bool
	failures int
	first    bool
	hash     bool
}

func run(arguments []string) error {
	var s settings
	flags := flag.NewFlagSet("raftsim", flag.ContinueOnError)
	flags.IntVar(&s.runs, "runs", 10_000, "number of runs")
	flags.DurationVar(&s.duration, "for", 0, "time for the runs, instead of -runs")
	flags.Uint64Var(&s.start, "start", 1, "the first seed; the others follow")
	seed := flags.String("seed", "", "do a single run: the one of this seed")
	flags.BoolVar(&s.verbose, "v", false, "print a transcript of the run (with -seed or -replay)")
	flags.IntVar(&s.servers, "servers", 0, "number of servers in every cluster, instead of what each seed draws")
	flags.IntVar(&s.groups, "groups", 0, fmt.Sprintf("processes that serve so many groups each, up to %d, on one disk; without schedules and diagrams", sim.MaxGroups))
	flags.StringVar(&s.set, "set", "", "parameters of the run by their names, instead of what the seed draws: events=500,loss=0 (with -seed and -groups)")
	flags.StringVar(&s.faults, "faults", "", "only these kinds of faults, instead of what each seed draws: "+strings.Join(faultNames(), ","))
	flags.StringVar(&s.disk, "disk", "", "the disk of every server, instead of what each seed draws: wal is the real log on a simulated file system, model is a model of it")
	flags.BoolVar(&s.steady, "steady", false, "simulate a cluster in ordinary service on one core, and print how much faster than real time that is; without faults, unless -faults names some (with -for)")
	flags.IntVar(&s.workers, "workers", runtime.GOMAXPROCS(0), "number of runs at a time")
	flags.StringVar(&s.replay, "replay", "", "repeat a schedule from a file")
	flags.StringVar(&s.out, "out", "", "write the schedule of a failure to this file (with -seed or -first)")
	flags.StringVar(&s.html, "html", "", "write a diagram of the run to this file (with -seed, -first or -replay)")
	flags.BoolVar(&s.quiet, "quiet", false, "print no progress line")
	flags.BoolVar(&s.shrink, "shrink", true, "shorten a failure before it is printed")
	flags.BoolVar(&s.first, "first", false, "stop at the first failure, and shorten it")
	flags.BoolVar(&s.hash, "hash", false, "print nothing but a hash over everything that happened (with -workers 1)")
	flags.IntVar(&s.failures, "failures", 10, "stop after this number of failures")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if s.first {
		s.failures = 5
	}
	if err := s.check(*seed != ""); err != nil {
		return err
	}
	switch {
	case s.steady:
		return steady(&s)
	case s.replay != "":
		return replay(&s)
	case *seed != "":
		if _, err := fmt.Sscan(*seed, &s.seed); err != nil {
			return fmt.Errorf("-seed %q is not a number", *seed)
		}
		if s.groups > 0 {
			return singleOfHosts(&s)
		}
		return single(&s)
	case s.groups > 0:
		return groups(&s)
	}
	return many(&s)
}

// check returns an error that names the flag or the value that is wrong. one says that a single seed is run.
func (s *settings) check(one bool) error {
	if s.runs < 1 || s.workers < 1 || s.failures < 1 {
		return fmt.Errorf("-runs, -workers and -failures must be at least 1")
	}
	if s.servers < 0 || s.servers > sim.MaxServers {
		return fmt.Errorf("-servers is %d; 1 to %d are possible", s.servers, sim.MaxServers)
	}
	if s.groups < 0 || s.groups > sim.MaxGroups {
		return fmt.Errorf("-groups is %d; 1 to %d are possible", s.groups, sim.MaxGroups)
	}
	if s.groups > 0 && (s.steady || s.replay != "" || s.first || s.html != "" || s.out != "") {
		return fmt.Errorf("-groups doesn't go with -steady, -replay, -first, -html and -out")
	}
	if s.set != "" && (s.groups == 0 || !one) {
		return fmt.Errorf("-set goes with -groups and -seed alone")
	}
	if err := set(new(sim.Params), s.set); err != nil {
		return err
	}
	check := narrow
	if s.groups > 0 {
		check = narrowHosts
	}
	if err := check(new(sim.Params), s.faults); err != nil {
		return err
	}
	if s.disk != "" && s.disk != "wal" && s.disk != "model" {
		return fmt.Errorf("-disk is %q, neither wal nor model", s.disk)
	}
	return nil
}

// chances returns the parameters of faults that happen by chance all the time, or because clients
// ask for them.
func chances(p *sim.Params) map[string][]*int64 {
	return map[string][]*int64{
		"loss": {&p.Loss}, "duplicate": {&p.Duplicate}, "reorder": {&p.Reorder}, "slow": {&p.Slow}, "drift": {&p.Drift},
		"store-fail": {&p.StoreFail}, "stream-break": {&p.StreamBreak}, "freeze": {&p.Freeze}, "lose": {&p.LoseTime},
		"members": {&p.ChangeTime, &p.Spares}, "after": {&p.After},
	}
}

// faultNames returns the names of all kinds of faults.
func faultNames() []string {
	return append(append([]string{"none"}, sim.FaultNames...), slices.Sorted(maps.Keys(chances(new(sim.Params))))...)
}

// narrow leaves only the faults with the given names. A fault that happens by chance stays as the
// seed draws it.
func narrow(p *sim.Params, names string) error {
	if names == "" {
		return nil
	}
	drawn := chances(p)
	p.FaultKinds = 0
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(sim.FaultNames, name)
		switch {
		case i >= 0:
			p.FaultKinds |= 1 << i
		case drawn[name] == nil && name != "none":
			return fmt.Errorf("-faults: %q is not one of %s", name, strings.Join(faultNames(), ","))
		}
		delete(drawn, name)
	}
	for _, values := range drawn {
		for _, value := range values {
			*value = 0
		}
	}
	return nil
}

// params returns the parameters of a seed, narrowed by the flags.
func (s *settings) params(seed uint64) sim.Params {
	p := sim.Swarm(seed)
	s.narrowed(&p)
	if s.faults != "" {
		_ = narrow(&p, s.faults) // run has checked the names
	}
	return p
}

// narrowed narrows the parameters that a seed draws by -servers and -disk.
func (s *settings) narrowed(p *sim.Params) {
	if s.servers > 0 {
		p.Servers = int64(s.servers)
		p.Spares = min(p.Spares, sim.MaxServers-p.Servers)
	}
	switch s.disk {
	case "wal":
		*p = p.WithWAL()
	case "model":
		*p = p.WithModel()
	}
}

// set sets parameters by their names, as -set has them.
func set(p *sim.Params, values string) error {
	if values == "" {
		return nil
	}
	for one := range strings.SplitSeq(values, ",") {
		name, text, _ := strings.Cut(one, "=")
		value, err := strconv.ParseInt(text, 10, 64)
		if err == nil {
			err = p.Set(name, value)
		}
		if err != nil {
			return fmt.Errorf("-set %s: %w", one, err)
		}
	}
	return nil
}

// command returns the command that shows the run of a seed again.
func (s *settings) command(seed uint64) string {
	c := fmt.Sprintf("go run ./cmd/raftsim -seed %d", seed)
	if s.servers > 0 {
		c += fmt.Sprintf(" -servers %d", s.servers)
	}
	if s.faults != "" {
		c += " -faults " + s.faults
	}
	if s.groups > 0 {
		c += fmt.Sprintf(" -groups %d", s.groups)
	}
	if s.disk != "" {
		c += " -disk " + s.disk
	}
	if s.set != "" {
		c += " -set " + s.set
	}
	return c + " -v"
}
