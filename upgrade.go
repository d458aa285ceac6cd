package raft

import (
	"fmt"

	"github.com/e17579a5/raft/wire"
)

// A cluster is upgraded one server at a time, and in the meantime servers of two versions share one
// log. What one of them doesn't know must not get into the log. So a new kind of entry, or a new
// behaviour, belongs to a level.
//
// Each server announces the highest level that it knows, in its answers to heartbeats. The
// configuration carries the level that is in force, and the leader raises it once every member
// knows a higher one. That is an entry in the log like any other configuration. A server that has
// an entry of a new kind has, before it, the configuration that allows it. A truncation takes both.
//
// A level never falls. A server that doesn't know the level in force refuses to start, takes
// nothing from the leader, and is not added to the cluster. So a server can go back to an older
// version only while that version's level is in force: CoreConfig.Level keeps it so.

// checkLevel returns an error that wraps ErrOutdated if a server that knows this level can't belong
// to the cluster.
func checkLevel(c *Configuration, known wire.Level) error {
	if level := c.LevelInForce(); level > known {
		return fmt.Errorf("%w: level %d is in force, and the server knows level %d", ErrOutdated, level, known)
	}
	return nil
}

// inForce says whether entries of a kind may be appended, as far as this server knows.
func (c *Core) inForce(kind wire.EntryKind) bool {
	configuration := c.log.configuration()
	return configuration == nil || kind.Level() <= configuration.LevelInForce()
}

// understands says whether this server knows the levels of the configurations in a message. If it
// doesn't, it is outdated, and takes nothing of the message.
func (c *Core) understands(m *wire.Message) bool {
	for _, e := range m.Entries() {
		if e.Kind != wire.EntryConfiguration {
			continue
		}
		configuration, err := wire.DecodeConfiguration(e.Data)
		if err != nil || checkLevel(&configuration, c.config.Level) != nil {
			if c.removed == 0 { // it doesn't matter to a server that was removed
				c.trouble = ErrOutdated
			}
			return false
		}
	}
	return true
}

// levelHeard notes the level that a peer knows, while that makes a difference.
func (c *Core) levelHeard(p *progress, level wire.Level) {
	if c.log.configuration().LevelInForce() < c.config.Level {
		p.level = level
	}
}

// raiseLevel raises the level in force to the highest one that all members know. The members stay
// the same, so this needs no joint step. It is a change like any other, so there is only one at a
// time.
func (c *Core) raiseLevel(l *leader, present *Configuration) {
	level := c.config.Level
	if l.change != nil || present.LevelInForce() >= level {
		return
	}
	for i := range present.Members {
		if m := &present.Members[i]; m.ID != c.id {
			p := l.peer(m.ID)
			if p == nil || p.incarnation != m.Incarnation {
				return
			}
			level = min(level, p.level)
		}
	}
	if level > present.LevelInForce() {
		raised := *present
		raised.Level = level
		c.appendConfiguration(&raised)
	}
}
