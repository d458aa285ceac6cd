package raft

import "fmt"

// A cluster is upgraded one server at a time, and meanwhile servers of two versions share one log. What one of them doesn't
// know must not get into it: so a new kind of entry, or a new behaviour, belongs to a level. Each server announces the highest
// level that it knows, in its answers to heartbeats; the configuration carries the level that is in force, and the
// leader raises it once every member knows a higher one. That is an entry in the log like any other
// configuration: who has an entry of the new kind has the configuration before it that allows it, and a truncation takes
// both.
//
// A level never falls. A server that knows less than what is in force refuses to start, takes nothing from the leader, and is
// not added. So going back to an older version is possible as long as its level holds: CoreConfig.Level keeps it.

// A Level is a set of kinds of entries and behaviours that servers know, each one more than that before.
type Level uint64

// Levels.
const (
	// LevelFirst is what every version knows.
	LevelFirst Level = 1 + iota
	// LevelSessions adds EntryOpenSession, EntryCloseSession and EntrySessionCommand.
	LevelSessions

	// LatestLevel is what this version knows.
	LatestLevel = LevelSessions
)

// level returns the level to which a kind of entry belongs.
func (k EntryKind) level() Level {
	switch k {
	case EntryOpenSession, EntryCloseSession, EntrySessionCommand:
		return LevelSessions
	}
	return LevelFirst
}

// level returns the level that is in force.
func (c *Configuration) level() Level { return max(c.Level, LevelFirst) }

// checkLevel says whether a server that knows a level can belong to the cluster.
func (c *Configuration) checkLevel(known Level) error {
	if c.level() > known {
		return fmt.Errorf("%w: level %d is in force, and it knows %d", ErrOutdated, c.level(), known)
	}
	return nil
}

// inForce says whether entries of a kind may be appended, as far as this server knows.
func (c *Core) inForce(kind EntryKind) bool {
	configuration := c.log.configuration()
	return configuration == nil || kind.level() <= configuration.level()
}

// understands says whether this server knows the level that a message brings. If it doesn't, it is outdated, and takes none
// of it.
func (c *Core) understands(m *Message) bool {
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Kind != EntryConfiguration {
			continue
		}
		configuration, err := DecodeConfiguration(e.Data)
		if err != nil || configuration.checkLevel(c.config.Level) != nil {
			if c.removed == 0 { // or else it doesn't matter any more
				c.trouble = ErrOutdated
			}
			return false
		}
	}
	return true
}

// levelHeard takes what a peer says of its level, while that makes a difference.
func (c *Core) levelHeard(p *progress, level Level) {
	if c.log.configuration().level() < c.config.Level {
		p.level = level
	}
}

// raiseLevel raises the level to the highest one that all members know. The members stay the same, so that it needs no joint
// step; and it is a change like any other, so that there is only one at a time.
func (c *Core) raiseLevel(l *leader, present *Configuration) {
	level := c.config.Level
	if l.change != nil || present.level() >= level {
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
	if level > present.level() {
		raised := *present
		raised.Level = level
		c.appendConfiguration(&raised)
	}
}
