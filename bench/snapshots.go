package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// snapshotKeeps is how many commands a peer keeps in its log behind a snapshot, if it can be
	// told so. A follower that lags a little while snapshots are taken then isn't sent one.
	snapshotKeeps = 4096
	// snapshotsToCompact is the number of snapshots after which the log before the first of them is
	// gone: a library may keep the log from the last snapshot but one on.
	snapshotsToCompact = 2
	// goneAfter is for how many election timeouts a follower has been away before the leader takes
	// the snapshots that the follower will need.
	goneAfter = 3
	// snapshotInstalls is how many snapshots are sent at most. Fewer are sent when they take long
	// enough.
	snapshotInstalls = 5
)

// measureSnapshots measures a load three times: by itself, while snapshots are taken, and while
// snapshots are sent and installed. It compares the latter two with the first.
func measureSnapshots(ctx context.Context, p Peer, c runConfig, r *result) error {
	ballast := newBallast(c.state)
	return measureStages(ctx, p, c, Options{Snapshots: true}, func(s *stages) error {
		for _, m := range s.group.machines {
			m.more.Store(&machineExtras{ballast: ballast})
		}
		if _, err := s.stage(ctx, s.compact); err != nil {
			return fmt.Errorf("before: %w", err)
		}
		usual, err := s.usual(ctx)
		if err != nil {
			return err
		}
		taken := make([]atomic.Uint64, c.servers)
		taking, err := s.stage(ctx, func(ctx context.Context, m *meter) error { return s.takeSnapshots(ctx, m, taken) })
		if err != nil {
			return fmt.Errorf("while snapshots are taken: %w", err)
		}
		installed := 0
		var took time.Duration
		installing, err := s.stage(ctx, func(ctx context.Context, m *meter) error {
			for installed = 0; installed < snapshotInstalls && m.took < c.duration; installed++ {
				if err := s.installSnapshot(ctx, m, ballast); err != nil {
					return err
				}
			}
			took = m.took
			return nil
		})
		if err != nil {
			return fmt.Errorf("while snapshots are installed: %w", err)
		}
		usual.figures(r, "usual_")
		taking.figures(r, "taking_")
		installing.figures(r, "installing_")
		r.set("taking_p99_ratio", taking.p99/usual.p99)
		r.set("installing_p99_ratio", installing.p99/usual.p99)
		r.set("taking_kept", taking.throughput/usual.throughput)
		r.set("installing_kept", installing.throughput/usual.throughput)
		for i := range taken {
			r.set("taken", r.Figures["taken"]+float64(taken[i].Load()))
		}
		r.set("installed", float64(installed))
		r.set("install_s", took.Seconds()/float64(installed))
		return nil
	})
}

// compact has every server take as many snapshots as a library may need before it forgets the log
// and uses its files again. The usual load is then measured on a log that has been in use, like the
// other two.
func (s *stages) compact(ctx context.Context, _ *meter) error {
	for range snapshotsToCompact {
		for i, server := range s.group.servers {
			if err := server.Snapshot(ctx); err != nil {
				return fmt.Errorf("server %d: %w", i, err)
			}
		}
	}
	return nil
}

// takeSnapshots has every server take one snapshot after another for the measured time, and longer
// if a server hasn't taken one by then. It counts the snapshots of each server.
func (s *stages) takeSnapshots(ctx context.Context, m *meter, taken []atomic.Uint64) error {
	stop := make(chan struct{})
	ended := make(chan error, len(taken))
	m.begin()
	for i, server := range s.group.servers {
		go func() {
			err := takeAgain(ctx, server, s.group.machines[i], &taken[i], stop)
			if err != nil {
				err = fmt.Errorf("server %d, after %d: %w", i, taken[i].Load(), err)
			}
			ended <- err
		}()
	}
	err := wait(ctx, s.config.duration)
	waiting, cancel := context.WithTimeoutCause(ctx, fleetTimeout, errNoSnapshotTaken)
	defer cancel()
	all := func() bool {
		for i := range taken {
			if taken[i].Load() == 0 {
				return false
			}
		}
		return true
	}
	if err == nil && poll(waiting, func() bool { return all() || len(ended) > 0 }) != nil {
		err = context.Cause(waiting)
	}
	m.end()
	close(stop)
	for range taken {
		err = errors.Join(err, <-ended)
	}
	return err
}

// errNoSnapshotTaken says that not every server has taken a snapshot.
var errNoSnapshotTaken = errors.New("not every server has taken a snapshot")

// takeAgain takes snapshots of a server until stop is closed, and counts those that were written.
func takeAgain(ctx context.Context, server Server, machine *Machine, taken *atomic.Uint64, stop <-chan struct{}) error {
	saved := &machine.more.Load().saved
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		before := saved.Load()
		if err := server.Snapshot(ctx); err != nil {
			return err
		}
		if saved.Load() > before {
			taken.Add(1)
		} else if err := wait(ctx, pollEvery); err != nil { // the state had nothing new
			return err
		}
	}
}

// installSnapshot closes a follower until the leader's log doesn't reach back to it any more, and
// starts it again. The measured time begins there, and ends when the follower has applied what the
// leader had applied.
func (s *stages) installSnapshot(ctx context.Context, m *meter, ballast []byte) error {
	g := s.group
	follower, leading := g.follower(), g.machines[g.leading()]
	if err := g.stop(follower); err != nil {
		return err
	}
	had := g.machines[follower].count.Load()
	// A library may keep the log for a follower to which it has just sent a snapshot, until the
	// follower has been away for a while.
	if err := wait(ctx, goneAfter*s.config.election); err != nil {
		return err
	}
	more := uint64(2 * snapshotKeeps) // commands before the first snapshot; one is enough for the next
	for range snapshotsToCompact {
		target := leading.count.Load() + more
		more = 1
		if err := poll(ctx, func() bool { return leading.count.Load() >= target }); err != nil {
			return err
		}
		if err := g.leader.Snapshot(ctx); err != nil {
			return err
		}
	}
	machine := new(Machine)
	machine.more.Store(&machineExtras{ballast: ballast})
	g.machines[follower] = machine
	target := leading.count.Load()
	m.begin()
	defer m.end()
	if err := g.start(follower); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeoutCause(ctx, catchUp, errTooSlow)
	defer cancel()
	if poll(waiting, func() bool { return machine.count.Load() >= target }) != nil {
		return fmt.Errorf("the follower has applied %d of %d commands: %w", machine.count.Load(), target, context.Cause(waiting))
	}
	// The follower begins with its own snapshot, if it has one. That snapshot has no command that
	// the follower had not applied before.
	if restored := machine.more.Load().restored.Load(); restored <= had {
		return fmt.Errorf("the follower had applied %d commands, and has caught up without a snapshot of more than these (its last one has %d)", had, restored)
	}
	return nil
}
