package raft_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A tracer notes everything that it is told.
type tracer struct {
	mu             sync.Mutex
	turns          []raft.TurnTrace
	received, sent []wire.Message
	committed      []raft.Index
	answers        []raft.AnswerTrace
	writes         []raft.WriteTrace
	fetches        []raft.FetchTrace
	applied        []raft.ApplyTrace
}

// noting returns a function of a trace that notes what it is told.
func noting[T any](mu *sync.Mutex, notes *[]T) func(T) {
	return func(note T) {
		mu.Lock()
		defer mu.Unlock()
		*notes = append(*notes, note)
	}
}

func (tr *tracer) trace() *raft.Trace {
	return &raft.Trace{
		Turn: noting(&tr.mu, &tr.turns), Received: noting(&tr.mu, &tr.received), Sent: noting(&tr.mu, &tr.sent),
		Committed: noting(&tr.mu, &tr.committed), Answered: noting(&tr.mu, &tr.answers),
		Wrote: noting(&tr.mu, &tr.writes), Fetched: noting(&tr.mu, &tr.fetches), Applied: noting(&tr.mu, &tr.applied),
	}
}

// requireWrittenAndApplied checks that a server has told of four entries: the first configuration
// and three commands.
func (tr *tracer) requireWrittenAndApplied(t *testing.T) {
	entries, next := 0, raft.WriteNumber(1)
	for _, w := range tr.writes {
		require.Equal(t, next, w.Number)
		require.NoError(t, w.Err)
		entries += w.Entries
		next++
	}
	require.EqualValues(t, 4, entries, "the first configuration, and three commands")
	require.EqualValues(t, 4, tr.writes[len(tr.writes)-1].Last)
	require.IsIncreasing(t, tr.committed)
	require.EqualValues(t, 4, tr.committed[len(tr.committed)-1])
	applied := 0
	for _, batch := range tr.applied {
		applied += batch.Entries
		require.EqualValues(t, applied, batch.Last)
	}
	require.Equal(t, 4, applied)
}

func TestTraceTellsWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tracers := map[raft.ServerID]*tracer{"a": {}, "b": {}, "c": {}}
		c := newCluster(t, 3, memory.Faults{MinDelay: time.Millisecond, MaxDelay: time.Millisecond})
		c.adjust = func(config *raft.Config) { config.Trace = tracers[config.ID].trace() }
		for _, id := range c.ids {
			c.start(id)
		}
		leader, others := c.leader()
		id, follower := leader.Status().ID, others[0].Status().ID
		_, err := leader.Propose(t.Context(), []byte("at the leader"))
		require.NoError(t, err)
		_, err = others[0].Propose(t.Context(), []byte("at a follower"))
		require.NoError(t, err)
		require.NoError(t, others[0].Read(t.Context()))
		_, err = others[0].Propose(within(t, time.Millisecond/2), []byte("in vain"))
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		time.Sleep(electionTimeout)
		for _, id := range c.ids {
			c.close(id)
		}

		tr := tracers[follower]
		require.Len(t, tr.answers, 3)
		require.Equal(t, raft.AnswerTrace{Kind: "command", Index: 3, Waited: tr.answers[0].Waited}, tr.answers[0])
		require.GreaterOrEqual(t, tr.answers[0].Waited, 2*time.Millisecond)
		require.Equal(t, raft.AnswerTrace{Kind: "read", Index: 3, Waited: tr.answers[1].Waited}, tr.answers[1])
		require.GreaterOrEqual(t, tr.answers[1].Waited, 4*time.Millisecond, "there, a round, and back")
		require.ErrorIs(t, tr.answers[2].Err, raft.ErrOutcomeUnknown)
		require.Equal(t, time.Millisecond/2, tr.answers[2].Waited)

		for _, tr := range tracers {
			tr.requireWrittenAndApplied(t)
		}
		turns, messages, proposals := raft.TurnTrace{}, len(tracers[id].received), 0
		for _, turn := range tracers[id].turns {
			turns.Messages += turn.Messages
			proposals += turn.Proposals
			turns.Reports += turn.Reports
		}
		require.Equal(t, messages, turns.Messages)
		require.Equal(t, 1, proposals)
		require.Positive(t, turns.Reports)
		kinds := map[wire.Kind]int{}
		for _, m := range tracers[follower].sent {
			require.Equal(t, follower, m.From)
			kinds[m.Kind()]++
		}
		for _, m := range tracers[id].received {
			if m.From == follower {
				kinds[m.Kind()]--
			}
		}
		require.Zero(t, kinds[wire.KindForwardRequest]+kinds[wire.KindReadRequest]+kinds[wire.KindAppendResponse], "what is sent is received")
	})
}

func TestTraceTellsOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer{}
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Trace = tr.trace() }
		node := c.start("a")
		require.NoError(t, node.Read(t.Context()))
		broken := errors.New("the disk is broken")
		c.disks["a"].set(broken, nil)
		_, err := node.Propose(t.Context(), []byte("x"))
		require.ErrorIs(t, err, broken)
		require.NoError(t, node.Close(t.Context()))
		last := tr.writes[len(tr.writes)-1]
		require.ErrorIs(t, last.Err, broken)
		require.Equal(t, 1, last.Bytes)
	})
}

// A function of a trace that panics stops its node, whichever goroutine calls it. It stops nothing
// else.
func TestPanicInATrace(t *testing.T) {
	reason := errors.New("a panic's reason")
	for name, trace := range map[string]raft.Trace{
		"turn":      {Turn: func(turn raft.TurnTrace) { panicIf(turn.Proposals > 0, reason) }},
		"sent":      {Sent: func(m wire.Message) { panicIf(m.Kind() == wire.KindAppendRequest && len(m.Entries()) > 0, reason) }},
		"received":  {Received: func(m wire.Message) { panicIf(m.Kind() == wire.KindAppendResponse, reason) }},
		"committed": {Committed: func(i raft.Index) { panicIf(i > 1, reason) }},
		"answered":  {Answered: func(a raft.AnswerTrace) { panicIf(a.Kind == "command", reason) }},
		"wrote":     {Wrote: func(w raft.WriteTrace) { panicIf(w.Last > 1, reason) }},
		"applied":   {Applied: func(a raft.ApplyTrace) { panicIf(a.Last > 1, reason) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, memory.Faults{})
				c.adjust = func(config *raft.Config) {
					if config.ID == "a" {
						config.Trace = &trace
					} else {
						config.ElectionTimeout *= 10 // a leads
					}
				}
				for _, id := range c.ids {
					c.start(id)
				}
				time.Sleep(3 * electionTimeout)
				if _, err := c.nodes["a"].Propose(t.Context(), []byte("x")); err != nil {
					require.ErrorIs(t, err, raft.ErrStopped)
				}
				<-c.nodes["a"].Done()
				var panicked *raft.PanicError
				require.ErrorAs(t, c.nodes["a"].Err(), &panicked)
				require.Equal(t, "trace", panicked.Where)
				require.ErrorIs(t, panicked, reason)
				requireStopped(t, c.nodes["a"], panicked)
			})
		})
	}
}

func panicIf(condition bool, reason error) {
	if condition {
		panic(reason)
	}
}

// Start copies the trace.
func TestTraceIsCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer{}
		c := newCluster(t, 1, memory.Faults{})
		trace := tr.trace()
		c.adjust = func(config *raft.Config) { config.Trace = trace }
		node := c.start("a")
		*trace = raft.Trace{}
		require.NoError(t, node.Read(t.Context()))
		require.NoError(t, node.Close(t.Context()))
		require.Len(t, tr.answers, 1)
	})
}

// Each kind of call has its name in a trace.
func TestTraceNamesTheKindsOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracer{}
		c := newCluster(t, 1, memory.Faults{})
		c.adjust = func(config *raft.Config) { config.Trace, config.MaxLease = tr.trace(), electionTimeout }
		node := c.start("a")
		_, err := node.Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		require.NoError(t, node.Read(t.Context()))
		require.NoError(t, node.LeaseRead(t.Context()))
		_, err = node.StaleRead(t.Context(), time.Hour)
		require.NoError(t, err)
		require.ErrorIs(t, node.TransferLeadership(t.Context(), "nobody"), raft.ErrTransferTarget)
		c.close("a")
		var kinds []string
		for _, answer := range tr.answers {
			kinds = append(kinds, answer.Kind)
		}
		require.Equal(t, []string{"command", "read", "lease read", "stale read", "call"}, kinds)
	})
}
