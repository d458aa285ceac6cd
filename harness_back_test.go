package raft_test

import (
	"slices"

	"github.com/e17579a5/raft"
)

// An image is what the disk of a server of bare cores held at one moment: a backup of it.
type image struct {
	saved   raft.DurableState
	log     []raft.Entry
	current raft.SnapshotMeta
	base    raft.Index
}

// image takes an image of a server's disk.
func (c *cores) image(id raft.ServerID) image {
	s := c.servers[id]
	return image{s.saved, slices.Clone(s.log), s.current, s.base}
}

// putBack ends a server's process, and starts it from an image of its disk.
func (c *cores) putBack(id raft.ServerID, was image) {
	s := c.servers[id]
	s.saved, s.log, s.current, s.base = was.saved, slices.Clone(was.log), was.current, was.base
	c.start(id)
}

// loseEntry ends a server's process, and starts it without the last entry of its log: with what a
// lost batch leaves.
func (c *cores) loseEntry(id raft.ServerID) {
	was := c.image(id)
	was.log = was.log[:len(was.log)-1]
	c.putBack(id, was)
}
