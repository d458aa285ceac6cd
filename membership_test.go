package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// The present disk doesn't wait for commands that the lost disk has proposed, though both count
// their starts from 1, and even if they have drawn the same luck.
func TestCommandsOfALostDiskAreNotThoseOfItsSuccessor(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
		if config.ID == "c" {
			config.StartLuck = 7
		}
	})
	c.elect("a")
	c.propose("a", "first")
	c.pass(2 * heartbeat)
	c.propose("c", "of the lost disk")
	c.wipe("c")
	c.pass(heartbeat)
	s := c.servers["c"]
	number := s.core.Propose(c.now, []byte("of the new one"))
	require.EqualValues(t, 1, number)
	c.drain("c")
	require.NoError(t, c.change("a", wire.Call{Kind: wire.CallReplace, Members: []raft.Member{named("c")}}).Err)
	c.pass(2 * heartbeat)
	require.Len(t, s.answers, 1)
	require.NoError(t, s.answers[0].Err)
	require.Equal(t, "of the new one", string(s.answers[0].Result))
	require.Equal(t, []string{"first", "of the lost disk", "of the new one"}, c.commands("c"))
}

// A removed server whose disk stands still may not be able to store what removes it. It learns it all
// the same: it may be the one that is to be wiped.
func TestRemovedServerWhoseDiskStandsStillLearnsIt(t *testing.T) {
	for _, still := range []string{"full", "stuck"} {
		t.Run(still, func(t *testing.T) {
			c := roomy(t, 1<<20, 1<<20, 1<<20)
			if still == "full" {
				c.servers["c"].lame = true // or else it frees its log
				c.resize("c", 10)
			} else {
				c.servers["c"].slowDisk = true
			}
			for range 3 {
				require.NoError(t, c.command("a"))
			}
			c.servers["c"].cut = true
			require.NoError(t, c.change("a", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("c")}}).Err)
			c.pass(15 * election)
			c.servers["c"].cut = false
			require.NoError(t, c.status("c").Trouble)
			require.Less(t, c.status("c").Stable, c.status("c").Last)
			c.pass(3 * election)
			require.ErrorIs(t, c.status("c").Trouble, raft.ErrRemoved)
			require.Equal(t, raft.ServerID("a"), c.leader())
		})
	}
}

// A removed server that couldn't be told learns of its removal when it asks for votes. From then on
// it is quiet.
func TestRemovedServerLearnsItLater(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	require.NoError(t, c.change("a", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("c")}}).Err)
	c.pass(15 * election)
	c.servers["c"].cut = false
	require.NoError(t, c.status("c").Trouble)
	number := c.servers["c"].core.Propose(c.now, []byte("x"))
	c.pass(3 * election)
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrRemoved)
	answers := c.servers["c"].answers
	require.Equal(t, number, answers[len(answers)-1].Number)
	require.ErrorIs(t, answers[len(answers)-1].Err, raft.ErrNotApplied)
	require.ErrorIs(t, answers[len(answers)-1].Err, raft.ErrRemoved)
	require.Equal(t, raft.ServerID("a"), c.leader())

	// It can come back, with the disk that it has.
	require.NoError(t, c.change("a", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("c")}}).Err)
	c.pass(2 * heartbeat)
	require.NoError(t, c.status("c").Trouble)
	c.propose("c", "back")
	require.Contains(t, c.commands("c"), "back")
}

// A command of a session that was applied before a server got its present disk is answered there
// all the same. The answer is the result of the first copy.
func TestSessionOutlivesADisk(t *testing.T) {
	c := founded(t, 3)
	id := c.openSession("c")
	command := raft.SessionCommand{Session: id, Sequence: 1, Lowest: 1}
	proposal := raft.Proposal{Kind: wire.EntrySessionCommand, Data: wire.AppendSessionCommand(nil, &command, []byte("once"))}
	c.servers["c"].core.ProposeEntry(c.now, proposal)
	c.drain("c")
	c.pass(2 * heartbeat)
	applied := c.servers["c"].answers[len(c.servers["c"].answers)-1]
	require.NoError(t, applied.Err)

	c.wipe("c")
	c.pass(heartbeat)
	require.NoError(t, c.change("a", wire.Call{Kind: wire.CallReplace, Members: []raft.Member{named("c")}}).Err)
	c.pass(2 * heartbeat)
	s := c.servers["c"]
	s.core.ProposeEntry(c.now, proposal)
	c.drain("c")
	c.pass(2 * heartbeat)
	require.Len(t, s.answers, 1)
	require.NoError(t, s.answers[0].Err)
	require.Equal(t, "once", string(s.answers[0].Result))
	require.Equal(t, applied.Index, s.answers[0].Index)
}

// openSession opens a session at a server.
func (c *cores) openSession(id raft.ServerID) raft.SessionID {
	s := c.servers[id]
	s.core.ProposeEntry(c.now, raft.Proposal{
		Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, wire.SessionLimits{Sessions: 100, Bytes: 1 << 20}),
	})
	c.drain(id)
	c.pass(2 * heartbeat)
	answer := s.answers[len(s.answers)-1]
	require.NoError(c.t, answer.Err)
	session, err := wire.DecodeSessionID(answer.Result)
	require.NoError(c.t, err)
	return session
}

// An answer to a lost disk is no answer to the disk in its place. A vote for the longer log of the
// lost disk must not elect the other one.
func TestVoteForALostDiskIsNotForItsSuccessor(t *testing.T) {
	c := founded(t, 3)
	c.elect("c")
	request := wire.Message{}
	withheld := c.electWithout("c", wire.KindVoteResponse)
	for _, m := range withheld {
		require.Equal(t, c.status("c").Incarnation, m.ToIncarnation)
		request = m
	}
	before := c.status("c")
	c.wipe("c")
	c.deliver(request)
	require.NotEqual(t, before.Incarnation, c.status("c").Incarnation)
	require.Equal(t, "follower", c.status("c").Role)
	require.Zero(t, c.status("c").Term)
}

// A follower may lag so far behind that it knows the leader's server by a disk that was replaced.
// It catches up all the same.
func TestFollowerThatKnowsAnOlderDiskOfTheLeaderCatchesUp(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	c.wipe("b")
	c.pass(2 * heartbeat)
	// a and c are the majority that is left. So c must hear of the joint step, and of nothing more.
	c.servers["c"].cut = false
	c.servers["a"].core.Call(c.now, wire.Call{Kind: wire.CallReplace, Members: []raft.Member{named("b")}})
	c.drain("a")
	c.pass(10 * heartbeat)
	require.Equal(t, "a b c", describe(c.status("b").Configuration))
	c.elect("b")
	c.propose("b", "of the new disk")
	c.pass(2 * heartbeat)
	require.Contains(t, c.commands("c"), "of the new disk")
	require.NoError(t, c.status("b").Trouble)
}
