package main

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	porcupine "github.com/e17579a5/raft/rafttest/history"
)

// TestCounterIsAStateMachine: the counter keeps the contract of a state machine.
func TestCounterIsAStateMachine(t *testing.T) {
	newCounter := func() raft.StateMachine { return new(counter) }
	amount := func(r *rand.Rand) []byte { return encode(int64(r.Uint64())) }
	require.NoError(t, rafttest.TestStateMachine(newCounter, amount))
}

// TestCounterSurvivesACrash: when the leader of three servers crashes, what was acknowledged stays,
// and in the end all servers have it.
func TestCounterSurvivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rafttest.NewCluster(t, 3, func() *counter { return new(counter) }, rafttest.ClusterOptions{})
		add := func(server int) {
			_, err := c.Node(server).Propose(t.Context(), encode(5))
			require.NoError(t, err)
		}
		leader := c.Leader()
		add(leader)
		c.Crash(leader)
		add((leader + 1) % 3)
		c.Restart(leader)
		add(leader)
		c.Converge()
		for server := range c.Len() {
			require.EqualValues(t, 15, c.Machine(server).Value())
		}
	})
}

// linearizable asks Porcupine about a history that ends with a read of last. Porcupine takes any
// operations and any model, but needs exponential time where outcomes are unknown. Long histories
// are for history.check, which knows the counter.
func linearizable(h history, last int64) error {
	type event struct {
		at        time.Duration
		operation int
		ends      int // 1 for an end, which comes after the begins of the same moment
	}
	var events []event
	for i, o := range h {
		events = append(events, event{o.begin, i, 0}, event{o.end, i, 1})
	}
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.ends, b.ends))
	})
	seen := porcupine.New[porcupine.CounterCall, porcupine.CounterResult]()
	calls := map[int]porcupine.Call[porcupine.CounterCall, porcupine.CounterResult]{}
	for _, e := range events {
		o := &h[e.operation]
		if e.ends == 0 {
			calls[e.operation] = seen.Begin(e.operation, porcupine.CounterCall{Add: o.amount, Read: o.amount == 0})
			continue
		}
		err := map[outcome]error{refused: raft.ErrNotApplied, unknown: raft.ErrOutcomeUnknown}[o.outcome]
		calls[e.operation].End(porcupine.CounterResult{Value: o.value}, err)
	}
	seen.Begin(len(h), porcupine.CounterCall{Read: true}).End(porcupine.CounterResult{Value: last}, nil)
	return porcupine.Check(seen, porcupine.Counter())
}

// TestCheckersAgree: history.check, which knows the counter, convicts no history that Porcupine
// accepts. Porcupine accepts every history that history.check accepts, as long as no outcome is
// unknown. (Where one is, history.check doesn't ask whether a read has seen an increment that began
// later.)
func TestCheckersAgree(t *testing.T) {
	right, wrong := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		h, last := drawHistory(t)
		_, err := h.check(last)
		asked := linearizable(h, last)
		if err != nil {
			require.ErrorContains(t, asked, "not linearizable", "%v", err)
			wrong++
		} else if !slices.ContainsFunc(h, func(o operation) bool { return o.outcome == unknown }) {
			require.NoError(t, asked)
			right++
		}
	})
	require.Positive(t, right)
	require.Positive(t, wrong)
}

// drawHistory draws what the clients of a counter saw, with one wrong answer or none.
func drawHistory(t *rapid.T) (h history, last int64) {
	type applied struct {
		at        time.Duration
		operation int
	}
	var order []applied
	moment := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.IntRange(0, 50).Draw(t, "moment")) })
	for i := range rapid.IntRange(1, 10).Draw(t, "operations") {
		o := operation{outcome: rapid.SampledFrom([]outcome{acknowledged, acknowledged, acknowledged, refused, unknown}).Draw(t, "outcome")}
		if rapid.IntRange(0, 3).Draw(t, "add") > 0 {
			o.amount = 1 << i // a sum tells what was added
		}
		span := []time.Duration{moment.Draw(t, "begin"), moment.Draw(t, "at"), moment.Draw(t, "end")}
		slices.Sort(span)
		o.begin, o.end = span[0], span[2]
		if o.outcome == acknowledged || o.outcome == unknown && rapid.Bool().Draw(t, "applied") {
			order = append(order, applied{span[1], i})
		}
		h = append(h, o)
	}
	slices.SortStableFunc(order, func(a, b applied) int { return cmp.Compare(a.at, b.at) })
	for _, a := range order {
		o := &h[a.operation]
		last += o.amount
		if o.outcome == acknowledged {
			o.value = last
		}
	}
	if rapid.Bool().Draw(t, "wrong") {
		at := rapid.IntRange(0, len(h)-1).Draw(t, "at")
		switch o := &h[at]; {
		case o.outcome == acknowledged && rapid.Bool().Draw(t, "value"):
			o.value = h[rapid.IntRange(0, len(h)-1).Draw(t, "other")].value
		case o.amount > 0 && o.outcome != refused:
			o.outcome = refused
		}
	}
	return h, last
}
