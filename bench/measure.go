package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"runtime/pprof"
	"time"
)

// A runConfig is what one run needs to know.
type runConfig struct {
	mode             Mode
	clients, payload int
	duration, warmup time.Duration
	election         time.Duration
	dir              string
	cpuProfile       string
	allocProfile     string
}

// catchUp bounds how long followers may take to apply what the leader has answered.
const catchUp = 30 * time.Second

// measure runs a cluster of its own, and returns its figures if it did its work.
func measure(ctx context.Context, p Peer, c runConfig) (r result, err error) {
	dir, err := os.MkdirTemp(c.dir, "raft-bench-")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// What an earlier run has left is collected at its expense, not at this one's.
	runtime.GC()

	options := Options{Mode: c.mode, Dir: dir, Clients: c.clients, Election: c.election}
	for i := range options.Machines {
		options.Machines[i] = new(Machine)
	}
	cluster, err := p.Start(ctx, options)
	if err != nil {
		return r, fmt.Errorf("start: %w", err)
	}
	l, used, err := drive(ctx, cluster, c)
	if err == nil {
		err = l.awaitApplied(ctx, options.Machines)
	}
	if closed := cluster.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return r, err
	}
	if err := l.check(options.Machines); err != nil {
		return r, err
	}
	return newResult(p.Name(), c, l.latencies(), used), nil
}

// drive lets the clients run, and measures between warm-up and end what is used.
func drive(ctx context.Context, cluster Cluster, c runConfig) (*load, usage, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := startLoad(ctx, cluster, c.clients, c.payload)

	var used usage
	err := l.wait(ctx, c.warmup)
	if err == nil {
		var profiled func() error
		if profiled, err = startProfiles(c); err == nil {
			before := takeUsage(cluster)
			l.phase.Store(measuring)
			err = l.wait(ctx, c.duration)
			l.phase.Store(stopping)
			used = takeUsage(cluster).since(before)
			err = errors.Join(err, profiled())
		}
	}
	if err != nil {
		cancel() // who waits for an answer that may never come, gives up
	}
	if stopped := l.stop(); err == nil {
		err = stopped
	}
	return l, used, err
}

// wait waits for a time, or for the first client that fails.
func (l *load) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-l.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitApplied waits until every machine has applied as many commands as were answered.
func (l *load) awaitApplied(ctx context.Context, machines [servers]*Machine) error {
	answered, _ := l.totals()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(catchUp)
	for i, m := range machines {
		for m.count.Load() < answered {
			if time.Now().After(deadline) {
				return fmt.Errorf("%w: server %d has applied %d of %d commands after %v", errWrongState, i, m.count.Load(), answered, catchUp)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}

// check says whether the machines have applied what was answered, each command once, and all in
// the same order. The cluster is closed.
func (l *load) check(machines [servers]*Machine) error {
	answered, sum := l.totals()
	for i, m := range machines {
		switch {
		case m.count.Load() != answered:
			return fmt.Errorf("%w: server %d has applied %d commands, %d were answered", errWrongState, i, m.count.Load(), answered)
		case m.sum != sum:
			return fmt.Errorf("%w: server %d has applied other commands than those that were answered", errWrongState, i)
		case m.chain != machines[0].chain:
			return fmt.Errorf("%w: server %d has applied the commands in another order than server 0", errWrongState, i)
		}
	}
	return nil
}

// usage is what the process had used at one time, or used between two.
type usage struct {
	at     time.Time
	took   time.Duration
	cpu    time.Duration
	hasCPU bool
	allocs uint64
	syncs  uint64
	// hasSyncs says whether the peer's syncs can be counted.
	hasSyncs bool
}

// takeUsage reads the counters.
func takeUsage(c Cluster) usage {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(sample)
	u := usage{at: time.Now(), allocs: sample[0].Value.Uint64()}
	u.cpu, u.hasCPU = processCPU()
	u.syncs, u.hasSyncs = c.Syncs()
	return u
}

// since returns what was used since an earlier time.
func (u usage) since(before usage) usage {
	u.took = u.at.Sub(before.at)
	u.cpu -= before.cpu
	u.allocs -= before.allocs
	u.syncs -= before.syncs
	return u
}

// startProfiles starts the profiles that are asked for, and returns what ends and writes them.
func startProfiles(c runConfig) (func() error, error) {
	var cpu *os.File
	if c.cpuProfile != "" {
		var err error
		if cpu, err = os.Create(c.cpuProfile); err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(cpu); err != nil {
			return nil, errors.Join(err, cpu.Close())
		}
	}
	return func() error {
		var err error
		if cpu != nil {
			pprof.StopCPUProfile()
			err = cpu.Close()
		}
		if c.allocProfile == "" {
			return err
		}
		allocs, created := os.Create(c.allocProfile)
		if created != nil {
			return errors.Join(err, created)
		}
		return errors.Join(err, pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
	}, nil
}
