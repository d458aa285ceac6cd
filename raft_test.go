package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// There is one test for each rule of the thesis that the core keeps, in the order of the thesis.
// The tests drive bare cores: a test says when a message arrives, when a disk has finished, and
// when time passes.

func is(kind wire.Kind) func(wire.Message) bool {
	return func(m wire.Message) bool { return m.Kind() == kind }
}

// founded returns a cluster in which a leads, and in which everything is committed and every server
// knows it.
func founded(t *testing.T, n int) *cores {
	c := newCores(t, n)
	c.elect("a")
	c.propose("a", "first")
	c.pass(2 * heartbeat)
	require.Equal(t, raft.ServerID("a"), c.leader())
	return c
}

// §3.3: a server that hears of a higher term adopts it, and a leader steps down.
func TestHigherTermIsAdopted(t *testing.T) {
	c := founded(t, 3)
	before := c.status("a").Term
	c.deliver(wire.HeartbeatResponse{}.Message().In(wire.Envelope{
		From: "b", To: "a", Term: before + 7, Cluster: c.status("b").Cluster, FromIncarnation: c.status("b").Incarnation,
	}))
	require.Equal(t, before+7, c.status("a").Term)
	require.Equal(t, "follower", c.status("a").Role)
}

// §3.3: a request of a lower term is refused, and the refusal carries the current term.
func TestLowerTermIsRefused(t *testing.T) {
	c := founded(t, 3)
	c.servers["a"].cut = true
	c.elect("b")
	c.servers["a"].cut = false
	c.servers["a"].core.Propose(c.now, []byte("too late"))
	c.drain("a")
	stale := c.take(is(wire.KindAppendRequest))
	require.NotEmpty(t, stale)
	require.Less(t, stale[0].Term, c.status("b").Term)
	c.deliver(stale[0])
	answers := c.take(is(wire.KindAppendResponse))
	require.Len(t, answers, 1)
	require.False(t, answers[0].AppendResponse().Accepted)
	require.Equal(t, c.status(stale[0].To).Term, answers[0].Term)
	c.deliver(answers[0])
	require.Equal(t, "follower", c.status("a").Role)
}

// §3.4: a server votes at most once in a term, also across a restart.
func TestOneVotePerTerm(t *testing.T) {
	c := founded(t, 3)
	ask := func(from raft.ServerID, term raft.Term) wire.Message {
		s := c.status(from)
		return wire.VoteRequest{Last: wire.Place{Index: s.Last + 5, Term: s.LastTerm}}.Message().In(wire.Envelope{
			From: from, To: "c", Term: term, Cluster: s.Cluster, FromIncarnation: s.Incarnation,
		})
	}
	c.pass(0)
	c.restart("c") // it has heard no leader since
	c.deliver(ask("a", 50))
	c.deliver(ask("b", 50))
	votes := c.take(is(wire.KindVoteResponse))
	require.Len(t, votes, 2)
	require.True(t, votes[0].VoteResponse().Granted)
	require.False(t, votes[1].VoteResponse().Granted)

	c.restart("c")
	c.deliver(ask("b", 50))
	c.deliver(ask("a", 50))
	votes = c.take(is(wire.KindVoteResponse))
	require.False(t, votes[0].VoteResponse().Granted, "the vote for a survives")
	require.True(t, votes[1].VoteResponse().Granted, "and may be given again to a")
}

// §3.5: a follower whose log contradicts the leader's drops the contradicting entries, and takes
// the leader's.
func TestConflictingEntriesAreReplaced(t *testing.T) {
	c := founded(t, 3)
	c.servers["b"].cut, c.servers["c"].cut = true, true
	for i := range 5 {
		c.propose("a", fmt.Sprint("lost ", i))
	}
	c.servers["a"].cut = true
	c.servers["b"].cut, c.servers["c"].cut = false, false
	c.network = nil
	c.elect("b")
	c.propose("b", "kept")
	c.servers["a"].cut = false
	c.pass(2 * election)
	for _, id := range c.ids {
		require.Equal(t, []string{"first", "kept"}, c.commands(id)[:2])
		require.Equal(t, c.servers["b"].log, c.servers[id].log)
	}
}

// §3.5: a whole term of conflicting entries is backed out in one step, however long it is.
func TestConflictsAreBackedOutByTerm(t *testing.T) {
	c := founded(t, 3)
	c.servers["b"].cut, c.servers["c"].cut = true, true
	for i := range 10_000 {
		c.servers["a"].core.Propose(c.now, []byte(fmt.Sprint(i)))
	}
	c.drain("a")
	c.servers["a"].cut = true
	c.servers["b"].cut, c.servers["c"].cut = false, false
	c.network = nil
	c.elect("b")
	for range 10 {
		c.propose("b", "kept")
	}
	c.servers["a"].cut = false
	require.Greater(t, c.status("a").Last, c.status("b").Last)

	refusals := 0
	for i := 0; i < 1000 && c.status("a").Last != c.status("b").Last; i++ {
		c.now += raft.Instant(heartbeat)
		c.servers["b"].core.Tick(c.now)
		c.drain("b")
		for len(c.network) > 0 {
			m := c.network[0]
			c.network = c.network[1:]
			if m.Kind() == wire.KindAppendResponse && !m.AppendResponse().Accepted && m.From == "a" {
				refusals++
			}
			c.deliver(m)
		}
	}
	require.Equal(t, c.servers["b"].log, c.servers["a"].log)
	require.LessOrEqual(t, refusals, 3)
}

// §3.5: an append that is repeated or overtaken shortens nothing.
func TestOldAppendsShortenNothing(t *testing.T) {
	c := founded(t, 3)
	c.servers["a"].core.Propose(c.now, []byte("x"))
	c.drain("a")
	first := c.take(func(m wire.Message) bool { return m.Kind() == wire.KindAppendRequest && m.To == "b" })
	c.propose("a", "y")
	c.network = append(first, c.network...)
	c.settle()
	last := c.status("b").Last
	for _, m := range first {
		c.deliver(m)
	}
	require.Equal(t, last, c.status("b").Last)
	require.Equal(t, c.status("a").Last, last)
}

// §3.6.1: only a candidate whose log is at least as up-to-date gets a vote: first by last term,
// then by length.
func TestVotesGoToUpToDateLogs(t *testing.T) {
	c := founded(t, 3)
	own := c.status("c")
	for _, test := range []struct {
		term    raft.Term
		index   raft.Index
		granted bool
	}{
		{own.LastTerm, own.Last, true},
		{own.LastTerm, own.Last + 1, true},
		{own.LastTerm, own.Last - 1, false},
		{own.LastTerm + 1, 1, true},
		{own.LastTerm - 1, own.Last + 100, false},
	} {
		c.restart("c")
		last := wire.Place{Index: test.index, Term: test.term}
		for _, ask := range []wire.Message{wire.PreVoteRequest{Last: last}.Message(), wire.VoteRequest{Last: last}.Message()} {
			c.deliver(ask.In(wire.Envelope{From: "b", To: "c", Term: c.status("c").Term + 1, Cluster: own.Cluster,
				FromIncarnation: c.status("b").Incarnation}))
		}
		answers := c.take(func(m wire.Message) bool { return m.From == "c" })
		require.Len(t, answers, 2)
		require.Equal(t, test.granted, answers[0].PreVoteResponse().Granted, "pre-vote for (%d, %d)", test.index, test.term)
		require.Equal(t, test.granted, answers[1].VoteResponse().Granted, "vote for (%d, %d)", test.index, test.term)
	}
}

// §3.6.2, Figure 8: an entry of an earlier term doesn't commit because it is on a majority. It
// commits only under an entry of the leader's own term.
func TestOldEntriesCommitUnderNewOnes(t *testing.T) {
	c := founded(t, 3)
	committed := c.status("a").Commit
	c.servers["c"].cut = true
	c.servers["b"].slowDisk = true
	c.propose("a", "old") // b has it, but its disk hasn't
	c.servers["a"].cut = true
	require.Equal(t, committed, c.status("a").Commit)
	c.finishWrites("b")
	c.network = nil

	// b leads the next term. The old entry arrives at c; the entry of b's own term doesn't.
	c.servers["c"].cut = false
	c.servers["b"].slowDisk = false
	require.NotEmpty(t, c.electWithout("b", wire.KindAppendRequest))
	first := c.status("b").Last // b's no-op
	b := c.status("b")
	c.deliver(wire.AppendResponse{Accepted: true, Index: first - 1}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: b.Term, Cluster: b.Cluster,
		FromIncarnation: c.status("c").Incarnation, ToIncarnation: b.Incarnation,
	}))
	require.Equal(t, committed, c.status("b").Commit, "the old entry is on two of three, and not committed")
	c.deliver(wire.AppendResponse{Accepted: true, Index: first}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: b.Term, Cluster: b.Cluster,
		FromIncarnation: c.status("c").Incarnation, ToIncarnation: b.Incarnation,
	}))
	require.Equal(t, first, c.status("b").Commit)
}

// §3.10: a server that is told to campaign does so at once, past pre-vote and stickiness.
func TestTimeoutNowElects(t *testing.T) {
	c := founded(t, 3)
	a, b := c.status("a"), c.status("b")
	c.deliver(wire.TimeoutNow{}.Message().In(wire.Envelope{
		From: "a", To: "b", Term: a.Term, Cluster: a.Cluster, FromIncarnation: a.Incarnation, ToIncarnation: b.Incarnation,
	}))
	c.settle()
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.Equal(t, a.Term+1, c.status("b").Term)
}

// §4.2.3: while a server hears a leader, it ignores the vote requests and the terms of others.
func TestStickinessProtectsALeader(t *testing.T) {
	c := founded(t, 3)
	term := c.status("b").Term
	last := wire.Place{Index: 1000, Term: term + 8}
	for _, ask := range []wire.Message{wire.VoteRequest{Last: last}.Message(), wire.PreVoteRequest{Last: last}.Message()} {
		for _, to := range c.ids {
			if to != "c" {
				c.deliver(ask.In(wire.Envelope{From: "c", To: to, Term: term + 9, Cluster: c.status("c").Cluster,
					FromIncarnation: c.status("c").Incarnation}))
			}
		}
	}
	require.Empty(t, c.network)
	require.Equal(t, raft.ServerID("a"), c.leader())
	require.Equal(t, term, c.status("b").Term)
}

// §6.2: a leader that no quorum answers steps down within an election timeout, in its own term.
func TestLeaderWithoutQuorumStepsDown(t *testing.T) {
	c := founded(t, 3)
	term := c.status("a").Term
	c.servers["b"].cut, c.servers["c"].cut = true, true
	for range int(election/heartbeat) + 2 {
		c.now += raft.Instant(heartbeat)
		c.servers["a"].core.Tick(c.now)
		c.drain("a")
		c.settle()
	}
	require.NotEqual(t, "leader", c.status("a").Role)
	require.Equal(t, term, c.status("a").Term)
}

// §6.4: a read waits for a round of heartbeats that began after it. A deposed leader doesn't serve
// it.
func TestReadsNeedARoundOfTheirOwn(t *testing.T) {
	c := founded(t, 3)
	a := c.servers["a"]
	a.core.Read(c.now)
	c.drain("a")
	require.Empty(t, a.answers[1:])
	rounds := c.take(is(wire.KindHeartbeat))
	require.Len(t, rounds, 2)

	// A second read comes while the round is under way: its own round has to begin later.
	second := a.core.Read(c.now)
	c.drain("a")
	require.Empty(t, c.take(is(wire.KindHeartbeat)))
	c.deliver(rounds[0])
	answers := c.take(is(wire.KindHeartbeatResponse))
	require.Len(t, answers, 1)
	c.deliver(answers[0])
	require.Len(t, a.answers, 2, "the first read is served")
	c.settle()
	require.Len(t, a.answers, 3, "the second needed another round")
	require.Equal(t, second, a.answers[2].Number)
}

// §6.4: a new leader serves no read before it has committed an entry of its own term; the read
// waits.
func TestReadsWaitForTheFirstCommit(t *testing.T) {
	c := founded(t, 3)
	c.servers["a"].cut = true
	noop := c.electWithout("b", wire.KindAppendRequest)
	c.servers["b"].core.Read(c.now)
	c.drain("b")
	c.settle()
	require.Empty(t, c.servers["b"].answers)
	c.network = noop
	c.settle()
	require.Len(t, c.servers["b"].answers, 1)
	require.GreaterOrEqual(t, c.servers["b"].answers[0].Index, noop[0].AppendRequest().Previous.Index+1)
}

// §9.6: a server that was cut off comes back without raising anybody's term.
func TestPreVoteKeepsTermsQuiet(t *testing.T) {
	c := founded(t, 3)
	term := c.status("a").Term
	c.servers["c"].cut = true
	c.pass(20 * election)
	require.Equal(t, term, c.status("c").Term)
	c.servers["c"].cut = false
	c.pass(2 * election)
	require.Equal(t, raft.ServerID("a"), c.leader())
	require.Equal(t, term, c.status("a").Term)
}

// §10.2.1: a leader's appends travel while its own disk is writing. A quorum of others commits
// without that disk.
func TestLeaderWritesBesideTheNetwork(t *testing.T) {
	c := founded(t, 3)
	a := c.servers["a"]
	a.slowDisk = true
	c.propose("a", "x")
	require.Greater(t, c.status("a").Commit, c.status("a").Stable)
	require.Equal(t, []string{"first", "x"}, c.commands("a"))
	c.finishWrites("a")
	require.Equal(t, c.status("a").Last, c.status("a").Stable)
}
