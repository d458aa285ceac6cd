package raft_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A command is applied once by default: an offer is for one term, and comes again only when no copy
// of it can commit (proposals.go).

// forwards takes the forwards from the network.
func (c *cores) forwards() []wire.Message { return c.take(is(wire.KindForwardRequest)) }

// offer proposes at a server without delivering anything, and returns the forward.
func (c *cores) offer(id raft.ServerID, command string) (number uint64, forward wire.Message) {
	number = c.servers[id].core.Propose(c.now, []byte(command))
	c.drain(id)
	sent := c.forwards()
	require.Len(c.t, sent, 1)
	return number, sent[0]
}

func TestForwardIsTakenOnce(t *testing.T) {
	c := founded(t, 3)
	_, forward := c.offer("b", "x")
	for range 3 {
		c.deliver(forward)
	}
	c.settle()
	c.deliver(forward) // another copy, after the command was answered
	c.settle()
	require.Equal(t, []string{"first", "x"}, c.commands("b"))
	require.Len(t, c.servers["b"].answers, 1)
	require.NoError(t, c.servers["b"].answers[0].Err)
}

func TestLostForwardIsSentAgain(t *testing.T) {
	c := founded(t, 3)
	c.offer("b", "x")
	c.pass(3 * heartbeat)
	require.Equal(t, []string{"first", "x"}, c.commands("b"))
	require.Len(t, c.servers["b"].answers, 1)
}

// A forward to the leader of one term isn't taken by the leader of another term, even if it is the
// same server.
func TestForwardIsForOneTerm(t *testing.T) {
	c := founded(t, 3)
	_, forward := c.offer("b", "x")
	c.servers["a"].cut = true
	c.elect("c")
	before := c.status("c").Last
	toOther := forward
	toOther.To = "c"
	c.deliver(toOther)
	require.Equal(t, before, c.status("c").Last)

	c.servers["a"].cut = false
	c.pass(2 * election)
	c.servers["c"].cut = true
	c.elect("a")
	before = c.status("a").Last
	c.deliver(forward)
	require.Equal(t, before, c.status("a").Last)
}

// The origin offers a command again after it has applied an entry of a later term without having
// met the command, and not before.
func TestCommandIsOfferedAgainWhenProvenLost(t *testing.T) {
	c := founded(t, 3)
	_, lost := c.offer("b", "x") // never arrives
	c.servers["a"].cut = true
	withheld := c.electWithout("c", wire.KindAppendRequest)
	c.pass(0)
	for range 3 { // b knows the new leader by its heartbeat, but has applied nothing of its term
		c.now += raft.Instant(heartbeat)
		c.servers["b"].core.Tick(c.now)
		c.drain("b")
		require.Empty(t, c.forwards())
	}
	for _, m := range withheld {
		c.deliver(m)
	}
	c.settle()
	c.pass(2 * heartbeat)
	require.Equal(t, []string{"first", "x"}, c.commands("b"))
	c.servers["a"].cut = false
	c.deliver(lost)
	c.pass(2 * election)
	for _, id := range c.ids {
		require.Equal(t, []string{"first", "x"}, c.commands(id))
	}
}

// A leader that is deposed with a command in its log waits for the log to tell what became of it.
func TestDeposedLeaderLearnsTheFate(t *testing.T) {
	for _, survives := range []bool{true, false} {
		c := founded(t, 3)
		c.servers["b"].cut = !survives
		c.servers["c"].cut = true
		a := c.servers["a"]
		a.core.Propose(c.now, []byte("x"))
		c.drain("a")
		for _, m := range c.take(is(wire.KindAppendRequest)) {
			c.deliver(m)
		}
		a.cut = true
		c.network = nil
		c.servers["b"].cut, c.servers["c"].cut = false, false
		c.elect("b")
		require.Len(t, a.answers, 1, "nothing is known yet")
		a.cut = false
		c.pass(2 * election)
		require.Len(t, a.answers, 2)
		require.NoError(t, a.answers[1].Err)
		for _, id := range c.ids {
			require.Equal(t, []string{"first", "x"}, c.commands(id), "survives: %v", survives)
		}
	}
}

func TestCancelSaysWhetherTheCommandLeft(t *testing.T) {
	c := newCores(t, 3)
	b := c.servers["b"]
	early := b.core.Propose(c.now, []byte("no leader yet"))
	c.drain("b")
	b.core.Cancel(early, context.Canceled)
	c.drain("b")
	require.Len(t, b.answers, 1)
	require.ErrorIs(t, b.answers[0].Err, raft.ErrNotApplied)
	require.ErrorIs(t, b.answers[0].Err, context.Canceled)

	c.elect("a")
	number, forward := c.offer("b", "x")
	b.core.Cancel(number, context.DeadlineExceeded)
	c.drain("b")
	require.Len(t, b.answers, 2)
	require.ErrorIs(t, b.answers[1].Err, raft.ErrOutcomeUnknown)
	require.ErrorIs(t, b.answers[1].Err, context.DeadlineExceeded)
	c.deliver(forward)
	c.settle()
	c.pass(2 * heartbeat)
	require.Equal(t, []string{"x"}, c.commands("b"), "it was in flight, and arrived")
	require.Len(t, b.answers, 2)
}

// fullLeader returns a cluster whose leader a has no room for another command: it has one, and no
// disk beside its own has that.
func fullLeader(t *testing.T) *cores {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.MaxUncommittedBytes = 1000 })
	c.elect("a")
	c.pass(3 * heartbeat)
	for _, id := range c.ids {
		c.servers[id].answers = nil
	}
	c.servers["c"].cut = true
	c.servers["b"].slowDisk = true
	c.servers["a"].core.Propose(c.now, make([]byte, 900))
	c.drain("a")
	return c
}

// makeRoom lets a full leader commit what it has.
func (c *cores) makeRoom() {
	c.servers["b"].slowDisk = false
	c.settle()
	c.finishWrites("b")
	c.settle()
	c.pass(4 * heartbeat)
}

// A forwarded command for which the leader has no room waits there, and is neither refused nor
// lost nor taken twice, however often it comes.
func TestForwardsWaitForRoom(t *testing.T) {
	c := fullLeader(t)
	_, first := c.offer("b", "first")
	_, second := c.offer("b", "second")
	for range 3 {
		c.deliver(first)
		c.deliver(second)
	}
	require.Empty(t, c.take(is(wire.KindForwardResponse)))
	require.Empty(t, c.servers["b"].answers)
	c.makeRoom()
	require.Equal(t, []string{"first", "second"}, c.commands("b")[len(c.commands("b"))-2:])
	require.Len(t, c.commands("b"), 3)
	require.Len(t, c.servers["b"].answers, 2)
	for _, answer := range c.servers["b"].answers {
		require.NoError(t, answer.Err)
	}
}

// Those who wait at the leader, and those who wait elsewhere, take turns.
func TestWaitingCommandsTakeTurns(t *testing.T) {
	c := fullLeader(t)
	for _, command := range []string{"b1", "b2", "b3"} {
		_, forward := c.offer("b", command)
		c.deliver(forward)
	}
	for _, command := range []string{"a1", "a2", "a3"} {
		c.servers["a"].core.Propose(c.now, []byte(command))
	}
	c.drain("a")
	require.Equal(t, raft.WaitStored, c.servers["a"].core.Explain().Command.Wait.On)
	c.makeRoom()
	got := c.commands("a")[1:]
	require.Len(t, got, 6)
	for i := range 3 {
		require.ElementsMatch(t, []string{fmt.Sprint("a", i+1), fmt.Sprint("b", i+1)}, got[2*i:2*i+2])
	}
}

// A command that is too large for the room left holds up smaller ones. Otherwise it might wait for
// ever.
func TestLargeCommandsAreNotOvertaken(t *testing.T) {
	c := fullLeader(t)
	a := c.servers["a"]
	a.core.Propose(c.now, make([]byte, 2000))
	a.core.Propose(c.now, nil)
	c.drain("a")
	last := c.status("a").Last
	_, forward := c.offer("b", "small")
	c.deliver(forward)
	require.Equal(t, last, c.status("a").Last)
	c.makeRoom()
	require.Len(t, c.commands("a"), 4)
	require.Equal(t, "small", c.commands("a")[1], "it was the turn of a forwarded command")
	require.Len(t, c.commands("a")[2], 2000)
}

// A command that is canceled while it waits at the leader itself was never offered.
func TestCanceledWaitIsNotApplied(t *testing.T) {
	c := fullLeader(t)
	a, b := c.servers["a"], c.servers["b"]
	number := a.core.Propose(c.now, []byte("here"))
	c.drain("a")
	a.core.Cancel(number, context.Canceled)
	away, forward := c.offer("b", "away")
	c.deliver(forward)
	b.core.Cancel(away, context.Canceled)
	c.drain("a")
	c.drain("b")
	require.ErrorIs(t, a.answers[len(a.answers)-1].Err, raft.ErrNotApplied)
	require.ErrorIs(t, b.answers[len(b.answers)-1].Err, raft.ErrOutcomeUnknown)
	c.makeRoom()
	require.NotContains(t, c.commands("a"), "here")
}

// What a disk that doesn't count has forwarded doesn't even wait.
func TestForwardsOfAnotherDiskAreIgnored(t *testing.T) {
	c := fullLeader(t)
	_, forward := c.offer("b", "gone")
	forward.FromIncarnation++
	c.deliver(forward)
	c.makeRoom()
	require.Contains(t, c.commands("a"), "gone", "the disk that counts offers it again")
	require.Len(t, c.commands("a"), 2)
}

// A leader takes no more of what waits once it hands over. If that is given up, it goes on.
func TestWaitingCommandsWaitForTheHandover(t *testing.T) {
	c := fullLeader(t)
	_, forward := c.offer("b", "later")
	c.deliver(forward)
	require.NoError(t, c.servers["a"].core.Transfer(c.now, "c"))
	last := c.status("a").Last
	c.servers["b"].slowDisk = false
	c.finishWrites("b")
	c.settle()
	c.pass(3 * heartbeat)
	require.Equal(t, last, c.status("a").Last)
	c.pass(2 * election)
	require.Contains(t, c.commands("a"), "later")
}

// A leader without a quorum refuses commands rather than let its log grow.
func TestUncommittedBytesAreBounded(t *testing.T) {
	c := founded(t, 3)
	c.servers["b"].cut, c.servers["c"].cut = true, true
	a := c.servers["a"]
	for range 80 {
		a.core.Propose(c.now, make([]byte, 1<<20))
		c.drain("a")
	}
	refused := 0
	for _, answer := range a.answers[1:] {
		require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
		require.ErrorIs(t, answer.Err, raft.ErrOverloaded)
		refused++
	}
	require.Equal(t, 80-63, refused)
}

// An answer to a request of an earlier start releases no read of today.
func TestReadAnswersAreForOneStart(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	b.core.Read(c.now)
	c.drain("b")
	c.settle()
	require.Len(t, b.answers, 1)
	leader := c.status("a")
	old := wire.ReadResponse{Start: c.status("b").Start, Number: 1, Index: 1}.Message().In(wire.Envelope{
		From: "a", To: "b", Term: leader.Term, Cluster: leader.Cluster, FromIncarnation: leader.Incarnation,
	})
	c.restart("b")
	c.pass(2 * heartbeat)
	b.core.Read(c.now)
	c.drain("b")
	c.deliver(old)
	require.Empty(t, b.answers)
	c.settle()
	require.Len(t, b.answers, 1)
}

// However small messages are, all that was lost on the way is sent again within a heartbeat
// interval or two.
func TestManyLostForwardsAreSentAgainSoon(t *testing.T) {
	c := newCores(t, 3)
	c.servers["b"].config.MaxAppendBytes = 1
	c.restart("b")
	c.elect("a")
	c.pass(2 * heartbeat)
	b := c.servers["b"]
	for range 40 {
		b.core.Propose(c.now, []byte("x"))
	}
	c.drain("b")
	require.Len(t, c.forwards(), 40)
	c.pass(4 * heartbeat)
	require.Len(t, b.answers, 40)
}

// However calls come and end while there is no leader, each is answered once, and no more of them
// wait than the limit says. Once there is a leader, those that still wait are applied in order.
func TestPendingCommandsKeepTheirOrderAndLimit(t *testing.T) {
	gone := errors.New("gone")
	rapid.Check(t, func(r *rapid.T) {
		c := newCores(t, 3)
		s := c.servers["a"]
		limit := rapid.IntRange(1, 300).Draw(r, "limit")
		s.config.MaxPending = limit
		c.restart("a")
		var waiting []uint64
		answered := 0
		for range rapid.IntRange(1, 20).Draw(r, "rounds") {
			for range rapid.IntRange(0, 100).Draw(r, "proposals") {
				number := s.core.Propose(c.now, []byte("x"))
				if len(waiting) < limit {
					waiting = append(waiting, number)
				} else {
					answered++
				}
			}
			for range rapid.IntRange(0, 100).Draw(r, "cancellations") {
				if len(waiting) == 0 {
					break
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(r, "which")
				s.core.Cancel(waiting[i], gone)
				s.core.Cancel(waiting[i], gone)
				waiting = slices.Delete(waiting, i, i+1)
				answered++
			}
			c.drain("a")
			require.Len(r, s.answers, answered)
			require.Equal(r, len(waiting), s.core.Status().PendingProposals)
		}
		for _, a := range s.answers {
			require.ErrorIs(r, a.Err, raft.ErrNotApplied)
			require.True(r, errors.Is(a.Err, gone) || errors.Is(a.Err, raft.ErrOverloaded))
		}
		s.answers = nil
		c.elect("a")
		applied := []uint64{}
		for _, a := range s.answers {
			require.NoError(r, a.Err)
			applied = append(applied, a.Number)
		}
		require.ElementsMatch(r, waiting, applied)
		require.True(r, slices.IsSorted(applied))
	})
}

// A command that is refused takes no room, however long an earlier one waits.
func TestRefusedCommandsTakeNoRoom(t *testing.T) {
	c := newCores(t, 3)
	s := c.servers["a"]
	s.config.MaxPending = 2
	c.restart("a")
	for range 2 {
		s.core.Propose(c.now, nil)
	}
	before := len(s.core.AppendState(nil, letter))
	for i := range 1000 {
		s.core.Propose(c.now, nil)
		c.drain("a")
		require.Len(t, s.answers, i+1)
		require.ErrorIs(t, s.answers[i].Err, raft.ErrOverloaded)
	}
	require.InDelta(t, before, len(s.core.AppendState(nil, letter)), 4)
	s.core.Cancel(2, fmt.Errorf("gone"))
	s.core.Propose(c.now, nil)
	c.drain("a")
	require.Len(t, s.answers, 1001, "there is room again, though the first one still waits")
}
