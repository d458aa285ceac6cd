package raft_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/coalesce"
	"github.com/e17579a5/raft/wire"
)

// quietCores are three servers in which nothing happens. a leads.
func quietCores(t *testing.T, lease time.Duration) *cores {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.MaxLease, config.Coalesced = lease, true })
	c.elect("a")
	c.propose("a", "x")
	c.pass(3 * heartbeat)
	return c
}

// quiet returns what a server says when nothing happens, or nil.
func (c *cores) quiet(id raft.ServerID) *coalesce.Quiet {
	var q coalesce.Quiet
	if !c.servers[id].core.Quiet(&q) {
		return nil
	}
	return &q
}

// vouched tells a that b has answered a round of the driver's.
func (c *cores) vouched(sent raft.Instant, lease bool) {
	c.servers["a"].core.Vouched(c.now, c.status("a").Term, []coalesce.Voucher{{ID: "b", Sent: coalesce.Instant(sent), Lease: lease}})
}

// What the driver has heard of the room of a process's disk tells the leader whether that is full, as its
// server would say.
func TestVouchedRoomTellsOfFullDisks(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.ReserveBytes, config.Coalesced = reserve, true })
	c.elect("a")
	c.pass(3 * heartbeat)
	for _, told := range []struct {
		room uint64
		full bool
	}{{reserve * 7 / 4, false}, {reserve * 5 / 4, true}, {reserve * 7 / 4, true}, {reserve * 2, false}, {math.MaxUint64 - 1, false}} {
		c.servers["a"].core.Vouched(c.now, c.status("a").Term, []coalesce.Voucher{{ID: "b", Sent: coalesce.Instant(c.now), Room: told.room + 1}})
		b := c.servers["a"].core.Explain().Peers[0]
		require.Equal(t, raft.ServerID("b"), b.ID)
		require.Equal(t, told.room, b.Room)
		require.Equal(t, told.full, b.Full, "with room for %d", told.room)
	}
}

// A follower whose next entry didn't fit has said that its disk is full. When it has room and has stored the entry,
// the leader asks it once more before it rests, since nothing else would tell it.
func TestLeaderAsksAgainBeforeItRestsWhetherADiskIsFull(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.ReserveBytes, config.Coalesced = reserve, true })
	c.elect("a")
	c.pass(3 * heartbeat)
	c.keepLogs()
	c.resize("b", reserve*17/10)
	c.pass(heartbeat)
	c.propose("a", strings.Repeat("x", 5*reserve))
	c.pass(2 * heartbeat)
	full := func() bool { return c.servers["a"].core.Explain().Peers[0].Full }
	require.True(t, full())
	c.servers["b"].size += 5*reserve + 200
	c.drain("b")
	c.settle()
	require.Equal(t, c.status("a").Last, c.status("b").Stable)
	require.Nil(t, c.quiet("a"))
	c.pass(2 * heartbeat)
	require.NotNil(t, c.quiet("a"))
	require.False(t, c.status("b").Full)
	require.False(t, full())
}

// While nothing happens, a leader and each member say the same of each other.
func TestQuietCoresSayTheSame(t *testing.T) {
	c := quietCores(t, election/2)
	leader := c.quiet("a")
	require.True(t, leader.Leads)
	require.Len(t, leader.Others, 2)
	for _, other := range leader.Others {
		q := c.quiet(other.ID)
		require.Equal(t, raft.ServerID("a"), q.Others[0].ID)
		claim := q.Others[0].Stand
		claim.Level = 0 // the leader knows that it makes no difference
		require.Equal(t, other.Stand, claim)
		require.True(t, other.Level)
		require.Equal(t, election/2, other.Stand.Lease)
	}
	before := c.status("b")
	stand := leader.Others[0].Stand
	c.deliver(stand.Heartbeat("a", "b")) // it changes nothing
	after := c.status("b")
	require.Equal(t, before.Commit, after.Commit)
	require.Equal(t, c.quiet("b").Others[0].Stand, c.quiet("b").Others[0].Stand)
}

// A server isn't quiet while something is under way.
func TestNotQuiet(t *testing.T) {
	for name, disturb := range map[string]func(c *cores){
		"a command that isn't stored":     func(c *cores) { c.servers["a"].slowDisk = true; c.propose("a", "y") },
		"a command that isn't applied":    func(c *cores) { c.servers["a"].lame = true; c.propose("a", "y") },
		"a read that waits at a follower": func(c *cores) { c.servers["a"].cut = true; c.servers["b"].core.Read(c.now); c.drain("b") },
		"a call": func(c *cores) {
			c.servers["b"].cut = true
			c.servers["c"].cut = true
			c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallTransfer})
			c.drain("a")
		},
		"nobody has answered lately":          func(c *cores) { c.servers["b"].cut = true; c.servers["c"].cut = true; c.pass(7 * heartbeat) },
		"somebody may have something to tell": func(c *cores) { c.servers["a"].core.Doubted(c.now) },
	} {
		c := quietCores(t, 0)
		require.NotNil(t, c.quiet("a"))
		disturb(c)
		require.True(t, c.quiet("a") == nil || c.quiet("b") == nil, name)
	}
}

// Where thousands of groups speak at once, answers take longer than the time between two rounds. Each answer
// is to an earlier round then, and the group comes to rest all the same. But a new leader, and one that has
// reason to doubt what it knows, waits for an answer to a round since.
func TestQuietThoughAnswersTakeLong(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.Coalesced = true })
	require.NotEmpty(t, c.electWithout("a", wire.KindHeartbeatResponse))
	var questions []wire.Message
	round := func() {
		c.now += raft.Instant(heartbeat)
		c.servers["a"].core.Tick(c.now)
		c.drain("a")
		questions = append(questions, c.take(is(wire.KindHeartbeat))...)
		c.settle()
	}
	answer := func() {
		n := len(questions) / 2 / 2 * 2 // each round has two
		for _, m := range questions[:n] {
			c.deliver(m)
		}
		questions = questions[n:]
		c.settle()
	}
	require.Nil(t, c.quiet("a"), "nobody has answered yet")
	for range 3 {
		round()
		require.Nil(t, c.quiet("a"))
	}
	answer()
	require.NotNil(t, c.quiet("a"))
	round()
	answer()
	require.NotNil(t, c.quiet("a"))
	c.servers["a"].core.Doubted(c.now)
	answer()
	require.Nil(t, c.quiet("a"))
	round()
	for ; len(questions) > 2; questions = questions[1:] {
		c.deliver(questions[0])
		c.settle()
		require.Nil(t, c.quiet("a"), "it answers a round before the doubt")
	}
	c.deliver(questions[0])
	c.settle()
	require.NotNil(t, c.quiet("a"))
}

// campaignsAt returns when a server campaigns if it hears nothing more.
func campaignsAt(core *raft.Core, now raft.Instant) raft.Instant {
	for core = core.Clone(); core.Status().Role == "follower"; now += raft.Instant(time.Millisecond) {
		tick(core, now)
	}
	return now
}

// A follower that is told late when it heard its leader campaigns when it would have, and keeps what was
// promised.
func TestHeardAsOfThen(t *testing.T) {
	c := quietCores(t, election/2)
	b, term := c.servers["b"].core, c.status("a").Term
	c.now += raft.Instant(5 * heartbeat)
	due := campaignsAt(b, c.now)
	tell := func(leader raft.ServerID, at raft.Instant) raft.Instant {
		b.Heard(c.now, &coalesce.Heard{Leader: leader, Term: term, At: coalesce.Instant(at), Promise: election / 2})
		return campaignsAt(b, c.now)
	}
	require.Equal(t, due, tell("a", c.now-raft.Instant(7*heartbeat)), "it has heard its leader itself since")
	require.Equal(t, due, tell("c", c.now-raft.Instant(7*heartbeat)), "it is another server that was heard")
	was := tell("a", c.now-raft.Instant(3*heartbeat))
	require.Greater(t, was, due)
	require.Equal(t, was+raft.Instant(heartbeat), tell("a", c.now-raft.Instant(2*heartbeat)))
	require.Equal(t, c.now-raft.Instant(2*heartbeat)+raft.Instant(election/2), b.Status().QuietUntil)
}

type noLock struct{}

func (noLock) Lock()   {}
func (noLock) Unlock() {}

// §4.2.3: a heartbeat that a list stands for was heard when the list was, and not when the core is told
// of it. So a follower campaigns no later for it.
func TestStandsAreHeartbeatsOfThen(t *testing.T) {
	c := quietCores(t, 0)
	b, stand := c.servers["b"].core, c.quiet("a").Others[0].Stand
	book := coalesce.NewBook(coalesce.Config{
		Self: "b", Start: 1, Heartbeat: heartbeat, ElectionTimeout: election, Shards: 1, Now: coalesce.Instant(c.now),
	})
	seat := raft.NewCoalesced(b, "g", 0, book, noLock{})
	seat.Before(c.now)
	stand.Group = "g"
	m := wire.ProcessHeartbeat{Round: 1, Version: 1, Stands: []wire.Stand{stand}}.Message().In(wire.Envelope{From: "a", To: "b", FromStart: 7})
	heard := c.now
	book.Receive(coalesce.Instant(heard), &m)
	c.now += raft.Instant(3 * heartbeat)
	plain := b.Clone()
	plain.Heard(c.now, &coalesce.Heard{Leader: "a", Term: c.status("a").Term, At: coalesce.Instant(heard)})
	seat.Asked()
	seat.Before(c.now)
	require.Len(t, seat.Told().Heartbeats, 1)
	require.Equal(t, campaignsAt(plain, c.now), campaignsAt(b, c.now))
}

// §3.10: a leader doesn't come to rest before it has found out whether another server should rather
// lead.
func TestLeaderRestsNotBelowItsHeir(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
		config.Coalesced = true
		if config.ID == "b" {
			config.Priority = 1
		}
	})
	c.elect("a")
	c.propose("a", "x")
	for range 20 {
		c.pass(heartbeat / 4)
		require.True(t, c.quiet("a") == nil || c.status("a").Role == "follower")
	}
	require.Equal(t, "leader", c.status("b").Role)
	c.pass(3 * heartbeat)
	require.NotNil(t, c.quiet("b"))
}

// §6.2, §6.4.1: a leader that is told that a quorum has answered leads on, and has a lease, as long as
// if its own round had left then.
func TestVouchedAsOfThen(t *testing.T) {
	c := quietCores(t, election/2)
	for range 30 {
		c.now += raft.Instant(election / 4)
		sent := c.now - raft.Instant(heartbeat)
		c.vouched(sent, true)
		c.servers["a"].core.Tick(c.now)
		require.Equal(t, "leader", c.status("a").Role)
		lease := time.Duration(c.status("a").LeaseUntil - sent)
		require.LessOrEqual(t, lease, election/2)
		require.Greater(t, lease, election/2-election/100)
	}
	c.now += raft.Instant(election / 4)
	c.vouched(c.now-raft.Instant(heartbeat), false)
	require.LessOrEqual(t, c.status("a").LeaseUntil, c.now+raft.Instant(election/4), "nobody has promised a lease")
	c.now += raft.Instant(2 * election)
	c.vouched(c.now-raft.Instant(election), true)
	c.servers["a"].core.Tick(c.now)
	require.Equal(t, "follower", c.status("a").Role, "that is too long ago")
}

// An answer that is about to leave keeps no leader from resting: the driver's next round stands for the one that a
// read needs.
func TestReadIsSilentBesideAnAnswer(t *testing.T) {
	for _, beside := range []bool{false, true} {
		c := quietCores(t, 0)
		a := c.servers["a"].core
		if beside {
			m := wire.IdentityRequest{}.Message().In(wire.Envelope{From: "b", To: "a"})
			m.Stranger = true
			a.Receive(c.now, m)
		}
		a.Read(c.now)
		c.drain("a")
		require.Empty(t, c.take(is(wire.KindHeartbeat)))
		require.Equal(t, beside, len(c.network) > 0)
		require.NotZero(t, c.quiet("a").Awaits)
	}
}

// A leader that is the only voter begins no round that its learners weren't asked in. It would come to
// rest no more, since they haven't answered the last one.
func TestNothingVouchedBeginsNoRound(t *testing.T) {
	c := newCoresWith(t, 1, func(config *raft.CoreConfig) { config.Coalesced = true })
	c.elect("a")
	c.spare("b")
	c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{
		{Server: raft.Server{ID: "b", Address: "b:1"}, Role: raft.Learner},
	}})
	c.drain("a")
	c.pass(election)
	require.NotNil(t, c.quiet("a"))
	require.True(t, c.quiet("a").Others[0].Level)
	c.now += raft.Instant(heartbeat / 2)
	c.servers["a"].core.Vouched(c.now, c.status("a").Term, nil)
	require.True(t, c.quiet("a").Others[0].Level)
	c.vouched(c.now-1, false)
	require.True(t, c.quiet("a").Others[0].Level)
}

// §3.10: once another server was let campaign, nothing that is vouched for gives a lease.
func TestNothingVouchedAfterTimeoutNow(t *testing.T) {
	c := quietCores(t, election/2)
	c.servers["b"].cut, c.servers["c"].cut = true, true
	require.NoError(t, c.servers["a"].core.Transfer(c.now, "b"))
	c.drain("a")
	c.now += raft.Instant(heartbeat)
	c.vouched(c.now, true)
	require.Zero(t, c.status("a").LeaseUntil)
}

// A follower that waits until its driver lets it campaign follows nobody: its leader wasn't heard for an election
// timeout. When it is heard again, it is followed again.
func TestFollowerThatWaitsFollowsNobody(t *testing.T) {
	c := quietCores(t, 0)
	b, stand := c.servers["b"].core, c.quiet("a").Others[0].Stand
	heard := stand.Heartbeat("a", "b")
	c.servers["a"].cut = true
	for b.Deadline() != raft.Instant(math.MaxInt64) {
		require.Equal(t, raft.ServerID("a"), c.status("b").Leader)
		c.now = b.Deadline()
		b.Tick(c.now)
		c.drain("b")
	}
	require.Empty(t, c.status("b").Leader)
	require.Nil(t, c.quiet("b"))
	c.deliver(heard)
	require.Equal(t, raft.ServerID("a"), c.status("b").Leader)
	require.Greater(t, b.Deadline(), c.now)
}

// campaigns lets time pass until a server asks for votes by its own clock.
func (c *cores) campaigns(id raft.ServerID) {
	for end := c.now + raft.Instant(2*election); c.status(id).Role == "follower"; {
		require.Less(c.t, c.now, end)
		c.now += raft.Instant(heartbeat / 10)
		tick(c.servers[id].core, c.now)
		c.drain(id)
	}
}

// A follower that isn't the first one leaves the first one time to campaign, and then its own clock goes on.
func TestOrphanedLeavesTimeToTheFirst(t *testing.T) {
	c := quietCores(t, 0)
	c.servers["b"].cut, c.servers["c"].cut = true, true
	c.campaigns("c")
	due := c.now

	// At the latter instant it has passed, and the server hasn't acted on it yet.
	for _, told := range []raft.Instant{due - raft.Instant(heartbeat), due} {
		c = quietCores(t, 0)
		c.servers["b"].cut, c.servers["c"].cut = true, true
		c.now = told
		c.servers["c"].core.Orphaned(c.now, "a", false)
		c.campaigns("c")
		require.GreaterOrEqual(t, c.now, told+raft.Instant(election/4))
		require.Less(t, c.now, told+raft.Instant(election))
	}
}

// One that has asked in vain, since the others still heard the leader, asks again when it is the first one.
func TestOrphanedAsksAgain(t *testing.T) {
	c := quietCores(t, 0)
	c.servers["a"].cut, c.servers["b"].cut = true, true
	c.campaigns("b")
	require.Equal(t, "pre-candidate", c.status("b").Role)
	c.servers["b"].cut = false
	c.servers["c"].core.Orphaned(c.now, "a", false)
	c.servers["b"].core.Orphaned(c.now, "a", true)
	tick(c.servers["b"].core, c.now)
	c.drain("b")
	c.settle()
	require.Equal(t, "leader", c.status("b").Role)
}

// An orphaned follower gives its vote to others, and campaigns at once if it is the first one. Its own
// promise holds.
func TestOrphaned(t *testing.T) {
	for _, lease := range []time.Duration{0, election / 2} {
		for _, first := range []bool{false, true} {
			c := quietCores(t, lease)
			c.servers["a"].cut = true
			for _, id := range []raft.ServerID{"b", "c"} {
				s := c.servers[id].core
				s.Orphaned(c.now, "a", first && id == "b")
				tick(s, c.now)
				c.drain(id)
			}
			c.settle()
			require.Equal(t, first && lease == 0, c.status("b").Role == "leader", "lease %v, first %v", lease, first)
		}
	}
}
