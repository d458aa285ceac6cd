package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// TestTrace demands that tracing a run doesn't change it, that a trace has every message and knows
// each one that arrives, and that its logs and its committed entries are those of the world.
func TestTrace(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 30; seed++ {
		run := func(w *World) Result { return w.Run(seed) }
		want := run(w)
		live := w.Trace(run)
		require.Equal(t, want, live.Result, "seed %d", seed)
		checkTrace(t, w, &live)

		s := w.Record(run)
		again := w.Trace(func(w *World) Result { return w.Replay(&s) })
		require.Equal(t, want.Hash, again.Result.Hash, "seed %d, replayed", seed)
		checkTrace(t, w, &again)
	}
}

func checkTrace(t *testing.T, w *World, trace *Trace) {
	t.Helper()
	sent, events, misses, lost := 0, 0, 0, 0
	var logs [MaxServers][]raft.Entry
	var committed []raft.Entry
	for i := range trace.Steps {
		s := &trace.Steps[i]
		for _, m := range s.Sent {
			sent++
			require.Equal(t, sent, m.Message)
		}
		lost += len(s.Lost)
		switch {
		case s.Kind == StepMiss:
			misses++
			require.NotZero(t, s.Delivered)
		case s.Kind == StepEvent && s.Event.Op == OpDeliver:
			require.True(t, 0 < s.Delivered && s.Delivered <= sent, "step %d", i)
		}
		if s.Kind == StepEvent || s.Kind == StepEnd {
			events++
		}
		for _, c := range s.Logs {
			require.LessOrEqual(t, int(c.After), len(logs[c.Server]))
			logs[c.Server] = append(logs[c.Server][:c.After:c.After], c.Entries...)
		}
		committed = append(committed, s.Committed...)
	}
	require.Equal(t, trace.Result.Stats.Messages, sent)
	require.Equal(t, trace.Result.Stats.Dropped, lost)
	require.Equal(t, trace.Result.Stats.Steps, events)
	require.Len(t, committed, int(w.ghost.commit()))
	for i := range w.n {
		s := &w.servers[i]
		view := s.view
		if !s.up {
			view = s.disk.slots
		}
		require.Len(t, logs[i], len(view), "server %d", i+1)
		for j := range logs[i] {
			require.Equal(t, view[j].term, logs[i][j].Term)
		}
	}
}
