package raft_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Administrative calls travel as commands do (administration.go).

// call makes a call at a server without delivering anything, and returns the request.
func (c *cores) call(id raft.ServerID, call wire.Call) (number uint64, request wire.Message) {
	number = c.servers[id].core.Call(c.now, call)
	c.drain(id)
	sent := c.take(is(wire.KindCallRequest))
	require.Len(c.t, sent, 1)
	return number, sent[0]
}

// A call that the leader doesn't know is refused, and the leader remembers that for its term.
func TestUnknownCallIsRefused(t *testing.T) {
	for _, id := range []raft.ServerID{"a", "b"} { // at the leader, and at another server
		c := founded(t, 3)
		s := c.servers[id]
		before := len(s.answers)
		number := s.core.Call(c.now, wire.Call{Kind: 200})
		c.drain(id)
		c.settle()
		require.Len(t, s.answers, before+1)
		answer := s.answers[before]
		require.True(t, answer.Call)
		require.Equal(t, number, answer.Number)
		require.ErrorIs(t, answer.Err, raft.ErrUnknownCall)
		require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
		require.Zero(t, c.status(id).PendingCalls)
	}
}

func TestCallIsAskedForAgainAndAnsweredOnce(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	_, lost := c.call("b", wire.Call{Kind: 200})
	c.pass(3 * heartbeat)
	require.Len(t, b.answers, 1)
	for range 3 {
		c.deliver(lost) // a copy changes nothing: the call has ended, and the same answer comes
	}
	require.Len(t, c.take(is(wire.KindCallResponse)), 3)
	_, next := c.call("b", wire.Call{Kind: 200})
	c.deliver(next)
	require.Len(t, c.take(is(wire.KindCallResponse)), 1)
	c.deliver(lost) // the origin is done with the call, and the leader has forgotten it
	require.Empty(t, c.take(is(wire.KindCallResponse)))
}

// Nobody waits any more for what an earlier start of a server has asked for.
func TestCallsAreForOneStart(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	_, old := c.call("b", wire.Call{Kind: 200})
	c.deliver(old)
	response := c.take(is(wire.KindCallResponse))
	require.Len(t, response, 1)
	c.restart("b")
	c.pass(2 * heartbeat)
	number, request := c.call("b", wire.Call{Kind: 200})
	require.Equal(t, old.CallRequest().Number, number, "numbers begin anew")
	c.deliver(response[0])
	require.Empty(t, b.answers)
	c.deliver(request)
	c.settle()
	require.Len(t, b.answers, 1)
	c.deliver(old)
	require.Empty(t, c.take(is(wire.KindCallResponse)))
}

// A call is for the leader of one term. It comes again when an entry of a later term was applied,
// and not before.
func TestCallIsForOneTerm(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	_, lost := c.call("b", wire.Call{Kind: 200})
	c.servers["a"].cut = true
	withheld := c.electWithout("c", wire.KindAppendRequest)
	for range 3 {
		c.now += raft.Instant(heartbeat)
		b.core.Tick(c.now)
		c.drain("b")
		require.Empty(t, c.take(is(wire.KindCallRequest)))
	}
	lost.To = "c"
	c.deliver(lost)
	require.Empty(t, c.take(is(wire.KindCallResponse)))
	for _, m := range withheld {
		c.deliver(m)
	}
	c.settle()
	c.pass(2 * heartbeat)
	require.Len(t, b.answers, 1)
}

// When a call has begun in the log, each later leader goes on with it, and it isn't offered again.
// Otherwise it could come after its change is done and another one has begun, and be refused
// although it was carried out.
func TestCallThatBeganInTheLogIsNotOfferedAgain(t *testing.T) {
	c := founded(t, 3)
	c.joining("d")
	begun := []string{"a b c", "a b c d(joining) → a b c d"}
	require.Equal(t, begun, c.configurations("b"))
	c.servers["a"].cut = true
	offered := c.electWithout("c", wire.KindCallRequest)
	for c.status("b").Applied < c.status("c").Last || len(c.network) > 0 {
		if len(c.network) == 0 {
			c.now += raft.Instant(heartbeat)
			c.servers["c"].core.Tick(c.now)
			c.drain("c")
		}
		offered = append(offered, c.take(is(wire.KindCallRequest))...)
		for _, m := range c.take(func(wire.Message) bool { return true }) {
			c.deliver(m)
		}
	}
	require.Equal(t, begun, c.configurations("b"))
	require.Empty(t, offered, "b has applied an entry of the new term, and the change goes on in the log")
	c.join()
	c.pass(5 * heartbeat)
	answers := c.servers["b"].answers
	require.True(t, answers[len(answers)-1].Call)
	require.NoError(t, answers[len(answers)-1].Err)
}

func TestCancelSaysWhetherTheCallLeft(t *testing.T) {
	c := newCores(t, 3)
	b := c.servers["b"]
	early := b.core.Call(c.now, wire.Call{Kind: 200})
	c.drain("b")
	b.core.CancelCall(early, context.Canceled)
	c.drain("b")
	require.Len(t, b.answers, 1)
	require.ErrorIs(t, b.answers[0].Err, raft.ErrNotApplied)
	require.ErrorIs(t, b.answers[0].Err, context.Canceled)

	c.elect("a")
	number, request := c.call("b", wire.Call{Kind: 200})
	b.core.CancelCall(number, context.DeadlineExceeded)
	b.core.CancelCall(number, context.DeadlineExceeded)
	c.drain("b")
	require.Len(t, b.answers, 2)
	require.ErrorIs(t, b.answers[1].Err, raft.ErrOutcomeUnknown)
	require.ErrorIs(t, b.answers[1].Err, context.DeadlineExceeded)
	c.deliver(request)
	c.settle()
	require.Len(t, b.answers, 2)
}

func TestCallsAreBounded(t *testing.T) {
	c := newCores(t, 3)
	b := c.servers["b"]
	for range 65 {
		b.core.Call(c.now, wire.Call{Kind: 200})
	}
	c.drain("b")
	require.Len(t, b.answers, 1)
	require.ErrorIs(t, b.answers[0].Err, raft.ErrNotApplied)
	require.ErrorIs(t, b.answers[0].Err, raft.ErrOverloaded)
	c.elect("a")
	c.pass(2 * heartbeat)
	require.Len(t, b.answers, 65)
}
