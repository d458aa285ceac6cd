package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/history"
)

// use performs an operation on an object: a write, or a read that is answered with value.
func use(j *judge, o *object, read bool, value string, err error) {
	call := o.history.Begin(1, history.RegisterCall{Key: o.key(), Value: value, Read: read})
	call.End(value, err)
	j.give(o, err)
}

// The judge acquits registers that behave, and convicts one that forgets.
func TestJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJudge()
		defer j.end()
		for i := range 3 * maxOperations {
			use(j, j.take(0), i%2 == 1, fmt.Sprint(i/2), nil)
		}
		synctest.Wait()
		require.Equal(t, verdict{Checked: 3 * maxOperations, Registers: 3}, j.found())
		require.ErrorIs(t, j.draw(new(bytes.Buffer)), errNoViolation)

		for range maxOperations / 2 {
			use(j, j.take(0), false, "new", nil)
			use(j, j.take(0), true, "old", nil)
		}
		synctest.Wait()
		v := j.found()
		require.Equal(t, 1, v.Violations)
		require.Contains(t, v.First, "not linearizable")
		var drawn bytes.Buffer
		require.NoError(t, j.draw(&drawn))
		require.Contains(t, drawn.String(), "<html")
		use(j, j.take(0), false, "new", nil)
		use(j, j.take(0), true, "old", nil)
		j.pardon()
		require.Equal(t, verdict{}, j.found())
		for range maxOperations { // the history that had begun before isn't judged, and the next one is
			use(j, j.take(0), false, "new", nil)
		}
		for range maxOperations {
			use(j, j.take(0), false, "new", nil)
		}
		synctest.Wait()
		require.Equal(t, verdict{Checked: maxOperations, Registers: 1}, j.found())
	})
}

// A register is checked after a time, after some operations with an unknown outcome, and never while
// one of its operations runs.
func TestRegistersAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJudge()
		defer j.end()
		runs := j.take(0)
		time.Sleep(maxAge + 1)
		other := j.take(0)
		require.NotEqual(t, runs.slot, other.slot, "the one that is too old isn't used any more")
		synctest.Wait()
		require.Zero(t, j.found().Registers, "an operation still runs")
		use(j, runs, false, "x", nil)
		synctest.Wait()
		require.Equal(t, 1, j.found().Registers)
		use(j, other, false, "x", nil)
		next := j.take(0)
		require.Equal(t, "0.2", next.key())
		use(j, next, false, "x", context.DeadlineExceeded)
		for range maxUnknown - 1 {
			next = j.take(0)
			require.Equal(t, "0.2", next.key())
			use(j, next, false, "x", errors.Join(raft.ErrOutcomeUnknown))
		}
		require.Equal(t, "0.3", j.take(0).key())
	})
}

// Nobody waits for a judge that has ended, and whoever waits while all registers are closed gets one
// as soon as there is one.
func TestWaitsForTheJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJudge()
		var taken []*object
		for i := range slots {
			taken = append(taken, j.take(i))
		}
		time.Sleep(maxAge + 1)
		got := make(chan *object, 1)
		ask := func() { go func() { got <- j.take(3) }(); synctest.Wait() }
		ask()
		require.Empty(t, got, "all registers are closed, and in use")
		use(j, taken[5], false, "x", nil)
		require.Equal(t, "5.2", (<-got).key())
		time.Sleep(maxAge + 1)
		ask()
		require.Empty(t, got)
		j.end()
		require.Nil(t, <-got)
		require.Nil(t, j.take(0))
		use(j, taken[0], false, "x", nil) // an operation that still ran
	})
}
