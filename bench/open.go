package main

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// arrivals are the requests of an open loop. They arrive by the clock, whether earlier ones were
// answered or not, and the latency of each counts from the time at which it was due. So a slow
// moment is charged with all requests that it holds up, as users would feel it. The gaps between
// requests are random (exponential), and are the same for all peers.
type arrivals struct {
	rate  float64
	begin time.Time
	due   chan arrival
	ended atomic.Int64 // when the measured time was over, in nanoseconds since begin; 0 before
	lag   histogram    // how late requests were handed out, which no peer is to blame for; the dispatcher's until it ends
}

// An arrival is a request that is due at a time, counted since the beginning.
type arrival struct {
	at       time.Duration
	measured bool
}

// arrivalsWaiting bounds how many requests wait for a client to be free. When so many wait, the
// dispatcher waits too. Nothing is lost by that: the times at which requests are due stay the same.
const arrivalsWaiting = 1 << 16

// arrivalsGrace is how long requests that are due may still be made after the measured time.
const arrivalsGrace = time.Second

func newArrivals(rate float64) *arrivals {
	return &arrivals{rate: rate, begin: time.Now(), due: make(chan arrival, arrivalsWaiting)}
}

// dispatch hands out requests as they become due, from now on until the warm-up and the measured
// time are over.
func (a *arrivals) dispatch(ctx context.Context, warmup, duration time.Duration) error {
	defer close(a.due)
	sleeper, err := newSleeper()
	if err != nil {
		return err
	}
	defer sleeper.close()
	random := rand.New(rand.NewPCG(1, uint64(a.rate)))
	next := time.Since(a.begin)
	first := next + warmup
	last := first + duration
	for next < last {
		now := time.Since(a.begin)
		if now < next {
			if err := sleeper.sleep(next - now); err != nil {
				return err
			}
			continue
		}
		measured := next >= first
		if measured {
			a.lag.add(now - next)
		}
		select {
		case a.due <- arrival{at: next, measured: measured}:
		case <-ctx.Done():
			return ctx.Err()
		}
		next += time.Duration(random.ExpFloat64() / a.rate * float64(time.Second))
	}
	return nil
}

// serve makes the requests of an open loop. Requests that still wait when the load stops are
// counted with the time that they have waited.
func (c *client) serve(ctx context.Context, l *load) error {
	for a := range l.open.due {
		if l.phase.Load() == stopping {
			if a.measured {
				c.unserved++
				c.writes.add(time.Since(l.open.begin) - a.at)
			}
			continue
		}
		latencies, err := c.request(ctx, l)
		if err != nil {
			return err
		}
		if a.measured {
			end := time.Since(l.open.begin)
			latencies.add(end - a.at)
			if l.open.ended.Load() == 0 {
				c.inTime++
			}
		}
	}
	return nil
}
