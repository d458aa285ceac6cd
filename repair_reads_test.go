package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// Two reads meet a lost entry. The first one says so, the entry is repaired, and then the second one
// says so, too: it began before.
func TestReadFromBeforeTheRepairFindsNoDamage(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.TailBytes = 1 })
	c.elect("a")
	for n := range 4 {
		c.propose("a", fmt.Sprint("command ", n))
	}
	c.pass(heartbeat)
	c.restart("b") // nothing is in memory any more
	c.lose("b", 3)
	b := c.servers["b"]
	b.fetches, b.hungReads = nil, true
	ask := wire.RepairRequest{First: 3, Term: 1, Last: 3}.Message().In(wire.Envelope{
		From: "a", To: "b", Cluster: c.status("a").Cluster, FromIncarnation: c.status("a").Incarnation, FromStart: c.status("a").Start, Term: c.status("a").Term,
	})
	c.deliver(ask)
	c.deliver(ask)
	require.Len(t, b.fetches, 1, "one read at a time for each server that asks")
	repair := b.fetches[0]
	c.pass(heartbeat)
	require.Len(t, b.fetches, 2, "the state machine needs entries, too")
	own := b.fetches[1]
	require.Empty(t, own.For)
	c.fetch(b, own)
	b.hungReads = false
	c.drain("b")
	c.settle()
	require.Empty(t, c.status("b").Lost)
	require.EqualValues(t, 5, c.status("b").Applied)
	require.Empty(t, b.gone)
	damage := &raft.DamagedError{Lost: wire.Range{First: 3, Last: 3}, Err: raft.ErrCorrupt}
	require.NoError(t, b.core.Damaged(c.now, repair, damage))
	require.NotEmpty(t, c.status("b").Lost, "it may have been lost again since")
	b.fetches, b.hungReads = nil, true
	c.drain("b")
	require.Len(t, b.fetches, 1)
	own = b.fetches[0]
	require.EqualValues(t, "b", own.For)
	c.deliver(ask)
	c.drain("b")
	b.core.Fetched(c.now, own, b.log[2:3])
	require.Empty(t, c.status("b").Lost, "the disk has it")
}

// An entry that was repaired is held for lost because of an early read, together with one before it
// that has been lost again. The read that looks again goes on behind that one.
func TestReadAgainGoesOnBehindLostEntries(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.TailBytes = 1 })
	c.elect("a")
	for n := range 4 {
		c.propose("a", fmt.Sprint("command ", n))
	}
	c.pass(heartbeat)
	c.restart("b")
	c.lose("b", 3, 4)
	b := c.servers["b"]
	b.fetches, b.hungReads = nil, true
	ask := wire.RepairRequest{First: 3, Term: 1, Last: 3}.Message().In(wire.Envelope{
		From: "a", To: "b", Cluster: c.status("a").Cluster, FromIncarnation: c.status("a").Incarnation, FromStart: c.status("a").Start, Term: c.status("a").Term,
	})
	c.deliver(ask)
	require.Len(t, b.fetches, 1)
	early := b.fetches[0]
	c.pass(heartbeat)
	require.Len(t, b.fetches, 2)
	c.fetch(b, b.fetches[1])
	b.hungReads = false
	c.drain("b")
	c.settle()
	require.Empty(t, c.status("b").Lost)
	require.NoError(t, b.core.Damaged(c.now, early, &raft.DamagedError{Lost: wire.Range{First: 3, Last: 4}, Err: raft.ErrCorrupt}))
	c.lose("b", 3)
	b.hungReads = true
	c.lost = func(m *wire.Message) bool { return m.Kind() == wire.KindRepairResponse }
	for range 2 {
		b.fetches = nil
		c.drain("b")
		require.Len(t, b.fetches, 1)
		require.EqualValues(t, "b", b.fetches[0].For)
		c.fetch(b, b.fetches[0])
	}
	require.Equal(t, []wire.Range{{First: 3, Last: 3}}, c.status("b").Lost)
}

// What a read has brought counts for nothing if another one has found damage since it began.
func TestReadFromBeforeTheLossFindsNoBytes(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.TailBytes = 1 })
	c.elect("a")
	for n := range 4 {
		c.propose("a", fmt.Sprint("command ", n))
	}
	c.pass(heartbeat)
	c.restart("b")
	b := c.servers["b"]
	b.hungReads = true
	c.lost = func(m *wire.Message) bool { return m.From == "b" }
	reads := func(from raft.ServerID, first raft.Index) raft.Fetch {
		b.fetches = nil
		c.deliver(wire.RepairRequest{First: first, Term: 1, Last: first}.Message().In(wire.Envelope{
			From: from, To: "b", Cluster: c.status("c").Cluster, FromIncarnation: c.status(from).Incarnation, FromStart: c.status(from).Start, Term: 1,
		}))
		require.Len(t, b.fetches, 1)
		return b.fetches[0]
	}
	lost := func(f raft.Fetch) raft.Fetch {
		b.fetches = nil
		require.NoError(t, b.core.Damaged(c.now, f, &raft.DamagedError{Lost: wire.Range{First: f.Last, Last: f.Last}, Err: raft.ErrCorrupt}))
		c.drain("b")
		for _, f := range b.fetches {
			if f.For == "b" {
				return f
			}
		}
		return raft.Fetch{}
	}
	early := reads("a", 3)
	require.Empty(t, lost(reads("c", 3)))
	again := lost(early)
	require.EqualValues(t, 3, again.Last)
	lost(reads("c", 4))
	b.fetches = nil
	b.core.Fetched(c.now, again, b.log[2:3])
	c.drain("b")
	require.Equal(t, []wire.Range{{First: 3, Last: 4}}, c.status("b").Lost)
	require.Len(t, b.fetches, 1)
	b.core.Fetched(c.now, b.fetches[0], b.log[2:3])
	require.Equal(t, []wire.Range{{First: 4, Last: 4}}, c.status("b").Lost)
}

// A voter whose log is empty says that it lacks an entry, like any other: with its word it may be known
// that the entry was never committed.
func TestEmptyLogLacksEntries(t *testing.T) {
	c := ruin(t, "2!", "2!", "", "")
	d := c.servers["d"]
	d.log, d.saved.Cluster = nil, raft.ClusterID{}
	c.start("d")
	require.True(t, c.live(60))
}
