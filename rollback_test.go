package raft_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// putBackOnce founds a cluster that a leads, takes an image of b's disk, lets b start again and
// propose ten commands, and puts its disk back. If forgotten, nobody is left who remembers.
func putBackOnce(t *testing.T, forgotten bool) *cores {
	c := founded(t, 3)
	was := c.image("b")
	c.restart("b")
	c.settle()
	c.pass(2 * heartbeat)
	for i := range 10 {
		c.propose("b", fmt.Sprint("old ", i))
	}
	require.Len(t, c.servers["b"].answers, 10)
	if forgotten {
		c.restart("a")
		c.restart("c")
		c.pass(5 * election)
	}
	c.putBack("b", was)
	return c
}

// checkOwnAnswers demands that no answer is another command's. It takes the commands by their
// numbers.
func (c *cores) checkOwnAnswers(id raft.ServerID, commands map[uint64]string) {
	for _, answer := range c.servers[id].answers {
		if answer.Err == nil {
			entry := c.servers[c.leader()].log[answer.Index-1]
			require.Equal(c.t, commands[answer.Number], string(entry.Data), "the answer at %d", answer.Index)
		}
	}
}

// The starts of a disk that was put back repeat their counts, and its commands repeat their
// numbers. An answer is the command's own all the same: also if nobody is left who knows of the
// start that was forgotten.
func TestPutBackAnswersAreTheCommandsOwn(t *testing.T) {
	for _, forgotten := range []bool{false, true} {
		c := putBackOnce(t, forgotten)
		commands := map[uint64]string{}
		for i := range 10 {
			text := fmt.Sprint("new ", i)
			commands[c.propose("b", text)] = text
		}
		c.pass(10 * heartbeat)
		c.servers["a"].cut = true // as in a rolling restart
		c.pass(5 * election)
		c.servers["a"].cut = false
		c.pass(3 * election)
		require.NotEqual(t, raft.ServerID(""), c.leader())
		c.checkOwnAnswers("b", commands)
	}
}

// explain returns what a leader says of another server's trouble.
func (c *cores) explain(id, of raft.ServerID) error {
	for _, p := range c.servers[id].core.Explain().Peers {
		if p.ID == of {
			return p.Trouble
		}
	}
	return nil
}

// Whoever has heard of the start that a disk has forgotten says so, and the server takes no part.
func TestPutBackIsNoticedByAnotherStart(t *testing.T) {
	c := putBackOnce(t, false)
	c.settle()
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)
	require.NoError(t, c.status("a").Trouble)
	require.NoError(t, c.status("c").Trouble)
	require.ErrorIs(t, c.explain("a", "b"), raft.ErrRolledBack)
	require.Equal(t, raft.ServerID("b"), c.servers["a"].core.Standing().TroubledPeer)
	require.Equal(t, raft.NoLeaderTrouble, c.servers["b"].core.Explain().NoLeader.Reason)

	c.propose("b", "x")
	answer := c.servers["b"].answers[len(c.servers["b"].answers)-1]
	require.ErrorIs(t, answer.Err, raft.ErrRolledBack)
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	c.servers["b"].core.ReadStale(c.now, election)
	c.drain("b")
	require.ErrorIs(t, c.servers["b"].answers[len(c.servers["b"].answers)-1].Err, raft.ErrRolledBack)
}

// It doesn't count: with it alone no leader commits anything, and none is elected.
func TestPutBackDoesNotCount(t *testing.T) {
	c := putBackOnce(t, false)
	c.settle()
	c.servers["c"].cut = true
	committed := c.status("a").Commit
	c.propose("a", "alone")
	c.pass(heartbeat)
	require.Equal(t, committed, c.status("a").Commit)
	c.pass(5 * election)
	require.NotEqual(t, "leader", c.status("a").Role, "no quorum answers")
	c.servers["a"].cut, c.servers["c"].cut = true, false
	c.pass(10 * election)
	require.NotEqual(t, "leader", c.status("c").Role, "b votes for nobody")
	require.NotEqual(t, "leader", c.status("b").Role)
}

// A vote of an earlier start doesn't count once a later one was heard of, and neither does an
// acknowledgement.
func TestAnswersOfEarlierStartsDoNotCount(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	c.servers["a"].core.Propose(c.now, []byte("x"))
	c.drain("a")
	for _, m := range c.take(is(wire.KindAppendRequest)) {
		c.deliver(m)
	}
	acks := c.take(is(wire.KindAppendResponse))
	require.NotEmpty(t, acks)
	earlier := c.status("b").Start
	c.servers["c"].cut = false
	c.restart("b")
	c.servers["c"].cut = true
	late := wire.Known{Start: earlier}.Message().In(acks[0].Envelope)
	late.From, late.To, late.FromStart = "a", "b", c.status("a").Start
	late.FromIncarnation, late.ToIncarnation = c.status("a").Incarnation, c.status("b").Incarnation
	c.deliver(late)
	require.NoError(t, c.status("b").Trouble, "it knows of that start")
	committed := c.status("a").Commit
	for _, m := range acks {
		c.deliver(m)
	}
	require.Equal(t, committed, c.status("a").Commit)
	require.NoError(t, c.status("b").Trouble, "a message that comes late is no proof")
	c.settle()
	c.pass(3 * heartbeat)
	require.Greater(t, c.status("a").Commit, committed)
	require.NoError(t, c.status("b").Trouble)
	require.NoError(t, c.explain("a", "b"))
}

// Of a disk only one start has a count. So a server that hears of another one with its own count knows
// that its disk went back, as it does when it hears of a later start.
func TestAnotherStartOfTheSameCountIsProof(t *testing.T) {
	for by, back := range map[int64]bool{-1 << 32: false, 0: false, 1: true, 1 << 32: true} {
		c := founded(t, 3)
		a, b := c.status("a"), c.status("b")
		m := wire.Known{Start: b.Start + uint64(by)}.Message().In(wire.Envelope{
			From: "a", To: "b", Term: a.Term, Cluster: a.Cluster, FromStart: a.Start,
			FromIncarnation: a.Incarnation, ToIncarnation: b.Incarnation,
		})
		c.deliver(m)
		if back {
			require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack, "%d", by)
		} else {
			require.NoError(t, c.status("b").Trouble, "%d", by)
		}
	}
}

// An image of the same start forgets no start. The leader knows what the disk has acknowledged, and
// says so.
func TestPutBackIsNoticedByTheLog(t *testing.T) {
	c := founded(t, 3)
	was := c.image("b")
	c.propose("a", "forgotten")
	c.pass(2 * heartbeat)
	c.putBack("b", was)
	c.pass(3 * heartbeat)
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)
	require.ErrorIs(t, c.explain("a", "b"), raft.ErrRolledBack)
}

// A follower that has lost its last batch doesn't stay behind in silence.
func TestLostBatchIsNoticed(t *testing.T) {
	c := founded(t, 3)
	c.propose("a", "kept")
	c.propose("a", "lost")
	c.pass(2 * heartbeat)
	c.loseEntry("b")
	c.pass(3 * heartbeat)
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)

	c = founded(t, 3)
	c.propose("a", "lost")
	c.pass(2 * heartbeat)
	c.restart("a") // nobody else knows of it
	c.loseEntry("b")
	c.servers["b"].cut = true
	c.elect("c")
	c.servers["b"].cut = false
	c.pass(3 * heartbeat)
	require.NoError(t, c.status("b").Trouble)
	require.Equal(t, c.status("c").Last, c.status("b").Last, "it has caught up")
}

// What a disk has acknowledged in a term and forgotten may be something else than less: then what
// is committed up to there isn't what its log holds.
func TestForgottenTruncationIsNoticed(t *testing.T) {
	c := founded(t, 3)
	c.servers["b"].cut = true // and leads no longer
	c.servers["c"].cut = true
	c.elect("a")
	for range 5 {
		c.servers["a"].core.Propose(c.now, []byte("never"))
	}
	c.drain("a")
	was := c.image("a")
	c.servers["b"].cut, c.servers["c"].cut, c.servers["a"].cut = false, false, true
	c.network = nil
	c.pass(10 * election)
	leader := c.leader()
	require.NotEqual(t, raft.ServerID("a"), leader)
	c.propose(leader, "instead")
	c.servers["a"].cut = false
	c.pass(5 * heartbeat)
	require.Equal(t, c.status(leader).Last, c.status("a").Last)
	c.servers["a"].cut = true
	c.propose(leader, "more")
	was.saved.Start, was.saved.HardState = c.servers["a"].saved.Start, c.servers["a"].saved.HardState // only the log is lost
	c.putBack("a", was)
	c.servers["a"].cut = false
	c.pass(3 * heartbeat)
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrRolledBack)
	require.Less(t, c.status("a").Commit, c.status(leader).Commit)
}

// A server that has heard of a commit beyond its own log doesn't campaign, and votes for nobody who
// lacks it.
func TestCommitIsAWitness(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	c.propose("a", "x")
	committed := c.status("a").Commit
	c.servers["c"].cut = false
	c.lost = func(m *wire.Message) bool { return m.To == "c" && m.Kind() == wire.KindAppendRequest }
	c.pass(2 * heartbeat)
	require.Less(t, c.status("c").Last, committed)
	was := c.image("b")
	was.log = was.log[:c.status("c").Last] // the entry that it acknowledged is forgotten
	c.servers["a"].cut = true
	c.network = nil
	c.putBack("b", was)
	c.pass(10 * election)
	require.Equal(t, "follower", c.status("c").Role)
	c.servers["c"].core.Lost(c.now, "a")
	require.Equal(t, raft.NoLeaderBehind, c.servers["c"].core.Explain().NoLeader.Reason)
	require.NotEqual(t, "leader", c.status("b").Role, "c doesn't vote for a log that lacks what is committed")

	c.servers["a"].cut = false // who has it leads again
	c.lost = nil
	c.pass(10 * election)
	require.NotEmpty(t, c.leader())
	require.Contains(t, c.commands("c"), "x")
}

// A server that leads a term for the second time, with another start, is told so by who has
// followed the first one.
func TestTwoStartsLeadOneTerm(t *testing.T) {
	c := newCores(t, 3)
	was := c.image("a")
	c.elect("a")
	c.propose("a", "first")
	envelope := wire.Envelope{From: "a", To: "b", Term: c.status("a").Term, Cluster: c.status("a").Cluster, FromIncarnation: c.status("a").Incarnation}
	require.NotZero(t, was.saved.Incarnation)
	envelope.FromStart = wire.NextStart(c.status("a").Start, 99)
	before := c.status("b")
	c.deliver(wire.AppendRequest{Previous: wire.Place{Index: before.Last, Term: before.LastTerm}, Commit: before.Last}.Message().In(envelope))
	sent := c.take(from("b"))
	require.Len(t, sent, 1)
	require.Equal(t, wire.Known{Promised: wire.Place{Term: 1}, Start: c.status("a").Start, Led: before.Term}, sent[0].Known())
	other := sent[0]
	other.ToIncarnation = c.status("a").Incarnation
	m := wire.Known{Start: 77 << 31, Led: before.Term}.Message().In(other.Envelope)
	c.deliver(m)
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrRolledBack)
	require.Equal(t, "follower", c.status("a").Role)
}

// A vote that was given to a candidacy that the disk has forgotten doesn't count for the next one
// in the same term.
func TestVotesForAForgottenCandidacyDoNotCount(t *testing.T) {
	c := founded(t, 3)
	c.servers["a"].cut = true
	was := c.image("b")
	campaign := func() (votes []wire.Message) {
		for c.status("b").Role != "candidate" {
			c.now = max(c.now, c.servers["b"].core.Deadline())
			c.servers["b"].core.Tick(c.now)
			c.drain("b")
			for len(c.network) > 0 {
				votes = append(votes, c.take(is(wire.KindVoteResponse))...)
				c.take(is(wire.KindKnown))
				if len(c.network) > 0 {
					m := c.network[0]
					c.network = c.network[1:]
					c.deliver(m)
				}
			}
		}
		return votes
	}
	votes := campaign()
	require.Len(t, votes, 1)
	require.True(t, votes[0].VoteResponse().Granted)
	for c.status("a").Role == "leader" { // it has heard of neither candidacy, and says that it would vote
		c.now = max(c.now, c.servers["a"].core.Deadline())
		c.servers["a"].core.Tick(c.now)
		c.drain("a")
	}
	c.servers["a"].cut, c.servers["c"].cut = false, true
	c.putBack("b", was)
	c.lost = func(m *wire.Message) bool { return m.To == "a" && m.Kind() == wire.KindVoteRequest }
	campaign()
	require.Equal(t, votes[0].Term, c.status("b").Term)
	c.deliver(votes[0])
	require.Equal(t, "candidate", c.status("b").Role, "that vote was given to another candidacy")
}

// A start that isn't durable isn't named: the next one may have the same count.
func TestStartIsNamedWhenDurable(t *testing.T) {
	c := founded(t, 3)
	s := c.servers["b"]
	config := s.config
	config.Saved = raft.Saved{
		State: s.saved, Last: 1, Runs: []raft.TermRun{{First: 1, Term: s.log[0].Term}}, Configurations: s.log[:1],
	}
	core, err := raft.NewCore(config)
	require.NoError(t, err)
	asked := func() wire.Message {
		var e raft.Effects
		c.now += 2 * raft.Instant(election)
		core.Tick(c.now)
		core.Drain(&e)
		if e.Write.Number != 0 {
			defer core.Persisted(c.now, e.Write.Number)
		}
		at := slices.IndexFunc(e.Messages, func(m wire.Message) bool { return m.Kind() == wire.KindPreVoteRequest })
		require.GreaterOrEqual(t, at, 0)
		return e.Messages[at]
	}
	require.Zero(t, asked().FromStart)
	require.Equal(t, core.Origin().Start, asked().FromStart)
}

// Replace is the cure, once the server runs on an empty disk. Before, it is refused.
func TestReplaceCuresARolledBackDisk(t *testing.T) {
	c := putBackOnce(t, false)
	c.settle()
	replace := func() raft.Answer {
		number := c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallReplace, Members: []raft.Member{{Server: raft.Server{ID: "b", Address: "b:1"}}}})
		c.drain("a")
		c.settle()
		c.pass(20 * heartbeat)
		for _, answer := range c.servers["a"].answers {
			if answer.Call && answer.Number == number {
				return answer
			}
		}
		require.Fail(t, "not answered")
		return raft.Answer{}
	}
	answer := replace()
	require.ErrorIs(t, answer.Err, raft.ErrRolledBack)
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)

	c.servers["b"].config.Incarnation, c.servers["b"].config.Bootstrap = 999, nil
	c.putBack("b", image{})
	require.NoError(t, replace().Err)
	c.pass(10 * heartbeat)
	require.NoError(t, c.status("b").Trouble)
	require.NoError(t, c.explain("a", "b"))
	require.Equal(t, c.status("a").Last, c.status("b").Last)
	c.servers["c"].cut = true
	c.propose("a", "with b")
	require.Contains(t, c.commands("a"), "with b")
}
