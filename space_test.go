package raft_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A leader takes commands as long as a quorum has room for them beside its reserve, and refuses the
// others for good. It makes no difference which server has no room, the leader itself included.
func TestCommandsAreRefusedWhenNoQuorumHasRoom(t *testing.T) {
	const large, small = 1 << 20, 5000
	for _, sizes := range [][]uint64{{large, small, small}, {small, small, large}, {small, small, small}, {small}} {
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			c := roomy(t, sizes...)
			c.keepLogs()
			leader := c.leader()
			taken := c.fill(leader)
			require.InDelta(t, (small-reserve)/100, taken, 7, "what fits beside the reserve")
			leader = c.leader() // which may be another one, with more room
			require.InDelta(t, taken, len(c.commands(leader)), 1)
			require.ErrorIs(t, c.command(leader), raft.ErrFull, "the next one too")
			number := c.servers[leader].core.Read(c.now)
			c.drain(leader)
			c.settle()
			require.True(t, slices.ContainsFunc(c.servers[leader].answers, func(a raft.Answer) bool {
				return a.Read && a.Number == number && a.Err == nil
			}), "reads are served")
		})
	}
}

// One disk that is full refuses nothing as long as the others are a quorum. Its server stores what
// comes, out of its reserve too. When that is used up, its server stands still, and nothing else.
func TestCommandsAreTakenWhileAQuorumHasRoom(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 3000)
	c.servers["c"].lame = true // or else it frees its log
	for range 100 {
		require.NoError(t, c.command("a"))
	}
	c.pass(3 * election)
	last := c.status("a").Last
	require.Equal(t, last, c.status("b").Stable)
	require.Less(t, c.status("c").Stable, last)
	require.Less(t, c.status("c").Room, uint64(100), "the reserve is used up")
	require.True(t, c.status("c").Full)
	require.Equal(t, raft.ServerID("a"), c.leader())
	c.resize("c", 1<<20)
	c.pass(2 * heartbeat)
	require.Equal(t, last, c.status("c").Stable, "it goes on by itself")
}

// What is on its way to a disk takes room until it is there. A disk that has room isn't full for that:
// commands wait meanwhile, and none is refused.
func TestCommandsWaitForWhatIsOnItsWayToADiskWithRoom(t *testing.T) {
	const room = 3500
	c := roomy(t, 1<<20, 1<<20)
	c.resize("b", room)
	c.pass(heartbeat)
	c.servers["b"].slowDisk = true
	for range (room - reserve) / 100 {
		c.servers["a"].core.Propose(c.now, []byte("four"))
	}
	c.drain("a")
	c.settle()
	require.Equal(t, errNone, c.command("a"))
	require.Equal(t, errNone, c.command("a"))
	peer := c.servers["a"].core.Explain().Peers[0]
	require.Less(t, peer.Room, uint64(3*reserve/2), "behind what b has received")
	require.False(t, peer.Full)
	c.servers["b"].slowDisk = false
	c.persist("b")
	c.resize("b", room) // as a log that finds new room in the place of what is taken
	c.pass(3 * heartbeat)
	for _, answer := range c.servers["a"].answers {
		require.NoError(t, answer.Err)
	}
	require.Len(t, c.commands("b"), (room-reserve)/100+2)
}

// A disk isn't roomy because hardly any of its room is taken: if what it is given next doesn't fit, and
// nothing makes room, then commands that need it are refused.
func TestCommandsAreRefusedWhenADiskHasNoRoomForTheNextEntry(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	c.keepLogs()
	c.resize("c", reserve*17/10)
	c.propose("a", strings.Repeat("x", 5*reserve))
	c.servers["b"].cut = true
	c.pass(3 * election)
	require.False(t, c.status("c").Full)
	require.Less(t, c.status("c").Stable, c.status("a").Last)
	require.Equal(t, raft.ServerID("a"), c.leader())
	require.ErrorIs(t, c.command("a"), raft.ErrFull)
}

// A server may get an entry that is larger than any that it takes itself, because other servers, or
// earlier starts, have another limit. It stores that after an election timeout if its disk isn't full.
func TestEntryLargerThanTheRoomIsStored(t *testing.T) {
	for _, full := range []bool{false, true} {
		c := roomy(t, 1<<20, 1<<20, 3*reserve)
		c.servers["c"].lame = true
		if full {
			c.resize("c", reserve)
		}
		c.propose("a", strings.Repeat("x", 5*reserve))
		c.propose("a", "four")
		last := c.status("a").Last
		require.Less(t, c.status("c").Stable, last-1)
		c.pass(3 * election)
		if full {
			require.Less(t, c.status("c").Stable, last-1)
			c.resize("c", 3*reserve)
			c.pass(3 * election)
		}
		require.GreaterOrEqual(t, c.status("c").Stable, last-1)
		c.resize("c", 3*reserve)
		c.pass(heartbeat)
		require.Equal(t, last, c.status("c").Stable)
	}
}

// So it is with a lost entry: it doesn't stay lost because it is larger than the room.
func TestLostEntryLargerThanTheRoomIsRepaired(t *testing.T) {
	for _, full := range []bool{false, true} {
		c := roomy(t, 1<<20, 1<<20, 1<<20)
		c.propose("a", strings.Repeat("x", 5*reserve))
		c.settle()
		if c.resize("c", 3*reserve); full {
			c.resize("c", reserve)
		}
		c.lose("c", c.status("a").Last)
		c.restart("c")
		c.pass(election / 2)
		require.NotEmpty(t, c.status("c").Lost)
		c.pass(3 * election)
		if full {
			require.NotEmpty(t, c.status("c").Lost)
			c.resize("c", 3*reserve)
			c.pass(election)
		}
		require.Empty(t, c.status("c").Lost)
	}
}

// A command of another server's caller is refused by the leader, and its origin says why. So is one
// that has waited for other room before. If the answer is lost, it comes again.
func TestForwardedCommandsAreRefusedForWantOfRoom(t *testing.T) {
	c := roomy(t, 1<<20, 3000, 3000)
	c.keepLogs()
	c.fill("a")
	answers := len(c.servers["b"].answers)
	number := c.servers["b"].core.Propose(c.now, []byte("four"))
	c.drain("b")
	lost := true
	c.lost = func(m *wire.Message) bool { return lost && m.Kind() == wire.KindForwardResponse }
	c.settle()
	require.Len(t, c.servers["b"].answers, answers)
	lost = false
	c.pass(3 * heartbeat)
	require.Len(t, c.servers["b"].answers, answers+1)
	answer := c.servers["b"].answers[answers]
	require.Equal(t, number, answer.Number)
	require.ErrorIs(t, answer.Err, raft.ErrFull)
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	require.NotErrorIs(t, answer.Err, raft.ErrOverloaded)
}

// In a joint configuration each half must have room.
func TestEachHalfMustHaveRoom(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	c.spare("d", "e")
	for _, id := range []raft.ServerID{"d", "e"} {
		c.servers[id].size = 1 << 20
		c.drain(id)
	}
	joint := func() bool { return len(c.status("a").Configuration.Old) > 0 }
	c.lost = func(m *wire.Message) bool { // the joint configuration is never committed
		return joint() && m.Kind() == wire.KindAppendRequest && (m.To == "d" || m.To == "e")
	}
	c.servers["a"].core.Call(c.now, set("a", "d", "e"))
	for range 40 {
		c.pass(heartbeat)
	}
	require.True(t, joint())
	c.keepLogs()
	c.resize("d", reserve+200)
	c.pass(heartbeat)
	require.Equal(t, errNone, c.command("a"), "e has room: the command is taken, and can't be committed")
	c.resize("e", reserve+200)
	c.pass(heartbeat)
	require.ErrorIs(t, c.command("a"), raft.ErrFull)
}

// What isn't a caller's command is never refused: a full cluster elects leaders and changes its
// members.
func TestFullClusterIsCuredByAChangeOfMembers(t *testing.T) {
	c := roomyWith(t, 4000, 8000, 8000, 8000)
	c.keepLogs()
	c.fill("a")
	c.spare("d", "e")
	for _, id := range []raft.ServerID{"d", "e"} {
		c.servers[id].size = 64 << 20
		c.drain(id)
	}
	c.elect("b")
	c.pass(3 * heartbeat)
	require.ErrorIs(t, c.command("b"), raft.ErrFull)
	for _, id := range []raft.ServerID{"d", "e"} {
		answer := c.change(c.leader(), wire.Call{Kind: wire.CallAdd, Members: []raft.Member{
			{Server: raft.Server{ID: id, Address: string(id) + ":1"}, Role: raft.Voter},
		}})
		require.NoError(t, answer.Err)
	}
	answer := c.change(c.leader(), wire.Call{Kind: wire.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: "c"}}}})
	require.NoError(t, answer.Err)
	answer = c.change(c.leader(), wire.Call{Kind: wire.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: "a"}}}})
	require.NoError(t, answer.Err)
	c.pass(4 * election)
	require.NoError(t, c.command(c.leader()))
}

// A leader whose disk is full hands over to a server that has room, and gets the leadership back by
// its priority only when it has had room for ten election timeouts. No votes move meanwhile.
func TestLeadershipGoesWhereThereIsRoom(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	c.servers["a"].lame = true
	c.resize("a", reserve)
	c.pass(2 * election)
	require.NotEqual(t, raft.ServerID("a"), c.leader())
	require.True(t, c.status("a").Full)
	require.NoError(t, c.command(c.leader()))
	other := c.leader()
	c.resize("a", 1<<20)
	require.False(t, c.status("a").Full)
	c.servers["a"].lame = false
	require.NoError(t, c.transfer(other, "a"), "a caller may want it all the same")
}

// A server whose disk was full isn't fit for ten election timeouts after that.
func TestFitnessComesBackLater(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	fitness := func() (last uint64) {
		c.now += raft.Instant(heartbeat)
		c.servers["a"].core.Tick(c.now)
		c.drain("a")
		c.settleBut(func(m wire.Message) {
			if m.Kind() == wire.KindHeartbeatResponse && m.From == "b" {
				last = m.HeartbeatResponse().Fitness
			}
		})
		return last
	}
	require.EqualValues(t, 1, fitness())
	c.resize("b", reserve)
	require.Zero(t, fitness())
	c.resize("b", 1<<20)
	since := c.now
	for c.now-since < raft.Instant(10*election-heartbeat) {
		require.Zero(t, fitness(), "after %d", c.now-since)
	}
	fitness()
	require.EqualValues(t, 1, fitness())
}

// settleBut delivers messages until there are none, and shows each of them before.
func (c *cores) settleBut(see func(wire.Message)) {
	for len(c.network) > 0 {
		m := c.network[0]
		c.network = c.network[1:]
		see(m)
		c.deliver(m)
	}
}

// When the leader is gone, those with room campaign first. If the only candidate that can win is
// full, it is elected all the same.
func TestFullServersLetOthersCampaignFirst(t *testing.T) {
	for seed := range uint64(20) {
		c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
			config.ReserveBytes, config.Seed = reserve, seed+uint64(config.ID[0])<<8
		})
		c.elect("a")
		require.NoError(t, c.command("a"))
		c.pass(heartbeat)
		c.servers["a"].cut = true
		c.resize("b", reserve)
		c.pass(5 * election)
		require.Equal(t, raft.ServerID("c"), c.leader(), "seed %d", seed)

		c.servers["c"].cut = true // b alone has the whole log now
		c.servers["a"].cut = false
		require.NotEqual(t, c.status("a").Last, c.status("b").Last)
		last := c.status("b").Last
		c.pass(8 * election)
		require.NotEmpty(t, c.leader(), "seed %d", seed)
		require.Greater(t, c.status("a").Commit, last, "seed %d", seed)
	}
}

// A command that was refused stays refused for the rest of the term, though there is room again: its
// origin may have told its caller.
func TestRefusedForWantOfRoomStaysRefused(t *testing.T) {
	c := roomy(t, 1<<20, 3000, 3000)
	c.keepLogs()
	c.fill("a")
	lost := true
	c.lost = func(m *wire.Message) bool { return lost && m.Kind() == wire.KindForwardResponse }
	applied := len(c.commands("a"))
	c.servers["b"].answers = nil
	c.servers["b"].core.Propose(c.now, []byte("four"))
	c.drain("b")
	c.settle()
	c.resize("b", 1<<20)
	c.resize("c", 1<<20)
	c.pass(2 * heartbeat)
	lost = false
	c.pass(4 * heartbeat)
	require.Len(t, c.servers["b"].answers, 1)
	require.ErrorIs(t, c.servers["b"].answers[0].Err, raft.ErrFull)
	require.Len(t, c.commands("a"), applied)
}

// A command that is in the log isn't refused when it comes again, though there is no room any more.
func TestTakenCommandIsNotRefusedForWantOfRoom(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	c.keepLogs()
	lost := true
	c.lost = func(m *wire.Message) bool { return lost && m.Kind() == wire.KindAppendRequest && m.To == "b" }
	c.servers["b"].answers = nil
	c.servers["b"].core.Propose(c.now, []byte("four"))
	c.drain("b")
	c.settle()
	c.resize("b", reserve)
	c.resize("c", reserve)
	c.pass(4 * heartbeat)
	require.Empty(t, c.servers["b"].answers)
	lost = false
	c.pass(6 * heartbeat)
	require.Len(t, c.servers["b"].answers, 1)
	require.NoError(t, c.servers["b"].answers[0].Err)
}

// A leader that has repaired its log before it leads doesn't know the others' room yet either: the
// rounds that they have answered so far said nothing of it. It waits, and refuses nothing.
func TestRepairedLeaderWaitsForTheRoomOfTheOthers(t *testing.T) {
	c := roomy(t, 1<<20, 1<<20, 1<<20)
	require.NoError(t, c.command("a"))
	c.pass(3 * heartbeat)
	for _, id := range c.ids {
		c.lose("a", c.status("a").Last)
		c.restart(id)
	}
	silent := true
	c.lost = func(m *wire.Message) bool { return silent && m.Kind() == wire.KindRepairResponse }
	a := c.servers["a"].core
	for c.status("a").Role != "recovering" {
		c.now = max(c.now, a.Deadline())
		a.Tick(c.now)
		c.drain("a")
		c.settle()
	}
	number := a.Propose(c.now, []byte("four"))
	silent = false
	c.pass(3 * heartbeat)
	require.Equal(t, "leader", c.status("a").Role)
	at := slices.IndexFunc(c.servers["a"].answers, func(a raft.Answer) bool { return !a.Read && !a.Call && a.Number == number })
	require.GreaterOrEqual(t, at, 0)
	require.NoError(t, c.servers["a"].answers[at].Err)
}
