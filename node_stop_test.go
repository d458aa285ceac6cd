package raft

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A captor is a state machine that hands out the entries that it is to apply, and then waits.
type captor struct {
	StateMachine
	entries chan []Entry
	release chan struct{}
}

func (c *captor) Apply(entries []Entry, _ [][]byte) {
	c.entries <- entries
	<-c.release
}

// When a node stops, a result that the state machine has given by then still goes to its caller. A
// question for the status gets the last status.
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
		n.inbox.mu.Lock() // so that the loop takes all of this in one turn
		got := n.inbox.intake
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

// When a node stops, an administrative call on its way is answered too.
func TestStoppingNodeAnswersACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, err := Start(alone(gated{make(chan struct{})}))
		require.NoError(t, err)
		synctest.Wait()
		answered := make(chan error, 1)
		go func() {
			_, err := n.AddServer(t.Context(), Server{ID: "b", Address: "nowhere"})
			answered <- err
		}()
		synctest.Wait()
		require.Empty(t, answered, "it waits")
		require.NoError(t, n.Close(t.Context()))
		err = <-answered
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, err, ErrOutcomeUnknown)
	})
}
