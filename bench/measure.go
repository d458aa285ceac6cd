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

// catchUp bounds how long followers may take to apply the commands that the leader has answered.
const catchUp = 2 * time.Minute

// inDirectory calls f with a new directory, and removes it in the end.
func inDirectory(parent string, f func(dir string) error) (err error) {
	dir, err := os.MkdirTemp(parent, "raft-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	// The garbage of an earlier run is collected now, and not in this run's time.
	runtime.GC()
	return f(dir)
}

// measureLoad runs a cluster of its own under a load. The result has figures only if the check has
// passed.
func measureLoad(ctx context.Context, p Peer, c runConfig, r *result) error {
	return inDirectory(c.dir, func(dir string) error {
		o := Options{Mode: c.mode, Dir: dir, Clients: max(c.load.clients, primeClients), Election: c.election, Compacts: true}
		g, err := startGroup(ctx, p, o, c.servers)
		if err != nil {
			return err
		}
		if c.applyPause > 0 {
			for _, m := range g.machines {
				m.more.Store(&machineExtras{pause: c.applyPause})
			}
		}
		l, used, err := g.drive(ctx, c)
		if err == nil {
			err = l.awaitApplied(ctx, g.machines)
		}
		if closed := g.close(); err == nil {
			err = closed
		}
		if err == nil {
			err = l.check(g.machines)
		}
		if err == nil {
			err = l.report(r, used)
		}
		return err
	})
}

// drive lets the clients run, and measures what is used between the end of the warm-up and the end
// of the measured time.
func (g *group) drive(ctx context.Context, c runConfig) (*load, usage, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := newLoad(g.leader, c.load)
	if c.cell.used {
		if err := l.prime(ctx, c.prime); err != nil {
			return l, usage{}, err
		}
	}
	l.start(ctx)
	dispatched := make(chan error, 1)
	if l.open != nil {
		go func() { dispatched <- l.open.dispatch(ctx, c.warmup, c.duration) }()
	} else {
		dispatched <- nil
	}
	var used usage
	err := l.wait(ctx, c.warmup)
	if err == nil {
		var profiled func() error
		if profiled, err = startProfiles(c); err == nil {
			before := takeUsage(g.cluster, g.options.Dir)
			l.phase.Store(measuring)
			err = l.wait(ctx, c.duration)
			used = takeUsage(g.cluster, g.options.Dir).since(before)
			if l.open != nil && err == nil {
				l.open.ended.Store(int64(time.Since(l.open.begin)))
				err = errors.Join(<-dispatched, l.wait(ctx, arrivalsGrace))
			}
			l.phase.Store(stopping)
			err = errors.Join(err, profiled())
		}
	}
	if err != nil {
		cancel() // a client that waits for an answer may never get it: it gives up
	}
	if stopped := l.stop(); err == nil {
		err = stopped
	}
	return l, used, err
}

// awaitApplied waits until every machine has applied as many commands as were answered.
func (l *load) awaitApplied(ctx context.Context, machines []*Machine) error {
	answered, _ := l.totals()
	ctx, cancel := context.WithTimeoutCause(ctx, catchUp, errTooSlow)
	defer cancel()
	for i, m := range machines {
		if poll(ctx, func() bool { return m.count.Load() >= answered }) != nil {
			return fmt.Errorf("%w: server %d has applied %d of %d commands: %w", errWrongState, i, m.count.Load(), answered, context.Cause(ctx))
		}
	}
	return nil
}

// errTooSlow says that a server didn't catch up in time.
var errTooSlow = fmt.Errorf("it took longer than %v", catchUp)

// check returns an error unless every machine has applied exactly the commands that were answered,
// each once and all in the same order. The cluster must be closed.
func (l *load) check(machines []*Machine) error {
	answered, sum := l.totals()
	for i, m := range machines {
		switch {
		case m.count.Load() != answered:
			return fmt.Errorf("%w: server %d has applied %d commands, %d were answered", errWrongState, i, m.count.Load(), answered)
		case m.sum != sum:
			return fmt.Errorf("%w: server %d has applied other commands than those that were answered", errWrongState, i)
		case m.chain != machines[0].chain:
			return fmt.Errorf("%w: server %d has applied the commands in another order than server 0", errWrongState, i)
		case !sameBallast(m, machines[0]):
			return fmt.Errorf("%w: server %d has another state than server 0", errWrongState, i)
		}
	}
	return nil
}

// usage is what the process has used up to a time, or between two times.
type usage struct {
	at                           time.Time
	took, cpu                    time.Duration
	allocs, bytes, syncs         uint64
	hasCPU, hasBytes, countsSync bool // whether cpu, bytes and syncs can be counted
}

// A syncCounter counts the syncs of log files, as a Cluster does.
type syncCounter interface{ Syncs() (uint64, bool) }

// takeUsage reads the counters. The cluster has its files in dir.
func takeUsage(c syncCounter, dir string) usage {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}}
	metrics.Read(sample)
	u := usage{at: time.Now(), allocs: sample[0].Value.Uint64()}
	u.cpu, u.hasCPU = processCPU()
	u.bytes, u.hasBytes = writtenBytes(dir)
	u.syncs, u.countsSync = c.Syncs()
	return u
}

// since returns what was used since an earlier time.
func (u usage) since(before usage) usage {
	u.took = u.at.Sub(before.at)
	u.cpu -= before.cpu
	u.allocs -= before.allocs
	u.bytes -= before.bytes
	u.syncs -= before.syncs
	return u
}

// report puts the figures of a load that has stopped into a result.
func (l *load) report(r *result, used usage) error {
	writes, reads := l.latencies()
	all := new(histogram)
	all.merge(writes)
	all.merge(reads)
	done := float64(all.total)
	if l.open != nil {
		var inTime, unserved uint64
		for _, c := range l.clients {
			inTime += c.inTime
			unserved += c.unserved
		}
		done = float64(inTime)
		r.set("lag_us", l.open.lag.quantile(0.99))
		r.set("unserved", float64(unserved))
	}
	if done == 0 {
		return errNothingMeasured
	}
	r.set("throughput", done/used.took.Seconds())
	r.latencies("", all)
	if reads.total > 0 && writes.total > 0 {
		r.latencies("read_", reads)
		r.latencies("write_", writes)
	}
	if used.hasCPU {
		r.set("cpu_us", float64(used.cpu.Nanoseconds())/1000/done)
	}
	r.set("allocs", float64(used.allocs)/done)
	if used.countsSync {
		r.set("syncs", float64(used.syncs)/done)
	}
	if used.hasBytes && r.Mode == onDisk {
		r.set("bytes", float64(used.bytes)/done)
	}
	r.Histogram = all.shares()
	return nil
}

// startProfiles starts the profiles that were asked for, and returns a function that ends and
// writes them.
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
