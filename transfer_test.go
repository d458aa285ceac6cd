package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// transfer asks a leader to hand over, and delivers nothing. It returns the reason if the leader
// refuses.
func (c *cores) transfer(from, to raft.ServerID) error {
	s := c.servers[from]
	s.core.Call(c.now, transferTo(to))
	before := len(s.answers)
	c.drain(from)
	for _, a := range s.answers[before:] {
		if a.Call {
			s.answers = s.answers[:before]
			return a.Err
		}
	}
	return nil
}

// transferTo returns the call that asks for a transfer.
func transferTo(to raft.ServerID) wire.Call {
	call := wire.Call{Kind: wire.CallTransfer}
	if to != "" {
		call.Members = []raft.Member{{Server: raft.Server{ID: to}}}
	}
	return call
}

// §3.10: the leader brings the target up to date before it lets it campaign, and takes no commands
// meanwhile.
func TestTransferBringsTheTargetUpToDateFirst(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.servers["b"].cut = true
	c.propose("a", "x")
	c.take(func(wire.Message) bool { return true })
	c.servers["b"].cut = false

	require.NoError(t, c.transfer("a", "b"))
	require.Empty(t, c.take(is(wire.KindTimeoutNow)), "b lacks an entry")
	c.servers["a"].core.Propose(c.now, []byte("own"))
	c.drain("a")
	c.servers["c"].core.Propose(c.now, []byte("forwarded"))
	c.drain("c")
	c.settle()
	require.EqualValues(t, 2, c.status("a").Last, "a takes no commands")
	require.Equal(t, raft.ServerID("b"), c.status("a").HandingOver)

	c.pass(5 * heartbeat)
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.Equal(t, []string{"x", "own", "forwarded"}, sorted(c.commands("b"), "x", "own", "forwarded"))
	require.Len(t, c.servers["a"].answers, 3, "two commands and the transfer")
	for _, a := range c.servers["a"].answers {
		require.NoError(t, a.Err)
	}
}

// sorted returns commands in the order of a list, since nothing says in which order the last ones
// were taken.
func sorted(commands []string, order ...string) []string {
	var result []string
	for _, want := range order {
		for _, command := range commands {
			if command == want {
				result = append(result, command)
			}
		}
	}
	return result
}

// §3.10: if the target doesn't lead after an election timeout, the leader goes on.
func TestTransferIsGivenUp(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.servers["b"].cut = true
	require.NoError(t, c.transfer("a", "b"))
	number := c.servers["a"].core.Propose(c.now, []byte("x"))
	c.drain("a")
	c.pass(election / 2)
	require.Empty(t, c.servers["a"].answers)
	c.pass(election)
	require.Equal(t, raft.ServerID("a"), c.leader())
	require.Len(t, c.servers["a"].answers, 2)
	require.ErrorIs(t, c.servers["a"].answers[0].Err, raft.ErrTransferGivenUp)
	require.Equal(t, number, c.servers["a"].answers[1].Number)
	require.NoError(t, c.servers["a"].answers[1].Err)
	require.Empty(t, c.status("a").HandingOver)
}

// A TimeoutNow that is lost is sent again.
func TestTransferSurvivesLoss(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	require.NoError(t, c.transfer("a", "b"))
	require.Len(t, c.take(is(wire.KindTimeoutNow)), 1)
	c.pass(5 * heartbeat)
	require.Equal(t, raft.ServerID("b"), c.leader())
}

// A transfer to the leader itself, or to a server that isn't a member, is an error at once.
func TestTransferIsRefused(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	require.ErrorIs(t, c.transfer("a", "a"), raft.ErrTransferTarget)
	require.ErrorIs(t, c.transfer("a", "z"), raft.ErrTransferTarget)
	c.servers["b"].cut = true
	require.NoError(t, c.transfer("a", "b"))
	require.NoError(t, c.transfer("a", "b"))
	require.ErrorIs(t, c.transfer("a", "c"), raft.ErrTransferInProgress)

	alone := newCores(t, 1)
	alone.pass(2 * election)
	require.ErrorIs(t, alone.transfer("a", ""), raft.ErrTransferTarget)
}

// The target campaigns past stickiness: the others still hear their leader, and vote all the same
// (§4.2.3, §3.10).
func TestTransferGoesPastStickinessAndPreVote(t *testing.T) {
	c := newCores(t, 5)
	c.elect("a")
	c.pass(2 * heartbeat)
	require.NoError(t, c.transfer("a", "d"))
	for _, m := range c.network {
		require.NotEqual(t, wire.KindPreVoteRequest, m.Kind())
	}
	c.settle()
	require.Equal(t, raft.ServerID("d"), c.leader())
	require.EqualValues(t, 2, c.status("d").Term)
}

// A leader whose disk stands still lets another server campaign at once.
func TestAStalledLeaderHandsOver(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	c.servers["a"].slowDisk = true
	c.propose("a", "x")
	before := c.now
	c.pass(election + heartbeat)
	require.NotEqual(t, raft.ServerID("a"), c.leader())
	require.LessOrEqual(t, c.now-before, raft.Instant(election+2*heartbeat), "nobody had to miss the leader first")
	require.Contains(t, c.commands(c.leader()), "x")
}

// A leader whose state machine is an election timeout behind hands over to a server whose machine
// isn't, and to no other.
func TestALeaderFarBehindHandsOver(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	c.servers["a"].lame, c.servers["b"].lame = true, true
	c.propose("a", "x")
	c.pass(3 * election)
	require.Equal(t, raft.ServerID("c"), c.leader())
	require.Contains(t, c.commands("c"), "x")
	c.pass(20 * election)
	require.Equal(t, raft.ServerID("c"), c.leader())
}

// While a configuration is joint, the only server that is fit to lead may be one that is about to
// be no voter any more. It leads until the change has come to its end (§4.3).
func TestALeaderFarBehindHandsOverToOneThatLeaves(t *testing.T) {
	c := founded(t, 3)
	a := c.servers["a"]
	a.lame, c.lost = true, func(m *wire.Message) bool { return m.Kind() == wire.KindAppendRequest && m.To == "c" }
	c.propose("a", "x")
	a.core.Call(c.now, set("a?", "b?", "c"))
	c.drain("a")
	c.settle()
	require.Equal(t, "a(learner) b(learner) c + a b c", describe(c.status("b").Configuration))
	require.ErrorIs(t, c.transfer("a", "b"), raft.ErrTransferTarget, "it isn't to stay a voter")
	c.pass(3 * election)
	require.Equal(t, raft.ServerID("b"), c.leader())

	c.lost = nil
	c.pass(3 * election)
	require.Equal(t, raft.ServerID("c"), c.leader())
	require.Equal(t, "a(learner) b(learner) c", describe(c.status("b").Configuration))
}

// foundDamaged lets a leader find its snapshot damaged while it sends it.
func (c *cores) foundDamaged(id raft.ServerID) {
	st := c.streams[len(c.streams)-1]
	require.Equal(c.t, id, st.from)
	st.finished = true
	c.servers[id].core.SnapshotSent(c.now, st.send.Stream, raft.ErrCorrupt)
	c.drain(id)
}

// A leader hands over if its snapshot is damaged and it doesn't get another one: a peer waits for
// the snapshot. The leadership isn't handed back to it before it has one.
func TestALeaderWithoutASnapshotHandsOver(t *testing.T) {
	c := compacted(t)
	c.servers["a"].slow = true
	c.foundDamaged("a")
	require.NotNil(t, c.servers["a"].taking)
	c.pass(3 * election)
	require.Equal(t, raft.ServerID("a"), c.leader(), "it may take a while")
	c.pass(3 * election)
	require.Equal(t, raft.ServerID("b"), c.leader())
	c.pass(2 * heartbeat)
	require.Equal(t, []string{"one", "two", "three"}, c.commands("c"), "b has the whole log")

	require.NoError(t, c.transfer("b", ""))
	c.pass(election)
	require.Equal(t, raft.ServerID("c"), c.leader(), "a is the first, but isn't fit")
	c.taken("a")
	c.drain("a")
	c.pass(election)
	require.NoError(t, c.transfer("c", ""))
	c.pass(election)
	require.Equal(t, raft.ServerID("a"), c.leader())
}

// Nor does a leader lead on that has failed to take the snapshot. It tries again.
func TestALeaderThatFailsToTakeASnapshotHandsOver(t *testing.T) {
	c := compacted(t)
	a := c.servers["a"]
	a.slow = true
	c.foundDamaged("a")
	a.core.SnapshotFailed(c.now, fmt.Errorf("no room"))
	taking := a.taking
	c.drain("a")
	c.pass(6 * election)
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.Same(t, taking, a.taking)
	c.pass(6 * election)
	require.NotSame(t, taking, a.taking)
}

// A leader hands over to a server of higher priority once that server has caught up, and the server
// of the highest priority leads on.
func TestPriorities(t *testing.T) {
	priority := map[raft.ServerID]int{"b": 1, "c": 2}
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.Priority = priority[config.ID] })
	c.elect("a")
	c.servers["c"].cut = true
	c.pass(10 * election)
	require.Equal(t, raft.ServerID("b"), c.leader())
	c.propose("a", "x")
	c.servers["c"].cut = false
	c.pass(2 * election)
	require.Equal(t, raft.ServerID("c"), c.leader())
	term := c.status("c").Term
	c.pass(10 * election)
	require.Equal(t, raft.ServerID("c"), c.leader())
	require.Equal(t, term, c.status("c").Term)
}

// A server of the highest priority that can't lead costs the cluster its leader less and less
// often.
func TestCourtesyHasItsLimits(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
		if config.ID == "c" {
			config.Priority = 1
		}
	})
	c.elect("a")
	attempts, handing := 0, raft.ServerID("")
	for end := c.now + raft.Instant(300*election); c.now < end; {
		c.now += raft.Instant(heartbeat / 2)
		for _, id := range c.ids {
			c.servers[id].core.Tick(c.now)
			c.drain(id)
		}
		c.take(is(wire.KindTimeoutNow)) // every TimeoutNow is lost
		c.settle()
		now := c.status("a").HandingOver
		if now != "" && handing == "" {
			attempts++
		}
		handing = now
	}
	require.Equal(t, raft.ServerID("a"), c.leader())
	require.Greater(t, attempts, 4)
	require.Less(t, attempts, 12)
	c.pass(100 * election)
	require.Equal(t, raft.ServerID("c"), c.leader(), "when nothing is lost, c leads")
}

// A fenced command is never forwarded, and never offered to another leader.
func TestFences(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	term := c.status("a").Term
	fenced := func(id raft.ServerID, fence raft.Term, command string) {
		c.servers[id].core.ProposeEntry(c.now, raft.Proposal{Kind: wire.EntryCommand, Data: []byte(command), Fence: fence})
		c.drain(id)
		c.settle()
	}
	fenced("a", term, "x")
	require.NoError(t, c.servers["a"].answers[0].Err)

	fenced("b", term, "at another server")
	fenced("a", term+1, "in another term")
	c.servers["a"].cut = true
	fenced("a", term, "is lost with its leader")
	require.Len(t, c.servers["a"].answers, 2, "its fate isn't known")
	c.pass(3 * election)
	require.NotEqual(t, raft.ServerID("a"), c.leader())
	c.servers["a"].cut = false
	c.pass(2 * election)
	require.Greater(t, c.status("a").Term, term)
	require.Len(t, c.servers["a"].answers, 3)
	for _, a := range []raft.Answer{c.servers["a"].answers[1], c.servers["a"].answers[2], c.servers["b"].answers[0]} {
		require.ErrorIs(t, a.Err, raft.ErrNotLeader)
		require.ErrorIs(t, a.Err, raft.ErrNotApplied)
	}
	for _, id := range c.ids {
		require.Equal(t, []string{"x"}, c.commands(id))
	}
}

// A fenced command that waits while its leader hands over is refused when another one leads.
func TestFencesEndWithTheLeadership(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	require.NoError(t, c.transfer("a", "b"))
	c.servers["a"].core.ProposeEntry(c.now, raft.Proposal{Kind: wire.EntryCommand, Data: []byte("x"), Fence: c.status("a").Term})
	c.drain("a")
	require.Empty(t, c.servers["a"].answers)
	c.settle()
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.Len(t, c.servers["a"].answers, 2)
	require.ErrorIs(t, c.servers["a"].answers[0].Err, raft.ErrNotLeader)
	require.NoError(t, c.servers["a"].answers[1].Err, "the transfer")
}

// transferCall asks for a transfer at any server, by an administrative call.
func (c *cores) transferCall(at, to raft.ServerID) {
	c.servers[at].core.Call(c.now, transferTo(to))
	c.drain(at)
	c.settle()
}

// A transfer can be asked for at every server. The caller gets its answer there when the target
// leads.
func TestTransferCalls(t *testing.T) {
	for _, at := range []raft.ServerID{"a", "b", "c"} {
		for _, to := range []raft.ServerID{"b", ""} {
			c := newCores(t, 3)
			c.elect("a")
			c.pass(3 * heartbeat)
			c.transferCall(at, to)
			c.pass(5 * heartbeat)
			require.Len(t, c.servers[at].answers, 1, "at %s to %q", at, to)
			require.NoError(t, c.servers[at].answers[0].Err)
			require.NotEqual(t, raft.ServerID("a"), c.leader())
			if to != "" {
				require.Equal(t, to, c.leader())
			}
		}
	}
}

func TestTransferCallsAreRefused(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	refused := func(to raft.ServerID, want error) {
		t.Helper()
		c.transferCall("b", to)
		answers := c.servers["b"].answers
		require.ErrorIs(t, answers[len(answers)-1].Err, want)
		require.ErrorIs(t, answers[len(answers)-1].Err, raft.ErrNotApplied)
	}
	refused("a", raft.ErrTransferTarget)
	refused("z", raft.ErrTransferTarget)
	c.servers["c"].cut = true
	require.NoError(t, c.transfer("a", "c"))
	refused("b", raft.ErrTransferInProgress)
	c.transferCall("b", "c") // joins the one that is under way
	before := len(c.servers["b"].answers)
	c.pass(election + heartbeat)
	require.Len(t, c.servers["b"].answers, before+1)
	require.ErrorIs(t, c.servers["b"].answers[before].Err, raft.ErrTransferGivenUp)
}

// If another server than the target is elected in the meantime, that server hands over to the
// target.
func TestTransferCallGoesOnAtTheNextLeader(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(3 * heartbeat)
	c.servers["a"].core.Call(c.now, transferTo("b"))
	c.drain("a")
	c.take(is(wire.KindTimeoutNow))
	c.servers["a"].cut = true
	c.servers["c"].core.Lost(c.now, "a")
	c.servers["b"].core.Lost(c.now, "a")
	for c.leader() != "c" {
		c.elect("c")
	}
	require.Empty(t, c.servers["a"].answers)
	c.servers["a"].cut = false
	c.pass(election)
	require.Equal(t, raft.ServerID("b"), c.leader())
	require.Len(t, c.servers["a"].answers, 1)
	require.NoError(t, c.servers["a"].answers[0].Err)
}

// Two callers that want different leaders have their way one after the other. The leadership
// doesn't go to and fro for ever.
func TestTransfersThatContradictEnd(t *testing.T) {
	c := newCores(t, 2)
	c.elect("a")
	c.pass(3 * heartbeat)
	c.servers["a"].core.Call(c.now, transferTo("b"))
	c.servers["b"].core.Call(c.now, transferTo("a"))
	c.drain("b")
	c.drain("a")
	c.pass(4 * election)
	require.Less(t, c.status("a").Term, raft.Term(6))
	for _, id := range c.ids {
		require.Zero(t, c.status(id).PendingCalls)
	}
}

// A leader that was just elected doesn't know yet who answers. A call that leaves the choice to it
// waits until it does.
func TestTransferRightAfterAnElection(t *testing.T) {
	for _, at := range []raft.ServerID{"a", "b"} {
		c := newCores(t, 3)
		c.elect("a")
		c.transferCall(at, "")
		require.Empty(t, c.servers[at].answers)
		c.pass(4 * heartbeat)
		require.Len(t, c.servers[at].answers, 1, "at %s", at)
		require.NoError(t, c.servers[at].answers[0].Err)
		require.NotEqual(t, raft.ServerID("a"), c.leader())
	}
	c := newCores(t, 3)
	c.elect("a")
	c.transferCall("a", "")
	c.servers["b"].cut, c.servers["c"].cut = true, true
	require.Equal(t, raft.WaitSuccessor, c.servers["a"].core.Explain().Call.Wait.On)
	c.pass(3 * heartbeat)
	require.Len(t, c.servers["a"].answers, 1, "and nobody answers")
	require.ErrorIs(t, c.servers["a"].answers[0].Err, raft.ErrTransferTarget)
	c = newCores(t, 1)
	c.elect("a")
	c.transferCall("a", "")
	require.Len(t, c.servers["a"].answers, 1, "there is nobody else")
	require.ErrorIs(t, c.servers["a"].answers[0].Err, raft.ErrTransferTarget)
}
