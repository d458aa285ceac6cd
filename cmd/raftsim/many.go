package main

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft/rafttest/link"
	"github.com/e17579a5/raft/rafttest/sim"
)

// A tally adds up runs. Each worker has its own.
type tally struct {
	total     sim.Stats
	events    []int // of each run
	settled   []int
	succeeded []int
	twoTerms  int // runs that committed under two leaders
	crashed   int // runs in which a server crashed
	both      int
	servers   [sim.MaxServers + 1]int
	failures  []failure
	hash      uint64 // over the runs, in order
}

type failure struct {
	seed      uint64
	violation *sim.Violation
}

func (t *tally) add(r *sim.Result, seed uint64) {
	t.total.Add(&r.Stats)
	t.events = append(t.events, r.Stats.Events)
	t.settled = append(t.settled, int(r.Stats.Settled))
	t.succeeded = append(t.succeeded, int(r.Stats.Succeeded))
	t.servers[r.Params.Servers]++
	t.hash = t.hash*0x9e3779b97f4a7c15 + r.Hash
	two, crash := r.Stats.Leaders >= 2, r.Stats.Crashes > 0
	if two {
		t.twoTerms++
	}
	if crash {
		t.crashed++
	}
	if two && crash {
		t.both++
	}
	if r.Violation != nil {
		t.failures = append(t.failures, failure{seed, r.Violation})
	}
}

func (t *tally) merge(o *tally) {
	t.total.Add(&o.total)
	t.events = append(t.events, o.events...)
	t.settled = append(t.settled, o.settled...)
	t.succeeded = append(t.succeeded, o.succeeded...)
	t.twoTerms += o.twoTerms
	t.crashed += o.crashed
	t.both += o.both
	for i := range t.servers {
		t.servers[i] += o.servers[i]
	}
	t.failures = append(t.failures, o.failures...)
}

// many performs one run after the other on all cores.
func many(s *settings) error {
	var next, events, failed, first atomic.Int64
	begun := time.Now()
	left := func() bool {
		if failed.Load() >= int64(s.failures) {
			return false
		}
		if n := first.Load(); n > 0 && next.Load() > 3*n+50 {
			return false // there are enough failures to choose from
		}
		if s.duration > 0 {
			return time.Since(begun) < s.duration
		}
		return next.Load() < int64(s.runs)
	}
	used := cpuTime()
	tallies := make([]tally, s.workers)
	var group sync.WaitGroup
	for i := range tallies {
		t := &tallies[i]
		group.Go(func() {
			w := sim.NewWorld(sim.Options{})
			for left() {
				n := next.Add(1)
				if s.duration == 0 && n > int64(s.runs) {
					return
				}
				seed := s.start + uint64(n) - 1
				r := w.RunParams(s.params(seed))
				t.add(&r, seed)
				events.Add(int64(r.Stats.Events))
				if r.Violation != nil {
					failed.Add(1)
					if s.first {
						first.CompareAndSwap(0, n)
						continue
					}
					fmt.Printf("seed %d: %v\n  %s\n", seed, r.Violation, s.command(seed))
					printLink(link.Run{Params: r.Params, Told: r.Violation.Error(), Step: -1})
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	progress(s, done, begun, &next, &events, &failed)

	var t tally
	for i := range tallies {
		t.merge(&tallies[i])
	}
	if s.hash {
		fmt.Printf("hash %016x\n", tallies[0].hash)
		return nil
	}
	t.print(time.Since(begun), cpuTime()-used, s.workers)
	if n := len(t.failures); n > 0 {
		if s.first {
			return s.shorten(&t, first.Load())
		}
		return fmt.Errorf("%d of %d runs broke an invariant", n, len(t.events))
	}
	return nil
}

// shorten shortens the failures that were found first. It reports the one of which least is left,
// after another attempt to shorten that.
func (s *settings) shorten(t *tally, runs int64) error {
	w := sim.NewWorld(sim.Options{})
	var best sim.Schedule
	var proof sim.Proof
	var found *failure
	begun := cpuTime()
	for i := range t.failures {
		p := s.params(t.failures[i].seed)
		schedule := w.Record(func(w *sim.World) sim.Result { return w.RunParams(p) })
		if s.shrink {
			schedule, proof = w.Shrink(schedule, sim.DefaultBudget/2/len(t.failures))
		}
		if found == nil || len(schedule.Events) < len(best.Events) {
			best, found = schedule, &t.failures[i]
		}
	}
	if s.shrink {
		best, proof = w.Shrink(best, sim.DefaultBudget/2)
	}
	fmt.Printf("caught after %d runs: %v\n  %s\n", runs, found.violation, s.command(found.seed))
	if s.shrink {
		fmt.Printf("shortening took %s of CPU\n", (cpuTime() - begun).Round(time.Millisecond))
	}
	return s.report(w, found.seed, &best, proof, found.violation)
}

// progress prints how far the runs are, until they are done.
func progress(s *settings, done <-chan struct{}, begun time.Time, next, events, failed *atomic.Int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-done:
			if !s.quiet {
				fmt.Fprint(os.Stderr, "\r\033[K")
			}
			return
		case <-tick.C:
			if !s.quiet {
				took := time.Since(begun)
				fmt.Fprintf(os.Stderr, "\r%6s  %d runs  %d events  %.0f events/s  %d failures ",
					took.Round(time.Second), next.Load(), events.Load(), float64(events.Load())/took.Seconds(), failed.Load())
			}
		}
	}
}

// print prints what happened.
func (t *tally) print(took, used time.Duration, workers int) {
	runs := max(len(t.events), 1)
	slices.Sort(t.events)
	slices.Sort(t.settled)
	slices.Sort(t.succeeded)
	at := func(sorted []int, percent int) int {
		if len(sorted) == 0 {
			return 0
		}
		return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
	}
	percent := func(n int) float64 { return 100 * float64(n) / float64(runs) }
	s := &t.total
	fmt.Printf("%d runs in %s on %d workers: %d events, %.0f events/s, %.0f per worker; %d failures\n",
		len(t.events), took.Round(time.Millisecond), workers, s.Events,
		float64(s.Events)/took.Seconds(), float64(s.Events)/took.Seconds()/float64(workers), len(t.failures))
	fmt.Printf("%.0f events for each second of CPU (%s)\n", float64(s.Events)/used.Seconds(), used.Round(time.Millisecond))
	fmt.Printf("events in a run: least %d, 5%% %d, 25%% %d, median %d, 75%% %d, 95%% %d, most %d\n",
		at(t.events, 0), at(t.events, 5), at(t.events, 25), at(t.events, 50), at(t.events, 75), at(t.events, 95), at(t.events, 100))
	fmt.Printf("runs that committed under two leaders: %.1f%%; in which a server crashed: %.1f%%; both: %.1f%%\n",
		percent(t.twoTerms), percent(t.crashed), percent(t.both))
	fmt.Print("servers:")
	for n, count := range t.servers {
		if count > 0 {
			fmt.Printf("  %d in %.1f%%", n, percent(count))
		}
	}
	fmt.Printf("\nprogress after the last fault, in election timeouts: median %.1f, 95%% %.1f, 99%% %.1f, most %.1f\n",
		float64(at(t.settled, 50))/10, float64(at(t.settled, 95))/10, float64(at(t.settled, 99))/10, float64(at(t.settled, 100))/10)
	fmt.Printf("then until a server of the highest priority led: median %.1f, 95%% %.1f, 99%% %.1f, most %.1f\n",
		float64(at(t.succeeded, 50))/10, float64(at(t.succeeded, 95))/10, float64(at(t.succeeded, 99))/10, float64(at(t.succeeded, 100))/10)
	fmt.Printf("changes of the members asked for %d, done %d, refused or given up %d, configurations committed %d, addresses changed %d\n",
		s.Changes, s.Changed, s.Unchanged, s.Configurations, s.Moves)
	fmt.Printf("elections %d, crashes %d, recoveries %d, wiped disks %d, writes %d, lost %d, truncations %d, messages %d, dropped %d\n",
		s.Elections, s.Crashes, s.Restarts, s.Wipes, s.Writes, s.Lost, s.Truncations, s.Messages, s.Dropped)
	printElections(s)
	fmt.Printf("commands committed %d, answered %d, refused %d, unknown %d; reads %d, transfers %d\n",
		s.Commands, s.Answered, s.Refused, s.Unknown, s.Reads, s.Transfers)
	fmt.Printf("upgrades %d; in sessions: opened %d, commands applied %d, copies answered with the first result %d, refused %d\n",
		s.Upgrades, s.Sessions, s.SessionCommands, s.SessionCopies, s.SessionRefused)
	fmt.Printf("snapshots %d, failed %d, damaged %d, restored %d; streams %d, broken by chance %d, resumed %d, snapshots received %d\n",
		s.Snapshots, s.SnapshotsFailed, s.Spoiled, s.Restored, s.Streams, s.Broken, s.Resumed, s.Received)
	if s.Backs > 0 {
		fmt.Printf("disks that went back %d, servers that noticed %d; runs beyond what is promised then %d; runs ended by that, or by bytes that all have lost, %d\n",
			s.Backs, s.Noticed, s.Beyond, s.Excused)
		fmt.Printf("durable state machines that went back alone %d, starts refused because the log alone went back %d\n",
			s.MachineBacks, s.Refusals)
	}
	if s.LostEntries > 0 {
		fmt.Printf("entries whose bytes a disk has lost %d, stored again %d; servers that were elected and repaired their logs first %d\n",
			s.LostEntries, s.Repaired, s.Recovering)
	}
	if s.Filled > 0 {
		fmt.Printf("disks that became full %d, commands refused for that %d, snapshots read before the one before went %d\n",
			s.Filled, s.RefusedFull, s.Verified)
		fmt.Printf("disks that stayed full %d, runs in which reserves were used up then %d\n", s.Brims, s.Worn)
	}
	fmt.Printf("runs that begin with a survivor of a lost majority %d, with a snapshot of another cluster %d\n", s.Recovered, s.Exported)
	if s.WALs > 0 {
		fmt.Printf("runs with the real log %d: logs opened %d, power cut meanwhile %d, unreported writes that survived %d, torn writes %d\n",
			s.WALs, s.Opened, s.CutOpening, s.Survived, s.Torn)
		fmt.Printf("failed writes %d, failed syncs %d, disks full %d, logs found corrupt and replaced %d, entries found rotten %d\n",
			s.FailedWrites, s.FailedSyncs, s.Full, s.Corrupt, s.RottenEntries)
	}
	fmt.Print("faults:")
	for i, name := range sim.FaultNames {
		fmt.Printf(" %s %d", name, s.Faults[i])
	}
	fmt.Println()
}
