package raft_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// reserve is the reserve of the cores whose disks have an end. A command of these tests takes 100
// bytes.
const reserve = 1000

// roomy founds a cluster of servers whose disks have room for so many bytes, and lets a lead.
func roomy(t *testing.T, sizes ...uint64) *cores { return roomyWith(t, reserve, sizes...) }

func roomyWith(t *testing.T, reserve int, sizes ...uint64) *cores {
	c := newCoresWith(t, len(sizes), func(config *raft.CoreConfig) { config.ReserveBytes = reserve })
	for i, id := range c.ids {
		c.servers[id].size = sizes[i]
		c.drain(id)
	}
	c.elect("a")
	c.pass(3 * heartbeat)
	require.Equal(t, raft.ServerID("a"), c.leader())
	return c
}

// tellRoom tells a core how much room its disk has.
func (c *cores) tellRoom(s *server) {
	if s.size > 0 {
		used := uint64(0)
		for _, e := range s.log[s.base:] {
			used += uint64(e.Size())
		}
		s.core.Room(c.now, s.size-min(used, s.size))
	}
}

// resize gives a disk another size, so that it has room for so many bytes beside the log.
func (c *cores) resize(id raft.ServerID, room uint64) {
	s := c.servers[id]
	s.size = room
	for _, e := range s.log[s.base:] {
		s.size += uint64(e.Size())
	}
	c.drain(id)
}

// command proposes a command of 100 bytes, and returns the error of its answer, or errNone if it
// has none within a few heartbeat intervals.
func (c *cores) command(id raft.ServerID) error {
	number := c.propose(id, "four")
	for range 4 {
		for _, a := range c.servers[id].answers {
			if !a.Read && !a.Call && a.Number == number {
				return a.Err
			}
		}
		c.pass(heartbeat)
	}
	return errNone
}

// keepLogs lets no snapshot be taken from now on, so that no log gets shorter.
func (c *cores) keepLogs() {
	for _, id := range c.ids {
		c.servers[id].slow = true
	}
}

var errNone = errors.New("no answer yet")

// fill proposes commands of 100 bytes until one is refused, and returns how many were taken.
func (c *cores) fill(id raft.ServerID) (taken int) {
	for {
		err := c.command(id)
		if err != nil {
			require.ErrorIs(c.t, err, raft.ErrFull, fmt.Sprint("command ", taken))
			require.ErrorIs(c.t, err, raft.ErrNotApplied)
			return taken
		}
		taken++
		require.Less(c.t, taken, 1000)
	}
}
