package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// contradicted delivers a message to server b of a cluster that a leads, and checks that it is
// refused with a note, and that nothing else happens.
func contradicted(t *testing.T, c *cores, m wire.Message, from raft.ServerID, why string) {
	t.Helper()
	m = m.In(wire.Envelope{
		From: from, To: "b", Term: c.status("b").Term, Cluster: c.status("b").Cluster, FromIncarnation: c.status(from).Incarnation,
		FromStart: c.status(from).Start, ToIncarnation: c.status("b").Incarnation,
	})
	require.True(t, m.WellFormed())
	b := c.servers["b"]
	before := b.core.Status()
	b.core.Receive(c.now, m)
	require.NoError(t, b.core.Check())
	var e raft.Effects
	b.core.Drain(&e)
	require.Empty(t, e.Messages)
	require.Zero(t, e.Write)
	require.Equal(t, before, b.core.Status())
	note := b.core.Standing()
	require.EqualValues(t, 1, note.Refused)
	require.Equal(t, from, note.RefusedFrom)
	require.Equal(t, m.Term, note.RefusedTerm)
	require.Equal(t, m.Kind().String()+": "+why, note.RefusedWhy)
}

// A second leader of a term isn't obeyed, whatever it says (Election Safety).
func TestSecondLeaderIsRefused(t *testing.T) {
	for _, m := range []wire.Message{
		wire.Heartbeat{Round: 1}.Message(), wire.AppendRequest{}.Message(),
		wire.SnapshotRequest{Snapshot: wire.Place{Index: 9, Term: 1}, Bytes: 1}.Message(),
		wire.SnapshotStream{
			SnapshotRequest: wire.SnapshotRequest{Snapshot: wire.Place{Index: 9, Term: 1}, Bytes: 1},
			Configuration:   raft.Entry{Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &raft.Configuration{})},
		}.Message(),
	} {
		contradicted(t, founded(t, 3), m, "c", "another server leads this term")
	}
}

// A leader is a server whose log holds what is committed (Leader Completeness), and it doesn't
// change what it has said (Log Matching).
func TestAppendThatContradictsIsRefused(t *testing.T) {
	command := func(index raft.Index, term raft.Term) raft.Entry {
		return raft.Entry{Index: index, Term: term, Kind: wire.EntryCommand}
	}
	// The log of b is a configuration and a command, both of term 1 and committed. c leads term 2.
	next := func() *cores {
		c := founded(t, 3)
		c.servers["b"].core.Lost(c.now, "a")
		c.deliver(wire.Heartbeat{}.Message().In(wire.Envelope{
			From: "c", To: "b", Term: 2, Cluster: c.status("b").Cluster, FromIncarnation: c.status("c").Incarnation,
			FromStart: c.status("c").Start,
		}))
		require.Equal(t, raft.ServerID("c"), c.status("b").Leader)
		return c
	}
	const shared = "it contradicts what this log shares with the leader's"
	for _, r := range []wire.AppendRequest{
		{Previous: wire.Place{Index: 2, Term: 2}},
		{Previous: wire.Place{Index: 1, Term: 2}},
		{Previous: wire.Place{Index: 1, Term: 1}, Entries: []raft.Entry{command(2, 2)}},
		{Entries: []raft.Entry{{Index: 1, Term: 2, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &raft.Configuration{})}}},
	} {
		contradicted(t, next(), r.Message(), "c", shared)
	}
	c := next()
	c.deliver(wire.AppendRequest{Previous: wire.Place{Index: 2, Term: 1}, Entries: []raft.Entry{command(3, 1)}}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: 2, Cluster: c.status("b").Cluster, FromIncarnation: c.status("c").Incarnation, FromStart: c.status("c").Start,
	}))
	require.EqualValues(t, 3, c.status("b").Last)
	contradicted(t, c, wire.AppendRequest{Previous: wire.Place{Index: 2, Term: 1}, Entries: []raft.Entry{command(3, 2)}}.Message(), "c", shared)
}

// What is put into a log can stand there: kinds that are known, and configurations of which each
// follows from the one before.
func TestEntriesThatCantFollowAreRefused(t *testing.T) {
	c := founded(t, 3)
	append1 := func(e raft.Entry) wire.Message {
		e.Index, e.Term = 3, 1
		return wire.AppendRequest{Previous: wire.Place{Index: 2, Term: 1}, Entries: []raft.Entry{e}}.Message()
	}
	contradicted(t, c, append1(raft.Entry{Kind: wire.EntrySessionCommand + 1}), "a", "it brings an entry of an unknown kind")
	present := *c.status("b").Configuration
	alone, nobody, joint := present, present, present
	alone.Members, nobody.Members = present.Members[:1], nil
	joint.Members, joint.Old = present.Members[:1], present.Members[1:]
	for _, configuration := range []*raft.Configuration{&alone, &nobody, &joint} {
		e := raft.Entry{Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, configuration)}
		contradicted(t, founded(t, 3), append1(e), "a", "it brings a configuration that can't follow the one before")
	}
	c.spare("d")
	c.deliver(wire.AppendRequest{Entries: []raft.Entry{{Index: 1, Term: 1, Kind: wire.EntryNoOp}}, Commit: 1}.Message().In(wire.Envelope{
		From: "a", To: "d", Term: 1, Cluster: c.status("a").Cluster, FromIncarnation: 100, ToIncarnation: c.status("d").Incarnation,
	}))
	require.Zero(t, c.status("d").Last)
	require.Equal(t, "AppendRequest: it brings an entry before the first configuration", c.servers["d"].core.Standing().RefusedWhy)
}

// A snapshot can't take the place of other entries that are committed, nor bring members that can't
// be.
func TestSnapshotThatContradictsIsRefused(t *testing.T) {
	head := func(at wire.Place, configuration *raft.Configuration, index raft.Index) wire.Message {
		return wire.SnapshotStream{
			SnapshotRequest: wire.SnapshotRequest{Snapshot: at, Bytes: 1},
			Configuration:   raft.Entry{Index: index, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, configuration)},
		}.Message()
	}
	present := founded(t, 3).status("b").Configuration
	learners := *present
	learners.Members = []raft.Member{present.Members[0]}
	learners.Members[0].Role = raft.Learner
	for _, test := range []struct {
		m   wire.Message
		why string
	}{
		{head(wire.Place{Index: 2, Term: 0}, present, 1), "the snapshot contradicts what is committed"},
		{head(wire.Place{Index: 9, Term: 1}, &raft.Configuration{}, 0), "the snapshot is of a cluster that is still to be founded"},
		{head(wire.Place{Index: 9, Term: 1}, &learners, 1), "the configuration of the snapshot has no voter"},
		{head(wire.Place{Index: 2, Term: 1}, present, 2), "the snapshot names another configuration than the log"},
	} {
		contradicted(t, founded(t, 3), test.m, "a", test.why)
	}
}
