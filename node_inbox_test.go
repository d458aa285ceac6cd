package raft

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/wire"
)

func newTestInbox() *inbox {
	return &inbox{maxMessages: 4, maxMessageBytes: 3 * (wire.MessageOverhead + 2*wire.EntryOverhead), maxProposals: 3, maxCommandBytes: 10,
		rouse: func() {}}
}

// roused lets a test count how often a loop was roused.
func (in *inbox) roused() *int {
	n := new(int)
	in.rouse = func() { *n++ }
	return n
}

func TestInboxDropsAppendsAndForwardsFirst(t *testing.T) {
	bulk := func(bytes int) wire.Message {
		return wire.AppendRequest{Entries: []Entry{{Data: make([]byte, bytes+wire.EntryOverhead)}}}.Message()
	}
	kinds := func(in *inbox) map[wire.Kind]int {
		got := new(intake)
		in.take(&got, false)
		kinds := map[wire.Kind]int{}
		for _, m := range got.messages {
			kinds[m.Kind()]++
		}
		return kinds
	}
	in := newTestInbox()
	for range 10 {
		in.receive(wire.ForwardRequest{}.Message())
	}
	require.Equal(t, map[wire.Kind]int{wire.KindForwardRequest: 4}, kinds(in), "bounded in number")
	for range 10 {
		in.receive(bulk(0))
	}
	require.Equal(t, map[wire.Kind]int{wire.KindAppendRequest: 3}, kinds(in), "bounded in bytes")
	in.receive(bulk(1 << 20))
	in.receive(bulk(0))
	require.Equal(t, map[wire.Kind]int{wire.KindAppendRequest: 1}, kinds(in), "one always has room, however large")

	for range 10 {
		in.receive(bulk(0))
		in.receive(wire.ForwardRequest{}.Message())
	}
	for range 10 {
		in.receive(wire.VoteRequest{}.Message())
	}
	require.Equal(t, 4, kinds(in)[wire.KindVoteRequest], "votes have a reserve, which is bounded too")
	for range 10 {
		in.receive(wire.Heartbeat{}.Message())
	}
	in.receive(bulk(0))
	require.Equal(t, map[wire.Kind]int{wire.KindAppendRequest: 1, wire.KindHeartbeat: 4}, kinds(in), "and don't take the place of appends")
	for range 2 * wire.MaxMembers {
		in.lost("x")
	}
	got := new(intake)
	in.take(&got, false)
	require.Len(t, got.lost, wire.MaxMembers)
}

func TestInboxBoundsCallers(t *testing.T) {
	in := newTestInbox()
	for range 3 {
		require.NoError(t, in.propose(&waiter{}, Proposal{Data: []byte("x")}))
		require.NoError(t, in.read(&waiter{}))
	}
	require.ErrorIs(t, in.propose(&waiter{}, Proposal{Data: nil}), ErrOverloaded)
	require.ErrorIs(t, in.read(&waiter{}), ErrOverloaded)
	got := new(intake)
	require.True(t, in.take(&got, false))
	require.NoError(t, in.propose(&waiter{}, Proposal{Data: make([]byte, 20)}), "one always has room")
	require.ErrorIs(t, in.propose(&waiter{}, Proposal{Data: nil}), ErrOverloaded)
	got.reset()
	in.take(&got, false)
	limit := in.maxCommandBytes
	require.NoError(t, in.propose(&waiter{}, Proposal{Data: make([]byte, 1)}))
	require.ErrorIs(t, in.propose(&waiter{}, Proposal{Data: make([]byte, limit)}), errMaxPendingBytes)
	require.NoError(t, in.propose(&waiter{}, Proposal{Data: make([]byte, limit-1)}), "filled to the limit")
	rest := in.close(ErrClosed)
	require.Len(t, rest.proposals, 2)
	require.ErrorIs(t, in.propose(&waiter{}, Proposal{Data: nil}), ErrClosed)
	require.ErrorIs(t, in.read(&waiter{}), ErrClosed)
	require.False(t, in.query(nil))
	in.receive(wire.Heartbeat{}.Message())
	in.cancel(&waiter{}, nil)
	in.stop(ErrStopped)
	require.False(t, in.take(&got, false), "nothing gets in any more")
}

func TestInboxWakesOnlyWhoSleeps(t *testing.T) {
	in := newTestInbox()
	roused := in.roused()
	in.receive(wire.Heartbeat{}.Message())
	require.Zero(t, *roused, "the loop is at work")
	got := new(intake)
	require.True(t, in.take(&got, false))
	got.reset()
	require.False(t, in.take(&got, false))
	in.receive(wire.Heartbeat{}.Message())
	in.receive(wire.Heartbeat{}.Message())
	require.Equal(t, 1, *roused)
	require.True(t, in.take(&got, false))
	require.Len(t, got.messages, 2)
}

// What strangers send takes a small part of the room, whatever it is.
func TestInboxKeepsRoomForMembers(t *testing.T) {
	in := newTestInbox()
	in.maxMessages = 4 * strangersShare
	for range in.maxMessages {
		stranger := wire.VoteRequest{}.Message()
		stranger.Stranger = true
		in.receive(stranger)
	}
	for range 3 * strangersShare {
		in.receive(wire.Heartbeat{}.Message())
	}
	got := new(intake)
	require.True(t, in.take(&got, false))
	require.Len(t, got.messages, 4+3*strangersShare)
}

// A batch that was applied wakes a loop that awaits one. A loop that doesn't await one gets it
// together with whatever comes next.
func TestAppliedWakesOnlyWhoAwaitsIt(t *testing.T) {
	in := newTestInbox()
	roused := in.roused()
	got := new(intake)
	in.applied(Batch{Last: 1})
	require.False(t, in.take(&got, false), "it isn't awaited")
	in.applied(Batch{Last: 2})
	require.Zero(t, *roused)
	in.receive(wire.Heartbeat{}.Message())
	require.Equal(t, 1, *roused)
	require.True(t, in.take(&got, false))
	require.Len(t, got.batches, 2)

	got.reset()
	require.False(t, in.take(&got, true))
	in.applied(Batch{Last: 3})
	require.Equal(t, 2, *roused, "the loop sleeps, and awaits it")
	require.True(t, in.take(&got, true))
	require.Len(t, got.batches, 1)

	got.reset()
	in.applied(Batch{Last: 4})
	require.True(t, in.take(&got, true), "it came while the loop was at work")
	require.Len(t, got.batches, 1)
}

func TestIntakeGivesABurstsMemoryBack(t *testing.T) {
	got := intake{messages: make([]wire.Message, 1, keepIntake+1), reads: make([]*waiter, 1, keepIntake), load: load{bulk: 1}, some: true}
	got.reads[0] = &waiter{}
	got.reset()
	require.Zero(t, cap(got.messages))
	require.Equal(t, keepIntake, cap(got.reads))
	require.Nil(t, got.reads[:1][0], "nothing is held on to")
	require.Zero(t, got.bulk)
	require.False(t, got.some)
}

// Err tells the first reason to stop. When a caller closes a node that has failed, that doesn't
// hide the failure.
func TestFirstReasonToStopCounts(t *testing.T) {
	in := newTestInbox()
	broken := errors.New("broken")
	in.stop(broken)
	in.stop(errClose)
	got := new(intake)
	require.True(t, in.take(&got, false))
	require.Equal(t, broken, got.stop)
	in.close(ErrClosed)
	in.stop(errClose)
	require.False(t, in.take(&got, false), "there is nobody left to stop")
}

// Callers who all give up leave no room behind that is kept.
func TestIntakeGivesTheRoomOfCallersBackWhoGaveUp(t *testing.T) {
	in := newTestInbox()
	caller := new(waiter)
	require.NoError(t, in.propose(caller, Proposal{}))
	in.intake.proposals = slices.Grow(in.intake.proposals, 2*keepIntake) // there were many of them, and this is the last one
	require.True(t, in.withdraw(caller))
	got := new(intake)
	require.True(t, in.take(&got, false))
	require.Empty(t, got.proposals)
	got.reset()
	require.LessOrEqual(t, cap(got.proposals), keepIntake)
}

// TestIntakeIsEmptied: whatever an intake holds, nothing is left of it after reset, and the room of its slices is.
func TestIntakeIsEmptied(t *testing.T) {
	got := new(intake)
	v := reflect.ValueOf(got).Elem()
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem() // an unexported field may not be set
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint64:
			v.SetUint(1)
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		case reflect.Interface:
			v.Set(reflect.ValueOf(errClose))
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		default:
			require.Fail(t, "a field of another kind", "%v", v.Type())
		}
	}
	fill(v)
	for i := range v.NumField() {
		require.False(t, v.Field(i).IsZero())
	}
	got.reset()
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		if field.Kind() == reflect.Slice {
			require.Zero(t, field.Len(), name)
			require.Equal(t, 2, field.Cap(), name)
		} else {
			require.True(t, field.IsZero(), name)
		}
	}
}
