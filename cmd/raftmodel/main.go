// Command raftmodel explores every run of a small cluster within bounds. If a run breaks an
// invariant, it prints the shortest such run.
//
//	go run ./cmd/raftmodel
//	go run ./cmd/raftmodel -soup
//	go run ./cmd/raftmodel -timeouts -async -for 10m
//	go run ./cmd/raftmodel -depth-first -servers 5
//	go run ./cmd/raftmodel -mutants
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"time"

	"github.com/e17579a5/raft/rafttest/model"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "raftmodel:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	bounds  model.Bounds
	options model.Options
	limit   time.Duration
	quiet   bool
	mutants bool
	only    string
}

func parse(arguments []string) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("raftmodel", flag.ContinueOnError)
	b, o := &s.bounds, &s.options
	flags.IntVar(&b.Servers, "servers", 3, "number of servers; all of them vote")
	flags.IntVar(&b.Terms, "terms", 2, "number of terms after the founding one")
	flags.IntVar(&b.Commands, "commands", 2, "number of commands that are proposed")
	flags.IntVar(&b.Reads, "reads", 0, "number of reads that are called")
	flags.BoolVar(&b.Anywhere, "anywhere", false, "propose and read at every server, not only at leaders")
	flags.IntVar(&b.Changes, "changes", 0, "how often a leader is asked to remove a server, or to add it again")
	flags.IntVar(&b.Transfers, "transfers", 0, "how often a leader is asked to hand over")
	flags.IntVar(&b.InFlight, "in-flight", 2, "number of messages that a link holds")
	flags.IntVar(&b.Crashes, "crashes", 1, "crashes")
	flags.IntVar(&b.Damages, "damages", 0, "crashes in which a disk loses the bytes of an entry")
	flags.IntVar(&b.Duplicates, "duplicates", 1, "number of messages that may arrive twice")
	flags.IntVar(&b.Losses, "losses", 0, "number of messages that are lost because a link is full; negative for any number")
	flags.BoolVar(&b.Soup, "soup", false, "no links: a message that was sent arrives at any time, any number of times, or never")
	flags.BoolVar(&b.Timeouts, "timeouts", false, "let deadlines pass, in any order, instead of telling servers to campaign")
	flags.BoolVar(&b.Stalls, "stalls", false, "let disks stand still for too long, with -timeouts")
	flags.IntVar(&b.Rounds, "rounds", 0, "number of rounds of heartbeats that a leader sends; with 0 even its first one is lost")
	flags.BoolVar(&b.AsyncDisks, "async", false, "asynchronous disks: the end of a write is a step of its own")
	flags.IntVar(&b.Writes, "writes", 1, "number of writes that a disk is given at a time")
	flags.IntVar(&b.Held, "held", 0, "number of messages that may wait for a disk (default: as many as the links from its server hold)")
	flags.IntVar(&b.AppendBytes, "append-bytes", 0, "bytes of entries in an append beyond the first entry (default: the core's)")
	flags.IntVar(&o.Workers, "workers", runtime.GOMAXPROCS(0), "number of states that are expanded at a time")
	flags.BoolVar(&o.DepthFirst, "depth-first", false, "search depth-first, with one worker")
	flags.IntVar(&o.MaxDepth, "max-depth", 0, "end every run after this number of steps; 0 for no end")
	flags.BoolVar(&o.Unfolded, "unfolded", false, "count states that differ only in the names of servers as different")
	flags.BoolVar(&o.Uncovered, "uncovered", false, "also look at states that another one covers: they can do nothing that the other one can't")
	flags.DurationVar(&s.limit, "for", 0, "stop after this time (with -mutants, for each mutant; a minute if it is 0)")
	flags.BoolVar(&s.mutants, "mutants", false, "look for the bugs of rafttest/mutants, one after the other, in several small models")
	flags.StringVar(&s.only, "only", "", "only the mutants whose names contain this (with -mutants)")
	flags.BoolVar(&s.quiet, "quiet", false, "print no progress lines")
	if err := flags.Parse(arguments); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q means nothing here", flags.Arg(0))
	}
	return s, nil
}

func run(arguments []string, out io.Writer) error {
	s, err := parse(arguments)
	if err != nil {
		return err
	}
	if s.mutants {
		return s.hunt(out)
	}
	search, err := model.New(s.bounds, s.options)
	if err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if s.limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	begun := time.Now()
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if !s.quiet {
			s.report(search, begun, done)
		}
	}()
	result := search.Run(ctx)
	took := time.Since(begun)
	close(done)
	<-ended
	fmt.Fprintln(out, line(&result.Progress, took))
	cores := s.options.Workers
	if s.options.DepthFirst {
		cores = 1
	}
	rate := float64(result.States) / took.Seconds()
	fmt.Fprintf(out, "%.0f distinct states a second, %.0f for each of %d workers\n", rate, rate/float64(cores), cores)
	switch {
	case result.Violation != nil:
		fmt.Fprintf(out, "caught: %v\n", result.Violation)
		search.Transcript(out)
		return fmt.Errorf("an invariant is broken")
	case result.Exhausted:
		fmt.Fprintln(out, "exhausted: no run within the bounds breaks an invariant")
	default:
		fmt.Fprintln(out, "not exhausted: no run so far breaks an invariant")
	}
	return nil
}

// report prints a line of progress every few seconds.
func (s *settings) report(search *model.Search, begun time.Time, done <-chan struct{}) {
	ticker := time.NewTicker(5 * time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			p := search.Progress()
			fmt.Fprintln(os.Stderr, line(&p, time.Since(begun)))
		}
	}
}

// line says how far a search has come.
func line(p *model.Progress, took time.Duration) string {
	return fmt.Sprintf("%v: %d distinct states, %d steps, depth %d, %d waiting; "+
		"made of %d nodes, %d messages, %d pasts; %d steps out of bounds",
		took.Round(100*time.Millisecond), p.States, p.Steps, p.Depth, p.Waiting, p.Nodes, p.Messages, p.Pasts, p.Beyond)
}
