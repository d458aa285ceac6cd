package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A server that starts acknowledges nothing and gives no vote before the others have told it what
// they know of its disk. When one of them doesn't answer, a quorum is enough after an election
// timeout.
func TestStartAsksFirst(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	acknowledged := 0
	c.lost = func(m *wire.Message) bool {
		if m.From == "b" && (m.AppendResponse().Accepted || m.HeartbeatResponse().Durable > 0 || m.VoteResponse().Granted) {
			acknowledged++
		}
		return false
	}
	c.restart("b")
	c.propose("a", "x")
	c.pass(election - heartbeat)
	require.Zero(t, acknowledged, "c hasn't answered")
	c.pass(3 * election)
	require.Positive(t, acknowledged, "a has")
	c.servers["c"].cut = false
	c.pass(3 * election)
	acknowledged = 0
	c.restart("b")
	c.pass(2 * heartbeat)
	require.Positive(t, acknowledged, "all have answered at once")
}

// A server that hears of a leader, and of no quorum of those that it knows, goes on in the end: the
// members may be others by now, or at other addresses.
func TestStartBelievesALeaderInTheEnd(t *testing.T) {
	c := founded(t, 5)
	said := false
	c.lost = func(m *wire.Message) bool {
		said = said || m.From == "b" && m.HeartbeatResponse().Round > 0
		return m.Kind() == wire.KindKnown && m.To == "b"
	}
	c.restart("b")
	c.pass(2*election - heartbeat)
	require.False(t, said)
	c.pass(3 * heartbeat)
	require.True(t, said)
}

// Nothing tells a disk that went back within one start from a sound one, but for what it has
// promised: to a leader, or as a leader.
func TestPutBackIsNoticedByWhatItPromised(t *testing.T) {
	for _, id := range []raft.ServerID{"a", "b"} {
		c := founded(t, 3)
		was := c.image(id)
		c.propose("a", "x")
		c.pass(2 * heartbeat)
		if id == "a" {
			c.servers["b"].cut = true // c alone remembers
			c.restart("b")
			c.servers["b"].cut = false
		} else {
			c.restart("c")
		}
		c.putBack(id, was)
		c.settle()
		require.ErrorIs(t, c.status(id).Trouble, raft.ErrRolledBack, "%s", id)
		require.Zero(t, c.count(id))
	}
}

// count returns how many messages of a server are on their way that say that it takes part.
func (c *cores) count(id raft.ServerID) (n int) {
	for i := range c.network {
		m := &c.network[i]
		if m.From == id && (m.AppendResponse().Accepted || m.HeartbeatResponse().Round > 0 || m.VoteResponse().Granted) {
			n++
		}
	}
	return n
}

// A term that is later than what the disk knows is proof, too: the server has been in it.
func TestPutBackIsNoticedByItsTerm(t *testing.T) {
	c := founded(t, 3)
	was := c.image("b")
	c.elect("c")
	c.pass(2 * heartbeat)
	require.Greater(t, c.status("b").Term, was.saved.Term)
	c.putBack("b", was)
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)
}

// A start of a sound disk is never taken for one that went back, whatever was promised since.
func TestSoundStartsRaiseNoAlarm(t *testing.T) {
	c := founded(t, 3)
	for n := range 12 {
		c.propose(c.leader(), fmt.Sprint(n))
		c.pass(heartbeat)
		id := c.ids[n%3]
		c.restart(id)
		c.pass(3 * election)
		for _, id := range c.ids {
			require.NoError(t, c.status(id).Trouble, "round %d, server %s", n, id)
		}
	}
}

// Somebody had reached a term before a server has started. The server may have given its vote in it,
// and have forgotten that.
func TestNoVoteInATermFromBeforeTheStart(t *testing.T) {
	c := founded(t, 3)
	c.servers["b"].cut = true
	require.NoError(t, c.servers["a"].core.Transfer(c.now, "c"))
	c.drain("a")
	c.settle() // a and c are in a term that b hasn't heard of
	require.Equal(t, raft.ServerID("c"), c.leader())
	term := c.status("c").Term
	c.servers["b"].cut = false
	c.restart("b")
	require.Equal(t, term, c.status("b").Term)
	granted := func(of raft.Term) bool {
		c.network = nil
		ask := wire.VoteRequest{Last: wire.Place{Index: 99, Term: of}, Transfer: true}.Message().In(wire.Envelope{
			From: "a", To: "b", Cluster: c.status("a").Cluster, FromIncarnation: c.status("a").Incarnation, FromStart: c.status("a").Start, Term: of,
		})
		c.deliver(ask)
		for _, m := range c.take(is(wire.KindVoteResponse)) {
			return m.VoteResponse().Granted
		}
		return false
	}
	require.False(t, granted(term))
	require.True(t, granted(term+1))
}

// The verdict is on the disk: nobody has to remember it.
func TestVerdictStaysOnTheDisk(t *testing.T) {
	c := putBackOnce(t, false)
	c.settle()
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)
	require.True(t, c.servers["b"].saved.RolledBack)
	for _, id := range []raft.ServerID{"a", "c"} {
		c.restart(id)
		c.servers[id].cut = true
	}
	c.restart("b")
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)
	c.network = nil
	c.pass(5 * election)
	require.Empty(t, c.take(func(m wire.Message) bool { return m.From == "b" }))
}

// Whoever hears a message of an earlier start says which start it knows. That is an answer to the
// question of the present one, too, and says all that an answer says.
func TestAnswerToAnEarlierStartSaysWhatWasPromised(t *testing.T) {
	c := founded(t, 3)
	was := c.image("b")
	c.propose("a", "x")
	c.pass(2 * heartbeat)
	late := wire.HeartbeatResponse{Round: 1}.Message().In(wire.Envelope{
		From: "b", To: "a", Term: c.status("b").Term, Cluster: c.status("b").Cluster, FromIncarnation: c.status("b").Incarnation,
		ToIncarnation: c.status("a").Incarnation, FromStart: c.status("b").Start,
	})
	told := 0
	c.lost = func(m *wire.Message) bool {
		if m.Kind() == wire.KindKnown && m.To == "b" {
			told++
		}
		return m.Kind() == wire.KindKnown && (m.From == "c" || told == 1)
	}
	c.putBack("b", was)
	require.NoError(t, c.status("b").Trouble)
	c.deliver(late)
	c.settle()
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrRolledBack)
}

// What a disk had acknowledged before it went back doesn't count, though the leader has been told so.
func TestAcknowledgedBeforeItWentBackDoesNotCount(t *testing.T) {
	c := founded(t, 5)
	was := c.image("b")
	for _, id := range []raft.ServerID{"c", "d", "e"} {
		c.servers[id].cut = true
	}
	committed := c.status("a").Commit
	c.propose("a", "x")
	c.settle()
	c.putBack("b", was)
	c.pass(2 * heartbeat)
	require.ErrorIs(t, c.explain("a", "b"), raft.ErrRolledBack)
	c.servers["c"].cut = false
	c.pass(4 * heartbeat)
	require.Equal(t, c.status("a").Last, c.status("c").Last)
	require.Equal(t, committed, c.status("a").Commit, "a and c are two of five")
	c.servers["d"].cut = false
	c.pass(4 * heartbeat)
	require.Greater(t, c.status("a").Commit, committed)
}

// The log of a disk that went back ends before its server was added again. The server says that its
// disk went back, for that is what has to be cured.
func TestRolledBackIsNotRemoved(t *testing.T) {
	core, err := raft.NewCore(raft.CoreConfig{
		ID: "a", Seed: 1, Bootstrap: []raft.Server{reached("a")}, Heartbeat: heartbeat, ElectionTimeout: election, StartLuck: 1,
		Saved: raft.Saved{
			State: raft.DurableState{
				HardState: raft.HardState{Term: 4}, Server: "a", Incarnation: 1, Cluster: raft.ClusterID{1}, RolledBack: true,
			},
			Snapshot: raft.SnapshotMeta{Index: 5, Term: 2, ConfigurationIndex: 1, Configuration: raft.Configuration{
				Cluster: raft.ClusterID{1}, Members: []raft.Member{{Server: reached("b"), Role: raft.Voter, Incarnation: 1}},
			}},
			SnapshotBytes: 1, Base: 5, BaseTerm: 2, Last: 5,
		},
	})
	require.NoError(t, err)
	core.Drain(&raft.Effects{})
	core.Restored(0)
	require.EqualValues(t, 5, core.Status().Applied)
	require.ErrorIs(t, core.Status().Trouble, raft.ErrRolledBack)
}

// A server that lacks bytes may get a snapshot while it asks, and with it a later configuration. From
// then on it goes by that one: it doesn't wait for servers that have left, and it waits for those that
// have joined.
func TestStartAsksTheLatestMembers(t *testing.T) {
	of := func(ids ...raft.ServerID) (members []raft.Member) {
		for _, id := range ids {
			members = append(members, raft.Member{Server: reached(id), Role: raft.Voter, Incarnation: raft.Incarnation(100 + id[0] - 'a')})
		}
		return members
	}
	few, many := of("a", "b"), of("a", "b", "c", "d", "e")
	for _, grows := range []bool{true, false} {
		before, after := many, few
		if grows {
			before, after = few, many
		}
		c := ruin(t, "2 2", "2!", "2 2")
		a, b := c.servers["a"], c.servers["b"]
		configuration, err := wire.DecodeConfiguration(b.log[0].Data)
		require.NoError(t, err)
		configuration.Members = before
		b.log[0].Data = wire.AppendConfiguration(nil, &configuration)
		c.forget("a", 3)
		a.current.Configuration.Members, a.current.ConfigurationIndex = after, 3
		c.start("a")

		installed, takesPart := false, false
		c.lost = func(m *wire.Message) bool {
			takesPart = takesPart || m.From == "b" && (m.Kind() == wire.KindVoteRequest || m.VoteResponse().Granted)
			if m.Kind() == wire.KindKnown && m.To == "b" {
				return m.From == "c" || !installed
			}
			return m.From == "c" && m.Kind() != wire.KindKnown && m.Kind() != wire.KindPreVoteResponse
		}
		c.start("b")
		for rounds := 0; c.status("b").Commit < 3; rounds++ {
			require.Less(t, rounds, 5)
			c.carry(1)
		}
		installed = true
		require.False(t, takesPart, "nobody has answered")
		c.pass(5 * election)
		require.Equal(t, !grows, takesPart, "a has answered, of %d members before the snapshot and %d since", len(before), len(after))
	}
}

// A server of many groups whose questions nobody answers asks less and less often, and goes on asking.
func TestStartAsksLessOften(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.Coalesced = true })
	c.elect("a")
	c.propose("a", "x")
	var asked []raft.Instant
	c.lost = func(m *wire.Message) bool {
		if m.Kind() == wire.KindStarted && m.To == "a" {
			asked = append(asked, c.now)
		}
		return true
	}
	c.start("b")
	c.pass(30 * election)
	for i := 2; i < len(asked); i++ {
		gap := asked[i] - asked[i-1]
		require.GreaterOrEqual(t, gap, asked[i-1]-asked[i-2])
		require.LessOrEqual(t, gap, 5*raft.Instant(election))
	}
	require.LessOrEqual(t, len(asked), 12)
	require.Greater(t, asked[len(asked)-1], c.now-5*raft.Instant(election))
}
