package main

import (
	"fmt"
	"time"

	"github.com/e17579a5/raft/rafttest/sim"
)

// steadySpan is how long each run of a cluster in ordinary service lasts, in simulated time.
// steadyFor is the real time for all runs unless -for is given.
const (
	steadySpan = 10 * time.Minute
	steadyFor  = 10 * time.Second
)

// steady simulates a cluster in ordinary service on one core, and prints how much faster than real
// time that was.
func steady(s *settings) error {
	servers, limit := 3, steadyFor
	if s.servers > 0 {
		servers = s.servers
	}
	if s.duration > 0 {
		limit = s.duration
	}
	w := sim.NewWorld(sim.Options{})
	var total sim.Stats
	begun, used, span := time.Now(), cpuTime(), time.Duration(0)
	for seed := s.start; time.Since(begun) < limit; seed++ {
		p := sim.Steady(seed, servers)
		if s.disk == "model" {
			p = p.WithModel()
		}
		if err := narrow(&p, s.faults); err != nil {
			return err
		}
		r := w.RunFor(p, int64(steadySpan))
		if r.Violation != nil {
			return fmt.Errorf("seed %d: %w", seed, r.Violation)
		}
		total.Add(&r.Stats)
		span += steadySpan
	}
	took := time.Since(begun)
	used = cpuTime() - used
	fmt.Printf("%d servers, %s simulated in %s on one core: %.0f times real time, %.0f events/s\n",
		servers, span, took.Round(time.Millisecond), span.Seconds()/took.Seconds(), float64(total.Events)/took.Seconds())
	fmt.Printf("for each second of CPU (%s): %.0f times real time, %.0f events\n",
		used.Round(time.Millisecond), span.Seconds()/used.Seconds(), float64(total.Events)/used.Seconds())
	fmt.Printf("commands %d (%.1f a second), messages %d, writes %d, elections %d\n",
		total.Commands, float64(total.Commands)/span.Seconds(), total.Messages, total.Writes, total.Elections)
	printElections(&total)
	return nil
}

// printElections prints how elections went.
func printElections(s *sim.Stats) {
	fmt.Printf("terms in which servers asked for votes %d; of these, with several candidates and no leader, %d (%.3f%%)\n",
		s.Campaigns, s.Split, 100*float64(s.Split)/float64(max(s.Campaigns, 1)))
	crashes := 0
	for _, n := range s.Vacancies {
		crashes += n
	}
	if crashes == 0 {
		return
	}
	within := func(share float64) string {
		passed := 0
		for tenths, n := range s.Vacancies {
			if passed += n; float64(passed) >= share*float64(crashes) && tenths < len(s.Vacancies)-1 {
				return fmt.Sprintf("%.1f", float64(tenths+1)/10)
			}
		}
		return fmt.Sprintf("more than %.1f", float64(len(s.Vacancies)-1)/10)
	}
	fmt.Printf("election timeouts until another leader was elected, after %d crashes of a leader: median %s, 95%% %s, 99%% %s, all %s\n",
		crashes, within(.5), within(.95), within(.99), within(1))
}
