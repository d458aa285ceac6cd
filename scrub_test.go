package raft_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// scrubs returns the reads by which a server has looked whether bytes are lost.
func (s *server) scrubs() (scrubs []raft.Fetch) {
	for _, f := range s.fetches {
		if f.Scrub {
			scrubs = append(scrubs, f)
		}
	}
	return scrubs
}

// newScrubbed starts servers that read their logs at a rate, and pause for an election timeout after each
// pass. They have a leader, and commands in their logs.
func newScrubbed(t *testing.T, n, rate, commands int) *cores {
	c := newCoresWith(t, n, func(config *raft.CoreConfig) {
		config.ScrubBytesPerSecond, config.ScrubPause = rate, election
		config.TailBytes = 1 // otherwise what is lost would be in memory
	})
	c.elect("a")
	for i := range commands {
		c.propose("a", fmt.Sprint("command ", i, strings.Repeat(".", 100)))
	}
	return c
}

// What is lost at a server that runs, and that nobody reads, is found and repaired.
func TestScrubFindsWhatNobodyReads(t *testing.T) {
	c := newScrubbed(t, 3, 1<<20, 50)
	c.pass(election)
	c.lose("b", 1, 7, 8, 30)
	c.lose("c", 9)
	c.lose("a", 51) // the last one
	require.Empty(t, c.status("b").Lost)
	c.pass(4 * election)
	for _, id := range c.ids {
		require.Empty(t, c.servers[id].gone, "server %s", id)
		require.Empty(t, c.status(id).Lost, "server %s", id)
	}
}

// A pass ends where the log ended when it began. So a server whose log grows all the time looks for
// damage again and again, too, and not behind its end alone.
func TestScrubEndsUnderLoad(t *testing.T) {
	c := newScrubbed(t, 3, 1<<20, 50)
	load := func(d time.Duration) {
		for until := c.now + raft.Instant(d); c.now < until; c.pass(heartbeat) {
			c.propose("a", "one more")
		}
	}
	load(2 * election) // and the first pass is over
	c.lose("b", 7)
	load(6 * election)
	require.Empty(t, c.servers["b"].gone)
	require.Empty(t, c.status("b").Lost)
}

// A pass reads the whole log once, at the rate, and then there is a pause.
func TestScrubKeepsItsRate(t *testing.T) {
	const each = 112 + wire.EntryOverhead // of a command, about
	c := newScrubbed(t, 1, 4*each*int(time.Second/heartbeat), 40)
	s := c.servers["a"]
	begun := len(s.scrubs())
	for pass, n := 0, 0; pass < 3; n++ {
		require.Less(t, n, 1000)
		before := len(s.scrubs())
		c.pass(heartbeat)
		require.LessOrEqual(t, len(s.scrubs()), before+1, "one read in a heartbeat interval")
		if n := len(s.scrubs()); n > before && s.scrubs()[n-1].After == 0 {
			pass++
		}
	}
	reads := s.scrubs()[begun:]
	for i := 1; i < len(reads); i++ {
		if reads[i].After != 0 {
			require.Greater(t, reads[i].After, reads[i-1].After)
			require.LessOrEqual(t, reads[i].After, reads[i-1].After+9, "4 entries, or their data with one more")
		}
	}
}

// What is known to be lost isn't read again to find that out.
func TestScrubPassesOverWhatIsKnownToBeLost(t *testing.T) {
	c := newScrubbed(t, 1, 1<<20, 40)
	s := c.servers["a"]
	s.unsound = raft.ErrCorrupt // so no snapshot takes the place of what is lost
	c.lose("a", 10)
	c.pass(4 * election)
	require.Equal(t, []wire.Range{{First: 10, Last: 10}}, c.status("a").Lost)
	s.fetches = nil
	c.pass(4 * election)
	require.Equal(t, []wire.Range{{First: 10, Last: 10}}, c.status("a").Lost)
	for _, f := range s.scrubs() {
		require.NotEqual(t, raft.Index(9), f.After)
	}
	require.NotEmpty(t, s.scrubs())
}

// A read of a large entry is paid for before the next one.
func TestScrubPaysForLargeEntries(t *testing.T) {
	c := newScrubbed(t, 1, 1000, 0)
	c.propose("a", strings.Repeat("x", 1000))
	c.propose("a", "small")
	s := c.servers["a"]
	for n := 0; len(s.scrubs()) == 0 || s.scrubs()[len(s.scrubs())-1].After != 1; n++ {
		require.Less(t, n, 1000)
		c.pass(heartbeat)
	}
	s.fetches = nil
	c.pass(time.Second)
	require.Empty(t, s.scrubs())
	c.pass(time.Second)
	require.NotEmpty(t, s.scrubs())
}

// Writes and other reads go first, for ten heartbeat intervals. While the disk has stalled, nothing is
// read. A read that hangs costs a leader nothing.
func TestScrubLetsOtherWorkGoFirst(t *testing.T) {
	c := newScrubbed(t, 3, 1<<20, 50)
	c.pass(election)
	s := c.servers["b"]
	s.slowDisk, s.fetches = true, nil
	c.propose("a", "a write that waits")
	c.pass(9 * heartbeat)
	require.Empty(t, s.scrubs())
	for range 10 { // a disk that always has something to do, and goes on
		c.finishWrites("b")
		c.propose("a", "another write that waits")
		c.pass(5 * heartbeat)
	}
	require.NotEmpty(t, s.scrubs())
	c.pass(2 * election) // it has stalled now
	s.fetches = nil
	c.pass(10 * election)
	require.Empty(t, s.scrubs())

	c = newScrubbed(t, 1, 1<<20, 50)
	s = c.servers["a"]
	s.hungReads, s.fetches = true, nil
	c.pass(20 * election)
	require.Len(t, s.scrubs(), 1, "one at a time")
	require.Equal(t, "leader", c.status("a").Role)
	require.Equal(t, "command 0", c.commands("a")[0][:9])
	s.hungReads = false
	s.core.Fetched(c.now, s.scrubs()[0], nil) // the log has left that place meanwhile
	c.pass(10 * election)
	require.Greater(t, len(s.scrubs()), 1)
}

// What nobody can give any more is covered by a snapshot while the state machine still has the state: so
// the server can start again.
func TestWhatNobodyHasIsCovered(t *testing.T) {
	c := newScrubbed(t, 1, 1<<20, 40)
	c.lose("a", 10, 30)
	c.pass(5 * election)
	s := c.servers["a"]
	require.GreaterOrEqual(t, s.current.Index, raft.Index(30))
	c.start("a")
	require.NoError(t, c.status("a").SnapshotTrouble)

	c = newScrubbed(t, 3, 1<<20, 40)
	for _, id := range c.ids {
		c.lose(id, 10)
	}
	c.pass(40 * election)
	for _, id := range c.ids {
		require.GreaterOrEqual(t, c.servers[id].current.Index, raft.Index(10), "server %s", id)
	}
	for _, id := range c.ids {
		c.start(id)
	}
	c.pass(10 * election)
	c.propose(c.leader(), "after")
	require.Contains(t, c.commands(c.leader()), "after")
}

// A node reads its log unless it is told not to. What it finds is told and repaired.
func TestNodeScrubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		var mu sync.Mutex
		read := map[raft.ServerID]int{}
		c.adjust = func(config *raft.Config) {
			id := config.ID
			config.TailBytes = 1
			config.Trace = &raft.Trace{Fetched: func(f raft.FetchTrace) {
				mu.Lock()
				defer mu.Unlock()
				if f.Scrub {
					read[id]++
				}
			}}
			if id == "c" {
				config.ScrubBytesPerSecond = -1
			}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		proposeMany(t, c.nodes["a"], "command", 30)
		time.Sleep(61 * electionTimeout)
		c.disks["a"].Damage(12, 13)
		c.disks["b"].Damage(20, 20)
		time.Sleep(200 * electionTimeout)
		for _, id := range c.ids {
			_, err := c.disks[id].Entries(11, 21, 1<<20)
			require.NoError(t, err, "the disk of %s has them again", id)
			require.Nil(t, c.nodes[id].Status().Damage)
		}
		mu.Lock()
		defer mu.Unlock()
		require.NotZero(t, read["a"])
		require.Zero(t, read["c"])
	})
}

// A snapshot that is damaged on a running server's disk is found, and another one is taken.
func TestScrubFindsADamagedSnapshot(t *testing.T) {
	c := newScrubbed(t, 3, 1000, 10)
	for _, id := range c.ids {
		c.servers[id].core.Snapshot(c.now)
		c.drain(id)
	}
	c.settle()
	s := c.servers["b"]
	was := s.current
	require.NotZero(t, was.Index)
	s.fetches = nil
	c.pass(60 * election)
	var read uint64
	for _, f := range s.scrubs() {
		if f.Snapshot == nil {
			continue
		}
		require.Equal(t, was.Index, f.Snapshot.Index)
		if f.Offset != 0 {
			require.Equal(t, read, f.Offset)
		}
		read = f.Offset + uint64(f.MaxBytes)
	}
	require.Greater(t, read, uint64(snapshotSize), "to its end, and the end as well")
	s.lost = true
	require.NoError(t, c.status("b").SnapshotTrouble)
	c.propose("a", "one more")
	c.pass(60 * election)
	require.Greater(t, s.current.Index, was.Index)
	require.NoError(t, c.status("b").SnapshotTrouble)
}

// A node finds that its snapshot is damaged while it runs, and has another one taken.
func TestNodeScrubsItsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{MaxDelay: time.Millisecond})
		disks, pieces := map[raft.ServerID]*moldy{}, map[raft.ServerID]int{}
		var mu sync.Mutex
		c.adjust = func(config *raft.Config) {
			id := config.ID
			disks[id] = &moldy{Storage: c.disks[id].Storage}
			config.Storage, config.ScrubBytesPerSecond = disks[id], 500
			config.Trace = &raft.Trace{Fetched: func(f raft.FetchTrace) {
				mu.Lock()
				defer mu.Unlock()
				if f.Snapshot != 0 {
					pieces[id]++
				}
			}}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		proposeMany(t, c.nodes["a"], "command", 30)
		require.NoError(t, c.nodes["b"].Read(t.Context()))
		index, err := c.nodes["b"].Snapshot(t.Context())
		require.NoError(t, err)
		time.Sleep(200 * electionTimeout)
		mu.Lock()
		require.Greater(t, pieces["b"], 3)
		mu.Unlock()
		disks["b"].set(index)
		proposeMany(t, c.nodes["a"], "another command", 1)
		time.Sleep(200 * electionTimeout)
		disks["b"].mu.Lock()
		require.Zero(t, disks["b"].moldy, "another snapshot has taken its place")
		disks["b"].mu.Unlock()
		require.NoError(t, c.nodes["b"].Status().SnapshotTrouble)
	})
}

// The core of a driver that serves many groups reads its log when it is told to, once. In between it
// has nothing to do for that.
func TestScrubOnCall(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
		config.ScrubBytesPerSecond, config.TailBytes, config.Coalesced = 1<<20, 1, true
	})
	c.elect("a")
	for range 50 {
		c.propose("a", strings.Repeat(".", 100))
	}
	c.lose("b", 7)
	c.pass(4 * election)
	b := c.servers["b"]
	require.NotContains(t, b.core.Armed(nil), "scrub")
	require.Empty(t, b.scrubs())
	for range 2 {
		require.False(t, b.core.Scrubs())
		b.core.Scrub(c.now)
		require.True(t, b.core.Scrubs())
		before := len(b.scrubs())
		c.pass(4 * election)
		require.Greater(t, len(b.scrubs()), before)
		require.NotContains(t, b.core.Armed(nil), "scrub")
	}
	require.Empty(t, b.gone)
}
