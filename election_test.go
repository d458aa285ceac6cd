package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// §3.4: a follower waits anew when it grants its vote. A candidate that can't win only makes the
// follower enter its term. Otherwise a candidate that is quick enough would keep the servers from
// trying that could win.
func TestHopelessCandidatePutsNobodyOff(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.propose("a", "x")
	c.servers["a"].cut = true
	b := c.servers["b"].core
	c.now += raft.Instant(election)
	b.Tick(c.now) // a isn't heard any more
	due, term := b.Deadline(), b.Status().Term
	require.Greater(t, due, c.now)
	for c.now < due-1 {
		term++
		c.now += (due - c.now + 1) / 2
		c.deliver(wire.VoteRequest{}.Message().In(wire.Envelope{
			From: "c", To: "b", Cluster: b.Status().Cluster, FromIncarnation: 102, ToIncarnation: 101, Term: term,
		}))
		require.Equal(t, raft.HardState{Term: term}, raft.HardState{Term: b.Status().Term, Vote: b.Status().Vote})
		require.Equal(t, due, b.Deadline())
	}
	c.tick("b")
	require.Equal(t, "pre-candidate", b.Status().Role)
	c.settle()
	require.Equal(t, "leader", b.Status().Role)
}

// A server that is its own quorum goes on leading after a pause, however long: nobody else can have
// been elected.
func TestSoleVoterLeadsOnAfterAPause(t *testing.T) {
	c := founded(t, 1)
	term := c.status("a").Term
	c.now += raft.Instant(50 * election)
	c.servers["a"].core.Tick(c.now)
	c.drain("a")
	require.Equal(t, "leader", c.status("a").Role)
	c.pass(5 * election)
	require.Equal(t, "leader", c.status("a").Role)
	require.Equal(t, term, c.status("a").Term)
}

// A wrong Bootstrap list that was put right is no trouble any more, not even to the server that
// leads.
func TestTroubleEndsWithLeadership(t *testing.T) {
	c := newCores(t, 3)
	c.deliver(wire.PreVoteRequest{Bootstrap: []raft.Server{{ID: "a"}, {ID: "b"}}}.Message().In(wire.Envelope{
		From: "b", To: "a", Term: 1,
	}))
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrBootstrapMismatch)
	c.elect("a")
	c.settle()
	require.NoError(t, c.status("a").Trouble)
}

// A lost leader is replaced soon. That holds even when the first server to notice asks too early,
// and the next one has the shorter log.
func TestLostLeaderIsReplacedSoon(t *testing.T) {
	for _, ahead := range []raft.ServerID{"b", "c"} {
		c := founded(t, 3)
		behind := raft.ServerID("c")
		if ahead == "c" {
			behind = "b"
		}
		c.servers[behind].cut = true
		c.propose("a", "x")
		c.network = nil
		c.servers[behind].cut = false
		c.servers["a"].cut = true

		// b asks before c has noticed. c is still loyal, and doesn't answer.
		c.servers["b"].core.Lost(c.now, "a")
		c.now = c.servers["b"].core.Deadline()
		c.servers["b"].core.Tick(c.now)
		c.drain("b")
		c.settle()
		require.Equal(t, "pre-candidate", c.status("b").Role)
		c.servers["c"].core.Lost(c.now, "a")
		for begin := c.now; c.now < begin+raft.Instant(3*heartbeat); {
			c.now += raft.Instant(heartbeat) / 10
			for _, id := range []raft.ServerID{"b", "c"} {
				c.servers[id].core.Tick(c.now)
				c.drain(id)
			}
			c.settle()
		}
		require.Equal(t, "leader", c.status(ahead).Role, "%s has the longer log", ahead)
	}
}

// candidates founds a cluster of a, b and c, takes away its leader a, and lets b and c become candidates of
// the same term. It returns their requests for votes, which wait.
func candidates(t *testing.T) (*cores, []wire.Message) {
	c := founded(t, 3)
	c.pass(election)
	c.servers["a"].cut = true
	for _, id := range []raft.ServerID{"b", "c"} {
		c.servers[id].core.Lost(c.now, "a")
	}
	c.now = max(c.servers["b"].core.Deadline(), c.servers["c"].core.Deadline())
	for _, id := range []raft.ServerID{"b", "c"} {
		c.servers[id].core.Tick(c.now)
		c.drain(id)
	}
	var requests []wire.Message
	for len(c.network) > 0 {
		m := c.network[0]
		if c.network = c.network[1:]; m.Kind() == wire.KindVoteRequest {
			requests = append(requests, m)
		} else {
			c.deliver(m)
		}
	}
	require.Equal(t, "candidate", c.status("b").Role)
	require.Equal(t, "candidate", c.status("c").Role)
	require.Equal(t, c.status("b").Term, c.status("c").Term)
	return c, requests
}

// Two candidates that split the vote don't both wait for an election timeout.
func TestSplitVoteIsRepeatedSoon(t *testing.T) {
	c, requests := candidates(t)
	term := c.status("b").Term
	for _, m := range requests {
		c.deliver(m)
	}
	c.settle()
	require.Equal(t, "candidate", c.status("b").Role, "it doesn't have the other's vote")
	require.Equal(t, "candidate", c.status("c").Role)
	c.pass(2 * heartbeat)
	require.Equal(t, raft.ServerID("b"), c.leader(), "the first of equals")
	require.Equal(t, term+1, c.status("b").Term)
}

// Of two candidates in a term, the one asks again soon that has more of the log; of equals, the first one.
// The other one keeps to its time.
func TestWhoRepeatsASplitVote(t *testing.T) {
	for _, test := range []struct {
		server, other raft.ServerID
		ahead         int       // of this server, in entries
		term          raft.Term // of the other one's last entry, if it isn't the same
		soon          bool
	}{
		{server: "b", other: "c", soon: true},
		{server: "c", other: "b"},
		{server: "c", other: "b", ahead: 1, soon: true},
		{server: "b", other: "c", ahead: -1},
		{server: "b", other: "c", ahead: 1, term: 2},
	} {
		t.Run(fmt.Sprintf("%+v", test), func(t *testing.T) {
			c, _ := candidates(t)
			core, s, other := c.servers[test.server].core, c.status(test.server), c.status(test.other)
			before := core.Deadline()
			require.Greater(t, before, c.now+raft.Instant(2*heartbeat))
			last := wire.Place{Index: s.Last - raft.Index(test.ahead), Term: max(s.LastTerm, test.term)}
			c.deliver(wire.VoteRequest{Last: last}.Message().In(wire.Envelope{
				From: test.other, To: test.server, Cluster: other.Cluster,
				FromIncarnation: other.Incarnation, ToIncarnation: s.Incarnation, Term: s.Term,
			}))
			require.Equal(t, "candidate", c.status(test.server).Role)
			if !test.soon {
				require.Equal(t, before, core.Deadline())
				return
			}
			require.GreaterOrEqual(t, core.Deadline(), c.now+raft.Instant(heartbeat), "votes of this term may be on their way")
			require.Less(t, core.Deadline(), c.now+raft.Instant(2*heartbeat))
		})
	}
}

// A voter with an old configuration votes for a candidate that it doesn't know: its vote may be
// needed (§4.1, "servers process incoming RPC requests without consulting their current
// configurations").
func TestStaleVoterVotesForAnUnknownCandidate(t *testing.T) {
	c := founded(t, 3)
	c.spare("d")
	require.EqualValues(t, "a", c.leader())
	c.servers["b"].cut = true
	answer := c.change("a", set("a", "b", "d"))
	require.NoError(t, answer.Err)
	require.Less(t, c.status("b").ConfigurationIndex, answer.Index)

	c.servers["a"].cut, c.servers["c"].cut = true, true
	c.servers["b"].cut = false
	c.pass(10 * election)
	require.Equal(t, "d", string(c.leader()), "it and b are a majority")
	require.Equal(t, answer.Index, c.status("b").ConfigurationIndex)
	require.NoError(t, c.status("d").Trouble)
}

// A leader that has become the only voter, while a round of the time before was still open,
// confirms itself. It neither steps down nor wants to be woken for that again and again (§6.2).
func TestOnlyVoterConfirmsItself(t *testing.T) {
	c := newCoresWith(t, 2, func(config *raft.CoreConfig) { config.Heartbeat = election / 2 })
	c.elect("a")
	c.pass(election)
	a := c.servers["a"]
	settle := func() { // without answers to rounds
		for c.take(is(wire.KindHeartbeatResponse)); len(c.network) > 0; c.take(is(wire.KindHeartbeatResponse)) {
			m := c.network[0]
			c.network = c.network[1:]
			c.deliver(m)
		}
	}
	for a.core.Deadline() > c.now { // a round that is answered
		c.now = a.core.Deadline()
		a.core.Tick(c.now)
		c.drain("a")
		if len(c.take(is(wire.KindHeartbeat))) > 0 {
			break
		}
	}
	c.now += raft.Instant(election * 2 / 5)
	a.core.Read(c.now) // its round puts off the next heartbeat
	a.core.Call(c.now, set("a"))
	c.drain("a")
	settle()
	require.Equal(t, "a", describe(c.status("a").Configuration))
	for end := c.now + raft.Instant(2*election); c.now < end; {
		c.now = max(c.now+1, a.core.Deadline())
		a.core.Tick(c.now)
		c.drain("a")
		settle()
		require.Equal(t, "leader", c.status("a").Role)
		require.Greater(t, a.core.Deadline(), c.now)
	}
}
