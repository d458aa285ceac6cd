package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A disk that hangs while a term waits to become durable holds up every message, and yet costs bounded memory.
func TestHungDiskHoldsABoundedNumberOfMessages(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.slowDisk = true
	from := wire.Envelope{From: "a", To: "b", Cluster: c.status("a").Cluster, FromIncarnation: c.status("a").Incarnation, Term: c.status("a").Term + 1}
	heard := func(round int) { c.deliver(wire.Heartbeat{Round: uint64(round)}.Message().In(from)) }
	heard(0)
	for i := range 100 {
		b.core.Propose(c.now, []byte(fmt.Sprint("command ", i)))
	}
	b.core.Read(c.now)
	// While it is only for a while, nothing is asked twice: the first request is here still.
	for i := range 500 {
		c.now += raft.Instant(heartbeat)
		heard(i + 1)
		b.core.Tick(c.now)
		c.drain("b")
	}
	require.Empty(t, c.network)
	waiting := b.core.Clone()
	waiting.Persisted(c.now, b.writes[0].Number)
	var e raft.Effects
	waiting.Drain(&e)
	kinds := map[wire.Kind]int{}
	for _, m := range e.Messages {
		kinds[m.Kind()]++
	}
	require.Equal(t, map[wire.Kind]int{wire.KindForwardRequest: 1, wire.KindReadRequest: 1, wire.KindHeartbeatResponse: 500}, kinds)

	for i := range 2000 {
		heard(i + 501)
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
			c.deliver(wire.VoteRequest{Last: wire.Place{Index: s.Last, Term: s.LastTerm}, Transfer: true}.Message().In(wire.Envelope{From: from, To: "b", Cluster: s.Cluster, FromIncarnation: s.Incarnation, Term: s.Term + 1}))
		}
	}
	require.Empty(t, c.network)
	require.Equal(t, 2, c.status("b").Held)
	c.finishWrites("b")
	require.Len(t, c.network, 2)
	require.Equal(t, raft.ServerID("a"), c.network[0].To)
	require.True(t, c.network[0].VoteResponse().Granted)
	require.Equal(t, raft.ServerID("c"), c.network[1].To)
	require.False(t, c.network[1].VoteResponse().Granted)
}
