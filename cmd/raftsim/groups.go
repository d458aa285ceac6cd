package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft/rafttest/sim"
)

// A hostTally adds up runs of hosts. Each worker has its own.
type hostTally struct {
	runs   int
	total  sim.Stats
	hosts  sim.HostStats
	hashes uint64
	failed []failure
}

func (t *hostTally) add(seed uint64, r *sim.Result, hosts *sim.HostStats) {
	t.runs++
	t.total.Add(&r.Stats)
	t.hosts.Add(hosts)
	t.hashes += r.Hash // in any order of the runs
	if r.Violation != nil {
		t.failed = append(t.failed, failure{seed, r.Violation})
	}
}

// hostParams returns the parameters of a seed whose processes serve several groups, narrowed by the flags
// but for -set.
func (s *settings) hostParams(seed uint64) sim.Params {
	p := sim.HostSwarm(seed)
	s.narrowed(&p)
	if s.faults != "" {
		_ = narrowHosts(&p, s.faults) // run has checked the names
	}
	return p
}

// hostRun performs the run of a seed whose processes serve -groups groups.
func (s *settings) hostRun(h *sim.Hosts, seed uint64) (sim.Result, sim.HostStats) {
	p := s.hostParams(seed)
	_ = set(&p, s.set) // run has checked the names
	return h.RunParams(p, s.groups)
}

// narrowHosts leaves only the faults with the given names: those of processes, those of one group, and
// those that happen by chance.
func narrowHosts(p *sim.Params, names string) error {
	var own []string
	others := ""
	for name := range strings.SplitSeq(names, ",") {
		if slices.Contains(sim.HostFaultNames, name) {
			own = append(own, name)
		} else {
			others += "," + name
		}
	}
	if err := narrow(p, cmp.Or(strings.TrimPrefix(others, ","), "none")); err != nil {
		return err
	}
	p.HostKinds = 0
	for _, name := range own {
		p.AddHostFault(name)
	}
	return nil
}

// singleOfHosts performs the run of one seed. It makes the parameters of a failure smaller, and prints the command
// that repeats it.
func singleOfHosts(s *settings) error {
	h, p, groups := sim.NewHosts(), s.hostParams(s.seed), s.groups
	_ = set(&p, s.set) // run has checked the names
	if err := p.CheckServers(); err != nil {
		return err
	}
	perform := func(p sim.Params, groups int) (sim.Result, sim.HostStats) {
		if s.verbose {
			return h.Transcript(os.Stdout, p, groups)
		}
		return h.RunParams(p, groups)
	}
	r, hosts := h.RunParams(p, groups)
	if r.Violation == nil {
		if s.verbose {
			perform(p, groups)
		}
		fmt.Printf("seed %d: %d events, hash %016x: no violation\n%+v\n%+v\n", s.seed, r.Stats.Events, r.Hash, r.Stats, hosts)
		return nil
	}
	if s.shrink {
		fmt.Printf("seed %d: %v\n", s.seed, r.Violation)
		p, groups = h.Shrink(p, groups, hostBudget)
	}
	r, _ = perform(p, groups)
	smaller := *s
	smaller.groups, smaller.set = groups, p.Changes(s.hostParams(s.seed))
	fmt.Printf("%d events of %d groups: %v\n  %s -shrink=false\n", r.Stats.Events, groups, r.Violation, smaller.command(s.seed))
	return fmt.Errorf("seed %d: %w", s.seed, r.Violation)
}

// hostBudget bounds the work of making a failure smaller (sim.Hosts.Shrink): it takes a minute or so.
const hostBudget = 10 * sim.DefaultBudget

// groups performs runs whose processes serve several groups each, one after the other on all cores.
func groups(s *settings) error {
	begun, used := time.Now(), cpuTime()
	t := s.manyHosts(begun)
	if s.hash {
		fmt.Printf("hash %016x\n", t.hashes)
		return nil
	}
	t.print(time.Since(begun), cpuTime()-used, s)
	if n := len(t.failed); n > 0 {
		return fmt.Errorf("%d of %d runs broke an invariant", n, t.runs)
	}
	return nil
}

// manyHosts performs one run after the other on all cores.
func (s *settings) manyHosts(begun time.Time) (total hostTally) {
	var next, failed atomic.Int64
	tallies := make([]hostTally, s.workers)
	var workers sync.WaitGroup
	for i := range tallies {
		t := &tallies[i]
		workers.Go(func() {
			h := sim.NewHosts()
			for failed.Load() < int64(s.failures) && (s.duration == 0 || time.Since(begun) < s.duration) {
				n := next.Add(1)
				if s.duration == 0 && n > int64(s.runs) {
					return
				}
				seed := s.start + uint64(n) - 1
				r, hosts := s.hostRun(h, seed)
				t.add(seed, &r, &hosts)
				if r.Violation != nil {
					failed.Add(1)
					fmt.Printf("seed %d: %v\n  %s\n", seed, r.Violation, s.command(seed))
				}
			}
		})
	}
	workers.Wait()
	for i := range tallies {
		t := &tallies[i]
		total.runs += t.runs
		total.total.Add(&t.total)
		total.hosts.Add(&t.hosts)
		total.hashes += t.hashes
		total.failed = slices.Concat(total.failed, t.failed)
	}
	return total
}

// print prints what happened.
func (t *hostTally) print(took, used time.Duration, s *settings) {
	r, h := &t.total, &t.hosts
	fmt.Printf("%d runs in %s on %d workers: %d events, %.0f runs for each second of CPU (%s); %d failures\n",
		t.runs, took.Round(time.Millisecond), s.workers, r.Events, float64(t.runs)/used.Seconds(), used.Round(time.Millisecond), len(t.failed))
	fmt.Printf("groups %d, messages of processes %d, turns that Books asked for %d, turns that left a group to its Book %d of %d\n",
		h.Groups, h.Heartbeats, h.Turns, h.Settled, r.Drains)
	fmt.Printf("writes of disks %d, of several groups at once %d; groups that failed alone %d, removed %d\n", h.Writes, h.Shared, h.Failed, h.Removed)
	fmt.Printf("starts that were told of later ones %d, processes that stayed as they were %d, times that a group read its log %d; disks that became full %d, that stayed full %d; groups that began with a survivor %d, with an exported snapshot %d\n",
		h.Renamed, h.Frozen, h.Scrubs, r.Filled, r.Brims, r.Recovered, r.Exported)
	if r.Opened > 0 {
		fmt.Printf("real logs: opened %d, cut meanwhile %d, whose size was looked at %d; writes that survived %d, lost %d, torn %d; calls that failed %d, full disks %d, entries found rotten %d, groups or logs refused %d, groups beside damage %d\n",
			r.Opened, r.CutOpening, h.Cleaned, r.Survived, r.Lost, r.Torn, r.FailedWrites+r.FailedSyncs, r.Full, r.RottenEntries, r.Corrupt, h.Spared)
	}
	fmt.Printf("elections %d, crashes %d, commands committed %d, answered %d, refused %d, unknown %d; reads %d, transfers %d\n",
		r.Elections, r.Crashes, r.Commands, r.Answered, r.Refused, r.Unknown, r.Reads, r.Transfers)
	fmt.Printf("changes of the members done %d, configurations %d; snapshots %d, received %d; disks that went back %d, noticed %d; entries lost %d, stored again %d\n",
		r.Changed, r.Configurations, r.Snapshots, r.Received, r.Backs, r.Noticed, r.LostEntries, r.Repaired)
	fmt.Print("faults:")
	for i, name := range sim.HostFaultNames {
		fmt.Printf(" %s %d", name, h.Faults[i])
	}
	fmt.Println()
}
