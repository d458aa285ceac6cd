package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"
)

// The process of a slow follower is stopped for frozenFor, runs for thawedFor, is stopped again,
// and so on.
const (
	frozenFor = 90 * time.Millisecond
	thawedFor = 10 * time.Millisecond
)

// lightClients is how many clients propose while a follower catches up.
const lightClients = 16

// measureSlowFollower compares a load beside a slow follower with the same load beside healthy
// followers.
func measureSlowFollower(ctx context.Context, p Peer, c runConfig, r *result) error {
	return withFleet(ctx, p, c, func(f *fleet) error {
		leader, err := f.settle(ctx)
		if err != nil {
			return err
		}
		follower := (leader + 1) % c.servers
		request := serverRequest{Do: doLoad, Clients: c.load.clients, Payload: c.load.payload, Warmup: c.warmup, Duration: c.duration}
		usual, err := f.processes[leader].call(ctx, request)
		if err != nil {
			return err
		}
		slowing, stop := context.WithCancel(ctx)
		slowed := make(chan error, 1)
		go func() { slowed <- f.processes[follower].falter(slowing) }()
		slow, err := f.processes[leader].call(ctx, request)
		stop()
		if err := errors.Join(err, <-slowed); err != nil {
			return err
		}
		begin := time.Now()
		if _, err := f.settle(ctx); err != nil {
			return err
		}
		r.set("caught_up_s", time.Since(begin).Seconds())
		for _, name := range []string{"throughput", "p50_us", "p99_us"} {
			r.set(name, slow.Figures[name])
			r.set("usual_"+name, usual.Figures[name])
		}
		r.set("kept", slow.Figures["throughput"]/usual.Figures["throughput"])
		r.set("p99_ratio", slow.Figures["p99_us"]/usual.Figures["p99_us"])
		return nil
	})
}

// falter stops the process again and again until ctx ends. In the end the process goes on.
func (p *process) falter(ctx context.Context) error {
	for {
		if err := p.freeze(); err != nil {
			return err
		}
		ended := wait(ctx, frozenFor)
		if err := p.thaw(); err != nil {
			return err
		}
		if ended != nil || wait(ctx, thawedFor) != nil {
			return nil
		}
	}
}

// measureAway kills a follower, lets the log grow, and starts the follower again. It measures how
// long the follower takes until it has applied what the leader had applied when the follower came
// back, and how much a light load at the leader suffers meanwhile.
func measureAway(ctx context.Context, p Peer, c runConfig, r *result) error {
	c.load.clients = fillClients
	return withFleet(ctx, p, c, func(f *fleet) error {
		leader, err := f.settle(ctx)
		if err != nil {
			return err
		}
		light := serverRequest{Do: doLoad, Clients: lightClients, Payload: c.load.payload, Warmup: c.warmup, Duration: c.duration}
		usual, err := f.processes[leader].call(ctx, light)
		if err != nil {
			return err
		}
		follower := (leader + 1) % c.servers
		f.processes[follower].kill()
		f.processes[follower] = nil
		filled, err := f.processes[leader].call(ctx, serverRequest{
			Do: doLoad, Clients: fillClients, Payload: c.load.payload, Commands: c.entries, Duration: fillTimeout,
		})
		if err != nil {
			return err
		}
		target, err := f.applied(ctx, leader)
		if err != nil {
			return err
		}
		light.Duration, light.Warmup = fillTimeout, 0
		meanwhile, err := f.processes[leader].ask(light)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := f.start(follower); err != nil {
			return err
		}
		if err := f.awaitApplied(ctx, follower, target); err != nil {
			return err
		}
		took := time.Since(begin)
		if _, err := f.processes[leader].call(ctx, serverRequest{Do: doCancel}); err != nil {
			return err
		}
		noticed := <-meanwhile
		if noticed.Error != "" {
			return errors.New(noticed.Error)
		}
		if _, err := f.settle(ctx); err != nil {
			return err
		}
		r.set("caught_up_s", took.Seconds())
		r.set("caught_up_rate", float64(target)/took.Seconds())
		r.set("away_throughput", filled.Figures["throughput"])
		for _, name := range []string{"p50_us", "p99_us"} {
			r.set(name, noticed.Figures[name])
			r.set("usual_"+name, usual.Figures[name])
		}
		return nil
	})
}

// awaitApplied waits until a server has applied a number of commands.
func (f *fleet) awaitApplied(ctx context.Context, i int, target uint64) error {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for {
		applied, err := f.applied(ctx, i)
		if err != nil || applied >= target {
			return err
		}
		if err := wait(ctx, statusEvery); err != nil {
			return fmt.Errorf("server %d has applied %d of %d commands: %w", i, applied, target, err)
		}
	}
}

// Many clients fill a log, so that this takes no longer than it must.
const (
	fillClients = 1024
	fillTimeout = 10 * time.Minute
)

// measureRestart fills the log of a cluster of one, closes it, and starts it again.
func measureRestart(ctx context.Context, p Peer, c runConfig, r *result) error {
	return inDirectory(c.dir, func(dir string) error {
		o := Options{Mode: onDisk, Dir: dir, Clients: fillClients, Election: c.election}
		g, err := startGroup(ctx, p, o, 1)
		if err != nil {
			return err
		}
		l := startLoad(ctx, g.leader, loadConfig{clients: fillClients, payload: c.load.payload, limit: uint64(max(1, c.entries/fillClients))})
		err = errors.Join(l.wait(ctx, fillTimeout), l.stop(), g.close())
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
		if err := l.check(g.machines); err != nil {
			return err
		}
		runtime.GC()

		used, opened, again, err := replay(ctx, p, g.options, l)
		if err != nil {
			return fmt.Errorf("restart: %w", err)
		}
		if err := l.check(again); err != nil {
			return err
		}
		answered, _ := l.totals()
		r.set("opened_s", opened.Seconds())
		r.set("replayed_s", used.took.Seconds())
		r.set("allocs", float64(used.allocs)/float64(answered))
		if used.hasCPU {
			r.set("cpu_s", used.cpu.Seconds())
		}
		return nil
	})
}

// replay starts a sole server on the files of an earlier one, and waits until the new one has
// applied all commands of the load.
func replay(ctx context.Context, p Peer, o Options, l *load) (used usage, opened time.Duration, machines []*Machine, err error) {
	o.Machines = []*Machine{new(Machine)}
	cluster, err := p.New(o)
	if err != nil {
		return used, 0, nil, err
	}
	before := takeUsage(cluster, o.Dir)
	server, err := cluster.Start(0)
	if err != nil {
		return used, 0, nil, err
	}
	opened = time.Since(before.at)
	err = l.awaitApplied(ctx, o.Machines)
	used = takeUsage(cluster, o.Dir).since(before)
	return used, opened, o.Machines, errors.Join(err, server.Close(), cluster.Close())
}
