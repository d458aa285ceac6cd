package raft_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

func TestAddAndRemoveServers(t *testing.T) {
	for _, at := range []raft.ServerID{"a", "b"} {
		c := founded(t, 3)
		c.spare("d")
		answer := c.change(at, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
		require.NoError(t, answer.Err)
		require.Equal(t, []string{"a b c", "a b c d(joining) → a b c d", "a b c d + a b c", "a b c d"}, c.configurations("a"))
		c.pass(2 * heartbeat)
		require.Equal(t, answer.Index, c.status("d").ConfigurationIndex)
		require.Equal(t, "a b c d", describe(c.status("d").Configuration))
		c.propose("d", "from the new one")
		require.Equal(t, []string{"first", "from the new one"}, c.commands("d"))

		again := c.change(at, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
		require.Equal(t, answer.Index, again.Index, "nothing to do")

		answer = c.change(at, wire.Call{Kind: wire.CallRemove, Members: []raft.Member{{Server: raft.Server{ID: "c"}}}})
		require.NoError(t, answer.Err)
		c.pass(2 * heartbeat)
		require.Equal(t, "a b d", describe(c.status("a").Configuration))
		require.ErrorIs(t, c.status("c").Trouble, raft.ErrRemoved)
		require.NoError(t, c.status("d").Trouble)
	}
}

// Any set of members can follow any other set, in one change (§4.3).
func TestSetMembersToOthersAltogether(t *testing.T) {
	c := founded(t, 3)
	c.spare("d", "e", "f")
	answer := c.change("b", set("d", "e", "f"))
	require.NoError(t, answer.Err)
	c.pass(5 * election)
	leader := c.leader()
	require.Contains(t, []raft.ServerID{"d", "e", "f"}, leader)
	require.Equal(t, []string{"a b c", "a b c d(joining) e(joining) f(joining) → d e f", "d e f + a b c", "d e f"}, c.configurations(leader))
	for _, id := range []raft.ServerID{"a", "b", "c"} {
		require.ErrorIs(t, c.status(id).Trouble, raft.ErrRemoved, id)
	}
	c.propose(leader, "x")
	c.pass(2 * heartbeat)
	require.Equal(t, []string{"first", "x"}, c.commands("d"))
}

func TestLearnersNeedNoJointStep(t *testing.T) {
	c := founded(t, 3)
	c.spare("d")
	require.NoError(t, c.change("a", set("a", "b", "c", "d?")).Err)
	require.NoError(t, c.change("a", set("a", "b", "c")).Err)
	require.Equal(t, []string{"a b c", "a b c d(learner)", "a b c"}, c.configurations("a"))
	c.pass(2 * heartbeat)
	require.ErrorIs(t, c.status("d").Trouble, raft.ErrRemoved)
}

// A new server at a wrong address costs nothing, not even an entry in the log.
func TestWrongAddressCostsNothing(t *testing.T) {
	c := founded(t, 3)
	before := c.status("a").Last
	answer := c.change("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("x")}})
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	require.ErrorIs(t, answer.Err, raft.ErrUnreachable)
	require.ErrorContains(t, answer.Err, `"x"`)
	require.Equal(t, before, c.status("a").Last)
}

// A member that is said to have moved is asked there who it is. Until it has answered, it is spoken
// to where it was: otherwise a wrong address would cut off a member that is needed, and with it the
// leader.
func TestMoveToAWrongAddressCostsNothing(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true // b can't be spared
	before, told := c.status("a"), c.servers["a"].servers
	require.Contains(t, told, raft.Server{ID: "b", Address: "b:1"})
	moved := raft.Member{Server: raft.Server{ID: "b", Address: "nowhere:1"}, Role: raft.Voter}
	a := c.servers["a"]
	a.core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{moved}})
	for range 40 {
		c.drain("a")
		require.Equal(t, told, a.servers)
		c.pass(heartbeat)
	}
	answer := a.answers[len(a.answers)-1]
	require.True(t, answer.Call)
	require.ErrorIs(t, answer.Err, raft.ErrUnreachable)
	require.ErrorContains(t, answer.Err, `"b"`)
	require.Equal(t, before.Last, c.status("a").Last)
	require.Equal(t, before.Term, c.status("a").Term)
}

// No step is taken to voters of whom a majority isn't known to answer: it could be the last step. A
// leader whose term has just begun knows of no server that answers.
func TestNoStepToAMajorityThatIsGone(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	require.NoError(t, c.transfer("a", "b"))
	c.settle()
	require.Equal(t, raft.ServerID("b"), c.leader())
	answer := c.change("b", set("b", "c"))
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	require.ErrorIs(t, answer.Err, raft.ErrNotCaughtUp)
	require.Equal(t, []string{"a b c", "a b c → b c", "a b c"}, c.configurations("b"))
}

// A replacement that is given up has changed the members all the same, whatever the role of the
// member was: its present disk is the one that counts from then on. So nobody is told that nothing
// was applied.
func TestReplacementThatIsGivenUpStaysHalfway(t *testing.T) {
	c := founded(t, 3)
	for _, before := range []string{"a b c", "a b c(learner)"} {
		require.Equal(t, before, describe(c.status("a").Configuration))
		c.wipe("c")
		c.pass(2 * heartbeat)
		c.servers["c"].slowDisk = true // it never catches up
		answer := c.change("a", wire.Call{Kind: wire.CallReplace, Members: []raft.Member{{Server: raft.Server{ID: "c"}}}})
		require.ErrorIs(t, answer.Err, raft.ErrNotCaughtUp)
		require.ErrorIs(t, answer.Err, raft.ErrOutcomeUnknown)
		require.Equal(t, "a b c(learner)", describe(c.status("a").Configuration))
		require.Equal(t, c.status("c").Incarnation, c.status("a").Configuration.Member("c").Incarnation)
	}
}

func TestReplaceALostDisk(t *testing.T) {
	c := founded(t, 3)
	c.wipe("c")
	c.pass(2 * heartbeat)
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrOtherIncarnation)
	answer := c.change("b", wire.Call{Kind: wire.CallReplace, Members: []raft.Member{{Server: raft.Server{ID: "c"}}}})
	require.NoError(t, answer.Err)
	require.Equal(t, []string{"a b c", "a b c(learner) + a b c → a b c", "a b c(learner) → a b c", "a b c + a b c(learner)", "a b c"},
		c.configurations("a"))
	c.pass(2 * heartbeat)
	require.NoError(t, c.status("c").Trouble)
	c.servers["b"].cut = true
	c.propose("a", "with the new disk")
	c.pass(2 * heartbeat)
	require.Equal(t, []string{"first", "with the new disk"}, c.commands("a"))
	require.Equal(t, []string{"first", "with the new disk"}, c.commands("c"))
}

// A server that has lost its disk is refused during a change as well. That holds even during its
// own removal, while its lost disk counts in one half of a joint configuration.
func TestLostDiskDuringAChange(t *testing.T) {
	c := founded(t, 3)
	c.part("a", "b")
	c.part("a", "c")
	c.servers["a"].core.Call(c.now, set("a", "b"))
	c.drain("a")
	require.Equal(t, "a b + a b c", c.configurations("a")[1])
	c.wipe("c")
	c.join()
	c.part("b", "a") // what b holds isn't known, and c's disk can't stand for it
	c.pass(2 * heartbeat)
	require.ErrorIs(t, c.status("c").Trouble, raft.ErrOtherIncarnation)
	require.ErrorContains(t, c.status("c").Trouble, "Replace")
	require.Len(t, c.configurations("a"), 2)
	c.join()
	c.pass(2 * heartbeat)
	require.Equal(t, []string{"a b c", "a b + a b c", "a b"}, c.configurations("a"))
	require.Error(t, c.status("c").Trouble)
}

func TestRefusedChanges(t *testing.T) {
	c := founded(t, 3)
	for _, test := range []struct {
		call wire.Call
		err  error
	}{
		{set(), raft.ErrMembers},
		{set("a?"), raft.ErrMembers},
		{set("b", "a"), raft.ErrMembers},
		{set("a", "a"), raft.ErrMembers},
		{wire.Call{Kind: wire.CallSet, Members: []raft.Member{{Server: raft.Server{ID: "a"}, Role: raft.Joining}}}, raft.ErrMembers},
		{wire.Call{Kind: wire.CallAdd}, raft.ErrMembers},
		{wire.Call{Kind: wire.CallReplace, Members: []raft.Member{named("x")}}, raft.ErrNotMember},
		{wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("b")}, Expected: 7}, raft.ErrConflict},
	} {
		answer := c.change("b", test.call)
		require.ErrorIs(t, answer.Err, raft.ErrNotApplied, "%v", &test.call)
		require.ErrorIs(t, answer.Err, test.err, "%v", &test.call)
	}
	require.Equal(t, []string{"a b c"}, c.configurations("a"))
	require.NoError(t, c.change("b", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("b")}, Expected: 1}).Err)
}

// What a new server says it is counts only as an answer to the present question. An answer to an
// earlier one may be of another process, at another address, or with another disk.
func TestIdentityIsAnAnswerToThePresentQuestion(t *testing.T) {
	c := founded(t, 3)
	c.spare("d")
	add := wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}}
	ask := func() wire.Message {
		c.servers["a"].core.Call(c.now, add)
		c.drain("a")
		asked := c.take(is(wire.KindIdentityRequest))
		require.Len(t, asked, 1)
		return asked[0]
	}
	c.deliver(ask())
	late := c.take(is(wire.KindIdentityResponse))
	require.Len(t, late, 1)
	c.servers["d"].cut = true
	c.pass(3 * election)
	require.ErrorIs(t, c.servers["a"].answers[len(c.servers["a"].answers)-1].Err, raft.ErrUnreachable)

	c.wipe("d")
	c.servers["d"].cut = false
	asked := ask()
	require.NotEqual(t, c.status("d").Incarnation, late[0].FromIncarnation)
	c.deliver(late[0])
	require.Equal(t, []string{"a b c"}, c.configurations("a"))
	c.deliver(asked)
	c.pass(3 * heartbeat)
	require.NoError(t, c.servers["a"].answers[len(c.servers["a"].answers)-1].Err)
	members := c.status("a").Configuration.Members
	require.Len(t, members, 4)
	require.Equal(t, c.status("d").Incarnation, members[3].Incarnation)
}

// There is one change at a time. A second one is refused, not queued in silence.
func TestOneChangeAtATime(t *testing.T) {
	c := founded(t, 3)
	c.spare("d", "e")
	c.servers["d"].cut = true
	a := c.servers["a"]
	a.core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	c.drain("a")
	answer := c.change("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("e")}})
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	require.ErrorIs(t, answer.Err, raft.ErrChangeInProgress)
	c.pass(5 * election)
	require.NoError(t, c.change("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("e")}}).Err)

	c.joining("f") // this change is in the log
	before := c.configurations("a")
	answer = c.change("c", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("e")}})
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	require.ErrorIs(t, answer.Err, raft.ErrChangeInProgress)
	require.Equal(t, before, c.configurations("a"))
}

func TestRemovingTheLeaderOfTwo(t *testing.T) {
	c := founded(t, 2)
	require.NoError(t, c.change("b", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("a")}}).Err)
	c.pass(3 * election)
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrRemoved)
	require.Equal(t, "b", describe(c.status("b").Configuration))
}

// A leader that is removed hands over first, while it still counts. So nobody waits for an election
// timeout (§4.2.2, §3.10).
func TestRemovedLeaderHandsOverFirst(t *testing.T) {
	c := founded(t, 3)
	c.pass(3 * heartbeat)
	began := c.now
	require.NoError(t, c.change("b", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("a")}}).Err)
	require.NotEqual(t, raft.ServerID("a"), c.leader())
	require.Less(t, time.Duration(c.now-began), election)
	require.EqualValues(t, 2, c.status("b").Term)
	require.Equal(t, []string{"a b c", "b c + a b c", "b c"}, c.configurations("b"))
	c.pass(2 * heartbeat)
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrRemoved)
}

// A leader that can't hand over leads until the configuration without it is committed, and then
// steps down (§4.2.2). Here it can't, because it knows of nobody yet that answers.
func TestRemovedLeaderStepsDown(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.servers["a"].core.Call(c.now, set("b", "c"))
	c.drain("a")
	c.settle()
	require.Equal(t, []string{"a b c", "b c + a b c", "b c"}, c.configurations("b"))
	require.Equal(t, c.status("a").Last, c.status("a").Commit)
	require.Equal(t, "follower", c.status("a").Role)
	require.EqualValues(t, 1, c.status("a").Term)
}
