package prometheus

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A server may have any bytes as its ID, and labels must be UTF-8. Options.Labels are on each series.
func TestLabels(t *testing.T) {
	m := New("\xff", Options{Labels: map[string]string{"cluster": "orders"}, NativeOnly: true})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	for _, family := range families {
		for _, series := range family.Metric {
			labels := map[string]string{}
			for _, l := range series.Label {
				labels[l.GetName()] = l.GetValue()
			}
			require.Equal(t, "orders", labels["cluster"])
			require.Equal(t, `"\xff"`, labels["server"])
			if series.Histogram != nil {
				require.Empty(t, series.Histogram.Bucket)
			}
		}
	}
}

// The functions of a trace that is there are called too.
func TestInstrumentKeepsATrace(t *testing.T) {
	turns := 0
	config := raft.Config{ID: "a", Trace: &raft.Trace{Turn: func(raft.TurnTrace) { turns++ }}}
	m := New("a", Options{})
	m.Instrument(&config)
	config.Trace.Turn(raft.TurnTrace{})
	require.Equal(t, 1, turns)
	require.EqualValues(t, 1, m.loop.shown.turns)
}

// Calls are counted by their outcome and by their reason, those that the loop gets and those that it
// doesn't.
func TestAnswersByOutcome(t *testing.T) {
	config := raft.Config{ID: "a"}
	m := New("a", Options{})
	m.Instrument(&config)
	trace := config.Trace
	unknown := errors.Join(raft.ErrOutcomeUnknown, context.DeadlineExceeded)
	trace.Answered(raft.AnswerTrace{Kind: "command"})
	trace.Answered(raft.AnswerTrace{Kind: "command"})
	trace.Answered(raft.AnswerTrace{Kind: "command", Err: unknown})
	trace.Answered(raft.AnswerTrace{Kind: "lease read", Err: raft.ErrRemoved})
	trace.Turn(raft.TurnTrace{})
	trace.Refused(raft.RefusalTrace{Kind: "command", Err: errors.Join(raft.ErrNotApplied, raft.ErrTooLarge)})
	trace.Refused(raft.RefusalTrace{Kind: "command", Err: errors.Join(raft.ErrNotApplied, errors.New("of Validate"))})
	trace.Refused(raft.RefusalTrace{Kind: "read", Err: raft.ErrOverloaded})
	want := `
# HELP raft_answers_total ` + families[answersFamily].help + `
# TYPE raft_answers_total counter
raft_answers_total{kind="call",outcome="not_applied",server="a"} 0
raft_answers_total{kind="call",outcome="ok",server="a"} 0
raft_answers_total{kind="call",outcome="unknown",server="a"} 0
raft_answers_total{kind="command",outcome="not_applied",server="a"} 2
raft_answers_total{kind="command",outcome="ok",server="a"} 2
raft_answers_total{kind="command",outcome="unknown",server="a"} 1
raft_answers_total{kind="lease_read",outcome="not_served",server="a"} 1
raft_answers_total{kind="lease_read",outcome="ok",server="a"} 0
raft_answers_total{kind="read",outcome="not_served",server="a"} 1
raft_answers_total{kind="read",outcome="ok",server="a"} 0
raft_answers_total{kind="stale_read",outcome="not_served",server="a"} 0
raft_answers_total{kind="stale_read",outcome="ok",server="a"} 0
`
	require.NoError(t, testutil.CollectAndCompare(m, strings.NewReader(want), "raft_answers_total"))
	refusals := map[string]float64{}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	gathered, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range gathered {
		if family.GetName() == "raft_refusals_total" {
			for _, series := range family.Metric {
				if n := series.Counter.GetValue(); n > 0 {
					refusals[series.Label[0].GetValue()] = n
				}
			}
		}
	}
	require.Equal(t, map[string]float64{"deadline": 1, "removed": 1, "too_large": 1, "other": 1, "overloaded": 1}, refusals)
}

// Servers may be scraped at any time, also while they stop.
func TestScrapesWhileServersWork(t *testing.T) {
	c := startTrio(t, false, true)
	leader := c.leader(t)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				_, _ = leader.Propose(t.Context(), []byte("a command"))
			}
		})
		all.Go(func() {
			for range 20 {
				c.scrapeAll(t)
			}
		})
	}
	all.Wait()
	all.Go(c.close)
	c.scrapeAll(t)
	all.Wait()
	c.scrapeAll(t)
}
