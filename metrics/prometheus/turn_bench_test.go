package prometheus

import (
	"testing"
	"time"

	"github.com/e17579a5/raft"
)

// BenchmarkTurn measures what one turn with one command costs a leader's loop.
func BenchmarkTurn(b *testing.B) {
	m := New("a", Options{})
	l := &loopMeasures{to: &m.loop}
	l.stages.leadership.Role = "leader"
	trace := m.traceOf(raft.Trace{}, l)
	b.ReportAllocs()
	for i := range raft.Index(b.N) {
		trace.Answered(raft.AnswerTrace{Kind: "command", Index: i, Waited: time.Duration(10_000 + i%1000)})
		trace.Turn(raft.TurnTrace{Messages: 1, Proposals: 1, Took: 5 * time.Microsecond, Gathering: time.Microsecond,
			Began: raft.Instant(10_000 * i), Log: raft.LogIndexes{Applied: i, Commit: i + 1, Stable: i + 1, Last: i + 2}})
	}
}

// BenchmarkAnswered measures what each command of a batch costs.
func BenchmarkAnswered(b *testing.B) {
	trace := New("a", Options{}).trace(raft.Trace{})
	b.ReportAllocs()
	for i := range raft.Index(b.N) {
		trace.Answered(raft.AnswerTrace{Kind: "command", Index: i, Waited: 10_000})
	}
}
