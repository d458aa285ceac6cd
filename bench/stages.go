package main

import (
	"context"
	"errors"
	"time"
)

// stages are loads on one cluster, one after the other, each beside something else. The commands of each follow those of
// the one before, so that the check in the end is of all of them.
type stages struct {
	group  *group
	config runConfig
	load   *load // the last one; before the first stage, what the logs were filled with
}

// measureStages starts a cluster in this process, has the stages run, and checks what all of them have done.
func measureStages(ctx context.Context, p Peer, c runConfig, o Options, run func(*stages) error) error {
	return inDirectory(c.dir, func(dir string) error {
		o.Mode, o.Dir, o.Clients, o.Election = c.mode, dir, max(c.load.clients, primeClients), c.election
		g, err := startGroup(ctx, p, o, c.servers)
		if err != nil {
			return err
		}
		s := &stages{group: g, config: c, load: newLoad(g.leader, c.load)}
		if c.mode == onDisk {
			err = s.load.prime(ctx, c.prime)
		}
		if err == nil {
			err = run(s)
		}
		if err == nil {
			err = s.load.awaitApplied(ctx, g.machines)
		}
		if closed := g.close(); err == nil {
			err = closed
		}
		if err == nil {
			err = s.load.check(g.machines)
		}
		return err
	})
}

// A meter says when a stage is measured. Between its beginnings and ends the load goes on.
type meter struct {
	load *load
	at   time.Time
	took time.Duration
}

func (m *meter) begin() {
	m.at = time.Now()
	m.load.phase.Store(measuring)
}

func (m *meter) end() {
	m.load.phase.Store(warmingUp)
	m.took += time.Since(m.at)
}

// errLeaderLost says that another server leads than at the beginning.
var errLeaderLost = errors.New("the leader has lost its lead")

// A stageResult is what the clients met while a stage was measured.
type stageResult struct{ throughput, p50, p99 float64 }

// stage lets clients propose while f does something and says by the meter what of it is measured, if anything is.
func (s *stages) stage(ctx context.Context, f func(context.Context, *meter) error) (stageResult, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	load := s.config.load
	load.after = s.load
	l := startLoad(ctx, s.group.leader, load)
	s.load = l
	m := &meter{load: l}
	err := l.wait(ctx, s.config.warmup)
	if err == nil {
		ended := make(chan error, 1)
		go func() { ended <- f(ctx, m) }()
		select {
		case err = <-ended:
		case err = <-l.failed:
			cancel()
			<-ended
		}
	}
	if err != nil {
		cancel() // who waits for an answer that may never come, gives up
	}
	if stopped := l.stop(); err == nil {
		err = stopped
	}
	if err == nil && !s.group.leader.Leads() {
		err = errLeaderLost
	}
	if err != nil {
		return stageResult{}, err
	}
	if m.took == 0 {
		return stageResult{}, nil
	}
	writes, _ := l.latencies()
	if writes.total == 0 {
		return stageResult{}, errNothingMeasured
	}
	return stageResult{float64(writes.total) / m.took.Seconds(), writes.quantile(0.50), writes.quantile(0.99)}, nil
}

// usual is a stage in which nothing else happens.
func (s *stages) usual(ctx context.Context) (stageResult, error) {
	return s.stage(ctx, func(ctx context.Context, m *meter) error {
		m.begin()
		defer m.end()
		return wait(ctx, s.config.duration)
	})
}

// figures puts what a stage has met into a result.
func (s stageResult) figures(r *result, prefix string) {
	r.set(prefix+"throughput", s.throughput)
	r.set(prefix+"p50_us", s.p50)
	r.set(prefix+"p99_us", s.p99)
}
