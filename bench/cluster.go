package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"
)

// A group is a cluster whose servers all run in this process.
type group struct {
	options  Options
	cluster  Cluster
	machines []*Machine // those of the options: a server takes its machine from there
	servers  []Server   // nil for a server that was stopped
	leader   Server
}

// startGroup starts a cluster of n servers, and returns when it has a leader. The options need
// neither addresses nor machines.
func startGroup(ctx context.Context, p Peer, o Options, n int) (_ *group, err error) {
	for range n {
		o.Machines = append(o.Machines, new(Machine))
	}
	if o.Mode == onDisk {
		if o.Addresses, err = freeAddresses(n); err != nil {
			return nil, err
		}
	}
	g := &group{options: o, machines: o.Machines}
	if g.cluster, err = p.New(o); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	for i := range n {
		s, err := g.cluster.Start(i)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start server %d: %w", i, err), g.close())
		}
		g.servers = append(g.servers, s)
	}
	if err := g.awaitLeader(ctx, o.Election); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

// close stops the servers, all of them at once, and then closes the cluster.
func (g *group) close() error {
	closed := make(chan error, len(g.servers))
	for _, s := range g.servers {
		go func() {
			if s == nil {
				closed <- nil
				return
			}
			closed <- s.Close()
		}()
	}
	var errs []error
	for range g.servers {
		errs = append(errs, <-closed)
	}
	g.servers = nil
	return errors.Join(append(errs, g.cluster.Close())...)
}

// leading returns the number of the leader, and follower that of the server after it.
func (g *group) leading() int  { return slices.Index(g.servers, g.leader) }
func (g *group) follower() int { return (g.leading() + 1) % len(g.servers) }

// stop closes a server.
func (g *group) stop(i int) error {
	s := g.servers[i]
	g.servers[i] = nil
	return s.Close()
}

// start starts a server that was stopped, with the machine that is now in its place.
func (g *group) start(i int) error {
	s, err := g.cluster.Start(i)
	if err != nil {
		return err
	}
	g.servers[i] = s
	return nil
}

// errNoLeader says that a cluster didn't elect a leader in time.
var errNoLeader = errors.New("no leader was elected")

// pollEvery is how often poll asks.
const pollEvery = 500 * time.Microsecond

// awaitLeader waits until a server leads, and remembers it.
func (g *group) awaitLeader(ctx context.Context, election time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second+20*election)
	defer cancel()
	err := poll(ctx, func() bool {
		for _, s := range g.servers {
			if s.Leads() {
				g.leader = s
				return true
			}
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errNoLeader, err)
	}
	return nil
}

// poll waits until done returns true. It serves where nothing reports the change.
func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// Ports are chosen from firstPort to lastPort, below the ports that systems give to outgoing
// connections. So a server that starts again finds its port still free, and a process that dials
// the port meanwhile isn't connected to itself.
const firstPort, lastPort = 16384, 32767

// freeAddresses returns n loopback addresses at which nothing listens.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	var errs []error
	for range 100 * n {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort+1)))
		l, err := net.Listen("tcp", address)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer l.Close() // all are open at once, so that all differ
		if addresses = append(addresses, address); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("no free ports: %w", errors.Join(errs...))
}
