package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// A slow disk holds up syncs for the first stallFor of every stallEvery.
const (
	stallFor   = 500 * time.Millisecond
	stallEvery = time.Second
)

// A stall holds up the syncs of a server, from begin until end. A nil stall holds up nothing.
type stall struct {
	began atomic.Pointer[time.Time] // nil while nothing is held up
	held  atomic.Uint64             // how many syncs were held up
}

// begin begins to hold up syncs: at first no sync gets through for stallFor.
func (s *stall) begin() {
	now := time.Now()
	s.began.Store(&now)
}

// end lets syncs through again. A sync that is held up at that moment still waits until its time is
// over.
func (s *stall) end() { s.began.Store(nil) }

// hold returns when a sync may go on. It must be called just before each sync.
func (s *stall) hold() {
	if s == nil {
		return
	}
	began := s.began.Load()
	if began == nil {
		return
	}
	if into := time.Since(*began) % stallEvery; into < stallFor {
		s.held.Add(1)
		time.Sleep(stallFor - into)
	}
}

// measureSlowDisk compares a load beside a follower whose disk stalls with the same load beside
// healthy followers.
func measureSlowDisk(ctx context.Context, p Peer, c runConfig, r *result) error {
	o := Options{Stalls: make([]*stall, c.servers), Compacts: true}
	for i := range o.Stalls {
		o.Stalls[i] = new(stall)
	}
	return measureStages(ctx, p, c, o, func(s *stages) error {
		usual, err := s.usual(ctx)
		if err != nil {
			return err
		}
		slow := o.Stalls[s.group.follower()]
		meanwhile, err := s.stage(ctx, func(ctx context.Context, m *meter) error {
			slow.begin()
			defer slow.end()
			m.begin()
			defer m.end()
			return wait(ctx, c.duration)
		})
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := s.load.awaitApplied(ctx, s.group.machines); err != nil {
			return err
		}
		if slow.held.Load() == 0 {
			return fmt.Errorf("no sync was held up in %v", c.duration)
		}
		meanwhile.figures(r, "")
		usual.figures(r, "usual_")
		r.set("kept", meanwhile.throughput/usual.throughput)
		r.set("p99_ratio", meanwhile.p99/usual.p99)
		r.set("held", float64(slow.held.Load()))
		r.set("caught_up_s", time.Since(begin).Seconds())
		return nil
	})
}
