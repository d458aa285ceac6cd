package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// A door is the Server through which the clients of a load reach many groups. It proposes a command in
// the group that choose returns, at the server that led it.
type door struct {
	set    *hostSet
	choose func(client int) int
}

// newDoor returns a door to groups from low to high-1, among which each client chooses by chance. The
// numbers of the clients begin with first.
func (h *hostSet) newDoor(low, high, first, clients int) *door {
	random := make([]*rand.Rand, clients)
	for n := range random {
		random[n] = rand.New(rand.NewPCG(1, uint64(first+n)))
	}
	return &door{h, func(client int) int { return low + random[client-first].IntN(high-low) }}
}

func (d *door) Propose(ctx context.Context, client int, command []byte) (uint64, error) {
	return d.set.propose(ctx, client, d.choose(client), command)
}

func (d *door) Leads() bool                     { return true }
func (d *door) Read(context.Context, int) error { return errors.ErrUnsupported }
func (d *door) Snapshot(context.Context) error  { return errors.ErrUnsupported }
func (d *door) HandOver(context.Context) error  { return nil }
func (d *door) Close() error                    { return nil }

// propose proposes a command at the server that led its group, and counts the answer.
func (h *hostSet) propose(ctx context.Context, client, group int, command []byte) (uint64, error) {
	result, err := h.servers[h.leaders[group]].Propose(ctx, client, group, command)
	if err != nil {
		return 0, fmt.Errorf("group %d: %w", group, err)
	}
	h.tallies[group].add(command, result)
	return result, nil
}

// touch proposes one command in each group.
func (h *hostSet) touch(ctx context.Context, clients int) error {
	return h.fill(ctx, clients, 1, minPayload)
}

// fill proposes as many commands in each group, one after the other, by clients that share the groups.
func (h *hostSet) fill(ctx context.Context, clients, commands, payload int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, errs := h.newClients(clients), make([]error, clients)
	var running sync.WaitGroup
	for n := range clients {
		running.Go(func() {
			c, g := newClient(first+n, payload), n
			d := &door{h, func(int) int { return g }}
			for ; g < h.options.Groups; g += clients {
				for range commands {
					if errs[n] = c.propose(ctx, d, c.command); errs[n] != nil {
						cancel()
						return
					}
				}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// newClients returns the number of the first of so many clients. No two loads have clients with the
// same numbers, so that all commands of a run differ.
func (h *hostSet) newClients(clients int) (first int) {
	return int(h.clients.Add(int64(clients))) - clients
}

// run lets clients propose in the groups from low to high-1, and measures for a time what they get and
// what is used. meanwhile runs beside them, until its context ends.
func (h *hostSet) run(ctx context.Context, low, high int, c runConfig, meanwhile func(context.Context) error) (l *load, used usage, err error) {
	c.load.first = h.newClients(c.load.clients)
	d := h.newDoor(low, high, c.load.first, c.load.clients)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	others := make(chan error, 1)
	stopped, stop := context.WithCancel(ctx)
	go func() { others <- meanwhile(stopped) }()
	l = startLoad(ctx, d, c.load)
	err = l.wait(ctx, c.warmup)
	var profiled func() error
	if err == nil {
		profiled, err = startProfiles(c)
	}
	if err == nil {
		before := takeUsage(h.hosts, h.options.Dir)
		l.phase.Store(measuring)
		err = l.wait(ctx, c.duration)
		used = takeUsage(h.hosts, h.options.Dir).since(before)
		err = errors.Join(err, profiled())
	}
	if err != nil {
		cancel()
	}
	stop()
	if ended := l.stop(); err == nil {
		err = ended
	}
	if ended := <-others; err == nil {
		err = ended
	}
	return l, used, err
}

// nothing is what happens beside a load by itself.
func nothing(context.Context) error { return nil }

// measureHostLoad runs the clients on one group, and then on all, and compares the two.
func measureHostLoad(ctx context.Context, p Peer, c runConfig, r *result) error {
	var all result
	err := withHosts(ctx, p, c, func(ctx context.Context, h *hostSet) error {
		if err := h.serveEverywhere(ctx); err != nil {
			return err
		}
		alone := c
		alone.cpuProfile, alone.allocProfile = "", ""
		for _, part := range []struct {
			prefix string
			config runConfig
			groups int
		}{{"one_", alone, 1}, {"", c, c.groups}} {
			l, used, err := h.run(ctx, 0, part.groups, part.config, nothing)
			if err != nil {
				return err
			}
			one := result{key: r.key}
			if err := l.report(&one, used); err != nil {
				return err
			}
			for name, v := range one.Figures {
				all.set(part.prefix+name, v)
			}
			all.Histogram = one.Histogram
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Figures, r.Histogram = all.Figures, all.Histogram
	r.set("kept", r.Figures["throughput"]/r.Figures["one_throughput"])
	if one := r.Figures["one_syncs"]; one > 0 {
		r.set("syncs_ratio", r.Figures["syncs"]/one)
	}
	return nil
}

// measureHostCreate makes all groups at all servers, and waits until each has a leader.
func measureHostCreate(ctx context.Context, p Peer, c runConfig, r *result) error {
	return withHosts(ctx, p, c, func(ctx context.Context, h *hostSet) error {
		profiled, err := startProfiles(c)
		if err != nil {
			return err
		}
		before := takeUsage(h.hosts, h.options.Dir)
		if err := h.serveEverywhere(ctx); err != nil {
			return err
		}
		used := takeUsage(h.hosts, h.options.Dir).since(before)
		if err := profiled(); err != nil {
			return err
		}
		r.set("led_s", used.took.Seconds())
		if used.hasCPU {
			r.set("cpu_s", used.cpu.Seconds())
		}
		if used.countsSync {
			r.set("syncs", float64(used.syncs))
		}
		return h.touch(ctx, fleetClients)
	})
}

// hostFillers is how many clients fill the logs of many groups.
const hostFillers = 1024

// measureHostStart fills the logs of all groups, closes a server, and measures how long it takes from
// its start until it takes part in all groups.
func measureHostStart(ctx context.Context, p Peer, c runConfig, r *result) error {
	return withHosts(ctx, p, c, func(ctx context.Context, h *hostSet) error {
		if err := h.serveEverywhere(ctx); err != nil {
			return err
		}
		if err := h.fill(ctx, hostFillers, max(1, c.entries/c.groups), c.load.payload); err != nil {
			return err
		}
		if err := h.awaitApplied(ctx); err != nil {
			return err
		}
		const again = 0
		if err := h.stop(again); err != nil {
			return err
		}
		h.options.Machines[again] = newMachines(c.groups)
		if err := h.awaitLeaders(ctx); err != nil {
			return err
		}
		profiled, err := startProfiles(c)
		if err != nil {
			return err
		}
		before := takeUsage(h.hosts, h.options.Dir)
		if err := h.start(again); err != nil {
			return err
		}
		if err := h.serve(again); err != nil {
			return err
		}
		r.set("started_s", time.Since(before.at).Seconds())
		if err := h.awaitPart(ctx, again); err != nil {
			return err
		}
		used := takeUsage(h.hosts, h.options.Dir).since(before)
		if err := profiled(); err != nil {
			return err
		}
		r.set("part_s", used.took.Seconds())
		if used.hasCPU {
			r.set("cpu_s", used.cpu.Seconds())
		}
		r.set("allocs", float64(used.allocs)/float64(c.groups))
		if err := h.awaitLeaders(ctx); err != nil {
			return err
		}
		return h.touch(ctx, fleetClients)
	})
}

// The group whose neighbours are measured gets heavyClients commands of heavyPayload bytes at a time,
// or sleeps for sleepyBatch before each batch of commands.
const (
	heavyClients = 64
	heavyPayload = 1 << 20
	sleepyBatch  = time.Second
)

// measureHostFair measures what clients of all groups but one get: by themselves, while much is
// written in that group, by themselves once more, and while the machine of that group sleeps.
func measureHostFair(ctx context.Context, p Peer, c runConfig, r *result) error {
	var heavy uint64
	histograms := map[string]*histogram{"usual_": {}, "heavy_": {}, "sleepy_": {}}
	err := withHosts(ctx, p, c, func(ctx context.Context, h *hostSet) error {
		if err := h.serveEverywhere(ctx); err != nil {
			return err
		}
		for _, part := range []string{"usual_", "heavy_", "usual_", "sleepy_"} {
			meanwhile := nothing
			switch part {
			case "heavy_":
				meanwhile = h.pressure(heavyPayload, &heavy, func() {})
			case "sleepy_":
				h.doze(sleepyBatch)
				meanwhile = h.pressure(c.load.payload, new(uint64), func() { h.doze(0) })
			}
			l, _, err := h.run(ctx, 1, c.groups, c, meanwhile)
			if err != nil {
				return fmt.Errorf("part %s: %w", part, err)
			}
			writes, _ := l.latencies()
			histograms[part].merge(writes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if histograms["usual_"].total == 0 || heavy == 0 {
		return errNothingMeasured
	}
	usual := histograms["usual_"].quantile(0.99)
	for part, h := range histograms {
		if h.total == 0 {
			return errNothingMeasured
		}
		r.latencies(part, h)
		if part != "usual_" {
			r.set(part+"p99_ratio", h.quantile(0.99)/usual)
		}
	}
	r.set("heavy_mib", float64(heavy)*heavyPayload/(1<<20))
	return nil
}

// doze lets the machines of group 0 sleep before each batch; 0 ends that.
func (h *hostSet) doze(d time.Duration) {
	for i := range h.options.Machines {
		h.options.Machines[i][0].more.Load().batchPause.Store(int64(d))
	}
}

// A patientDoor is a door whose clients make a command again that was refused, a moment later: where
// much is in flight, a library may refuse more.
type patientDoor struct{ door }

func (d *patientDoor) Propose(ctx context.Context, client int, command []byte) (uint64, error) {
	for {
		g := d.choose(client)
		result, err := d.set.propose(ctx, client, g, command)
		if err == nil || !d.set.servers[d.set.leaders[g]].NotApplied(err) {
			return result, err
		}
		if err := wait(ctx, refusedPause); err != nil {
			return 0, err
		}
	}
}

// pressure returns a function that lets heavyClients clients propose in group 0 until its context ends,
// and adds up what was answered. It calls ended before it waits for the last answers.
func (h *hostSet) pressure(payload int, answered *uint64, ended func()) func(context.Context) error {
	first := h.newClients(heavyClients)
	l := newLoad(&patientDoor{*h.newDoor(0, 1, first, heavyClients)}, loadConfig{clients: heavyClients, payload: payload, first: first})
	return func(ctx context.Context) error {
		l.start(context.WithoutCancel(ctx))
		<-ctx.Done()
		ended()
		err := l.stop()
		n, _ := l.totals()
		*answered += n
		return err
	}
}
