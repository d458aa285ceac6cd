package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"
)

// A groupState says what was applied in a group, or which commands clients were answered there: how
// many, the chain over them (unless it is of clients), and their sum.
type groupState struct{ Count, Chain, Sum uint64 }

// servedHost is a server of many groups that answers requests.
type servedHost struct {
	number   int
	options  HostOptions
	server   HostServer
	machines []Machine
	own      uint64      // the bytes that are in use when the server has started and has no groups
	closing  atomic.Bool // the server is closed: clients that are refused end

	mu    sync.Mutex
	marks []groupMark
}

// A groupMark is the leader and the term of a group at some time.
type groupMark struct {
	leader int
	term   uint64
}

// serveHost runs the server of an order, with all of its groups.
func serveHost(p Peer, o serverOrder, in io.Reader, out io.Writer) error {
	peer, ok := p.(HostPeer)
	if !ok {
		return fmt.Errorf("%s has no hosts", p.Name())
	}
	for i := range o.Servers {
		groups := 0
		if i == o.Server {
			groups = o.Hosts.Groups
		}
		o.Hosts.Machines = append(o.Hosts.Machines, newMachines(groups))
	}
	hosts, err := peer.NewHosts(*o.Hosts)
	if err != nil {
		return err
	}
	s := &servedHost{number: o.Server, options: *o.Hosts, machines: o.Hosts.Machines[o.Server]}
	if s.server, err = hosts.Start(o.Server); err != nil {
		return err
	}
	s.own = inUse()
	if err := serveAll(s.server, s.options.Groups); err != nil {
		return err
	}
	return answerAll(in, out, s.answer)
}

// inUse returns how many bytes of the heap are reachable, and how many the stacks have.
func inUse() uint64 {
	runtime.GC()
	runtime.GC() // what the first one has found to be finalized is free after the second one
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() + sample[1].Value.Uint64()
}

// answer carries out a request.
func (s *servedHost) answer(r serverRequest, cancelled <-chan struct{}) (a serverAnswer) {
	var err error
	switch r.Do {
	case doStatus:
		for g := range s.options.Groups {
			leader, _ := s.server.Leader(g)
			if leader >= 0 {
				a.Known++
			}
			if leader == s.number {
				a.Led++
			}
		}
	case doState:
		for g := range s.machines {
			a.Groups = append(a.Groups, s.machines[g].state())
		}
	case doMark:
		a.Led, a.Moved = s.mark()
	case doWatch:
		a.Times, a.Split, err = s.watch(r.Lost, cancelled)
	case doLoad:
		a.Figures, a.Groups = s.load(r, cancelled)
	case doIdle:
		a.Figures, err = s.idle(r)
	case doCancel:
	case doShut:
		err = s.shut()
	default:
		err = fmt.Errorf("no request %q of a server of many groups", r.Do)
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

// state says what the machine has applied. A command may be applied meanwhile: then what it says may
// be of two times.
func (m *Machine) state() groupState {
	more := m.more.Load()
	return groupState{m.count.Load(), more.across.Load(), more.acrossSum.Load()}
}

// mark remembers the leaders of all groups. It returns how many of them this server leads, and how many
// have another leader, or a later term, than at the last mark.
func (s *servedHost) mark() (led, moved int) {
	marks := make([]groupMark, s.options.Groups)
	s.mu.Lock()
	defer s.mu.Unlock()
	for g := range marks {
		marks[g].leader, marks[g].term = s.server.Leader(g)
		if marks[g].leader == s.number {
			led++
		}
		if len(s.marks) > 0 && s.marks[g] != marks[g] {
			moved++
		}
	}
	s.marks = marks
	return led, moved
}

// watchEvery is how often a watch looks.
const watchEvery = 2 * time.Millisecond

// watch waits until this server knows another leader than the lost one in each group that the lost one
// led. It returns the times at which this server was seen to lead such groups, and how many of them are
// led in a later term than the next one: there a first election found no leader.
func (s *servedHost) watch(lost int, cancelled <-chan struct{}) (times []int64, split int, err error) {
	s.mu.Lock()
	marks := s.marks
	s.mu.Unlock()
	var pending []int
	for g := range marks {
		if marks[g].leader == lost {
			pending = append(pending, g)
		}
	}
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		now, left := time.Now().UnixNano(), pending[:0]
		for _, g := range pending {
			leader, term := s.server.Leader(g)
			switch {
			case leader < 0 || leader == lost || term <= marks[g].term:
				left = append(left, g)
			case leader == s.number:
				times = append(times, now)
				if term > marks[g].term+1 {
					split++
				}
			}
		}
		if pending = left; len(pending) == 0 {
			return times, split, nil
		}
		select {
		case <-tick.C:
		case <-cancelled:
			return nil, 0, fmt.Errorf("%d groups have no new leader: %w", len(pending), errCancelled)
		}
	}
}

// hostClient is a client of many groups in a process.
type hostClient struct {
	answered, refused, unknown uint64
	latencies                  histogram
}

// load runs clients at this server that propose in groups by chance, until it is cancelled, the server
// is closed, or the duration has passed. It returns what they were answered.
func (s *servedHost) load(r serverRequest, cancelled <-chan struct{}) (map[string]float64, []groupState) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var over atomic.Bool
	go func() {
		timer := time.NewTimer(r.Duration)
		defer timer.Stop()
		select {
		case <-cancelled:
		case <-timer.C:
		case <-ctx.Done():
		}
		over.Store(true)
	}()
	tallies, clients := make([]tally, s.options.Groups), make([]hostClient, r.Clients)
	// No two loads have clients with the same numbers, at no server and in no process.
	first := rand.Uint64() &^ (1<<16 - 1)
	var running sync.WaitGroup
	for n := range clients {
		running.Go(func() { s.propose(ctx, &clients[n], first+uint64(n), n, r, tallies, &over) })
	}
	running.Wait()
	var all hostClient
	for n := range clients {
		c := &clients[n]
		all.answered, all.refused, all.unknown = all.answered+c.answered, all.refused+c.refused, all.unknown+c.unknown
		all.latencies.merge(&c.latencies)
	}
	figures := result{}
	figures.latencies("", &all.latencies)
	figures.set("answered", float64(all.answered))
	figures.set("refused", float64(all.refused))
	figures.set("unknown", float64(all.unknown))
	states := make([]groupState, len(tallies))
	for g := range states {
		states[g] = groupState{Count: tallies[g].answered.Load(), Sum: tallies[g].acrossSum.Load()}
	}
	return figures.Figures, states
}

// refusedPause is how long a client rests after a command that was not applied.
const refusedPause = time.Millisecond

// propose is a client of a load. It makes r.Commands commands if that isn't 0: one in each group in its
// turn, which it shares with the other clients.
func (s *servedHost) propose(ctx context.Context, c *hostClient, name uint64, number int, r serverRequest, tallies []tally, over *atomic.Bool) {
	random := rand.New(rand.NewPCG(name, 0))
	command := newClient(number, r.Payload).command
	binary.LittleEndian.PutUint64(command, name)
	for made := uint64(1); !over.Load(); made++ {
		g := random.IntN(s.options.Groups)
		if r.Commands > 0 {
			if g = number + int(made-1)*r.Clients; g >= s.options.Groups {
				return
			}
		}
		binary.LittleEndian.PutUint64(command[8:], made)
		begin := time.Now()
		result, err := s.server.Propose(ctx, number, g, command)
		for r.Commands > 0 && err != nil && s.server.NotApplied(err) && !over.Load() {
			c.refused++
			time.Sleep(refusedPause)
			result, err = s.server.Propose(ctx, number, g, command)
		}
		switch {
		case err == nil && result == result64(command):
			c.answered++
			c.latencies.add(time.Since(begin))
			tallies[g].add(command, result)
		case err != nil && s.server.NotApplied(err):
			c.refused++
			if s.closing.Load() {
				return
			}
			time.Sleep(refusedPause)
		default:
			c.unknown++
		}
		if r.Pause > 0 {
			time.Sleep(r.Pause)
		}
	}
}

// idle reports what this process uses in a time in which nobody sends it a request.
func (s *servedHost) idle(r serverRequest) (map[string]float64, error) {
	memory := float64(inUse()) - float64(s.own)
	sent, counted := s.server.Messages()
	calls, known := writeCalls()
	var profile runConfig
	if s.number == 0 {
		profile.cpuProfile = r.Profile
	}
	profiled, err := startProfiles(profile)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	figures, err := idle(r.Duration)
	if err := errors.Join(err, profiled()); err != nil {
		return nil, err
	}
	took := time.Since(begin).Seconds()
	if now, _ := s.server.Messages(); counted {
		figures["messages"] = float64(now-sent) / took
	}
	if now, _ := writeCalls(); known {
		figures["written"] = float64(now-calls) / took
	}
	figures["group_bytes"] = memory / float64(s.options.Groups)
	figures["goroutines"] = float64(runtime.NumGoroutine())
	if rss, known := residentBytes(); known {
		figures["rss_mib"] = float64(rss) / (1 << 20)
	}
	if descriptors, ports, known := openFiles(); known {
		figures["descriptors"], figures["ports"] = float64(descriptors), float64(ports)
	}
	return figures, nil
}

// shut hands over the groups that this server leads, and closes it. If the hand-over fails, the others
// elect leaders without it.
func (s *servedHost) shut() error {
	s.closing.Store(true)
	var led []int
	for g := range s.options.Groups {
		if leader, _ := s.server.Leader(g); leader == s.number {
			led = append(led, g)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	_ = s.server.HandOver(ctx, led)
	cancel()
	return s.server.Close()
}
