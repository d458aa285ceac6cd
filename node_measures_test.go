package raft_test

import (
	"context"
	"errors"
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

// Each change is told to the trace, in order, and before the turn that brought it ends. So whoever
// counts them by the trace misses none, and Events tells nothing else.
func TestTraceTellsEachChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		var mu sync.Mutex
		told := map[raft.ServerID][]raft.Event{}
		c.adjust = func(config *raft.Config) {
			id := config.ID
			config.Trace = &raft.Trace{Changed: func(event raft.Event) {
				mu.Lock()
				defer mu.Unlock()
				told[id] = append(told[id], event)
			}}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		seen := collect(t.Context(), c.nodes["a"])
		old, _ := c.leader()
		c.network.Isolate(old.Status().ID)
		c.leader(old.Status().ID)
		c.network.Heal()
		time.Sleep(3 * electionTimeout)
		c.close("a")
		events := <-seen

		mu.Lock()
		defer mu.Unlock()
		changes := pick[raft.Leadership](told["a"])
		term := raft.Term(0)
		for i, change := range changes {
			require.GreaterOrEqual(t, change.Term, term)
			require.False(t, i > 0 && change == changes[i-1], "only what changes is told")
			term = change.Term
		}
		require.Subset(t, told["a"], events[1:len(events)-2], "all but the beginning and the end")
		require.NotEmpty(t, pick[raft.Membership](told["a"]))
		require.Empty(t, pick[raft.Stopped](told["a"]))
	})
}

// The turns of a server tell how far it has come in its log, and how long callers have waited for
// the loop.
func TestTurnsTellHowFarTheLogIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer{}
		c := newCluster(t, 1, memory.Faults{})
		release := make(chan struct{})
		c.adjust = func(config *raft.Config) {
			config.Trace = tr.trace()
			sent := config.Trace.Committed
			config.Trace.Committed = func(i raft.Index) {
				sent(i)
				if i == 2 {
					<-release // the loop is held up
				}
			}
		}
		node := c.start("a")
		first := propose(t.Context(), node, "x")
		time.Sleep(electionTimeout)
		second := propose(t.Context(), node, "y")
		time.Sleep(electionTimeout)
		close(release)
		require.NoError(t, (<-first).err)
		require.NoError(t, (<-second).err)
		c.close("a")
		var longest time.Duration
		before := raft.TurnTrace{}
		for _, turn := range tr.turns {
			require.GreaterOrEqual(t, turn.Began, before.Began)
			require.LessOrEqual(t, turn.Log.Applied, turn.Log.Commit)
			require.LessOrEqual(t, turn.Log.Commit, turn.Log.Last)
			require.LessOrEqual(t, turn.Log.Stable, turn.Log.Last)
			if turn.Proposals+turn.Reads == 0 {
				require.Zero(t, turn.Gathering)
			}
			longest = max(longest, turn.Gathering)
			before = turn
		}
		require.Equal(t, electionTimeout, longest, "the second command has waited for the loop")
		require.Equal(t, raft.LogIndexes{Applied: 3, Commit: 3, Stable: 3, Last: 3}, before.Log)
	})
}

// A call that doesn't get as far as the loop is told to the trace, with its reason, and once.
func TestTraceTellsOfRefusals(t *testing.T) {
	invalid := errors.New("an invalid command")
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var refusals []raft.RefusalTrace
		answered := 0
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) {
			config.MaxCommandBytes = 10
			config.Trace = &raft.Trace{Refused: noting(&mu, &refusals), Answered: func(raft.AnswerTrace) { answered++ }}
			config.Validate = func(command []byte) error {
				if string(command) == "invalid" {
					return invalid
				}
				return nil
			}
		}
		node := c.start("a")
		ended, end := context.WithCancel(t.Context())
		end()
		refused := func(kind string, reason error, call func() error) {
			t.Helper()
			before := len(refusals)
			require.ErrorIs(t, call(), reason)
			require.Len(t, refusals, before+1)
			require.Equal(t, kind, refusals[before].Kind)
			require.ErrorIs(t, refusals[before].Err, reason)
		}
		command := func(ctx context.Context, text string) func() error {
			return func() error { _, err := node.Propose(ctx, []byte(text)); return err }
		}
		refused("command", raft.ErrTooLarge, command(t.Context(), "more than ten bytes"))
		refused("command", invalid, command(t.Context(), "invalid"))
		refused("command", context.Canceled, command(ended, "late"))
		refused("command", context.Canceled, func() error { _, err := node.OpenSession(ended); return err })
		refused("command", raft.ErrTooLarge, func() error {
			_, err := node.ProposeInSession(t.Context(), raft.SessionCommand{Session: raft.SessionID{Term: 1, Index: 1}, Sequence: 1, Lowest: 1}, make([]byte, 11))
			return err
		})
		refused("read", context.Canceled, func() error { return node.Read(ended) })
		refused("lease read", context.Canceled, func() error { return node.LeaseRead(ended) })
		refused("stale read", context.Canceled, func() error { _, err := node.StaleRead(ended, 0); return err })
		refused("call", context.Canceled, func() error { return node.TransferLeadership(ended, "b") })
		require.Zero(t, answered)
		_, err := node.Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		c.close("a")
		before := len(refusals)
		require.ErrorIs(t, node.Read(t.Context()), raft.ErrClosed)
		require.Len(t, refusals, before, "after the end nothing is told")
	})
}

// The status says how much waits, in bytes too.
func TestStatusTellsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		id := leader.Status().ID
		for _, other := range others {
			c.network.Cut(id, other.Status().ID)
		}
		first := propose(t.Context(), leader, "four")
		time.Sleep(electionTimeout / 4)
		status := leader.Status()
		require.Equal(t, 1, status.PendingProposals)
		require.GreaterOrEqual(t, status.PendingBytes, 4)
		require.GreaterOrEqual(t, status.UncommittedBytes, 4)
		require.GreaterOrEqual(t, status.UnappliedBytes, status.UncommittedBytes)
		c.network.Heal()
		<-first
		status = leader.Status()
		require.Zero(t, status.PendingBytes)
		require.Zero(t, status.UncommittedBytes)
	})
}

// Messages that contradict what a server knows are counted, as are those for which there is no room.
func TestStatusCountsMessagesThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		hold, held := make(chan struct{}), atomic.Bool{}
		c.adjust = func(config *raft.Config) {
			config.MaxInboxMessages = 8
			if config.ID == "a" {
				config.Trace = &raft.Trace{Turn: func(raft.TurnTrace) {
					if held.Load() {
						<-hold
					}
				}}
			}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		leader, _ := c.leader()
		require.Zero(t, leader.Status().RefusedMessages)
		stranger := c.network.Join("z")
		require.NoError(t, stranger.Start(raft.Server{ID: "z", Address: "at z"}, nobody{}))
		defer stranger.Close()
		refused := wire.Heartbeat{}.Message()
		status := leader.Status()
		refused.From, refused.To, refused.Term, refused.Cluster = "z", status.ID, status.Term, status.Cluster
		stranger.Send(refused)
		require.Equal(t, uint64(1), leader.Status().RefusedMessages)

		synctest.Wait()
		held.Store(true)
		before := c.nodes["a"]
		_ = before.Read(within(t, electionTimeout)) // wakes the loop, which is held up then
		for range 100 {
			m := refused
			m.To = "a"
			stranger.Send(m)
		}
		held.Store(false)
		close(hold)
		inbox := c.nodes["a"].Status().Inbox
		require.Positive(t, inbox.Dropped)
	})
}

// nobody is the handler of a transport that only sends.
type nobody struct{ raft.Handler }

func (nobody) Receive(wire.Message) {}
func (nobody) Lost(raft.ServerID)   {}

// A panic where refusals are told stops the node. The caller gets the error that it would get.
func TestRefusalTraceThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, memory.Faults{})
		reason := errors.New("a panic's reason")
		c.adjust = func(config *raft.Config) {
			config.MaxCommandBytes = 1
			config.Trace = &raft.Trace{Refused: func(raft.RefusalTrace) { panic(reason) }}
		}
		node := c.start("a")
		_, err := node.Propose(t.Context(), []byte("two"))
		require.ErrorIs(t, err, raft.ErrTooLarge)
		<-node.Done()
		var panicked *raft.PanicError
		require.ErrorAs(t, node.Err(), &panicked)
		require.Equal(t, "trace", panicked.Where)
	})
}

// A read whose context ends is told as answered, with its error and the time that it has waited.
func TestTraceTellsOfReadsThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer{}
		c := newCluster(t, 3, memory.Faults{Cut: true})
		c.adjust = func(config *raft.Config) {
			if config.ID == "a" {
				config.Trace = tr.trace()
			}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		require.ErrorIs(t, c.nodes["a"].Read(within(t, electionTimeout)), context.DeadlineExceeded)
		c.close("a")
		require.Len(t, tr.answers, 1)
		require.ErrorIs(t, tr.answers[0].Err, context.DeadlineExceeded)
		require.Equal(t, raft.AnswerTrace{Kind: "read", Waited: electionTimeout, Err: tr.answers[0].Err}, tr.answers[0])
	})
}

// A call tells where it was applied, and when the loop took it. A fence and a CallTrace don't get in
// each other's way.
func TestFollowCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer{}
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Trace = tr.trace() }
		node := c.start("a")
		require.NoError(t, node.Read(t.Context()))
		time.Sleep(time.Second)
		var call raft.CallTrace
		ctx := raft.FollowCall(raft.Fence(t.Context(), node.Status().Term), &call)
		_, err := node.Propose(ctx, []byte("x"))
		require.NoError(t, err)
		require.EqualValues(t, 2, call.Index)
		require.GreaterOrEqual(t, call.Taken, raft.Instant(time.Second))
		taken := false
		synctest.Wait() // the turn that answers is told of behind its answers
		for _, turn := range tr.turns {
			taken = taken || turn.Began == call.Taken && turn.Proposals == 1
		}
		require.True(t, taken, "a turn began when it was taken")
		require.NoError(t, node.Read(ctx))
		require.EqualValues(t, 2, call.Index)
		_, err = node.Propose(raft.Fence(ctx, 99), []byte("x"))
		require.ErrorIs(t, err, raft.ErrNotLeader)
		require.Zero(t, call.Index, "it wasn't applied")
		require.NotZero(t, call.Taken)
	})
}
