package raft_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

const lease = 60 * time.Millisecond // how long the leases in these tests are

// newLeaseCores is newCores with leases of that length.
func newLeaseCores(t *testing.T, n int) *cores {
	return newCoresWith(t, n, func(config *raft.CoreConfig) {
		config.MaxLease, config.ClockDrift = lease, 200*time.Millisecond
	})
}

// leased lets a leader get a lease.
func (c *cores) leased(id raft.ServerID) {
	c.elect(id)
	c.pass(3 * heartbeat) // servers promise nothing before it is on their disks that they promise
	require.NotZero(c.t, c.status(id).LeaseUntil)
}

// readByLease reads, delivers nothing, and returns the answers.
func (c *cores) readByLease(id raft.ServerID) []raft.Answer {
	s := c.servers[id]
	before := len(s.answers)
	s.core.ReadByLease(c.now)
	c.drain(id)
	return s.answers[before:]
}

// §6.4.1: with a lease a leader serves reads without asking anybody, until the lease ends.
func TestLeaseServesReads(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	for _, id := range c.ids[1:] {
		c.servers[id].cut = true
	}
	until := c.status("a").LeaseUntil
	require.Len(t, c.readByLease("a"), 1)
	c.now = until - 1
	require.Len(t, c.readByLease("a"), 1)
	c.now = until
	require.Empty(t, c.readByLease("a"), "the lease has ended")
}

// §6.4.1: the lease is counted from when the round was sent. It is shorter than the promise, by the
// bound on the drift of the clocks.
func TestLeaseIsCountedFromTheSending(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	c.pass(heartbeat)
	c.take(func(wire.Message) bool { return true })
	a := c.servers["a"].core
	c.now = max(c.now, a.Deadline())
	sent := c.now
	a.Tick(c.now)
	c.drain("a")
	heartbeats := c.take(is(wire.KindHeartbeat))
	require.Len(t, heartbeats, 2)
	require.EqualValues(t, lease, heartbeats[0].Heartbeat().Lease)
	c.now += raft.Instant(20 * time.Millisecond)
	received := c.now
	c.deliver(heartbeats[0])
	follower := heartbeats[0].To
	c.settle()
	require.EqualValues(t, sent+raft.Instant(lease*1000/1200), c.status("a").LeaseUntil)
	require.EqualValues(t, received+raft.Instant(lease), c.status(follower).QuietUntil)
}

// A server that has promised a lease neither grants votes nor asks for any, even if its connection
// to the leader is lost.
func TestPromiseIsKeptWhateverConnectionsSay(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	c.servers["a"].cut = true
	until := c.status("b").QuietUntil
	require.NotZero(t, until)
	for _, id := range c.ids[1:] {
		c.servers[id].core.Lost(c.now, "a")
	}
	for c.now < until-raft.Instant(time.Millisecond) {
		c.now += raft.Instant(time.Millisecond)
		for _, id := range c.ids[1:] {
			c.servers[id].core.Tick(c.now)
			c.drain(id)
			require.Equal(t, "follower", c.status(id).Role)
		}
		require.Empty(t, c.network)
	}
	c.pass(4 * heartbeat)
	require.NotEqual(t, raft.ServerID("a"), c.leader(), "the hint makes them hurry afterwards")
}

// The length of a promise is durable before the promise is given, and a server keeps quiet for that
// long after a start.
func TestPromiseOutlastsARestart(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.elect("a")
	require.Zero(t, c.servers["b"].saved.MaxLease-lease, "written with the first round")
	c.pass(2 * heartbeat)
	require.NotZero(t, c.status("b").QuietUntil)
	c.restart("b")
	require.EqualValues(t, c.now+raft.Instant(lease), c.status("b").QuietUntil)
	c.now += raft.Instant(lease) - 1
	vote := wire.VoteRequest{Last: wire.Place{Index: 9, Term: 9}}.Message().In(wire.Envelope{
		From: "c", To: "b", Cluster: c.status("b").Cluster, Term: 9, FromIncarnation: 102,
	})
	c.deliver(vote)
	require.EqualValues(t, 1, c.status("b").Term)
	c.now++
	c.deliver(vote)
	require.EqualValues(t, 9, c.status("b").Term)
}

// With MaxLease 0 nothing is promised, and a server that starts again waits for nothing.
func TestNoLeasesByDefault(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(5 * heartbeat)
	for _, id := range c.ids {
		require.Zero(t, c.status(id).QuietUntil)
		require.Zero(t, c.status(id).LeaseUntil)
		require.Zero(t, c.servers[id].saved.MaxLease)
	}
	c.restart("b")
	require.Zero(t, c.status("b").QuietUntil)
	require.Empty(t, c.readByLease("a"), "without a lease it takes a round")
	c.settle()
	require.NoError(t, c.servers["a"].answers[0].Err)
}

// A leader that has let another server campaign has no lease any more. It takes none in its term,
// even if the transfer is given up.
func TestTransferVoidsTheLease(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	require.NoError(t, c.transfer("a", "b"))
	require.Len(t, c.take(is(wire.KindTimeoutNow)), 1)
	require.Zero(t, c.status("a").LeaseUntil)
	require.Empty(t, c.readByLease("a"))
	for range 40 { // every TimeoutNow is late
		c.now += raft.Instant(heartbeat / 2)
		for _, id := range c.ids {
			c.servers[id].core.Tick(c.now)
			c.drain(id)
		}
		c.take(is(wire.KindTimeoutNow))
		c.settle()
		require.Equal(t, raft.ServerID("a"), c.leader())
		require.Zero(t, c.status("a").LeaseUntil)
	}
	require.Empty(t, c.status("a").HandingOver, "it was given up")
}

// A leader's lease serves a follower's callers too: the leader answers the follower at once.
func TestFollowerReadsByTheLeadersLease(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	c.servers["c"].cut = true
	require.Empty(t, c.readByLease("b"))
	request := c.take(is(wire.KindReadRequest))
	require.Len(t, request, 1)
	require.True(t, request[0].ReadRequest().ByLease)
	c.deliver(request[0])
	require.Len(t, c.take(is(wire.KindReadResponse)), 1, "no round")
}

// What a lease confirms is not enough for a read that doesn't trust the clocks.
func TestLeaseDoesNotConfirmOtherReads(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	a := c.servers["a"]
	plain := a.core.Read(c.now)
	byLease := a.core.ReadByLease(c.now)
	c.drain("a")
	require.Len(t, a.answers, 1)
	require.Equal(t, byLease, a.answers[0].Number)
	c.settle()
	require.Len(t, a.answers, 2)
	require.Equal(t, plain, a.answers[1].Number)
}

// A paused leader notices that its lease has ended before it serves a read.
func TestPausedLeaderHasNoLease(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	c.now += raft.Instant(10 * time.Second)
	require.Empty(t, c.readByLease("a"))
}

// The age of a read that may be stale is counted from when this server asked the leader, in the
// last exchange that was answered.
func TestStaleReads(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	b := c.servers["b"]
	b.core.ReadStale(c.now, time.Second)
	c.drain("b")
	require.Empty(t, b.answers, "nothing is known yet")
	asked := c.now
	c.now += 7
	c.settle()
	require.Len(t, b.answers, 1)
	require.Equal(t, asked, b.answers[0].Fresh)

	c.servers["a"].cut = true
	c.now = asked + raft.Instant(time.Second)
	b.core.ReadStale(c.now, time.Second)
	c.drain("b")
	require.Len(t, b.answers, 2)
	require.Equal(t, asked, b.answers[1].Fresh)
	require.NoError(t, b.answers[1].Err)
	c.now++
	b.core.ReadStale(c.now, time.Second)
	c.drain("b")
	require.Len(t, b.answers, 2, "it is too old now")
}

func TestLeaseConfig(t *testing.T) {
	for _, test := range []struct {
		change func(*raft.CoreConfig)
		want   string
	}{
		{func(c *raft.CoreConfig) { c.MaxLease = c.ElectionTimeout + 1 }, "MaxLease"},
		{func(c *raft.CoreConfig) { c.MaxLease = -1 }, "MaxLease"},
		{func(c *raft.CoreConfig) { c.ClockDrift = time.Second + 1 }, "ClockDrift"},
		{func(c *raft.CoreConfig) { c.Priority = -1 }, "Priority"},
		{func(c *raft.CoreConfig) { c.Priority = 1<<16 + 1 }, "Priority"},
	} {
		config := raft.CoreConfig{ID: "a", Incarnation: 1, ElectionTimeout: election, Heartbeat: heartbeat}
		test.change(&config)
		_, err := raft.NewCore(config)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, test.want)
	}
}

// A configuration that is appended voids the lease. There is no other one before a quorum of the
// members that count from then on has promised.
func TestConfigurationVoidsTheLease(t *testing.T) {
	c := newLeaseCores(t, 3)
	c.leased("a")
	c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("c")}})
	configuration, changes := c.status("a").Configuration, 0
	for c.drain("a"); len(c.network) > 0; {
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
		if now := c.status("a").Configuration; now != configuration {
			configuration = now
			changes++
			require.Zero(t, c.status("a").LeaseUntil)
		}
	}
	require.Positive(t, changes)
	c.pass(3 * heartbeat)
	require.NotZero(t, c.status("a").LeaseUntil)
}
