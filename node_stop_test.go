package raft

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A captor is a state machine that shows what it is to apply, and is held up at it.
type captor struct {
	StateMachine
	entries chan []Entry
	release chan struct{}
}

func (c *captor) Apply(entries []Entry, _ [][]byte) {
	c.entries <- entries
	<-c.release
}

// What the state machine has answered by the time that a node stops goes to the caller, and so does
// the last status.
func TestStoppingNodeAnswersWhatItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machine := &captor{entries: make(chan []Entry, 1), release: make(chan struct{})}
		n, err := Start(alone(machine))
		require.NoError(t, err)
		var result []byte
		var failure error
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			result, failure = n.Propose(t.Context(), []byte("command"))
		}()
		command := (<-machine.entries)[0]
		synctest.Wait()

		status := make(chan Status, 1)
		n.inbox.mu.Lock() // the loop sees all of it at once
		got := &n.inbox.intake
		got.batches = append(got.batches, Batch{
			Last: command.Index, Term: command.Term,
			Commands: []AppliedCommand{{Number: command.Number, Place: command.Index, Index: command.Index, Result: []byte("result")}},
		})
		got.queries = append(got.queries, status)
		got.stop = errClose
		n.inbox.added()
		<-answered
		require.NoError(t, failure)
		require.Equal(t, "result", string(result))
		<-n.Done()
		require.Equal(t, n.Status(), <-status)

		close(machine.release)
		require.NoError(t, n.Close(t.Context()))
	})
}
