package raft_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A stream that waits for others brings nothing, and is kept all the same. Once it has its turn, it is given
// up like any other one that stands still.
func TestStreamThatWaitsIsKept(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"]
	opened := len(c.streams)
	st := c.streams[opened-1]
	a.core.SnapshotWaits(c.now, st.send.Stream)
	fetches := len(a.fetches)
	c.pass(20 * election)
	require.Len(t, c.streams, opened)
	require.Len(t, a.fetches, fetches, "nobody asks whether the disk stands still")
	a.core.SnapshotMoved(c.now, st.send.Stream, 0)
	c.pass(3 * election)
	require.Len(t, c.streams, opened)
	c.pass(5 * election)
	require.Greater(t, len(c.streams), opened)
}

// A peer for which it isn't the turn yet holds up no log: only one that is being sent a snapshot does.
func TestPeerThatWaitsKeepsNoLog(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"]
	for range 10 {
		c.propose("a", strings.Repeat("x", 200))
		c.pass(2 * heartbeat)
	}
	size := a.core.LogSize()
	require.Greater(t, size.Bytes, uint64(2000))
	require.False(t, size.Frees, "the peer will need it")
	require.False(t, a.core.FreeLog(c.now))
	a.core.SnapshotWaits(c.now, c.streams[len(c.streams)-1].send.Stream)
	require.True(t, a.core.LogSize().Frees)
	before := c.status("a").Snapshot
	require.True(t, a.core.FreeLog(c.now))
	require.True(t, a.core.LogSize().Freeing)
	c.drain("a")
	c.settle()
	require.Greater(t, c.status("a").Snapshot, before)
	size = a.core.LogSize()
	require.True(t, !size.Freeing && size.Frees, "what is kept before that snapshot can be forgotten")
	require.True(t, a.core.FreeLog(c.now))
	c.drain("a")
	c.settle()
	size = a.core.LogSize()
	require.Zero(t, size.Bytes)
	require.True(t, !size.Freeing && !size.Frees)
	require.False(t, a.core.FreeLog(c.now))
	c.pass(heartbeat)
	require.Equal(t, c.status("a").Snapshot, a.base)
}

// A server that asks again for a snapshot which waits keeps its place: the stream isn't opened anew.
func TestPullThatWaitsIsKept(t *testing.T) {
	c := &cores{t: t, servers: whole(t), ids: []raft.ServerID{"a", "b", "c"}, now: 1e12}
	for i, id := range c.ids {
		s := c.servers[id]
		configuration, err := wire.DecodeConfiguration(s.log[0].Data)
		require.NoError(t, err)
		for learner := 1; learner < 3; learner++ {
			configuration.Members[learner].Role = raft.Learner
		}
		s.log[0].Data = wire.AppendConfiguration(nil, &configuration)
		s.base, s.lost = raft.Index(len(s.log)), i < 2
		s.current = raft.SnapshotMeta{Index: s.base, Term: s.log[s.base-1].Term, Configuration: configuration, ConfigurationIndex: 1}
		c.start(id)
	}
	c.elect("a")
	pulled := func() (found []*stream) {
		for _, st := range c.streams {
			if st.send.Header.Pulled() && st.from == "c" && st.send.Header.To == "a" {
				found = append(found, st)
			}
		}
		return found
	}
	for rounds := 0; len(pulled()) == 0; rounds++ {
		require.Less(t, rounds, 20)
		c.pass(election)
	}
	st := pulled()[0]
	require.Len(t, pulled(), 1)
	c.servers["c"].core.SnapshotWaits(c.now, st.send.Stream)
	c.pass(20 * election)
	require.Len(t, pulled(), 1)
	c.servers["c"].core.SnapshotMoved(c.now, st.send.Stream, 0)
	c.pass(20 * election)
	require.Greater(t, len(pulled()), 1, "this one was lost")
}
