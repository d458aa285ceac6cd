package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/history"
)

// A step begins an operation of a client or ends it.
type step struct {
	client int
	begin  history.CounterCall
	value  int64
	err    error
	ends   bool
}

func add(client int, amount int64) step {
	return step{client: client, begin: history.CounterCall{Add: amount}}
}

func read(client int) step { return step{client: client, begin: history.CounterCall{Read: true}} }

func got(client int, value int64) step { return step{client: client, value: value, ends: true} }

func failed(client int, err error) step { return step{client: client, err: err, ends: true} }

// counterHistory performs the steps in order and returns the history.
func counterHistory(steps []step) *history.History[history.CounterCall, history.CounterResult] {
	h := history.New[history.CounterCall, history.CounterResult]()
	calls := map[int]history.Call[history.CounterCall, history.CounterResult]{}
	for _, s := range steps {
		if s.ends {
			calls[s.client].End(history.CounterResult{Value: s.value}, s.err)
		} else {
			calls[s.client] = h.Begin(s.client, s.begin)
		}
	}
	return h
}

func TestCounterHistories(t *testing.T) {
	refused := fmt.Errorf("%w: too busy", raft.ErrNotApplied)
	lost := fmt.Errorf("%w: closed", raft.ErrOutcomeUnknown)
	for name, c := range map[string]struct {
		steps []step
		want  string // in the error; "" for none
	}{
		"nothing":                       {nil, ""},
		"one after the other":           {[]step{add(0, 5), got(0, 5), add(1, 2), got(1, 7), read(0), got(0, 7)}, ""},
		"at the same time":              {[]step{add(0, 5), add(1, 2), got(0, 7), got(1, 2)}, ""},
		"refused":                       {[]step{add(0, 5), failed(0, refused), read(1), got(1, 0)}, ""},
		"unknown, not applied":          {[]step{add(0, 5), failed(0, lost), read(1), got(1, 0)}, ""},
		"unknown, applied":              {[]step{add(0, 5), failed(0, lost), read(1), got(1, 5)}, ""},
		"unknown, applied later":        {[]step{add(0, 5), failed(0, lost), read(1), got(1, 0), read(1), got(1, 5)}, ""},
		"never ended, applied":          {[]step{add(0, 5), read(1), got(1, 5)}, ""},
		"a read that failed":            {[]step{read(0), failed(0, lost), add(1, 1), got(1, 1)}, ""},
		"lost":                          {[]step{add(0, 5), got(0, 5), read(1), got(1, 0)}, "at most 1 of 2 operations can be put in order; the state is then 5"},
		"applied twice":                 {[]step{add(0, 5), got(0, 5), read(1), got(1, 10)}, "client 1: read → 10"},
		"unknown, applied twice":        {[]step{add(0, 5), failed(0, lost), read(1), got(1, 10)}, "not linearizable"},
		"refused, but applied":          {[]step{add(0, 5), failed(0, refused), read(1), got(1, 5)}, "client 1: read → 5"},
		"a stale read":                  {[]step{add(0, 5), got(0, 5), add(0, 5), got(0, 10), read(1), got(1, 5)}, "client 1: read → 5"},
		"a read goes back":              {[]step{add(0, 5), read(1), got(1, 5), read(1), got(1, 0), got(0, 5)}, "client 1: read → 0"},
		"unknown, taken back":           {[]step{add(0, 5), failed(0, lost), read(1), got(1, 5), read(1), got(1, 0)}, "client 1: read → 0"},
		"two adds that both came first": {[]step{add(0, 5), add(1, 5), got(0, 5), got(1, 5)}, "none of these fits"},
	} {
		t.Run(name, func(t *testing.T) {
			err := history.Check(counterHistory(c.steps), history.Counter())
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			violation, ok := errors.AsType[*history.Violation](err)
			require.True(t, ok)
			var page bytes.Buffer
			require.NoError(t, violation.WriteHTML(&page))
			require.Contains(t, page.String(), "<html")
		})
	}
}

func TestCounts(t *testing.T) {
	h := counterHistory([]step{
		add(0, 1), got(0, 1), add(1, 2), failed(1, raft.ErrNotApplied), add(2, 3), failed(2, raft.ErrOutcomeUnknown), add(3, 4),
		got(0, 99), // this operation has ended already
	})
	require.Equal(t, history.Count{Returned: 1, Refused: 1, Unknown: 2}, h.Count())
	require.NoError(t, history.Check(h, history.Counter()))
}

func TestCounterOverflow(t *testing.T) {
	h := history.New[history.CounterCall, history.CounterResult]()
	h.Begin(0, history.CounterCall{Add: 1<<63 - 1}).End(history.CounterResult{Value: 1<<63 - 1}, nil)
	h.Begin(0, history.CounterCall{Add: 1}).End(history.CounterResult{Overflow: true}, nil)
	h.Begin(0, history.CounterCall{Add: -1 << 63}).End(history.CounterResult{Value: -1}, nil)
	h.Begin(0, history.CounterCall{Read: true}).End(history.CounterResult{Value: -1}, nil)
	require.NoError(t, history.Check(h, history.Counter()))
	h.Begin(0, history.CounterCall{Add: 3}).End(history.CounterResult{Overflow: true}, nil)
	require.ErrorContains(t, history.Check(h, history.Counter()), "the state is then -1, and none of these fits:\n\tclient 0: add 3 → overflow")
}

// TestRegisters demands that each register is checked by itself, so that operations on different
// registers cost no more than operations on one.
func TestRegisters(t *testing.T) {
	h := history.New[history.RegisterCall, string]()
	for i := range 200 {
		key := fmt.Sprint("key ", i%50)
		h.Begin(0, history.RegisterCall{Key: key, Value: "lost"}).End("", raft.ErrOutcomeUnknown)
		h.Begin(1, history.RegisterCall{Key: key, Value: "kept"}).End("kept", nil)
		h.Begin(2, history.RegisterCall{Key: key, Read: true}).End([]string{"lost", "kept"}[i/50%2], nil)
	}
	require.NoError(t, history.Check(h, history.Registers()))
	h.Begin(0, history.RegisterCall{Key: "key 7", Read: true}).End("", nil)
	require.ErrorContains(t, history.Check(h, history.Registers()), `client 0: read "key 7" → `)
}

// TestUndecided demands that Check calls a history neither right nor wrong if it can't decide.
func TestUndecided(t *testing.T) {
	h := history.New[history.CounterCall, history.CounterResult]()
	for i := range 40 {
		h.Begin(i, history.CounterCall{Add: 1 << i}).End(history.CounterResult{}, raft.ErrOutcomeUnknown)
	}
	h.Begin(0, history.CounterCall{Read: true}).End(history.CounterResult{Value: -1}, nil)
	require.ErrorIs(t, history.Check(h, history.Counter()), history.ErrUndecided)
}

// Check convicts a history that no single counter can have.
func ExampleCheck() {
	h := history.New[history.CounterCall, history.CounterResult]()
	h.Begin(0, history.CounterCall{Add: 5}).End(history.CounterResult{Value: 5}, nil)
	h.Begin(1, history.CounterCall{Read: true}).End(history.CounterResult{Value: 0}, nil) // began later, but doesn't see the 5
	fmt.Println(history.Check(h, history.Counter()))
	// Output:
	// history: not linearizable: at most 1 of 2 operations can be put in order; the state is then 5, and none of these fits:
	// 	client 1: read → 0
}
