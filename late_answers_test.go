package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// What comes late, from an earlier term or for a lost disk, meets more than one check. Each check
// holds alone, so these tests fail only without all of them (rafttest/mutants, both-*).

// offeredAnew lets c lead. What b has offered to a is then proven to be lost, and b offers it to c.
// The messages by which it does, which are of this kind, are withheld and returned.
func (c *cores) offeredAnew(kind wire.Kind) (again []wire.Message) {
	c.servers["a"].cut = true
	c.lost = func(m *wire.Message) bool {
		if m.Kind() == kind {
			again = append(again, *m)
		}
		return m.Kind() == kind
	}
	c.elect("c")
	c.pass(2 * heartbeat)
	c.lost = nil
	require.NotEmpty(c.t, again)
	return again
}

// answerTo puts an answer into the envelope that the server to which a message went would use.
func answerTo(m *wire.Message, answer wire.Message) wire.Message {
	e := m.Envelope
	e.From, e.To = m.To, m.From
	e.FromIncarnation, e.ToIncarnation = m.ToIncarnation, m.FromIncarnation
	e.FromStart = 0
	return answer.In(e)
}

// A leader has refused a command, its term ends, and the next leader takes the command. The refusal
// comes late: it doesn't end the command.
func TestLateRefusalEndsNothing(t *testing.T) {
	c := founded(t, 3)
	number, lost := c.offer("b", "x")
	refusal := answerTo(&lost, wire.ForwardResponse{Start: lost.ForwardRequest().Start, Refused: []uint64{number}}.Message())
	refusal.FromStart = c.servers["a"].core.Origin().Start
	again := c.offeredAnew(wire.KindForwardRequest)
	c.deliver(refusal)
	require.Empty(t, c.servers["b"].answers)
	for _, m := range again {
		c.deliver(m)
	}
	c.settle()
	c.pass(2 * heartbeat)
	require.Len(t, c.servers["b"].answers, 1)
	require.NoError(t, c.servers["b"].answers[0].Err)
	require.Equal(t, []string{"first", "x"}, c.commands("b"))
}

// The same for a call.
func TestLateAnswerToACallEndsNothing(t *testing.T) {
	c := founded(t, 3)
	number, lost := c.call("b", set("b", "c"))
	refusal := answerTo(&lost, wire.CallResponse{
		Start: lost.CallRequest().Start, Number: number, Refusal: wire.RefusedInProgress,
	}.Message())
	refusal.FromStart = c.servers["a"].core.Origin().Start
	again := c.offeredAnew(wire.KindCallRequest)
	c.deliver(refusal)
	require.Empty(t, c.servers["b"].answers)
	for _, m := range again {
		c.deliver(m)
	}
	c.settle()
	c.pass(election)
	require.Len(t, c.servers["b"].answers, 1)
	require.NoError(t, c.servers["b"].answers[0].Err)
	require.Equal(t, "b c", describe(c.status("b").Configuration))
}

// A forward of a command that its origin has an answer for comes late. The leader has forgotten what
// it knew of it.
func TestLateForwardIsPassedOver(t *testing.T) {
	c := founded(t, 3)
	_, late := c.offer("b", "x")
	c.deliver(late)
	c.settle()
	for _, command := range []string{"y", "z"} { // by which the leader hears that there is an answer
		c.propose("b", command)
	}
	before := c.status("a").Last
	c.deliver(late)
	require.Equal(t, before, c.status("a").Last)
	c.settle()
	require.Equal(t, []string{"first", "x", "y", "z"}, c.commands("b"))
}

// replaced returns a cluster in which c has another disk than at first, and the incarnation of the
// first one.
func replaced(t *testing.T) (*cores, raft.Incarnation) {
	c := founded(t, 3)
	lost := c.status("c").Incarnation
	for range 3 { // so that the lost disk has counted more starts than the new one
		c.restart("c")
		c.pass(2 * heartbeat)
	}
	c.wipe("c")
	c.pass(2 * heartbeat)
	answer := c.change("b", wire.Call{Kind: wire.CallReplace, Members: []raft.Member{{Server: raft.Server{ID: "c"}}}})
	require.NoError(t, answer.Err)
	c.pass(2 * heartbeat)
	require.NoError(t, c.status("c").Trouble)
	return c, lost
}

// What others know of a lost disk, and what it has acknowledged, says nothing about the disk in its
// place.
func TestNewsOfALostDiskConcernsNobody(t *testing.T) {
	for name, news := range map[string]wire.Message{
		"a later start":         wire.Known{Start: wire.NextStart(1<<40, 7)}.Message(),
		"a disk that went back": wire.Known{Start: 1, Back: true}.Message(),
		"an acknowledgement":    wire.Heartbeat{Acknowledged: wire.Place{Index: 1000, Term: 1}, Round: 1000}.Message(),
	} {
		t.Run(name, func(t *testing.T) {
			c, lost := replaced(t)
			c.servers["a"].core.Tick(c.now + raft.Instant(heartbeat))
			c.drain("a")
			sent := c.take(is(wire.KindHeartbeat))
			require.NotEmpty(t, sent)
			envelope := sent[0].Envelope
			envelope.To, envelope.ToIncarnation = "c", lost
			c.deliver(news.In(envelope))
			require.NotErrorIs(t, c.status("c").Trouble, raft.ErrRolledBack)

			envelope.ToIncarnation = c.status("c").Incarnation
			c.deliver(news.In(envelope))
			require.ErrorIs(t, c.status("c").Trouble, raft.ErrRolledBack, "the same about the present disk")
		})
	}
}

// A server whose disk was lost has forgotten its votes. With its new disk it votes for nobody in its
// old cluster.
func TestDiskInThePlaceOfALostOneDoesNotVote(t *testing.T) {
	c := founded(t, 3)
	c.wipe("c")
	c.servers["b"].cut = true
	c.pass(2 * election)
	require.NotEqual(t, "leader", c.status("a").Role)
	term := c.status("a").Term
	c.pass(10 * election)
	require.NotEqual(t, "leader", c.status("a").Role)
	require.Equal(t, term, c.status("a").Term, "it doesn't even get pre-votes")
}
