package raft_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// members describes a list of members, such as "a b c(learner)".
func members(list []raft.Member) string {
	var words []string
	for _, m := range list {
		word := string(m.ID)
		if m.Role != raft.Voter {
			word += "(" + m.Role.String() + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// describe describes a configuration, such as "a b + c d → e": Members, Old and Next.
func describe(c *raft.Configuration) string {
	text := members(c.Members)
	if c.Old != nil {
		text += " + " + members(c.Old)
	}
	if c.Next != nil {
		text += " → " + members(c.Next)
	}
	return text
}

// configurations describes the configurations in a server's log on the disk.
func (c *cores) configurations(id raft.ServerID) []string {
	var all []string
	for _, e := range c.servers[id].log {
		if e.Kind == wire.EntryConfiguration {
			configuration, err := wire.DecodeConfiguration(e.Data)
			require.NoError(c.t, err)
			all = append(all, describe(&configuration))
		}
	}
	return all
}

// named returns a member as a call names it.
func named(id raft.ServerID) raft.Member {
	return raft.Member{Server: raft.Server{ID: id, Address: string(id) + ":1"}, Role: raft.Voter}
}

// set is a call that sets the members: "a", or "a?" for a learner.
func set(ids ...string) wire.Call {
	call := wire.Call{Kind: wire.CallSet}
	for _, id := range ids {
		m := named(raft.ServerID(strings.TrimSuffix(id, "?")))
		if strings.HasSuffix(id, "?") {
			m.Role = raft.Learner
		}
		call.Members = append(call.Members, m)
	}
	return call
}

// change makes a call at a server, lets time pass until it is answered, and returns the answer.
func (c *cores) change(id raft.ServerID, call wire.Call) raft.Answer {
	s := c.servers[id]
	before := len(s.answers)
	number := s.core.Call(c.now, call)
	c.drain(id)
	c.settle()
	for range 40 {
		for _, a := range s.answers[before:] {
			if a.Call && a.Number == number {
				return a
			}
		}
		c.pass(election / 2)
	}
	require.Fail(c.t, "no answer", "to %v at %s", &call, id)
	return raft.Answer{}
}

// joining calls at b for a new server, which can't catch up: the leader loses it when it has said who it is. So the change stays where
// it is in the log.
func (c *cores) joining(id raft.ServerID) {
	c.spare(id)
	_, request := c.call("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named(id)}})
	c.deliver(request)
	for _, m := range c.take(is(wire.KindIdentityRequest)) {
		c.deliver(m)
	}
	for _, other := range c.ids {
		c.part(other, id)
	}
	c.settle()
	c.pass(2 * heartbeat)
	all := c.configurations("b")
	require.Contains(c.t, all[len(all)-1], string(id)+"(joining)")
}

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

// Any set to any set, in one step (§4.3).
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

// A member that is said to have moved is asked there who it is, and spoken to where it was until it has answered: otherwise a wrong address
// would cut off one that is needed, and with it the leader.
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

// A server that doesn't catch up goes again.
func TestChangeIsGivenUp(t *testing.T) {
	c := founded(t, 3)
	c.spare("d")
	c.servers["d"].slowDisk = false
	a := c.servers["a"]
	a.core.Call(c.now, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	c.drain("a")
	for len(c.take(is(wire.KindIdentityResponse))) == 0 {
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
	c.servers["d"].core.Tick(c.now)
	c.deliver(wire.IdentityResponse{Level: wire.LatestLevel, Round: 1, AskedIn: c.status("a").Term}.Message().In(wire.Envelope{From: "d", To: "a", FromIncarnation: c.status("d").Incarnation}))
	c.servers["d"].cut = true
	c.network = nil
	c.pass(15 * election)
	answers := a.answers[len(a.answers)-1:]
	require.True(t, answers[0].Call)
	require.ErrorIs(t, answers[0].Err, raft.ErrNotApplied)
	require.ErrorIs(t, answers[0].Err, raft.ErrNotCaughtUp)
	require.Equal(t, []string{"a b c", "a b c d(joining) → a b c d", "a b c"}, c.configurations("a"))
}

// No step is taken to voters of whom a majority isn't known to be there: it could be the last one. A leader whose term has
// just begun doesn't know it of anybody.
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

// A server that has lost its disk is refused during a change as well: also while that is its own removal, and its lost disk counts
// in one half of a joint configuration.
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

// What the lost disk has proposed isn't what the present one waits for, though both count their starts from 1.
func TestCommandsOfALostDiskAreNotThoseOfItsSuccessor(t *testing.T) {
	c := founded(t, 3)
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

// Who a new server is counts only as an answer to the present question: an earlier one may be of another process, at another
// address, or with another disk.
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

// One change at a time: a second one is refused, not queued in silence.
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

	c.joining("f") // a change that is in the log
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

// A removed server that couldn't be told learns it when it asks for votes, and is quiet from then on.
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

// A command of a session that was applied before a server got its present disk is answered there all the same: with the result that
// the first copy had.
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

// A leader that is removed hands over first, while it still counts: nobody waits for an election timeout (§4.2.2, §3.10).
func TestRemovedLeaderHandsOverFirst(t *testing.T) {
	c := founded(t, 3)
	c.pass(3 * heartbeat)
	began := c.now
	require.NoError(t, c.change("b", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("a")}}).Err)
	require.NotEqual(t, raft.ServerID("a"), c.leader())
	require.Less(t, raft.Duration(c.now-began), election)
	require.EqualValues(t, 2, c.status("b").Term)
	require.Equal(t, []string{"a b c", "b c + a b c", "b c"}, c.configurations("b"))
	c.pass(2 * heartbeat)
	require.ErrorIs(t, c.status("a").Trouble, raft.ErrRemoved)
}

// A leader that can't hand over, here because it knows of nobody yet that answers, leads until the configuration without it is
// committed, and steps down then (§4.2.2).
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

// An answer to a lost disk is none to its successor: a vote that was granted to the longer log of the one must not elect the other.
func TestVoteForALostDiskIsNotOfItsSuccessor(t *testing.T) {
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

// A follower that lags so far behind that it knows the leader's server by a disk that was replaced catches up all the same.
func TestFollowerThatKnowsAnOlderDiskOfTheLeaderCatchesUp(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	c.wipe("b")
	c.pass(2 * heartbeat)
	// a and c are the majority that is left: so c must hear of the joint step, and of no more.
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
