package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// A loss is a way to lose a leader.
type loss string

// Losses.
const (
	leaderClosed loss = "closed" // it hands over, where the library can, and closes
	leaderKilled loss = "killed" // its process is killed, and the system resets its connections
	leaderSilent loss = "silent" // its process is stopped: the connections stay, and nothing comes
)

// fleetClients is the least number of clients for which a server of a fleet has room.
const fleetClients = 64

// measureFailover loses one leader after another, and reports how long it takes until a command is
// acknowledged again.
func measureFailover(l loss) func(context.Context, Peer, runConfig, *result) error {
	return func(ctx context.Context, p Peer, c runConfig, r *result) error {
		return withFleet(ctx, p, c, func(f *fleet) error {
			var took []float64
			for len(took) < c.times {
				d, err := f.lose(ctx, l, c.election)
				if err != nil {
					return fmt.Errorf("failover %d: %w", len(took)+1, err)
				}
				took = append(took, float64(d.Microseconds())/1000)
			}
			// The server that was lost last must come back too.
			if _, err := f.settle(ctx); err != nil {
				return fmt.Errorf("after failover %d: %w", len(took), err)
			}
			slices.Sort(took)
			r.set("best_ms", took[0])
			r.set("p50_ms", *middleOf(took))
			r.set("p95_ms", took[(len(took)*95+99)/100-1])
			r.set("worst_ms", took[len(took)-1])
			r.set("times", float64(len(took)))
			return nil
		})
	}
}

// lose loses the leader and returns how long it took until another server had a command
// acknowledged. In the end the lost server is back.
func (f *fleet) lose(ctx context.Context, l loss, election time.Duration) (time.Duration, error) {
	leader, err := f.reach(ctx)
	if err != nil {
		return 0, err
	}
	acknowledged, err := f.probeAt(ctx, leader)
	if err != nil {
		return 0, err
	}
	// The leader is lost at a random time between two heartbeats.
	if err := wait(ctx, time.Duration(rand.Int64N(int64(election/10)+1))); err != nil {
		return 0, err
	}
	lost := f.processes[leader]
	closed := make(chan error, 1)
	begin := time.Now()
	switch l {
	case leaderKilled:
		err = lost.command.Process.Kill()
	case leaderSilent:
		err = lost.freeze()
	case leaderClosed:
		go func() {
			_, err := lost.call(ctx, serverRequest{Do: doClose})
			closed <- err
		}()
	}
	if err != nil {
		return 0, err
	}
	var took time.Duration
	select {
	case at := <-acknowledged:
		took = at.Sub(begin)
	case <-time.After(fleetTimeout):
		return 0, errNoLeader
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if took < 0 {
		return 0, errors.New("another server became the leader before this one was lost")
	}
	switch l {
	case leaderSilent:
		err = lost.thaw()
	case leaderClosed:
		err = <-closed
		fallthrough
	case leaderKilled:
		lost.kill()
		err = errors.Join(err, f.start(leader))
	}
	return took, err
}

// rest is how long a cluster is left alone before it loses its leader. Followers need no
// connections to each other until then; in this time they try again to make them.
const rest = 200 * time.Millisecond

// reach waits until the servers have settled and all of them have applied one more command. Each of
// them can then be reached, even one that has just started.
func (f *fleet) reach(ctx context.Context) (leader int, err error) {
	if leader, err = f.settle(ctx); err != nil {
		return 0, err
	}
	if _, err := f.processes[leader].call(ctx, serverRequest{Do: doProbe}); err != nil {
		return 0, err
	}
	if err := wait(ctx, rest); err != nil {
		return 0, err
	}
	return f.settle(ctx)
}

// probeAt has every server but the leader propose a command as soon as it leads. The channel that
// it returns gets the time at which such a command was acknowledged.
func (f *fleet) probeAt(ctx context.Context, leader int) (<-chan time.Time, error) {
	at := make(chan time.Time, len(f.processes))
	for i, p := range f.processes {
		if i == leader {
			continue
		}
		// Probes that are left of an earlier loss end first.
		if _, err := p.call(ctx, serverRequest{Do: doCancel}); err != nil {
			return nil, err
		}
		answer, err := p.ask(serverRequest{Do: doProbe})
		if err != nil {
			return nil, err
		}
		go func() {
			select {
			case a := <-answer:
				if a.Error == "" {
					at <- time.Now()
				}
			case <-p.ended:
			case <-ctx.Done():
			}
		}()
	}
	return at, nil
}
