package raft

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft/wire"
)

// However much has come for one group, another one of its shard waits for one bounded turn of it.
func TestFloodedGroupTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, flooded, its := startShard(t)
		other, l, err := newNode(alone(breaker{}), "", nil)
		require.NoError(t, err)
		s.add(l)
		for range 3 {
			s.takeRound(t)
		}
		var turns []int // the messages of the turns of the flooded group, and -1 for a turn of the other
		flooded.inbox.bounded = true
		its.trace = &Trace{Turn: func(turn TurnTrace) { turns = append(turns, turn.Messages) }}
		l.trace = &Trace{Turn: func(TurnTrace) { turns = append(turns, -1) }}
		for range 3*maxTurn + 1 {
			flooded.inbox.receive(wire.Heartbeat{}.Message())
		}
		for range 5 {
			other.inbox.nudge()
			s.takeRound(t)
		}
		require.Equal(t, []int{maxTurn, -1, maxTurn, -1, maxTurn, -1, 1, -1, -1}, turns)
		for _, n := range []*Node{flooded, other} {
			n.inbox.stop(errClose)
			s.takeRound(t)
			<-n.Done()
		}
	})
}

func boundedInbox() *inbox {
	return &inbox{maxMessages: 4 * maxTurn, maxMessageBytes: 64 << 20, maxProposals: 3 * maxTurn, maxCommandBytes: 2 << 20, bounded: true, rouse: func() {}}
}

// Forwards that have gathered don't stand before what came behind them, and other messages don't keep
// them out.
func TestForwardsHaveALine(t *testing.T) {
	in := boundedInbox()
	for range 3 * maxTurn {
		in.receive(wire.ForwardRequest{}.Message())
	}
	in.receive(wire.HeartbeatResponse{}.Message())
	got := new(intake)
	require.True(t, in.take(&got, false))
	require.Equal(t, wire.KindHeartbeatResponse, got.messages[0].Kind())
	require.Len(t, got.messages, maxTurn)
	require.False(t, got.unfinished, "the time doesn't wait for forwards")
	got.reset()
	for range 2 * maxTurn {
		in.receive(wire.HeartbeatResponse{}.Message())
	}
	require.True(t, in.take(&got, false))
	require.Equal(t, wire.KindForwardRequest, got.messages[len(got.messages)-1].Kind())
	require.Len(t, got.messages, maxTurn+minForwards)
	require.True(t, got.unfinished)
	got.reset()
	in.receive(wire.HeartbeatResponse{}.Message())
	require.True(t, in.take(&got, false))
	require.False(t, got.unfinished, "what came later doesn't count")
}

// A caller that gives up while its command waits for a later turn is answered in the next one.
func TestCallerGivesUpInTheBacklog(t *testing.T) {
	in := boundedInbox()
	var last *waiter
	for range 3 * maxTurn {
		last = &waiter{}
		require.NoError(t, in.propose(last, Proposal{}))
	}
	got := new(intake)
	require.True(t, in.take(&got, false))
	require.Len(t, got.proposals, maxTurn)
	got.reset()
	in.cancel(last, context.Canceled)
	require.True(t, in.take(&got, false))
	require.Len(t, got.proposals, maxTurn+1)
	require.Same(t, last, got.proposals[maxTurn].waiter)
	require.Len(t, got.cancels, 1)
}

// A crowdedInbox is an inbox with what is known to wait there.
type crowdedInbox struct {
	*inbox
	got                          *intake
	messages, forwards           int // how many have come
	takenMessages, takenForwards int
	waiting                      map[*waiter]int // to the bytes of the command
}

func (in *crowdedInbox) takeTurn(t require.TestingT) {
	if !in.take(&in.got, false) {
		require.True(t, in.backlog.empty())
		return
	}
	got := in.got
	for i := range got.messages {
		if m := &got.messages[i]; m.Kind() == wire.KindForwardRequest {
			in.takenForwards++
			require.EqualValues(t, in.takenForwards, m.Term)
		} else {
			in.takenMessages++
			require.EqualValues(t, in.takenMessages, m.Term)
		}
	}
	for _, p := range got.proposals {
		require.Contains(t, in.waiting, p.waiter)
		delete(in.waiting, p.waiter)
	}
	for _, w := range got.reads {
		require.Contains(t, in.waiting, w)
		delete(in.waiting, w)
	}
	got.reset()
}

// bring brings messages, and counts those that aren't dropped.
func (in *crowdedInbox) bring(t *rapid.T, m wire.Message, come *int) {
	for range rapid.IntRange(1, 2*maxTurn).Draw(t, "count") {
		m.Term = Term(*come + 1)
		was := in.dropped.Load()
		if in.receive(m); in.dropped.Load() == was {
			*come++
		}
	}
}

// callers lets callers propose and read.
func (in *crowdedInbox) call(t *rapid.T) {
	size := rapid.SampledFrom([]int{1, 1, 9000}).Draw(t, "bytes")
	for i := range rapid.IntRange(1, 2*maxTurn).Draw(t, "count") {
		w := &waiter{}
		if i%3 == 0 {
			if in.read(w) == nil {
				in.waiting[w] = 0
			}
		} else if in.propose(w, Proposal{Data: make([]byte, size)}) == nil {
			in.waiting[w] = size
		}
	}
}

// giveUp lets one of the callers give up.
func (in *crowdedInbox) giveUp(t *rapid.T) {
	for w := range in.waiting {
		if rapid.Bool().Draw(t, "cancels") {
			in.cancel(w, context.Canceled)
		} else {
			require.True(t, in.withdraw(w))
			delete(in.waiting, w)
		}
		return
	}
}

func (in *crowdedInbox) check(t *rapid.T) {
	bytes := 0
	for _, size := range in.waiting {
		bytes += size
	}
	require.Equal(t, len(in.waiting), in.callers())
	require.Equal(t, bytes, in.intake.commandBytes)
	require.Equal(t, in.messages-in.takenMessages+in.forwards-in.takenForwards, in.inbox.messages())
	require.Equal(t, in.inbox.messages(), in.intake.bulk)
}

// However what comes is mixed, all of it is taken once, each kind in its order, and what counts against
// the limits is what waits.
func TestBacklogLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := &crowdedInbox{inbox: boundedInbox(), got: new(intake), waiting: map[*waiter]int{}}
		t.Repeat(map[string]func(*rapid.T){
			"messages": func(t *rapid.T) {
				data := make([]byte, rapid.SampledFrom([]int{0, 0, 9000}).Draw(t, "bytes"))
				in.bring(t, wire.AppendRequest{Entries: []Entry{{Data: data}}}.Message(), &in.messages)
			},
			"forwards": func(t *rapid.T) {
				in.bring(t, wire.ForwardRequest{Commands: []Entry{{Data: make([]byte, 100)}}}.Message(), &in.forwards)
			},
			"callers": in.call,
			"give up": in.giveUp,
			"take":    func(t *rapid.T) { in.takeTurn(t) },
			"":        in.check,
		})
		for !in.backlog.empty() || in.intake.some {
			in.takeTurn(t)
		}
		require.Empty(t, in.waiting)
		require.Equal(t, []int{in.messages, in.forwards}, []int{in.takenMessages, in.takenForwards})
		require.Zero(t, in.intake.load)
	})
}
