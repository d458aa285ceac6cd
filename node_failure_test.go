package raft_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// An outcome is the result or the error of a call of Propose.
type outcome struct {
	result []byte
	err    error
}

// propose proposes a command in a goroutine of its own.
func propose(ctx context.Context, node *raft.Node, command string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		result, err := node.Propose(ctx, []byte(command))
		done <- outcome{result, err}
	}()
	return done
}

// read reads in a goroutine of its own.
func read(ctx context.Context, node *raft.Node) <-chan error {
	done := make(chan error, 1)
	go func() { done <- node.Read(ctx) }()
	return done
}

// requireOpen waits until nothing happens any more, and requires that there is no answer yet.
func requireOpen[T any](t *testing.T, done <-chan T) {
	t.Helper()
	synctest.Wait()
	select {
	case got := <-done:
		require.Fail(t, "answered too early", "%v", got)
	default:
	}
}

func TestContextBeforeAnythingWasSentIsNotApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{Cut: true}) // so that there is never a leader
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.nodes["a"].Propose(ended, []byte("x"))
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, c.nodes["a"].Read(ended), context.Canceled)

		start := time.Now()
		proposed, answered := propose(within(t, 10*time.Second), c.nodes["a"], "y"), read(within(t, 5*time.Second), c.nodes["a"])
		err = <-answered
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(start))
		got := <-proposed
		require.ErrorIs(t, got.err, raft.ErrNotApplied)
		require.ErrorIs(t, got.err, context.DeadlineExceeded)
		require.NotErrorIs(t, got.err, raft.ErrOutcomeUnknown)
		require.Equal(t, 10*time.Second, time.Since(start))
		status := c.nodes["a"].Status()
		require.Zero(t, status.PendingProposals+status.PendingReads, "nobody is left waiting")
	})
}

func TestProposalsWaitForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{Cut: true})
		proposed, answered := propose(t.Context(), c.nodes["a"], "x"), read(t.Context(), c.nodes["b"])
		time.Sleep(time.Minute)
		requireOpen(t, proposed)
		requireOpen(t, answered)
		c.network.Heal()
		require.NoError(t, (<-proposed).err)
		require.NoError(t, <-answered)
	})
}

func TestContextWithTheCommandInFlightIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		isolated := leader.Status().ID
		c.network.Isolate(isolated)
		atLeader := propose(within(t, time.Second/2), leader, "at the old leader")
		reading := read(within(t, time.Second/2), leader)
		got := <-atLeader
		require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown)
		require.ErrorIs(t, got.err, context.DeadlineExceeded)
		require.NotErrorIs(t, got.err, raft.ErrNotApplied)
		require.ErrorIs(t, <-reading, context.DeadlineExceeded, "a leader that is alone serves no read")

		again := propose(t.Context(), leader, "offered again")
		_, err := others[0].Propose(t.Context(), []byte("at the others"))
		require.NoError(t, err)
		requireOpen(t, again)
		c.network.Heal()
		require.NoError(t, (<-again).err)
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Read(t.Context()))
			require.Equal(t, []string{"at the others", "offered again"}, c.machines[id].applied())
		}
	})
}

func TestContextWhileTheStateMachineWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		release := make(chan struct{})
		c.machines["a"].whileApplying(func(string) { <-release })
		command := []byte("original")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := c.nodes["a"].Propose(ctx, command)
			done <- err
		}()
		synctest.Wait()
		reading := read(t.Context(), c.nodes["a"])
		requireOpen(t, reading)
		require.Equal(t, "leader", c.nodes["a"].Status().Role, "the node isn't held up")
		cancel()
		err := <-done
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.Canceled)
		copy(command, "scribble")
		close(release)
		require.NoError(t, <-reading)
		require.Equal(t, []string{"original"}, c.machines["a"].applied(), "the command was copied")
	})
}

func TestTooLargeIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.MaxCommandBytes = 100 }
		node := c.start("a")
		_, err := node.Propose(t.Context(), make([]byte, 101))
		require.ErrorIs(t, err, raft.ErrTooLarge)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		_, err = node.Propose(t.Context(), make([]byte, 100))
		require.NoError(t, err)
		_, err = node.Propose(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, c.machines["a"].applied(), 2)
	})
}

func TestOverload(t *testing.T) {
	limits := map[string]func(*raft.Config){
		"commands":    func(config *raft.Config) { config.MaxPending = 10 },
		"bytes":       func(config *raft.Config) { config.MaxPendingBytes = 10 * 200 },
		"uncommitted": func(config *raft.Config) { config.MaxUncommittedBytes = 10 * 200 },
		"unapplied":   func(config *raft.Config) { config.MaxUnappliedBytes = 10 * 200 },
	}
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, memory.Faults{})
				c.adjust = limit
				node := c.start("a")
				require.NoError(t, node.Read(t.Context()))
				release := make(chan struct{})
				if name == "unapplied" {
					c.machines["a"].whileApplying(func(string) { <-release })
				} else {
					c.disks["a"].set(nil, release)
				}
				var pending []<-chan outcome
				for range 30 {
					pending = append(pending, propose(t.Context(), node, strings.Repeat("x", 104)))
					synctest.Wait()
				}
				close(release)
				c.disks["a"].set(nil, nil)
				accepted := 0
				for _, done := range pending {
					if got := <-done; got.err == nil {
						accepted++
					} else {
						require.ErrorIs(t, got.err, raft.ErrOverloaded)
						require.ErrorIs(t, got.err, raft.ErrNotApplied)
						require.ErrorContains(t, got.err, map[string]string{"commands": "MaxPending", "bytes": "MaxPendingBytes"}[name])
					}
				}
				if strings.HasPrefix(name, "un") {
					require.Equal(t, 30, accepted, "they are made to wait")
				} else {
					require.InDelta(t, 10, accepted, 1)
				}
				require.Len(t, c.machines["a"].applied(), accepted, "what was refused is not applied")
				_, err := node.Propose(t.Context(), []byte("afterwards"))
				require.NoError(t, err)
			})
		})
	}
}

// requireStopped requires that a failure has stopped a node, and that every call says so.
func requireStopped(t *testing.T, node *raft.Node, cause error) {
	t.Helper()
	<-node.Done()
	require.ErrorIs(t, node.Err(), cause)
	_, err := node.Propose(t.Context(), []byte("too late"))
	require.ErrorIs(t, err, raft.ErrNotApplied)
	require.ErrorIs(t, err, raft.ErrStopped)
	require.ErrorIs(t, err, cause)
	err = node.Read(t.Context())
	require.ErrorIs(t, err, raft.ErrStopped)
	require.ErrorIs(t, err, cause)
	status := node.Status()
	require.Equal(t, "stopped", status.Role)
	require.Empty(t, status.Leader)
	require.NoError(t, node.Close(t.Context()))
	require.ErrorIs(t, node.Err(), cause, "closing doesn't hide the failure")
}

func TestFailingStorageStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		id := leader.Status().ID
		broken := errors.New("the disk is broken")
		c.network.Isolate(id) // else the others' disks may be enough for an answer
		c.disks[id].set(broken, nil)
		got := <-propose(t.Context(), leader, "in flight")
		require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown, "it may have reached the others")
		require.ErrorIs(t, got.err, raft.ErrStopped)
		require.ErrorIs(t, got.err, broken)
		requireStopped(t, leader, broken)
		require.NoError(t, leader.Close(t.Context()))
		require.Equal(t, 1, c.disks[id].failed, "what the disk holds isn't known: nothing is tried again")
		_, err := others[0].Propose(t.Context(), []byte("the others go on"))
		require.NoError(t, err)
	})
}

func TestPanicsStopTheNodeAndNotTheProcess(t *testing.T) {
	reason := errors.New("a panic's reason")
	cases := map[string]struct {
		harm  func(c *cluster)
		where string
	}{
		"state machine": {func(c *cluster) { c.machines["a"].whileApplying(func(string) { panic(reason) }) }, "state machine"},
		"state machine ends its goroutine": {func(c *cluster) {
			c.machines["a"].whileApplying(func(string) { runtime.Goexit() })
		}, "state machine"},
		"storage":                      {func(c *cluster) { c.disks["a"].set(panicError{reason}, nil) }, "storage"},
		"transport":                    {func(c *cluster) { c.transport.set(func() { panic(reason) }) }, "transport"},
		"transport ends its goroutine": {func(c *cluster) { c.transport.set(runtime.Goexit) }, "transport"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, memory.Faults{})
				if test.where == "transport" { // a transport only works if there is another server
					c = newCluster(t, 3, memory.Faults{})
				}
				c.adjust = func(config *raft.Config) {
					if config.ID == "a" {
						c.transport = &saboteur{Transport: config.Transport}
						config.Transport = c.transport
					}
				}
				for _, id := range c.ids {
					c.start(id)
				}
				require.NoError(t, c.nodes["a"].Read(t.Context()))
				test.harm(c)
				got := <-propose(t.Context(), c.nodes["a"], "x")
				require.ErrorIs(t, got.err, raft.ErrOutcomeUnknown)
				require.ErrorIs(t, got.err, raft.ErrStopped)
				var panicked *raft.PanicError
				require.ErrorAs(t, got.err, &panicked)
				require.Equal(t, test.where, panicked.Where)
				if panicked.Value != nil {
					require.ErrorIs(t, got.err, reason)
					require.NotEmpty(t, panicked.Stack)
				}
				requireStopped(t, c.nodes["a"], panicked)
			})
		})
	}
}

func TestBrokenInvariantStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.MaxWrites = 1 }
		node := c.start("a")
		require.NoError(t, node.Read(t.Context()))
		forgetful := c.disks["a"]
		c.close("a")

		// A storage that loses committed entries from its middle breaks its contract, and the core
		// notices when it wants them back to apply them.
		c.machines["a"] = &journal{}
		config := c.config("a")
		config.Storage = &amnesiac{Storage: forgetful.Reopen()}
		node, err := raft.Start(config)
		require.NoError(t, err)
		defer func() { require.NoError(t, node.Close(t.Context())) }()
		require.ErrorIs(t, node.Read(t.Context()), raft.ErrStopped)
		<-node.Done() // callers get their answers before that
		var invariant *raft.InvariantError
		require.ErrorAs(t, node.Err(), &invariant)
	})
}

// An amnesiac is a storage that doesn't find any of its entries.
type amnesiac struct{ *memory.Storage }

func (*amnesiac) Entries(raft.Index, raft.Index, int) ([]raft.Entry, error) { return nil, nil }

// A panicError is a reason for which a disk panics, instead of returning it.
type panicError struct{ error }

// A saboteur is a transport that can do harm in Send.
type saboteur struct {
	raft.Transport
	mu   sync.Mutex
	harm func()
}

func (s *saboteur) set(harm func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.harm = harm
}

func (s *saboteur) Send(m wire.Message) {
	s.mu.Lock()
	harm := s.harm
	s.mu.Unlock()
	if harm != nil {
		harm()
	}
	s.Transport.Send(m)
}

// Entries that can't be read can't be applied. Entries that another server needs, and that can't be
// read, are no better.
func TestFailingReadsStopTheNode(t *testing.T) {
	broken := errors.New("the disk can't be read")
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		c.close("a")
		c.adjust = func(config *raft.Config) { config.Storage = newUnreadable(c.disks["a"].Reopen(), broken, true) }
		requireStopped(t, c.start("a"), broken)
	})
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		disks := map[raft.ServerID]*unreadable{}
		c.adjust = func(config *raft.Config) {
			disks[config.ID] = newUnreadable(c.disks[config.ID].Storage, broken, false)
			config.Storage, config.TailBytes = disks[config.ID], 1
		}
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		late := others[0].Status().ID
		c.close(late)
		for range 10 {
			_, err := leader.Propose(t.Context(), []byte("x"))
			require.NoError(t, err)
		}
		disks[leader.Status().ID].broken.Store(true)
		c.start(late)
		requireStopped(t, leader, broken)
	})
}

// An unreadable storage is one whose entries can't be read from some moment on.
type unreadable struct {
	*memory.Storage
	reason error
	broken atomic.Bool
}

func newUnreadable(storage *memory.Storage, reason error, broken bool) *unreadable {
	s := &unreadable{Storage: storage, reason: reason}
	s.broken.Store(broken)
	return s
}

func (s *unreadable) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	if s.broken.Load() {
		return nil, s.reason
	}
	return s.Storage.Entries(after, last, maxBytes)
}

func TestUnknownEntryStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 1, memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		last := c.nodes["a"].Status()
		c.close("a")
		storage := c.disks["a"].Reopen()
		saved, err := storage.Load()
		require.NoError(t, err)
		future := raft.Entry{Index: last.Last + 1, Term: last.Term, Kind: 99, Data: []byte("from a newer version")}
		require.NoError(t, storage.Write(raft.Write{State: saved.State, Entries: []raft.Entry{future}}))
		c.disks["a"].Storage = storage
		node := c.start("a")
		<-node.Done()
		require.ErrorContains(t, node.Err(), "kind 99")
		require.NoError(t, node.Close(t.Context()))
	})
}
