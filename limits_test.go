package raft_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// These tests fill each bound of a core to its limit, and put one byte more on top.

// inFlight returns what is on its way from a leader to a peer.
func (c *cores) inFlight(leader, peer raft.ServerID) raft.PeerStatus {
	for _, p := range c.servers[leader].core.Explain().Peers {
		if p.ID == peer {
			return p
		}
	}
	require.Fail(c.t, "no such peer", peer)
	return raft.PeerStatus{}
}

// An append takes what fits into the room that the window has left. One byte more waits.
func TestWindowIsFilledToItsLimit(t *testing.T) {
	const overheads = 2 * (wire.MessageOverhead + wire.EntryOverhead)
	for more := range 2 {
		c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.WindowBytes = 40_960 })
		c.elect("a")
		c.pass(2 * heartbeat)
		c.servers["b"].slowDisk = true
		a := c.servers["a"]
		for _, size := range []int{30_000, 10_960 - overheads + more} {
			a.core.Propose(c.now, make([]byte, size))
			c.drain("a")
		}
		want := 40_960
		if more > 0 {
			want = 30_000 + overheads/2
		}
		require.Equal(t, want, c.inFlight("a", "b").InFlightBytes)
		c.settle()
		c.servers["b"].slowDisk = false
		c.finishWrites("b")
		c.settle()
		c.pass(2 * heartbeat)
		require.Zero(t, c.inFlight("a", "b").InFlightBytes)
		require.Equal(t, c.status("a").Last, c.status("b").Stable, "what waited is sent once there is room")
	}
}

// Whatever the sizes of commands are, and wherever they are read from, what is on its way to a peer
// is within the window, or it is one append with one entry.
func TestWindowIsKept(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		window := rapid.IntRange(1, 5000).Draw(r, "window")
		c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
			config.WindowBytes = window
			config.TailBytes = rapid.SampledFrom([]int{1, 1 << 20}).Draw(r, "tail")
			config.MaxAppendBytes = rapid.SampledFrom([]int{1, 1000, 1 << 20}).Draw(r, "append")
		})
		c.elect("a")
		c.pass(2 * heartbeat)
		c.servers["b"].slowDisk = true
		for _, size := range rapid.SliceOfN(rapid.IntRange(0, 3000), 1, 30).Draw(r, "sizes") {
			c.servers["a"].core.Propose(c.now, make([]byte, size))
			if rapid.Bool().Draw(r, "drains") {
				c.drain("a")
				c.settle()
				p := c.inFlight("a", "b")
				require.True(r, p.InFlightBytes <= window || p.InFlight == 1, "%d bytes in %d appends, the window is %d", p.InFlightBytes, p.InFlight, window)
			}
			if rapid.IntRange(0, 3).Draw(r, "writes") == 0 {
				c.finishWrites("b")
				c.settle()
			}
		}
		c.servers["b"].slowDisk = false
		c.finishWrites("b")
		c.settle()
		c.pass(4 * heartbeat)
		require.Equal(r, c.status("a").Last, c.status("b").Stable)
	})
}

// A server forwards no more at a time than the window holds. One byte more waits until something
// was seen in the log, and isn't lost.
func TestForwardsAreWithinTheWindow(t *testing.T) {
	for more := range 2 {
		c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.WindowBytes = 10_000 })
		c.elect("a")
		c.pass(2 * heartbeat)
		b := c.servers["b"]
		b.core.Propose(c.now, make([]byte, 6000))
		b.core.Propose(c.now, make([]byte, 4000-2*wire.EntryOverhead+more))
		b.core.Propose(c.now, []byte("large ones aren't overtaken"))
		c.drain("b")
		commands := 0
		for _, forward := range c.forwards() {
			commands += len(forward.ForwardRequest().Commands)
			c.deliver(forward)
		}
		require.Equal(t, 2-more, commands)
		c.settle()
		c.pass(2 * heartbeat)
		require.Len(t, b.answers, 3)
	}
}

// takenAhead returns how many bytes of commands a leader takes in before its callers must wait.
func (c *cores) takenAhead(id raft.ServerID, size int) int {
	before := c.status(id).Last
	for range 100 {
		c.servers[id].core.Propose(c.now, make([]byte, size-wire.EntryOverhead))
	}
	c.drain(id)
	return int(c.status(id).Last-before) * size
}

// A leader whose disk lags takes in what the disk does in about two heartbeat intervals, though all
// others keep up. It takes in more as its disk goes on.
func TestIntakeFollowsTheDisk(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.MaxPending = 1000 })
	c.elect("a")
	c.pass(2 * heartbeat)
	c.servers["a"].slowDisk = true
	const room = 8 * 25_000 // what is assumed of a disk of which nothing is known
	require.Equal(t, room, c.takenAhead("a", 5000))
	c.settle()
	require.Equal(t, c.status("a").Commit, c.status("a").Last, "the others hold all of it")
	require.Zero(t, c.takenAhead("a", 5000))
	require.NotEmpty(t, c.servers["a"].answers)
	c.servers["a"].slowDisk = false
	c.finishWrites("a")
	c.settle()
	c.pass(2 * heartbeat)
	require.Zero(t, c.status("a").PendingProposals, "all that waited was taken")
	for _, answer := range c.servers["a"].answers {
		require.NoError(t, answer.Err)
	}
}

// A leader whose state machine lags takes in what the state machine does in about two heartbeat
// intervals.
func TestIntakeFollowsTheMachine(t *testing.T) {
	c := newCoresWith(t, 1, func(config *raft.CoreConfig) { config.MaxPending = 1000 })
	c.elect("a")
	c.pass(2 * heartbeat)
	c.servers["a"].lame = true
	const room = 8 * 25_000
	require.LessOrEqual(t, c.takenAhead("a", 5000), 2*room) // one for the machine, one for the disk
	require.Zero(t, c.takenAhead("a", 5000))
}

// A disk that is busy with one large entry isn't taken for one that stands still. But that it is
// busy for ever isn't believed either.
func TestLargeEntriesMayTakeTheirTime(t *testing.T) {
	c := newCores(t, 3)
	c.elect("a")
	c.pass(2 * heartbeat)
	a := c.servers["a"]
	a.slowDisk = true
	a.core.Propose(c.now, make([]byte, 1<<20)) // 1 s on a disk of 1 MB/s, ten election timeouts
	c.drain("a")
	c.settle()
	c.pass(10 * election)
	require.Equal(t, raft.ServerID("a"), c.leader())
	c.finishWrites("a")
	a.core.Propose(c.now, []byte("small"))
	c.drain("a")
	c.pass(2 * election)
	require.NotEqual(t, raft.ServerID("a"), c.leader(), "a small write has no such excuse")
}

// The commands that callers wait for fill their bounds to the limit. One byte, or one command, more
// is refused with the name of the bound.
func TestPendingIsFilledToItsLimit(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.MaxPendingBytes, config.MaxPending = 1000, 3 })
	a := c.servers["a"]
	a.core.Propose(c.now, make([]byte, 500-wire.EntryOverhead))
	a.core.Propose(c.now, make([]byte, 501-wire.EntryOverhead))
	a.core.Propose(c.now, make([]byte, 500-wire.EntryOverhead))
	c.drain("a")
	require.Len(t, a.answers, 1)
	require.ErrorIs(t, a.answers[0].Err, raft.ErrOverloaded)
	require.ErrorContains(t, a.answers[0].Err, "MaxPendingBytes")
	a.answers = nil
	c.servers["a"].core.Cancel(1, raft.ErrClosed)
	for range 3 {
		a.core.Propose(c.now, nil)
	}
	c.drain("a")
	require.Len(t, a.answers, 2)
	require.ErrorIs(t, a.answers[1].Err, raft.ErrOverloaded)
	require.True(t, errors.Is(a.answers[1].Err, raft.ErrNotApplied))
}

// A leader's log is filled to its limits: one byte more waits.
func TestUncommittedIsFilledToItsLimit(t *testing.T) {
	for more := range 2 {
		c := newCoresWith(t, 3, func(config *raft.CoreConfig) { config.MaxUncommittedBytes = 1000 })
		c.elect("a")
		c.pass(2 * heartbeat)
		c.servers["b"].cut, c.servers["c"].cut = true, true
		before := c.status("a").Last
		for _, size := range []int{600, 400 + more} {
			c.servers["a"].core.Propose(c.now, make([]byte, size-wire.EntryOverhead))
		}
		c.drain("a")
		require.Equal(t, before+raft.Index(2-more), c.status("a").Last)
		require.Empty(t, c.servers["a"].answers)
	}
}

// A write is filled to its limit: one byte more waits for the next write.
func TestWritesAreFilledToTheirLimit(t *testing.T) {
	for more := range 2 {
		c := newCoresWith(t, 1, func(config *raft.CoreConfig) { config.MaxWriteBytes = 1000 })
		c.elect("a")
		a := c.servers["a"]
		a.slowDisk = true
		for _, size := range []int{600, 400 + more} {
			a.core.Propose(c.now, make([]byte, size-wire.EntryOverhead))
		}
		c.drain("a")
		require.Len(t, a.writes, 1)
		require.Len(t, a.writes[0].Entries, 2-more)
		a.slowDisk = false
		c.finishWrites("a")
		require.Equal(t, c.status("a").Last, c.status("a").Stable)
	}
}

// What a leader's state machine owes is filled to its limit: one byte more waits until something
// was applied.
func TestUnappliedIsFilledToItsLimit(t *testing.T) {
	for more := range 2 {
		c := newCoresWith(t, 1, func(config *raft.CoreConfig) { config.MaxUnappliedBytes = 1000 })
		c.elect("a")
		c.pass(2 * heartbeat)
		a := c.servers["a"]
		a.lame = true
		before := c.status("a").Last
		for _, size := range []int{600, 400 + more} {
			a.core.Propose(c.now, make([]byte, size-wire.EntryOverhead))
			c.drain("a")
		}
		require.Equal(t, before+raft.Index(2-more), c.status("a").Last)
		require.Equal(t, c.status("a").Last, c.status("a").Commit, "neither the disk nor the others hold it up")
		require.Empty(t, a.answers)
	}
}
