package main

import (
	"context"
	"errors"
	"time"
)

// stages are loads on one cluster, one after the other, each beside something else that goes on.
// The clients of a load go on where the load before it ended, so that the check in the end covers
// the commands of all.
type stages struct {
	group  *group
	config runConfig
	load   *load // the last load; before the first stage, the load that has filled the logs
}

// measureStages starts a cluster in this process, runs the stages, and checks what all of them have
// done.
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

// A meter marks the time in which a stage is measured, from each begin to the next end. The load
// goes on at other times too.
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

// errLeaderLost says that the leader of the beginning doesn't lead any more.
var errLeaderLost = errors.New("the leader doesn't lead any more")

// A stageResult is what the clients of a stage met in the measured time.
type stageResult struct{ throughput, p50, p99 float64 }

// stage lets clients propose while f runs. f tells the meter which part of the time is measured. If
// that is none, the result is empty.
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
		cancel() // a client that waits for an answer may never get it: it gives up
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

// usual runs a stage in which nothing else goes on.
func (s *stages) usual(ctx context.Context) (stageResult, error) {
	return s.stage(ctx, func(ctx context.Context, m *meter) error {
		m.begin()
		defer m.end()
		return wait(ctx, s.config.duration)
	})
}

// figures puts the figures of a stage into a result.
func (s stageResult) figures(r *result, prefix string) {
	r.set(prefix+"throughput", s.throughput)
	r.set(prefix+"p50_us", s.p50)
	r.set(prefix+"p99_us", s.p99)
}
