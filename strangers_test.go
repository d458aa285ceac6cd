package raft_test

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// emptyMessage returns a message of a kind with an empty body.
func emptyMessage(kind wire.Kind) wire.Message {
	m, err := wire.DecodeMessage([]byte{wire.Version, byte(kind), 0, 0, 0, 0, 0, 0})
	if err != nil {
		panic(err)
	}
	return m
}

// messageOf returns a message with this body.
func messageOf(body reflect.Value) wire.Message {
	return body.MethodByName("Message").Call(nil)[0].Interface().(wire.Message)
}

// effectOf is what a core does when it gets a message, or, without one, when the same time passes.
func effectOf(core *raft.Core, now raft.Instant, m *wire.Message) (state []byte, e raft.Effects) {
	core = core.Clone()
	if m == nil {
		core.Lost(now, "")
	} else {
		core.Receive(now, *m)
	}
	core.Drain(&e)
	return core.AppendState(nil, letter), e
}

// changesNothing checks that a stranger's message changes nothing, and returns what the core answers.
func changesNothing(t *testing.T, core *raft.Core, now raft.Instant, m wire.Message) (answers []wire.Message) {
	before, spared := effectOf(core, now, nil)
	after, heard := effectOf(core, now, &m)
	require.True(t, bytes.Equal(before, after), "%v changes the state", m)
	require.Equal(t, spared.Write, heard.Write, "%v", m)
	require.Equal(t, len(spared.Answers), len(heard.Answers), "%v", m)
	for _, sent := range heard.Messages {
		if sent.To == m.From {
			answers = append(answers, sent)
		}
	}
	require.LessOrEqual(t, len(heard.Messages), len(spared.Messages)+len(answers), "%v", m)
	return answers
}

// Whatever a stranger says, in whatever term, a member doesn't hear it. It learns that there is a
// cluster, and if it knows the cluster's ID, as a server that was removed does, that it isn't a
// member.
func TestStrangerIsNotHeard(t *testing.T) {
	c := keyed(t, 3)
	shown := c.status("a")
	for _, to := range []raft.ServerID{"a", "b"} {
		for _, kind := range wire.Kinds() {
			for _, term := range []raft.Term{0, 1, shown.Term + 1, 1 << 61, 1 << 62, 1<<64 - 1} {
				for _, cluster := range []raft.ClusterID{{}, {1}, shown.Cluster} {
					m := emptyMessage(kind).In(wire.Envelope{
						From: "x", To: to, Term: term, Cluster: cluster, FromIncarnation: 9,
						ToIncarnation: c.status(to).Incarnation, Stranger: true,
					})
					for _, answer := range changesNothing(t, c.servers[to].core, c.now, m) {
						require.Zero(t, answer.FromIncarnation)
						require.Zero(t, answer.FromStart)
						require.Zero(t, answer.Term)
						switch answer.Kind() {
						case wire.KindIdentityResponse:
							require.Equal(t, wire.KindIdentityRequest, kind)
							require.Equal(t, cluster, answer.Cluster, "it says no more than the stranger")
							require.Zero(t, answer.IdentityResponse().Level)
						default:
							require.Equal(t, wire.KindRemoved, answer.Kind())
							require.Equal(t, wire.KindPreVoteRequest, kind)
							require.Equal(t, shown.Cluster, cluster)
						}
					}
				}
			}
		}
	}
}

// The three attacks by a server that never was a member: a command in a higher term, a heartbeat of
// the present term, and a request for votes in a term behind which there is none. A transport that
// tells strangers from members stops all of them, and the last one needs no such transport.
func TestAttacksOfAStranger(t *testing.T) {
	c := keyed(t, 3)
	shown := c.status("b")
	send := func(m wire.Message, term raft.Term) {
		for _, to := range c.ids {
			c.deliver(m.In(wire.Envelope{
				From: "x", To: to, Term: term, Cluster: shown.Cluster, FromIncarnation: 9,
				ToIncarnation: c.status(to).Incarnation, Stranger: true,
			}))
		}
		c.settle()
	}
	evil := raft.Entry{Index: shown.Last + 1, Term: shown.Term + 1, Kind: wire.EntryCommand, Data: []byte("evil")}
	send(wire.AppendRequest{
		Previous: wire.Place{Index: shown.Last, Term: shown.LastTerm}, Commit: evil.Index, Entries: []raft.Entry{evil},
	}.Message(), shown.Term+1)
	send(wire.Heartbeat{Round: 1, Commit: 9}.Message(), shown.Term)
	send(wire.VoteRequest{Last: wire.Place{Index: 99, Term: 99}, Transfer: true}.Message(), 1<<62)
	for _, id := range c.ids {
		require.Equal(t, shown.Term, c.status(id).Term)
		require.Equal(t, []string{"first"}, c.commands(id))
		noted := c.servers[id].core.Standing()
		require.EqualValues(t, 1, noted.Refused, "damped")
		require.Equal(t, raft.ServerID("x"), noted.RefusedFrom)
		require.Equal(t, shown.Term+1, noted.RefusedTerm)
		require.Equal(t, "AppendRequest: its sender isn't a member of the cluster", noted.RefusedWhy)
	}
	c.propose("c", "on we go")
	require.Equal(t, []string{"first", "on we go"}, c.commands("a"))
}

// While a server that was removed is still told so, it can do no more to its leader than to answer.
func TestRemovedServerOnlyAnswers(t *testing.T) {
	c := keyed(t, 3)
	c.lost = func(m *wire.Message) bool { return m.To == "c" } // c learns nothing, so a goes on telling it
	require.NoError(t, c.remove("a", "c").Err)
	shown := c.status("a")
	for _, kind := range []wire.Kind{wire.KindVoteRequest, wire.KindForwardRequest, wire.KindCallRequest, wire.KindReadRequest, wire.KindAppendResponse} {
		m := wire.VoteRequest{Last: wire.Place{Index: 99, Term: 99}, Transfer: true}.Message()
		switch kind {
		case wire.KindForwardRequest:
			m = wire.ForwardRequest{Start: 1, Lowest: 1, Commands: []raft.Entry{{Kind: wire.EntryCommand, Number: 1, Origin: raft.Origin{Server: "c", Start: 1}}}}.Message()
		case wire.KindCallRequest:
			call := set("c")
			m = wire.CallRequest{Start: 1, Number: 1, Lowest: 1, Call: &call}.Message()
		case wire.KindReadRequest:
			m = wire.ReadRequest{Start: 1, Number: 1}.Message()
		case wire.KindAppendResponse:
			m = wire.AppendResponse{}.Message()
		}
		m = m.In(wire.Envelope{
			From: "c", To: "a", Term: shown.Term + 1, Cluster: shown.Cluster,
			FromIncarnation: c.status("c").Incarnation, FromStart: c.status("c").Start, ToIncarnation: shown.Incarnation,
		})
		require.Empty(t, changesNothing(t, c.servers["a"].core, c.now, m))
	}
	c.lost = nil
	c.pass(2 * election)
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrRemoved)
}

// A server that belongs to another cluster doesn't say to which. The leader that asks knows enough
// by that.
func TestMemberOfAnotherClusterIsForeign(t *testing.T) {
	c := keyed(t, 3)
	number, request := c.call("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	c.deliver(request)
	asked := c.take(is(wire.KindIdentityRequest))
	require.NotEmpty(t, asked)
	other := keyed(t, 3) // its server a is asked, by the name of d
	asked[0].To, asked[0].From, asked[0].Stranger = "a", "x", true
	_, effects := effectOf(other.servers["a"].core, other.now, &asked[0])
	require.Len(t, effects.Messages, 1)
	answer := effects.Messages[0]
	answer.From, answer.To, answer.Stranger = "d", "a", true
	unasked := answer
	unasked.From = "e"
	changesNothing(t, c.servers["a"].core, c.now, unasked)
	c.deliver(answer)
	c.settle()
	for _, a := range c.servers["b"].answers {
		if a.Call && a.Number == number {
			require.ErrorIs(t, a.Err, raft.ErrForeignServer)
			return
		}
	}
	require.Fail(t, "no answer")
}

// While a server belongs to no cluster, it hears those that may found one with it or add it.
func TestAddedBy(t *testing.T) {
	c := keyed(t, 3)
	c.spare("d")
	c.servers["d"].config.AddedBy = []raft.ServerID{"b"}
	c.start("d")
	require.ErrorIs(t, c.add("b", "d").Err, raft.ErrUnreachable, "a leads, and isn't on the list")
	require.Zero(t, c.status("d").Term)
	c.servers["d"].config.AddedBy = []raft.ServerID{"b", "a"}
	c.start("d")
	require.NoError(t, c.add("b", "d").Err)
	require.Equal(t, c.servers["a"].keys, c.servers["d"].keys)
	require.NoError(t, c.transfer("a", "c"))
	c.pass(2 * election)
	require.Equal(t, raft.ServerID("c"), c.leader())
	c.propose("d", "heard") // c isn't on the list, and d is a member now
	require.Equal(t, []string{"first", "heard"}, c.commands("d"))
}

// Only the servers of a list found a cluster by it.
func TestFoundersAreOnTheList(t *testing.T) {
	c := newKeyed(t, 3)
	m := wire.VoteRequest{Bootstrap: c.servers["a"].config.Bootstrap}.Message().In(wire.Envelope{From: "x", To: "a", Term: 5, FromIncarnation: 9})
	require.Empty(t, changesNothing(t, c.servers["a"].core, c.now, m))
	m.From = "b"
	c.deliver(m)
	require.EqualValues(t, 5, c.status("a").Term)
	require.Equal(t, raft.ServerID("b"), c.status("a").Vote)
}

// The term of a message is adopted if it can be one of this cluster.
func TestAbsurdTermIsNotAdopted(t *testing.T) {
	const leap = 1 << 32
	for _, term := range []raft.Term{1<<62 - leap + 1, 1 << 62, 1<<63 + 1, 1<<64 - 1, leap + 2} {
		for _, kind := range wire.Kinds() {
			for _, to := range []raft.ServerID{"a", "b"} {
				c := founded(t, 3)
				m := emptyMessage(kind).In(wire.Envelope{
					From: "c", To: to, Term: term, Cluster: c.status("c").Cluster, FromIncarnation: c.status("c").Incarnation,
					FromStart: c.status("c").Start, ToIncarnation: c.status(to).Incarnation,
				})
				if kind == wire.KindVoteRequest {
					m = wire.VoteRequest{Last: wire.Place{Index: 99, Term: term}, Transfer: true}.Message().In(m.Envelope)
				}
				c.deliver(m)
				require.EqualValues(t, 1, c.status(to).Term, "%v in term %d", kind, term)
				if note := c.servers[to].core.Standing(); m.WellFormed() && note.Refused > 0 {
					require.Equal(t, raft.ServerID("c"), note.RefusedFrom)
					require.Equal(t, term, note.RefusedTerm)
				}
				if kind == wire.KindVoteRequest {
					require.NotZero(t, c.servers[to].core.Standing().Refused)
				}
			}
		}
	}
	// A leap of that size is one that a cluster may have made while a server was away.
	c := founded(t, 3)
	m := wire.VoteRequest{Last: wire.Place{Index: 99, Term: 2}, Transfer: true}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: leap, Cluster: c.status("c").Cluster, FromIncarnation: c.status("c").Incarnation, FromStart: c.status("c").Start,
	})
	c.deliver(m)
	require.Equal(t, raft.Term(leap), c.status("b").Term)
	// A server that is new doesn't know how old the cluster is.
	c.spare("d")
	m = wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{
		From: "a", To: "d", Term: 1 << 40, Cluster: raft.ClusterID{7}, ToIncarnation: c.status("d").Incarnation,
	})
	c.deliver(m)
	require.Equal(t, raft.Term(1<<40), c.status("d").Term)
	m.Term = 1 << 62
	c.deliver(m)
	require.Equal(t, raft.Term(1<<40), c.status("d").Term)
}
