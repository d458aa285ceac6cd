// Command bench measures this library beside its peers: the same work, in one run, on one machine.
//
// Three servers in one process replicate commands over loopback TCP, and sync what they log to files
// before they say so (mode disk); or they keep their logs in memory and hand messages over in
// memory (mode memory), which leaves the cost of the protocol itself. Closed-loop clients sit
// at the leader: each proposes a command, waits for the result of its application there, checks
// that it is the result of this very command, and proposes the next.
//
// Peers take turns within each round, so that a slow minute of the machine meets all of them. Each
// run starts a cluster of its own in a fresh directory, warms it up, measures, and then checks that
// all three state machines have applied exactly the commands that were answered, each once, and in
// the same order. A run that fails the check has no figures.
//
//	go run . -peers all -mode disk -clients 256 -payload 128 -duration 3s -rounds 3
//	go run . -describe
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"
)

// settings are what the command line says.
type settings struct {
	peers    string
	json     bool
	describe bool
	rounds   int
	run      runConfig
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		stop()
		os.Exit(1)
	}
}

// run is the whole program: it measures what args ask for, and writes the figures to out and
// remarks to log.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	s, err := parse(args, log)
	if err != nil {
		return err
	}
	peers, err := selectPeers(s.peers, s.run.mode)
	if err != nil {
		return err
	}
	if s.describe {
		return describe(out, peers, s.run.mode)
	}
	if (s.run.cpuProfile != "" || s.run.allocProfile != "") && (len(peers) != 1 || s.rounds != 1) {
		return errors.New("a profile needs one peer and one round")
	}
	warnOfMemoryFiles(log, s.run)

	var results []result
	for round := 1; round <= s.rounds; round++ {
		for i := range peers {
			// Each round begins with another peer, so that no peer always follows the same one.
			p := peers[(i+round-1)%len(peers)]
			r, err := measureAgain(ctx, p, s.run, log)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", p.Name(), round, err)
			}
			r.Round = round
			results = append(results, r)
			if s.json {
				if err := writeJSON(out, r); err != nil {
					return err
				}
			} else {
				fmt.Fprintf(log, "round %d: %s\n", round, r.summary())
			}
		}
	}
	if s.json {
		return nil
	}
	return writeTable(out, peers, results)
}

// parse reads the command line.
func parse(args []string, log io.Writer) (settings, error) {
	var s settings
	var mode string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(log)
	f.StringVar(&s.peers, "peers", "all", "`names` of the peers, separated by commas, or all: "+strings.Join(peerNames(), ", "))
	f.StringVar(&mode, "mode", string(disk), "disk (files and loopback TCP) or memory")
	f.IntVar(&s.run.clients, "clients", 256, "`number` of closed-loop clients")
	f.IntVar(&s.run.payload, "payload", 128, "`bytes` in a command, at least 16")
	f.DurationVar(&s.run.duration, "duration", 3*time.Second, "how long to measure each peer in each round")
	f.DurationVar(&s.run.warmup, "warmup", time.Second, "how long the clients run before that")
	f.DurationVar(&s.run.election, "election", time.Second, "election timeout of every peer")
	f.IntVar(&s.rounds, "rounds", 3, "`number` of rounds; in each, every peer is measured once")
	f.StringVar(&s.run.dir, "dir", "", "`directory` for the files, instead of the system's temporary one")
	f.BoolVar(&s.json, "json", false, "print a line of JSON per peer and round instead of a table")
	f.BoolVar(&s.describe, "describe", false, "print the settings of the peers and measure nothing")
	f.StringVar(&s.run.cpuProfile, "cpuprofile", "", "write a CPU profile of the measured time to a `file`")
	f.StringVar(&s.run.allocProfile, "allocprofile", "", "write a profile of all allocations to a `file`")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.run.mode = Mode(mode)
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case s.run.mode != disk && s.run.mode != memory:
		return s, fmt.Errorf("-mode %s: it is disk or memory", mode)
	case s.run.clients < 1 || s.run.clients > maxClients:
		return s, fmt.Errorf("-clients %d: it is 1 to %d", s.run.clients, maxClients)
	case s.run.payload < minPayload || s.run.payload > maxPayload:
		return s, fmt.Errorf("-payload %d: it is %d to %d", s.run.payload, minPayload, maxPayload)
	case s.run.duration <= 0 || s.run.warmup < 0 || s.rounds < 1:
		return s, errors.New("-duration and -rounds must be positive, -warmup not negative")
	case s.run.election < 100*time.Millisecond:
		return s, fmt.Errorf("-election %v: it is at least 100ms", s.run.election)
	}
	return s, nil
}

// attempts is how often a run is tried. One that loses its leader is a measurement of elections, not of
// the load, and on a busy machine that happens.
const attempts = 3

// measureAgain measures a peer, again when its run failed, and says so.
func measureAgain(ctx context.Context, p Peer, c runConfig, log io.Writer) (result, error) {
	for attempt := 1; ; attempt++ {
		r, err := measure(ctx, p, c)
		if err == nil || attempt == attempts || ctx.Err() != nil || errors.Is(err, errWrongState) {
			return r, err
		}
		fmt.Fprintf(log, "%s: run failed, trying again: %v\n", p.Name(), err)
	}
}
