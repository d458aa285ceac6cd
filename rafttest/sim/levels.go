package sim

import (
	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// A cluster may have servers of two versions. The older version knows the first level only. Its
// servers are upgraded one by one, when they crash.

// levelOf returns the level that a server knows in its next life.
func (w *World) levelOf(i int) wire.Level {
	if w.params.Older>>i&1 != 0 && !w.servers[i].upgraded {
		return wire.LevelFirst
	}
	return wire.LatestLevel
}

// upgrade upgrades a server to this version, from its next start on. It reports whether that
// changes its level.
func (w *World) upgrade(i int) bool {
	s := &w.servers[i]
	changed := w.levelOf(i) != wire.LatestLevel
	s.upgraded = true
	if changed {
		w.stats.Upgrades++
	}
	return changed
}

// checkLevel checks that a server knows an entry that gets into its log.
func (w *World) checkLevel(i int, e *raft.Entry) {
	level := wire.LevelFirst
	switch e.Kind {
	case wire.EntryCommand, wire.EntryNoOp:
	case wire.EntryConfiguration:
		configuration, err := wire.DecodeConfiguration(e.Data)
		if err != nil {
			w.fail(Levels, i, "the configuration at index %d: %v", e.Index, err)
			return
		}
		level = max(level, configuration.Level)
	default:
		level = wire.LevelSessions
	}
	if s := &w.servers[i]; level > s.level {
		w.fail(Levels, i, "index %d holds a %v of level %d; this server knows level %d", e.Index, e.Kind, level, s.level)
	}
}

// leveled reports whether the level that all members know is in force. It reports true if a member
// can't say which level it knows.
func (w *World) leveled() bool {
	i := w.leading()
	if i < 0 {
		return false
	}
	known := wire.LatestLevel
	configuration := w.servers[i].core.Status().Configuration
	for _, m := range configuration.Members {
		j := serverOf(m.ID)
		if j >= w.n || !w.healthy(j) {
			return true
		}
		known = min(known, w.servers[j].level)
	}
	return max(configuration.Level, wire.LevelFirst) >= known
}
