package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// TestSlowMessagesCostNoLeadership demands that a leadership lasts however long messages take, as
// long as a round trip and a heartbeat interval fit into an election timeout.
func TestSlowMessagesCostNoLeadership(t *testing.T) {
	t.Parallel()
	for _, interval := range []int64{50, 100, 200, 450} { // between heartbeats, in thousandths of an election timeout
		for roundTrip := int64(10); roundTrip+interval < 1000; roundTrip += 70 {
			t.Run(fmt.Sprintf("heartbeats %d, round trips %d", interval, roundTrip), func(t *testing.T) {
				p := Calm(uint64(roundTrip), 3)
				p.Heartbeat, p.Delay = p.Election/1000*interval, p.Election/2000*roundTrip
				p.MaxLease, p.LeaseReads, p.FaultKinds, p.Found = p.Election, 500, 0, 1
				require.True(t, p.quiet())
				r := NewWorld(Options{}).RunFor(p, 30*int64(time.Second))
				require.Nil(t, r.Violation)
				require.Greater(t, r.Stats.Commands, 100)
			})
		}
	}
}

// TestFoundingWithLongRoundTrips demands that votes don't split again and again where it takes all of
// them: of many servers, far apart.
func TestFoundingWithLongRoundTrips(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	for seed := uint64(1); seed <= 300; seed++ {
		p := Calm(seed, 7)
		p.Delay, p.Events = p.Election/10, 1
		r := w.RunParams(p)
		require.Nil(t, r.Violation)
		require.LessOrEqual(t, r.Stats.Campaigns, 6)
	}
}

// TestSwarmIsUndisturbed demands that about one run of sixteen has nothing for which a leadership
// might end, and that these runs draw each ratio of two times on both sides of 1.
func TestSwarmIsUndisturbed(t *testing.T) {
	t.Parallel()
	runs, ratios := 0, map[string][2]int{}
	for seed := uint64(1); seed <= 4000; seed++ {
		p := Swarm(seed)
		if !p.quiet() || p.Throughput != 0 {
			continue
		}
		runs++
		for name, pair := range map[string][2]int64{
			"round trip, heartbeat":  {2 * p.Delay, p.Heartbeat},
			"write, heartbeat":       {p.WriteTime, p.Heartbeat / 2},
			"write, round trip":      {p.WriteTime, 2 * p.Delay},
			"command, write":         {p.ClientTime, p.WriteTime},
			"command, round trip":    {p.ClientTime, 2 * p.Delay},
			"round trip, lease":      {6 * p.Delay, p.MaxLease},
			"jitter, delay":          {p.Jitter, p.Delay},
			"snapshot, heartbeat":    {p.StoreTime, p.Heartbeat},
			"fetch, write":           {p.FetchTime, p.WriteTime},
			"piece of a stream, lag": {p.StreamTime, p.Delay},
		} {
			n := ratios[name]
			switch {
			case pair[0] < pair[1]:
				n[0]++
			case pair[0] > pair[1]:
				n[1]++
			}
			ratios[name] = n
		}
	}
	require.InDelta(t, 4000/16, runs, 80)
	for name, n := range ratios {
		require.Greater(t, min(n[0], n[1]), runs/25, "%s: %d below, %d above", name, n[0], n[1])
	}
}

// TestKeptBackByTheWindow demands that a command which has to wait at its server, because others
// that have left fill the window, isn't expected to be answered before it may leave.
func TestKeptBackByTheWindow(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	require.Nil(t, w.Replay(&Schedule{Params: Calm(1, 3), Events: []Event{{Op: OpFound}, {Op: OpPass, N: 2e9}}}).Violation)
	lead := w.leading()
	leader, s := &w.servers[lead], &w.servers[(lead+1)%3]
	w.undisturbedNow()
	w.params.WindowBytes = 100
	w.ops = make([]operation, 7)
	due := func() (due []bool) {
		for i := range w.ops {
			due = append(due, w.ops[i].due != 0)
		}
		return due
	}
	for i := range w.ops {
		w.ops[i].number, w.ops[i].size = uint64(i), 60
		if i > 0 {
			w.offer(s, int32(i))
		}
	}
	w.offer(leader, 0)
	w.offer(leader, 1)
	require.Equal(t, []bool{true, true, false, false, false, false, false}, due(), "one fits, and at the leader none waits")
	w.forwarded(s, []raft.Entry{{Number: 1}})
	require.Equal(t, []bool{true, true, false, false, false, false, false}, due(), "one that has left is sent again")
	w.forwarded(s, []raft.Entry{{Number: 2}})
	require.Equal(t, []bool{true, true, true, false, false, false, false}, due(), "the first one was seen in the log")
	w.offerEnds(s, &w.ops[1])
	require.Equal(t, []bool{true, true, true, false, false, false, false}, due(), "the second one fills the window")
	w.offerEnds(s, &w.ops[4])
	w.offerEnds(s, &w.ops[2])
	require.Equal(t, []bool{true, true, true, true, false, false, false}, due(), "the first that waits may leave")
	w.offerEnds(s, &w.ops[3])
	require.Equal(t, []bool{true, true, true, true, false, true, false}, due(), "one was given up meanwhile")
	w.forget(s)
	require.Zero(t, s.away)
	require.Empty(t, s.behind)
}

// TestStrangersAreNotHeard demands that the simulator takes a leader for heard only by a server that
// doesn't demand a key which this leader lacks.
func TestStrangersAreNotHeard(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	require.Nil(t, w.Replay(&Schedule{Params: Calm(1, 3), Events: []Event{{Op: OpFound}, {Op: OpPass, N: 2e9}}}).Violation)
	lead := w.leading()
	other := (lead + 1) % 3
	s := &w.servers[other]
	m := w.says(lead, other, wire.Heartbeat{Round: 1})
	m.FromIncarnation, m.ToIncarnation = w.servers[lead].disk.state.Incarnation, s.disk.state.Incarnation
	hears := func() bool {
		s.heard = 0
		w.expectSticky(s, &m)
		w.checkTimes(other, &Event{Op: OpDeliver, Peer: int8(lead)}, &m)
		return s.heard != 0
	}
	require.True(t, hears())
	s.known[lead] = ""
	require.True(t, hears(), "no key is demanded")
	s.keys = []wire.ClusterKey{{1}}
	require.False(t, hears())
	w.servers[lead].proved = s.keys
	require.True(t, hears(), "the leader has the key")
	w.servers[lead].proved, s.known[lead] = nil, w.servers[lead].address
	require.True(t, hears(), "the leader is known by name")
}

// TestNothingIsForgottenWhenAllIsCalm demands that no disk loses a write after all faults have ended.
func TestNothingIsForgottenWhenAllIsCalm(t *testing.T) {
	t.Parallel()
	w := NewWorld(Options{})
	before, after := 0, 0
	for seed := uint64(1); seed <= 100; seed++ {
		p := Calm(seed, 3)
		p.FaultKinds, p.FaultTime, p.Events = 1<<faultForget, p.Heartbeat, 500
		r := w.observed(func(s *Step) {
			switch {
			case !strings.HasPrefix(s.Text, "put-back"):
			case w.phase == phaseSettle:
				after++
			default:
				before++
			}
		}, func(w *World) Result { return w.RunParams(p) })
		require.Nil(t, r.Violation)
	}
	require.Positive(t, before)
	require.Zero(t, after)
}

// TestDiskThatStandsStillShowsByAWrite demands that a leader whose disk stands still is given
// something to write before it is blamed for leading on.
func TestDiskThatStandsStillShowsByAWrite(t *testing.T) {
	t.Parallel()
	p := Calm(1, 3)
	p.Priorities = 0b010101
	w := NewWorld(Options{})
	require.Nil(t, w.Replay(&Schedule{Params: p, Events: []Event{{Op: OpFound}, {Op: OpPass, N: 2e9}}}).Violation)
	w.calm = true
	w.beginTimed(phaseSettle)
	lead := w.leading()
	w.freezeServer(lead, frozenDisk)
	w.settleSuccession(p.Election)
	require.Nil(t, w.violation)
	require.NotEqual(t, lead, w.leading())
}
