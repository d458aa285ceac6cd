package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A stream may stand still because of the disk from which the snapshot is read. If the disk gives
// nothing else either, this server stops leading, though all peers answer it.
func TestLeaderWhoseDiskBringsNoSnapshotLeadsNoLonger(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"]
	c.bring("a", "c", 10)
	fetches := len(a.fetches)
	a.hungReads = true
	c.pass(8 * election)
	require.Greater(t, len(a.fetches), fetches, "it is asked for an entry")
	require.NotEqual(t, raft.ServerID("a"), c.leader())
}

// A snapshot that is found damaged while a peer waits for it is taken anew. The new one has the
// same index if nothing more was applied.
func TestDamagedSnapshotIsTakenAnewForAWaitingPeer(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"]
	index, told := a.current.Index, len(a.told)
	st := c.bring("a", "c", 10)
	st.finished = true
	a.core.SnapshotSent(c.now, st.send.Stream, fmt.Errorf("block 3: %w", raft.ErrCorrupt))
	c.servers["c"].core.StreamEnded(c.now, st.number, st.held, raft.StreamBroken)
	c.drain("a")
	c.drain("c")
	require.Contains(t, a.told[told:], fmt.Sprintf("takes snapshot %d of term 1", index))
	c.pass(3 * heartbeat)
	c.bring("a", "c", snapshotSize)
	c.pass(3 * heartbeat)
	require.Equal(t, index, c.status("c").Snapshot)
	require.Equal(t, c.status("a").Applied, c.status("c").Applied)
}

// withoutSnapshot makes a cluster of three in which c has started again without the snapshot that
// it had, but with the rest of its log. It has missed the more entries that the others have got
// since.
func withoutSnapshot(t *testing.T, more int) *cores {
	c := newCores(t, 3)
	c.elect("a")
	for i := range 3 {
		c.propose("a", fmt.Sprint("command ", i))
		c.pass(2 * heartbeat)
		c.snapshot("c")
	}
	c.propose("a", "behind it")
	c.pass(2 * heartbeat)
	s := c.servers["c"]
	s.lost, s.cut = true, true
	for i := range more {
		c.propose("a", fmt.Sprint("missed ", i))
		c.pass(2 * heartbeat)
		c.snapshot("a")
		c.snapshot("b")
	}
	c.restart("c")
	require.NotZero(t, s.base, "or else the whole log is there")
	s.cut = false
	return c
}

// A server that has lost its snapshot holds the log that it has acknowledged. It gets more of the
// log while another snapshot is on its way: without it, the others may not get any further.
func TestLogGoesOnWhileALostSnapshotIsReplaced(t *testing.T) {
	c := withoutSnapshot(t, 1)
	last := c.servers["b"].log[len(c.servers["b"].log)-1].Index
	require.Less(t, c.status("c").Last, last)
	c.servers["a"].cut = true
	withheld := c.electWithout("b", wire.KindAppendRequest)
	c.now += raft.Instant(heartbeat)
	c.servers["b"].core.Tick(c.now)
	c.drain("b")
	withheld = append(withheld, c.take(is(wire.KindAppendRequest))...)
	c.settle()
	require.NotEmpty(t, c.streams, "it is known that a snapshot is lost, and not where the logs agree")
	for _, m := range withheld {
		c.deliver(m)
	}
	c.pass(5 * heartbeat)
	require.Zero(t, c.servers["c"].restored, "the stream brings nothing")
	require.Equal(t, c.status("b").Last, c.status("c").Stable)
	require.Greater(t, c.status("b").Commit, last)
}

// If such a log ends before the leader's begins, nothing can be sent until the snapshot is there.
func TestLostSnapshotOfALogThatEndsBeforeTheLeaders(t *testing.T) {
	c := withoutSnapshot(t, 4)
	require.Less(t, c.status("c").Last, c.servers["a"].base)
	c.pass(5 * heartbeat)
	require.NotEmpty(t, c.streams)
	require.Empty(t, c.servers["c"].restored)
	c.bring("a", "c", snapshotSize)
	c.pass(3 * heartbeat)
	require.NotEmpty(t, c.servers["c"].restored)
	require.Equal(t, c.status("a").Applied, c.status("c").Applied)
}

// A leader counts its attempts anew in each of its terms. A leader that leads again with the same
// snapshot isn't taken for late.
func TestAttemptsAreThoseOfATerm(t *testing.T) {
	c := compacted(t)
	header := c.streams[len(c.streams)-1].send.Header
	s := c.servers["c"]
	from, head := header.Envelope, header.SnapshotStream()
	s.core.Receive(c.now, attempt(head, 7).Message().In(from))
	from.Term++
	s.core.Receive(c.now, attempt(head, 1).Message().In(from))
	head.Attempt = 1
	s.core.StreamOpened(c.now, 77, head.Message().In(from))
	var e raft.Effects
	s.core.Drain(&e)
	require.Len(t, e.Streams, 1)
	require.True(t, e.Streams[0].Accepted)
}

func TestLeaderThatStepsDownEndsItsStreams(t *testing.T) {
	c := compacted(t)
	c.bring("a", "c", 10)
	c.servers["a"].core.Receive(c.now, wire.Heartbeat{Round: 1}.Message().In(wire.Envelope{
		From: "b", To: "a", Cluster: c.status("a").Cluster, FromIncarnation: 101, ToIncarnation: 100, Term: c.status("a").Term + 1,
	}))
	c.drain("a")
	require.Contains(t, c.servers["a"].told, fmt.Sprintf("stops stream %d", c.streams[len(c.streams)-1].send.Stream))
}
