package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"
)

// withHostFleet starts servers of many groups, each in a process of its own, calls f when every group
// has a leader that all servers know, and ends all processes.
func withHostFleet(ctx context.Context, p Peer, c runConfig, f func(*fleet) error) error {
	return inDirectory(c.dir, func(dir string) error {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		addresses, err := freeAddresses(c.servers)
		if err != nil {
			return err
		}
		fl := &fleet{
			order: serverOrder{Peer: p.Name(), Servers: c.servers, Hosts: &HostOptions{
				Mode: onDisk, Dir: dir, Clients: fleetClients, Election: c.election, Addresses: addresses, Groups: c.groups,
			}},
			processes: make([]*process, c.servers),
		}
		defer fl.close()
		for i := range fl.processes {
			if err := fl.start(i); err != nil {
				return err
			}
		}
		if err := fl.settleGroups(ctx); err != nil {
			return err
		}
		return f(fl)
	})
}

// callAll makes a request to all servers at once, but for the one that is left out; -1 leaves out none.
// The answers have the places of their servers.
func (f *fleet) callAll(ctx context.Context, without int, r serverRequest) ([]serverAnswer, error) {
	waiting, err := f.askAll(without, r)
	if err != nil {
		return nil, err
	}
	return f.awaitAll(ctx, r.Do, waiting)
}

// askAll makes a request to all servers but one, and returns the channels of the answers.
func (f *fleet) askAll(without int, r serverRequest) ([]<-chan serverAnswer, error) {
	waiting := make([]<-chan serverAnswer, len(f.processes))
	for i, p := range f.processes {
		var err error
		if p == nil || i == without {
			continue
		}
		if waiting[i], err = p.ask(r); err != nil {
			return nil, fmt.Errorf("server %d: %s: %w: %s", i, r.Do, err, p.noise.String())
		}
	}
	return waiting, nil
}

// awaitAll waits for the answers to a request.
func (f *fleet) awaitAll(ctx context.Context, do string, waiting []<-chan serverAnswer) ([]serverAnswer, error) {
	answers := make([]serverAnswer, len(waiting))
	for i, answer := range waiting {
		if answer == nil {
			continue
		}
		select {
		case answers[i] = <-answer:
		case <-f.processes[i].ended:
			return nil, fmt.Errorf("server %d: %s: %w: %s", i, do, errProcessEnded, f.processes[i].noise.String())
		case <-ctx.Done():
			return nil, fmt.Errorf("server %d: %s: %w", i, do, ctx.Err())
		}
		if text := answers[i].Error; text != "" {
			return nil, fmt.Errorf("server %d: %s: %s", i, do, text)
		}
	}
	return answers, nil
}

// settleEvery is how often servers of many groups are asked whether they have settled.
const settleEvery = 20 * time.Millisecond

// settleGroups waits until each group has one leader and every server that runs knows it.
func (f *fleet) settleGroups(ctx context.Context) error {
	groups := f.order.Hosts.Groups
	ctx, cancel := context.WithTimeout(ctx, patience(groups))
	defer cancel()
	for {
		answers, err := f.callAll(ctx, -1, serverRequest{Do: doStatus})
		if err != nil {
			return err
		}
		led, known := 0, groups
		for i, a := range answers {
			if f.processes[i] != nil {
				led, known = led+a.Led, min(known, a.Known)
			}
		}
		if led == groups && known == groups {
			return nil
		}
		if err := wait(ctx, settleEvery); err != nil {
			return fmt.Errorf("of %d groups, %d are led, and of %d the leader is known everywhere: %w", groups, led, known, err)
		}
	}
}

// agree waits until all servers have applied equally much, and returns an error unless they have applied
// the same commands in the same order: those that clients were answered, and no others.
func (f *fleet) agree(ctx context.Context, answered [][]groupState, unknown float64) error {
	ctx, cancel := context.WithTimeout(ctx, patience(f.order.Hosts.Groups))
	defer cancel()
	want := make([]groupState, f.order.Hosts.Groups)
	for _, states := range answered {
		for g := range states {
			want[g].Count += states[g].Count
			want[g].Sum += states[g].Sum
		}
	}
	for {
		answers, err := f.callAll(ctx, -1, serverRequest{Do: doState})
		if err != nil {
			return err
		}
		early, err := compareGroups(want, answers, unknown > 0)
		if err != nil {
			return fmt.Errorf("%w: %w", errWrongState, err)
		}
		if early == nil {
			return nil
		}
		if err := wait(ctx, settleEvery); err != nil {
			return fmt.Errorf("%w: %w: %w", errWrongState, early, err)
		}
	}
}

// compareGroups compares what servers have applied with what clients were answered. early says where a
// server hasn't applied as much as another one or as was answered; err says what can't become right any
// more. If outcomes are unknown, more may be applied than was answered.
func compareGroups(want []groupState, answers []serverAnswer, unknown bool) (early, err error) {
	for g, w := range want {
		first := answers[0].Groups[g]
		for i, a := range answers {
			switch got := a.Groups[g]; {
			case got.Count < w.Count:
				return fmt.Errorf("group %d: server %d has applied %d of %d commands", g, i, got.Count, w.Count), nil
			case got.Count > w.Count && !unknown:
				return nil, fmt.Errorf("group %d: server %d has applied %d commands, %d were answered", g, i, got.Count, w.Count)
			case got.Count != first.Count:
				return fmt.Errorf("group %d: server %d has applied %d commands, server 0 %d", g, i, got.Count, first.Count), nil
			case got.Sum != w.Sum && !unknown:
				return nil, fmt.Errorf("group %d: server %d has applied other commands than those that were answered", g, i)
			case got.Chain != first.Chain || got.Sum != first.Sum:
				return nil, fmt.Errorf("group %d: server %d has applied other commands than server 0", g, i)
			}
		}
	}
	return nil, nil
}

// touchGroups has the clients of a server propose one command in each group.
func (f *fleet) touchGroups(ctx context.Context, server int) ([]groupState, error) {
	a, err := f.processes[server].call(ctx, serverRequest{
		Do: doLoad, Clients: fleetClients, Payload: minPayload, Commands: 1, Duration: patience(f.order.Hosts.Groups),
	})
	if err == nil && int(a.Figures["answered"]) != f.order.Hosts.Groups {
		err = fmt.Errorf("%v of %d groups have answered, %v outcomes are unknown", a.Figures["answered"], f.order.Hosts.Groups, a.Figures["unknown"])
	}
	return a.Groups, err
}

// measureHostIdle lets servers with many groups do nothing, and reports what they use meanwhile.
func measureHostIdle(ctx context.Context, p Peer, c runConfig, r *result) error {
	return withHostFleet(ctx, p, c, func(f *fleet) error {
		touched, err := f.touchGroups(ctx, 0)
		if err != nil {
			return err
		}
		if err := wait(ctx, c.warmup); err != nil {
			return err
		}
		if err := f.useOf(ctx, c.duration, c.cpuProfile, r); err != nil {
			return err
		}
		if err := f.settleGroups(ctx); err != nil {
			return err
		}
		return f.agree(ctx, [][]groupState{touched}, 0)
	})
}

// useOf reports what the servers use in a time: what they use per second all together, and all else as
// the mean of the servers. profile is a file for a CPU profile of server 0, or "".
func (f *fleet) useOf(ctx context.Context, d time.Duration, profile string, r *result) error {
	answers, err := f.callAll(ctx, -1, serverRequest{Do: doIdle, Duration: d, Profile: profile})
	if err != nil {
		return err
	}
	sums := make(map[string]float64)
	for _, a := range answers {
		for name, v := range a.Figures {
			sums[name] += v
		}
	}
	for name, v := range sums {
		switch name {
		case "cpu_percent", "switches", "messages", "written":
			r.set(name, v)
		default:
			r.set(name, v/float64(len(answers)))
		}
	}
	return nil
}

// closeClients is how many clients propose at each server while one of them closes.
const closeClients = 16

// measureHostLoss loses the server that leads most groups.
func measureHostLoss(l loss) func(context.Context, Peer, runConfig, *result) error {
	return func(ctx context.Context, p Peer, c runConfig, r *result) error {
		return withHostFleet(ctx, p, c, func(f *fleet) error {
			touched, err := f.touchGroups(ctx, 0)
			if err != nil {
				return err
			}
			if err := wait(ctx, c.warmup); err != nil {
				return err
			}
			answered, err := f.loseHost(ctx, l, c, r)
			if err != nil {
				return err
			}
			if err := f.settleGroups(ctx); err != nil {
				return err
			}
			again, err := f.touchGroups(ctx, 0)
			if err != nil {
				return err
			}
			return f.agree(ctx, append(answered, touched, again), r.Figures["unknown"])
		})
	}
}

// loseHost loses the server that leads most groups, reports how long they were without a leader, and
// starts the server again. It returns what clients were answered meanwhile.
func (f *fleet) loseHost(ctx context.Context, l loss, c runConfig, r *result) ([][]groupState, error) {
	var loads []<-chan serverAnswer
	if l == leaderClosed {
		var err error
		loads, err = f.askAll(-1, serverRequest{Do: doLoad, Clients: closeClients, Payload: minPayload, Duration: patience(c.groups)})
		if err != nil {
			return nil, err
		}
		if err := wait(ctx, c.warmup); err != nil {
			return nil, err
		}
	}
	marks, err := f.callAll(ctx, -1, serverRequest{Do: doMark})
	if err != nil {
		return nil, err
	}
	lost := 0
	for i, m := range marks {
		if m.Led > marks[lost].Led {
			lost = i
		}
	}
	watches, err := f.askAll(lost, serverRequest{Do: doWatch, Lost: lost})
	if err != nil {
		return nil, err
	}
	// The server is lost at a random time between two heartbeats.
	if err := wait(ctx, time.Duration(rand.Int64N(int64(c.election/10)+1))); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := f.endHost(ctx, l, lost); err != nil {
		return nil, err
	}
	if l == leaderClosed {
		r.set("closed_ms", float64(time.Since(begin).Microseconds())/1000)
	}
	limited, cancel := context.WithTimeout(ctx, patience(c.groups))
	defer cancel()
	answers, err := f.awaitAll(limited, doWatch, watches)
	if err != nil {
		return nil, fmt.Errorf("after server %d was lost, which led %d groups: %w", lost, marks[lost].Led, err)
	}
	if err := reportLoss(r, begin, marks[lost].Led, answers); err != nil {
		return nil, err
	}
	var answered [][]groupState
	if loads != nil {
		if answered, err = f.endLoads(ctx, loads, lost, r); err != nil {
			return nil, err
		}
	}
	if l == leaderSilent {
		return answered, f.processes[lost].thaw()
	}
	f.processes[lost].kill()
	return answered, f.start(lost)
}

// endHost ends a server.
func (f *fleet) endHost(ctx context.Context, l loss, i int) error {
	switch l {
	case leaderKilled:
		return f.processes[i].command.Process.Kill()
	case leaderSilent:
		return f.processes[i].freeze()
	}
	_, err := f.processes[i].call(ctx, serverRequest{Do: doShut})
	return err
}

// reportLoss reports when the groups that were lost had leaders again. No two servers may have become
// the leader of more groups than were lost: one that was lost twice is counted once, or not at all.
func reportLoss(r *result, begin time.Time, lost int, answers []serverAnswer) error {
	var took []float64
	split := 0
	for _, a := range answers {
		split += a.Split
		for _, at := range a.Times {
			took = append(took, float64(at-begin.UnixNano())/1e6)
		}
	}
	if len(took) == 0 || lost == 0 {
		return errors.New("no group has a new leader")
	}
	slices.Sort(took)
	if took[0] < 0 {
		return errors.New("another server led a group before its leader was lost")
	}
	r.set("last_ms", took[len(took)-1])
	r.set("p50_ms", *middleOf(took))
	r.set("p99_ms", took[(len(took)*99+99)/100-1])
	r.set("lost", float64(lost))
	r.set("split_percent", 100*float64(split)/float64(len(took)))
	return nil
}

// endLoads ends the loads of all servers, and reports what clients got. lost is the server that is lost; -1
// stands for none.
func (f *fleet) endLoads(ctx context.Context, loads []<-chan serverAnswer, lost int, r *result) ([][]groupState, error) {
	if _, err := f.callAll(ctx, -1, serverRequest{Do: doCancel}); err != nil {
		return nil, err
	}
	answers, err := f.awaitAll(ctx, doLoad, loads)
	if err != nil {
		return nil, err
	}
	var states [][]groupState
	sums, most := make(map[string]float64), make(map[string]float64)
	for i, a := range answers {
		states = append(states, a.Groups)
		if i == lost {
			r.set("unknown_lost", a.Figures["unknown"])
		}
		for name, v := range a.Figures {
			sums[name], most[name] = sums[name]+v, max(most[name], v)
		}
	}
	for _, name := range []string{"answered", "refused", "unknown"} {
		r.set(name, sums[name])
	}
	for _, name := range []string{"p50_us", "p99_us", "max_us"} {
		r.set(name, most[name])
	}
	r.set("max_ms", most["max_us"]/1000)
	return states, nil
}

// The clients of a soak are few, and wait after each answer.
const (
	soakClients = 8
	soakPause   = 20 * time.Millisecond
)

// measureHostSoak lets a few clients propose in groups by chance for a long time.
func measureHostSoak(ctx context.Context, p Peer, c runConfig, r *result) error {
	return withHostFleet(ctx, p, c, func(f *fleet) error {
		touched, err := f.touchGroups(ctx, 0)
		if err != nil {
			return err
		}
		if _, err := f.callAll(ctx, -1, serverRequest{Do: doMark}); err != nil {
			return err
		}
		loads, err := f.askAll(-1, serverRequest{
			Do: doLoad, Clients: soakClients, Payload: c.load.payload, Pause: soakPause, Duration: c.warmup + c.duration + patience(c.groups),
		})
		if err != nil {
			return err
		}
		// What the servers use in the first tenth is told from what they use afterwards.
		var first, last result
		if err := errors.Join(wait(ctx, c.warmup), f.useOf(ctx, c.duration/10, "", &first)); err != nil {
			return err
		}
		if err := f.useOf(ctx, c.duration-c.duration/10, c.cpuProfile, r); err != nil {
			return err
		}
		answered, err := f.endLoads(ctx, loads, -1, r)
		if err != nil {
			return err
		}
		marks, err := f.callAll(ctx, -1, serverRequest{Do: doMark})
		if err != nil {
			return err
		}
		if err := f.useOf(ctx, soakPause, "", &last); err != nil {
			return err
		}
		r.set("moved", float64(marks[0].Moved))
		for _, name := range []string{"rss_mib", "group_bytes", "goroutines", "descriptors"} {
			if v, known := last.Figures[name]; known {
				r.set(name, v)
			}
		}
		if rss, known := first.Figures["rss_mib"]; known {
			r.set("first_mib", rss)
		}
		if err := f.settleGroups(ctx); err != nil {
			return err
		}
		again, err := f.touchGroups(ctx, 1)
		if err != nil {
			return err
		}
		return f.agree(ctx, append(answered, touched, again), r.Figures["unknown"])
	})
}
