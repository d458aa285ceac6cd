package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A disk that hangs while a term waits to become durable holds up every message, and yet costs bounded memory.
func TestHungDiskHoldsABoundedNumberOfMessages(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.slowDisk = true
	heard := raft.Message{Kind: raft.Heartbeat, From: "a", To: "b", Cluster: c.status("a").Cluster,
		FromIncarnation: c.status("a").Incarnation, Term: c.status("a").Term + 1}
	c.deliver(heard)
	for i := range 100 {
		b.core.Propose(c.now, []byte(fmt.Sprint("command ", i)))
	}
	b.core.Read(c.now)
	// While it is only for a while, nothing is asked twice: the first request is here still.
	for i := range 500 {
		c.now += raft.Instant(heartbeat)
		heard.Round = uint64(i + 1)
		c.deliver(heard)
		b.core.Tick(c.now)
		c.drain("b")
	}
	require.Empty(t, c.network)
	waiting := b.core.Clone()
	waiting.Persisted(c.now, b.writes[0].Number)
	var e raft.Effects
	waiting.Drain(&e)
	kinds := map[raft.MessageKind]int{}
	for _, m := range e.Messages {
		kinds[m.Kind]++
	}
	require.Equal(t, map[raft.MessageKind]int{raft.ForwardRequest: 1, raft.ReadRequest: 1, raft.HeartbeatResponse: 500}, kinds)

	for i := range 2000 {
		heard.Round = uint64(i + 501)
		c.deliver(heard)
	}
	require.Empty(t, c.network)
	c.finishWrites("b")
	require.Len(t, c.network, 1024)
}

// Who is asked again and again while its disk is slow answers once, when it may.
func TestAnswersWaitOnce(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.slowDisk = true
	for range 3 {
		for _, from := range []raft.ServerID{"a", "c"} {
			s := c.status(from)
			c.deliver(raft.Message{Kind: raft.VoteRequest, From: from, To: "b", Cluster: s.Cluster, FromIncarnation: s.Incarnation,
				Term: s.Term + 1, Index: s.Last, LogTerm: s.LastTerm, Transfer: true})
		}
	}
	require.Empty(t, c.network)
	require.Equal(t, 2, c.status("b").Held)
	c.finishWrites("b")
	require.Len(t, c.network, 2)
	require.Equal(t, raft.ServerID("a"), c.network[0].To)
	require.True(t, c.network[0].Granted)
	require.Equal(t, raft.ServerID("c"), c.network[1].To)
	require.False(t, c.network[1].Granted)
}
