// Command bench measures this library beside its peers: the same work, in one run, on one machine.
//
// As a rule the servers of a cluster run in one process. In mode disk they replicate commands over
// loopback TCP, and a server syncs its log to a file before it says that it has a command. In mode
// memory they keep their logs in memory and hand messages over in memory, which leaves the cost of
// the protocol itself. The clients sit at the leader. In a closed loop a client proposes a command,
// waits for the result of its application there, checks that it is the result of this very command,
// and proposes the next one. In an open loop commands arrive at a rate, whether the earlier ones
// were answered or not. Other cells measure reads, slow a server or its disk down, take and send
// snapshots, lose a server, or do nothing.
//
// The peers take turns within each round, so that a slow minute of the machine meets all of them.
// Each run starts a cluster of its own in a fresh directory, warms it up, measures, and then checks
// that all state machines have applied exactly the commands that were answered, each once and in
// the same order. Where each server is a process of its own, the check is that all of them have
// applied the same commands in the same order. A run that fails the check has no figures.
//
//	go run . -mode disk -clients 256 -payload 128 -duration 3s -rounds 3
//	go run . -mode disk,memory -clients 1,64,256,1024 -payload 16,128,4096 -html bench.html
//	go run . -cell failover-killed,failover-silent -election 1s,150ms -times 10 -rounds 1
//	go run . -describe
package main

import (
	"cmp"
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

func main() {
	serveIfOrdered()
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

// run is the whole program: it measures what args ask for, writes the figures to out, and writes
// remarks to log.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	s, err := parse(args, log)
	if err != nil {
		return err
	}
	if s.describe {
		return describe(out, inMode(s.peers, s.modes[0]), s.modes[0])
	}
	var results []result
	var failed error
	if s.from != "" {
		results, err = readFiles(s.from)
	} else {
		results, failed, err = measureAll(ctx, s, out, log)
	}
	if err != nil {
		return err
	}
	if s.html != "" {
		if err := writeHTMLFile(s.html, results); err != nil {
			return err
		}
	}
	if s.svg != "" {
		if err := writePictureFile(s.svg, results); err != nil {
			return err
		}
	}
	switch {
	case !s.json:
		err = writeTables(out, results)
	case s.from != "": // results that were measured are printed already
		for _, r := range results {
			err = errors.Join(err, writeJSON(out, r))
		}
	}
	return errors.Join(err, failed)
}

// readFiles reads the results of several files, one after the other.
func readFiles(list string) ([]result, error) {
	var all []result
	for name := range strings.SplitSeq(list, ",") {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		results, err := readJSON(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, results...)
	}
	return all, nil
}

// measureAll runs the whole matrix. A run that fails has a result that gives the reason; the errors
// of all such runs are returned as failed. err is an error that ended the matrix early.
func measureAll(ctx context.Context, s settings, out, log io.Writer) (results []result, failed, err error) {
	file := io.Discard
	if s.output != "" {
		f, err := os.OpenFile(s.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, nil, err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		file = f
	}
	runs := s.matrix()
	if len(runs) == 0 {
		return nil, nil, errors.New("no cell runs in these modes")
	}
	warnOfMemoryFiles(log, runs[0].runConfig)
	began := time.Now()
	for n, run := range runs {
		peers := inMode(s.peers, run.mode)
		for round := 1; round <= s.rounds; round++ {
			for i := range peers {
				// Each round begins with another peer, so that no peer always follows the same one.
				p := peers[(i+round-1)%len(peers)]
				r := result{key: run.key, Peer: p.Name(), Run: began.Unix(), Round: round}
				if err := measureAgain(ctx, p, run.runConfig, &r, log); err != nil {
					if ctx.Err() != nil {
						return results, failed, ctx.Err()
					}
					failed = errors.Join(failed, fmt.Errorf("%s: %s, round %d: %w", run.key, p.Name(), round, err))
				}
				results = append(results, r)
				if err := writeJSON(file, r); err != nil {
					return results, failed, err
				}
				if s.json {
					if err := writeJSON(out, r); err != nil {
						return results, failed, err
					}
				}
				fmt.Fprintf(log, "%3.0fs, %d of %d, round %d: %s\n", time.Since(began).Seconds(), n+1, len(runs), round, r.summary())
			}
		}
	}
	return results, failed, nil
}

// attempts is how often a run is tried. A run in which the leader changes measures an election, not
// the load, and on a busy machine that happens.
const attempts = 3

// measureAgain measures a peer. It tries a run that fails again, and says so in the log. It doesn't
// try again when the servers or the answers disagreed. A result without figures has the reason in
// Why.
func measureAgain(ctx context.Context, p Peer, c runConfig, r *result, log io.Writer) error {
	if r.Why = cmp.Or(c.cell.lacks(p), tooMany(p, c)); r.Why != "" {
		return nil
	}
	for attempt := 1; ; attempt++ {
		r.Figures, r.Histogram = nil, nil
		err := c.cell.measure(ctx, p, c, r)
		if err == nil {
			return nil
		}
		if attempt == attempts || ctx.Err() != nil || errors.Is(err, errWrongState) {
			*r = result{key: r.key, Peer: r.Peer, Run: r.Run, Round: r.Round, Why: err.Error()}
			return err
		}
		fmt.Fprintf(log, "%s: run failed, trying again: %v\n", p.Name(), err)
	}
}
