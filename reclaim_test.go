package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A server that becomes full takes a snapshot at once. When the current one was read, the log is
// forgotten up to it. Without that it would be forgotten only up to the one before.
func TestFullServerFreesWhatASnapshotCovers(t *testing.T) {
	c := roomy(t, 8000)
	a := c.servers["a"]
	for range 20 {
		require.NoError(t, c.command("a"))
	}
	require.Empty(t, a.told)
	c.resize("a", reserve)
	applied := c.status("a").Applied
	require.Equal(t, []string{
		fmt.Sprintf("takes snapshot %d of term 1", applied),
		fmt.Sprintf("has snapshot %d on its disk, and the log from 1 on", applied),
		fmt.Sprintf("reads snapshot %d", applied),
	}, a.told)
	require.Equal(t, applied, a.base, "all of it is forgotten")
	require.Greater(t, c.status("a").Room, uint64(2*reserve))
	require.False(t, c.status("a").Full)
	require.NoError(t, c.command("a"), "it goes on by itself")
}

// A current snapshot that was there before is read too, and lets the log go though nothing was
// applied since.
func TestFullServerReadsTheSnapshotThatItHas(t *testing.T) {
	c := roomy(t, 1<<20)
	a := c.servers["a"]
	c.fillLog(20)
	c.snapshot("a")
	a.told = nil
	require.Zero(t, a.base)
	c.resize("a", reserve)
	require.Equal(t, []string{fmt.Sprintf("reads snapshot %d", a.current.Index)}, a.told)
	require.Equal(t, a.current.Index, a.base)
}

// fillLog proposes commands at a.
func (c *cores) fillLog(n int) {
	for range n {
		require.NoError(c.t, c.command("a"))
	}
}

// If the current snapshot can't be read, nothing is forgotten: another one is taken and read first.
func TestLogStaysUntilASoundSnapshotCoversIt(t *testing.T) {
	for _, why := range []error{raft.ErrCorrupt, fmt.Errorf("input/output error"), raft.ErrNoSnapshot} {
		c := roomy(t, 1<<20)
		a := c.servers["a"]
		c.fillLog(20)
		c.snapshot("a")
		index := a.current.Index
		a.told, a.unsound, a.slow = nil, why, true
		c.resize("a", reserve)
		require.Zero(t, a.base, "%v", why)
		require.Equal(t, []string{fmt.Sprintf("reads snapshot %d", index), fmt.Sprintf("takes snapshot %d of term 1", index)}, a.told)
		a.unsound = nil
		c.taken("a")
		c.drain("a")
		require.Equal(t, index, a.base)
	}
}

// A snapshot for which there is no room fails, and is tried again as soon as there is more.
func TestSnapshotIsTriedAgainWithRoom(t *testing.T) {
	c := roomy(t, 1<<20)
	a := c.servers["a"]
	c.fillLog(20)
	a.slow = true
	c.resize("a", reserve)
	a.core.SnapshotFailed(c.now, fmt.Errorf("no room"))
	c.drain("a")
	require.ErrorContains(t, c.status("a").SnapshotTrouble, "no room")
	tries := func() (n int) {
		for _, line := range a.told {
			if line == fmt.Sprintf("takes snapshot %d of term 1", c.status("a").Applied) {
				n++
			}
		}
		return n
	}
	c.pass(3 * election)
	require.Equal(t, 1, tries(), "it rests")
	c.resize("a", reserve+100)
	require.Equal(t, 2, tries())
	a.slow = false
	c.taken("a")
	c.drain("a")
	require.NoError(t, c.status("a").SnapshotTrouble)
	require.Equal(t, a.current.Index, a.base)
}

// Not every entry costs a full server a snapshot.
func TestFullServerTakesSnapshotsInProportion(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	b := c.servers["b"]
	c.fillLog(2)
	c.pass(2 * heartbeat)
	b.size = 1200 // never enough
	c.drain("b")
	before := len(b.told)
	c.fillLog(40)
	taken := 0
	for _, line := range b.told[before:] {
		if len(line) > 5 && line[:5] == "takes" {
			taken++
		}
	}
	require.Positive(t, taken)
	require.LessOrEqual(t, taken, 40*100/(reserve/4)+2)
}

// The state and a compaction never stand behind entries that don't fit: they are what makes room.
func TestCompactionPassesEntriesThatDontFit(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 4000)
	s := c.servers["c"]
	s.slow = true // its snapshots
	for range 60 {
		require.NoError(t, c.command("a"))
	}
	c.pass(3 * heartbeat)
	last := c.status("a").Last
	require.Less(t, c.status("c").Stable, last, "there is no room for the rest")
	require.Equal(t, c.status("c").Stable, c.status("c").Applied, "the state machine isn't ahead of the disk")
	c.elect("b")
	c.pass(2 * heartbeat)
	require.Equal(t, c.status("b").Term, s.saved.Term, "it votes and follows")
	require.NotNil(t, s.taking)
	s.slow = false
	c.taken("c")
	c.drain("c")
	c.pass(3 * heartbeat)
	require.Equal(t, c.status("b").Last, c.status("c").Stable)
}

// A server that had no room for a snapshot says so when it is offered another one, and how much it
// could store. The leader then keeps nothing of the log for it.
func TestWhoHasNoRoomRefusesASnapshot(t *testing.T) {
	c := compacted(t)
	st := c.bring("a", "c", 40)
	st.finished = true
	s := c.servers["c"]
	s.core.StreamEnded(c.now, st.number, 40, raft.StreamFailed)
	c.servers["a"].core.SnapshotSent(c.now, st.send.Stream, fmt.Errorf("broken"))
	c.drain("c")
	c.drain("a")
	refusals := func() (n int) {
		c.settleBut(func(m wire.Message) {
			if r := m.SnapshotResponse(); r.Refused == wire.RefusedFull {
				require.EqualValues(t, 40, r.Held)
				n++
			}
		})
		return n
	}
	n := refusals()
	for range 4 {
		c.now += raft.Instant(heartbeat)
		for _, id := range []raft.ServerID{"a", "c"} {
			c.servers[id].core.Tick(c.now)
			c.drain(id)
		}
		n += refusals()
	}
	require.Positive(t, n)
	a := c.servers["a"]
	for i := range 3 {
		c.propose("a", fmt.Sprint("more ", i))
		before := a.current.Index
		c.snapshot("a")
		require.Equal(t, before, a.base, "nothing is kept for it")
	}
	s.size = 1 << 20 // now there is room
	c.drain("c")
	s.size = 2 << 20
	c.drain("c")
	c.pass(4 * heartbeat)
	c.bring("a", "c", snapshotSize)
	c.pass(3 * heartbeat)
	require.Equal(t, c.status("a").Applied, c.status("c").Applied)
}

// A leader whose disk is full keeps nothing for a peer that is being sent a snapshot.
func TestFullLeaderKeepsNothingForOthers(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"]
	c.bring("a", "c", 10)
	sent := a.current.Index
	for range 3 {
		c.propose("a", "more")
		c.snapshot("a")
		require.LessOrEqual(t, a.base, sent, "the rest is kept for c")
	}
	c.resize("a", 100)
	require.Equal(t, a.current.Index, a.base)
}

// Each snapshot is read before the log is forgotten up to it, however many were read before.
func TestEachSnapshotIsReadFirst(t *testing.T) {
	c := roomy(t, 1<<20)
	a := c.servers["a"]
	for range 2 {
		c.fillLog(20)
		c.resize("a", 1<<20)
		c.snapshot("a")
		a.told = nil
		c.resize("a", reserve)
		require.Contains(t, a.told, fmt.Sprintf("reads snapshot %d", a.current.Index))
		c.resize("a", 1<<20)
	}
}
