package raft

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A gated is a state machine that applies nothing until its gate is opened.
type gated struct{ gate chan struct{} }

func (g gated) Apply([]Entry, [][]byte)      { <-g.gate }
func (gated) Snapshot() (io.WriterTo, error) { return nil, errors.New("none") }
func (gated) Restore(io.Reader) error        { return nil }

// A brake stops the loop of a node: in the middle of a turn, after the reports of the lanes and
// before the calls, or at the end of a turn.
type brake struct {
	node *Node
	end  atomic.Pointer[chan struct{}]
}

// startBraked starts a server alone whose loop can be stopped.
func startBraked(t *testing.T, machine StateMachine) *brake {
	b := new(brake)
	config := alone(machine)
	config.Trace = &Trace{Turn: func(TurnTrace) {
		if end := b.end.Load(); end != nil {
			<-*end
		}
	}}
	var err error
	b.node, err = Start(config)
	require.NoError(t, err)
	synctest.Wait()
	return b
}

// hold stops the loop in its next turn, until the function that it returns is called.
func (b *brake) hold(t *testing.T) (release func()) {
	leave := make(chan struct{})
	require.NoError(t, b.node.inbox.report(func(*loop, Instant) { <-leave }))
	synctest.Wait()
	return func() {
		close(leave)
		synctest.Wait()
	}
}

// holdAtEnd stops the loop at the end of the turn that it is in, or of the next one.
func (b *brake) holdAtEnd() (release func()) {
	leave := make(chan struct{})
	b.end.Store(&leave)
	return func() {
		b.end.Store(nil)
		close(leave)
		synctest.Wait()
	}
}

// many makes the same call many times, each in a goroutine of its own.
func many(ctx context.Context, callers int, call func(context.Context) error) <-chan error {
	ends := make(chan error, callers)
	for range callers {
		go func() { ends <- call(ctx) }()
	}
	synctest.Wait()
	return ends
}

// A call is answered at the moment at which its context ends. The news of that reaches the loop
// when another call has begun. It must not be taken for news of that call, which may use the same
// memory.
func TestLateCancellationOfACommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machine := gated{make(chan struct{})}
		b := startBraked(t, machine)
		propose := func(ctx context.Context) error {
			_, err := b.node.Propose(ctx, []byte("command"))
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		release := b.hold(t)
		first := many(ctx, 32, propose)
		release() // one batch has all of them
		release = b.hold(t)
		close(machine.gate)
		next := b.hold(t)
		release() // the loop has taken the results, and goes no further
		cancel()
		synctest.Wait()
		end := b.holdAtEnd()
		next()
		require.Len(t, first, cap(first))
		for range cap(first) {
			require.NoError(t, <-first, "the result was there")
		}
		second := many(t.Context(), 32, propose)
		end()
		for range cap(second) {
			require.NoError(t, <-second)
		}
		require.NoError(t, b.node.Close(t.Context()))
	})
}

// The same with calls about the cluster. Only one of them waits at a time.
func TestLateCancellationOfACall(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that memory that can be used again is
	synctest.Test(t, func(t *testing.T) {
		b := startBraked(t, gated{make(chan struct{})})
		add := func(ctx context.Context) error {
			_, err := b.node.AddServer(ctx, Server{ID: "b", Address: "nowhere"})
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := many(ctx, 1, add)
		release := b.hold(t)
		answered := errors.New("answered")
		require.NoError(t, b.node.inbox.report(func(l *loop, _ Instant) {
			l.waiting.calls.each(func(w *waiter) { l.core.CancelCall(w.number, answered) })
		}))
		next := b.hold(t)
		release() // the core has an answer
		cancel()
		synctest.Wait()
		end := b.holdAtEnd()
		next()
		require.Len(t, first, 1)
		require.ErrorIs(t, <-first, answered)
		second := many(t.Context(), 1, add)
		end()
		require.NotErrorIs(t, <-second, context.Canceled)
		require.NoError(t, b.node.Close(t.Context()))
	})
}

// The same with reads.
func TestLateCancellationOfARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		machine := gated{make(chan struct{})}
		b := startBraked(t, machine)
		proposed := make(chan error, 1)
		go func() {
			_, err := b.node.Propose(t.Context(), []byte("command"))
			proposed <- err
		}()
		synctest.Wait() // what is committed isn't applied
		ctx, cancel := context.WithCancel(t.Context())
		first := many(ctx, 32, b.node.Read)
		require.Empty(t, first)
		release := b.hold(t)
		close(machine.gate)
		next := b.hold(t)
		release() // the loop has taken what was applied, and goes no further
		cancel()
		synctest.Wait()
		end := b.holdAtEnd()
		next()
		require.Len(t, first, cap(first), "they are answered, or didn't wait for that")
		second := many(t.Context(), 32, b.node.Read)
		end()
		for range cap(second) {
			require.NoError(t, <-second)
		}
		require.NoError(t, <-proposed)
		require.NoError(t, b.node.Close(t.Context()))
	})
}

// Leadership can be lost and come back before anybody has looked. It is another one then, and the
// context of the first has ended.
func TestContextOfALeadershipThatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := startBraked(t, gated{make(chan struct{})})
		n := b.node
		led, ended := make(chan Term, 1), make(chan error, 1)
		go func() {
			ended <- n.WhileLeader(t.Context(), func(ctx context.Context, term Term) error {
				led <- term
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}()
		term := <-led
		synctest.Wait()
		again := n.Leadership()
		again.Term++
		n.board.post(Leadership{Term: term, Role: "follower"}, again)
		synctest.Wait()
		require.Len(t, ended, 1)
		require.ErrorIs(t, <-ended, ErrNotLeader)
		require.NoError(t, n.Close(t.Context()))
	})
}
