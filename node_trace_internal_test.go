package raft

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

// A trace that isn't set costs a command no allocation.
func TestTraceUnsetAllocatesNothing(t *testing.T) {
	n := Node{trace: &Trace{}}
	l := loop{Node: &n, core: &Core{}, desk: newDesk()}
	l.intake.messages = make([]wire.Message, 3)
	answer, write, entries := &Answer{}, &Write{Entries: make([]Entry, 3)}, make([]Entry, 3)
	way := func() {
		l.traceReceived()
		l.traceSent(&l.intake.messages[0])
		l.traceAnswer(answer, waitsForCommand, 0)
		l.traceTurn()
		for _, err := range []error{
			n.traceWrite(write, stopwatchFor(n.trace.Wrote != nil), nil),
			n.traceFetch(Fetch{}, 3, stopwatchFor(n.trace.Fetched != nil), nil),
			n.traceApply(entries, stopwatchFor(n.trace.Applied != nil), nil),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	require.Zero(t, testing.AllocsPerRun(100, way))
	require.Equal(t, time.Time{}, stopwatchFor(false), "nor a look at the clock")
	calls := 0
	n.trace.Wrote = func(WriteTrace) { calls++ }
	way()
	require.Equal(t, 1, calls, "once it is set, it is on this very way")
}
