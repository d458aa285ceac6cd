package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The gate: a message leaves when what it claims is durable (outbox.go). Each test holds a disk
// back, and looks at what is on the network meanwhile.

// slow returns a cluster in which a leads, and in which the disk of one server waits until the test
// ends its writes.
func slow(t *testing.T, id raft.ServerID) *cores {
	c := founded(t, 3)
	c.servers[id].slowDisk = true
	return c
}

func from(id raft.ServerID) func(wire.Message) bool {
	return func(m wire.Message) bool { return m.From == id }
}

func TestGateHoldsAGrantedVote(t *testing.T) {
	c := slow(t, "c")
	c.restart("c")
	c.servers["c"].slowDisk = true
	c.persist("c")
	a := c.status("a")
	c.deliver(wire.VoteRequest{Last: wire.Place{Index: a.Last, Term: a.LastTerm}}.Message().In(wire.Envelope{
		From: "b", To: "c", Term: a.Term + 1, Cluster: a.Cluster, FromIncarnation: c.status("b").Incarnation,
	}))
	require.Equal(t, raft.ServerID("b"), c.status("c").Vote)
	require.Empty(t, c.take(from("c")), "the vote isn't durable")
	c.finishWrites("c")
	votes := c.take(from("c"))
	require.Len(t, votes, 1)
	require.True(t, votes[0].VoteResponse().Granted)
}

func TestGateHoldsARefusalUntilTheTermIsDurable(t *testing.T) {
	c := slow(t, "c")
	c.restart("c")
	c.servers["c"].slowDisk = true
	c.persist("c")
	a := c.status("a")
	c.deliver(wire.VoteRequest{}.Message().In(wire.Envelope{
		From: "b", To: "c", Term: a.Term + 1, Cluster: a.Cluster, FromIncarnation: c.status("b").Incarnation,
	}))
	require.Empty(t, c.take(from("c")), `a refusal says "I am in this term", too`)
	c.finishWrites("c")
	votes := c.take(from("c"))
	require.Len(t, votes, 1)
	require.False(t, votes[0].VoteResponse().Granted)
	require.Equal(t, a.Term+1, votes[0].Term)
}

func TestGateHoldsACandidacy(t *testing.T) {
	c := slow(t, "b")
	c.servers["a"].cut = true
	for c.status("b").Role == "follower" {
		c.now = c.servers["b"].core.Deadline()
		c.servers["b"].core.Tick(c.now)
		c.drain("b")
	}
	require.NotEmpty(t, c.take(is(wire.KindPreVoteRequest)), "a pre-vote claims nothing")
	s := c.status("c")
	c.deliver(wire.PreVoteResponse{Granted: true}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: s.Term + 1, Cluster: s.Cluster, FromIncarnation: s.Incarnation,
	}))
	require.Equal(t, "candidate", c.status("b").Role)
	require.Empty(t, c.take(from("b")), "neither the new term nor its own vote is durable")

	// A grant that comes first doesn't elect: the candidate's own vote doesn't count yet.
	c.deliver(wire.VoteResponse{Start: c.status("b").Start, Granted: true}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: s.Term + 1, Cluster: s.Cluster, FromIncarnation: s.Incarnation,
	}))
	require.Equal(t, "candidate", c.status("b").Role)
	c.finishWrites("b")
	require.Equal(t, "leader", c.status("b").Role)
}

func TestGateHoldsAnAcknowledgement(t *testing.T) {
	c := slow(t, "b")
	c.servers["c"].cut = true
	commit := c.status("a").Commit
	c.servers["a"].core.Propose(c.now, []byte("x"))
	c.drain("a")
	appends := c.take(func(m wire.Message) bool { return m.Kind() == wire.KindAppendRequest && m.To == "b" })
	require.Len(t, appends, 1)
	c.deliver(appends[0])
	c.deliver(appends[0]) // a repetition acknowledges no more than the first
	require.Empty(t, c.take(func(m wire.Message) bool { return m.From == "b" && m.AppendResponse().Index > commit }))
	require.Equal(t, commit, c.status("a").Commit)
	c.finishWrites("b")
	acks := c.take(is(wire.KindAppendResponse))
	require.Len(t, acks, 1)
	require.Equal(t, c.status("a").Last, acks[0].AppendResponse().Index)
	c.deliver(acks[0])
	require.Equal(t, c.status("a").Last, c.status("a").Commit)
}

// A stalled disk of a follower holds up neither the leader's round nor reads.
func TestGateLetsHeartbeatAnswersPass(t *testing.T) {
	c := slow(t, "b")
	c.servers["c"].cut = true
	c.propose("a", "x")
	c.servers["a"].core.Read(c.now)
	c.drain("a")
	c.settle()
	require.Len(t, c.servers["a"].answers, 2)
	require.True(t, c.servers["a"].answers[1].Read)
}

// A message that waits belongs to the term in which it was decided. It is dropped with that term.
func TestGateDropsClaimsOfAnOlderTerm(t *testing.T) {
	c := slow(t, "c")
	c.restart("c")
	c.servers["c"].slowDisk = true
	c.persist("c")
	a := c.status("a")
	for i, candidate := range []raft.ServerID{"a", "b"} {
		c.deliver(wire.VoteRequest{Last: wire.Place{Index: a.Last, Term: a.LastTerm}}.Message().In(wire.Envelope{
			From: candidate, To: "c", Term: a.Term + 1 + raft.Term(i), Cluster: a.Cluster,
			FromIncarnation: c.status(candidate).Incarnation,
		}))
	}
	c.finishWrites("c") // the first vote
	require.Empty(t, c.take(from("c")))
	c.finishWrites("c") // the second
	votes := c.take(from("c"))
	require.Len(t, votes, 1)
	require.Equal(t, raft.ServerID("b"), votes[0].To)
	require.Equal(t, a.Term+2, votes[0].Term)
}

// The confirmation of an old write covers nothing that a later leader has replaced.
func TestGateForgetsTruncatedEntries(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.slowDisk = true
	last := c.status("b").Last
	c.servers["a"].core.Propose(c.now, []byte("x"))
	c.drain("a")
	appends := c.take(is(wire.KindAppendRequest))
	c.deliver(appends[0])
	require.Equal(t, last+1, c.status("b").Last)
	require.Len(t, b.writes, 1)

	// While the entry is being written, the leader of a later term replaces it.
	s := c.status("c")
	replaced := raft.Entry{Index: last + 1, Term: s.Term + 1, Kind: wire.EntryNoOp}
	c.deliver(wire.AppendRequest{Previous: wire.Place{Index: last, Term: s.LastTerm}, Entries: []raft.Entry{replaced}}.Message().In(wire.Envelope{
		From: "c", To: "b", Term: s.Term + 1, Cluster: s.Cluster, FromIncarnation: s.Incarnation,
	}))
	require.Equal(t, last+1, c.status("b").Last)
	c.take(from("b"))
	b.core.Persisted(c.now, b.writes[0].Number)
	b.writes = b.writes[1:]
	c.drain("b")
	require.Equal(t, last, c.status("b").Stable)
	require.Empty(t, c.take(func(m wire.Message) bool { return m.AppendResponse().Index > last }))
	c.finishWrites("b")
	require.Equal(t, last+1, c.status("b").Stable)
	require.Len(t, c.take(func(m wire.Message) bool { return m.AppendResponse().Index == last+1 }), 1)
}

// A leader whose own disk stalls for an election timeout stops leading. It doesn't campaign until
// the disk works again.
func TestStalledDiskEndsALeadership(t *testing.T) {
	c := slow(t, "a")
	c.propose("a", "x")
	c.pass(election + 3*heartbeat)
	require.NotEqual(t, "leader", c.status("a").Role)
	c.pass(10 * election)
	leader := c.leader()
	require.NotEmpty(t, leader)
	require.NotEqual(t, raft.ServerID("a"), leader)
	c.finishWrites("a")
	c.finishWrites("a")
	c.servers["a"].slowDisk = false
	c.pass(2 * election)
	require.Equal(t, c.commands(leader), c.commands("a"))
}

// lagging returns a cluster in which a leads and c lacks a hundred entries. They have left a's
// memory, and are read from its disk one by one. No read is answered until the test answers it.
func lagging(t *testing.T) *cores {
	c := founded(t, 3)
	a := c.servers["a"]
	a.config.TailBytes, a.config.MaxAppendBytes, a.config.WindowMessages = 1, 1, 1
	c.restart("a")
	c.pass(election)
	c.elect("a")
	c.servers["c"].cut = true
	for i := range 100 {
		c.propose("a", fmt.Sprint(i))
	}
	c.servers["c"].cut = false
	a.fetches, a.hungReads = nil, true
	return c
}

// passStalled lets time pass until a leads no longer, for two election timeouts at most. Each step
// begins with between.
func (c *cores) passStalled(between func()) {
	a := c.servers["a"]
	for begin := c.now; c.now < begin+raft.Instant(2*election) && c.status("a").Role == "leader"; {
		c.now += raft.Instant(heartbeat) / 2
		between()
		a.core.Tick(c.now)
		c.drain("a")
		c.settle()
	}
}

// A leader whose disk owes its peers entries that have left its memory stops leading, though it has
// nothing to write.
func TestDiskThatDoesNotReadEndsALeadership(t *testing.T) {
	c := lagging(t)
	c.passStalled(func() {})
	require.NotEmpty(t, c.servers["a"].fetches, "c needs what a has only on its disk")
	require.NotEqual(t, "leader", c.status("a").Role)
}

// Reads that a cache serves don't hide writes that hang.
func TestDiskThatOnlyReadsEndsALeadership(t *testing.T) {
	c := lagging(t)
	a := c.servers["a"]
	a.slowDisk = true
	c.propose("a", "x")
	read := 0
	c.passStalled(func() {
		if len(a.fetches) > 0 {
			f := a.fetches[0]
			a.fetches = a.fetches[1:]
			a.core.Fetched(c.now, f, a.log[f.After:f.After+1])
			read++
		}
	})
	require.Greater(t, read, 10)
	require.NotEqual(t, "leader", c.status("a").Role)
}

// Writes that go on don't hide reads that hang.
func TestDiskThatOnlyWritesEndsALeadership(t *testing.T) {
	c := lagging(t)
	wrote := 0
	c.passStalled(func() {
		c.propose("a", "x")
		wrote++
	})
	require.NotEmpty(t, c.servers["a"].fetches, "c needs what a has only on its disk")
	require.Greater(t, wrote, 10)
	require.NotEqual(t, "leader", c.status("a").Role)
}

// A leader with a stalled disk wants to be woken for that, however many rounds of reads put off its
// heartbeat.
func TestStalledLeaderIsDueBetweenReads(t *testing.T) {
	c := slow(t, "a")
	a := c.servers["a"]
	c.propose("a", "x")
	for begin := c.now; c.now < begin+raft.Instant(2*election) && c.status("a").Role == "leader"; {
		c.now += raft.Instant(heartbeat) / 2
		c.servers["b"].core.Read(c.now)
		c.drain("b")
		c.settle()
		if a.core.Deadline() <= c.now {
			a.core.Tick(c.now)
			c.drain("a")
		}
	}
	require.NotEqual(t, "leader", c.status("a").Role)
}

// A disk that hangs while a term waits to become durable holds up every message. Yet it costs
// bounded memory.
func TestHungDiskHoldsABoundedNumberOfMessages(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.slowDisk = true
	a := c.status("a")
	from := wire.Envelope{From: "a", To: "b", Cluster: a.Cluster, FromIncarnation: a.Incarnation, Term: a.Term + 1}
	heard := func(round int) { c.deliver(wire.Heartbeat{Round: uint64(round)}.Message().In(from)) }
	heard(0)
	for i := range 100 {
		b.core.Propose(c.now, []byte(fmt.Sprint("command ", i)))
	}
	b.core.Read(c.now)
	// While the disk hangs for a short time, nothing is asked twice: the first request is still
	// here.
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
	require.Equal(t, map[wire.Kind]int{
		wire.KindForwardRequest: 1, wire.KindReadRequest: 1, wire.KindHeartbeatResponse: 500,
	}, kinds)

	for i := range 2000 {
		heard(i + 501)
	}
	require.Empty(t, c.network)
	c.finishWrites("b")
	require.Len(t, c.network, 1024)
}

// A server that is asked again and again while its disk is slow answers each server once.
func TestAnswersWaitOnce(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.slowDisk = true
	for range 3 {
		for _, from := range []raft.ServerID{"a", "c"} {
			s := c.status(from)
			c.deliver(wire.VoteRequest{Last: wire.Place{Index: s.Last, Term: s.LastTerm}, Transfer: true}.Message().In(wire.Envelope{
				From: from, To: "b", Cluster: s.Cluster, FromIncarnation: s.Incarnation, Term: s.Term + 1,
			}))
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

func TestStatusCountsMessagesThatWaitForTheDisk(t *testing.T) {
	c := founded(t, 3)
	c.tick("a")
	b := c.servers["b"]
	b.slowDisk = true
	for _, m := range c.take(func(m wire.Message) bool { return m.To == "b" }) {
		c.deliver(wire.TimeoutNow{}.Message().In(m.Envelope))
	}
	require.Equal(t, "candidate", c.status("b").Role)
	require.Equal(t, 2, c.status("b").Held, "two votes are asked for when the term is durable")
	require.Empty(t, c.take(is(wire.KindVoteRequest)))
	c.finishWrites("b")
	require.Zero(t, c.status("b").Held)
	require.Len(t, c.take(is(wire.KindVoteRequest)), 2)
}
