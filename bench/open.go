package main

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// arrivals are the requests of an open loop. They arrive as the clock says, whether earlier ones are answered or not,
// and the latency of each counts from when it was to be made: what a slow moment holds up is counted in
// full, as users would feel it. The gaps between them are random (exponential), the same for all peers.
type arrivals struct {
	rate  float64
	begin time.Time
	due   chan arrival
	ended atomic.Int64 // when the measured time was over, since begin; 0 before
	lag   histogram    // how late the requests were handed out, which is ours and not the peer's; of the dispatcher until it ends
}

// An arrival is a request that is to be made at a time, since the beginning.
type arrival struct {
	at       time.Duration
	measured bool
}

// arrivalsWaiting bounds what waits for a client to be free. Beyond, the dispatcher waits too, and nothing is lost:
// the times when requests were to be made stay what they are.
const arrivalsWaiting = 1 << 16

// arrivalsGrace is how long requests that are due may still be made when the measured time is over.
const arrivalsGrace = time.Second

func newArrivals(rate float64) *arrivals {
	return &arrivals{rate: rate, begin: time.Now(), due: make(chan arrival, arrivalsWaiting)}
}

// dispatch hands requests out from now on as they become due, and ends after the warm-up and the measured time.
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

// serve makes the requests of an open loop. Those that are still waiting when the load stops are counted
// with the time that they have waited.
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
