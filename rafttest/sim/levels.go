package sim

import "github.com/e17579a5/raft"

// Servers of two versions in one cluster. The older one knows the first level only, and its servers are upgraded one by one, at
// a crash.

// levelOf returns the level that the next life of a server knows.
func (w *World) levelOf(i int) raft.Level {
	if w.params.Older>>i&1 != 0 && !w.servers[i].upgraded {
		return raft.LevelFirst
	}
	return raft.LatestLevel
}

// upgrade lets the next life of a server be of this version.
func (w *World) upgrade(i int) bool {
	s := &w.servers[i]
	changed := w.levelOf(i) != raft.LatestLevel
	s.upgraded = true
	if changed {
		w.stats.Upgrades++
	}
	return changed
}

// checkLevel checks that a server knows what gets into its log.
func (w *World) checkLevel(i int, e *raft.Entry) {
	level := raft.LevelFirst
	switch e.Kind {
	case raft.EntryCommand, raft.EntryNoOp:
	case raft.EntryConfiguration:
		configuration, err := raft.DecodeConfiguration(e.Data)
		if err != nil {
			w.fail(Levels, i, "the configuration at index %d: %v", e.Index, err)
			return
		}
		level = max(level, configuration.Level)
	default:
		level = raft.LevelSessions
	}
	if s := &w.servers[i]; level > s.level {
		w.fail(Levels, i, "index %d holds a %v of level %d; this server knows level %d", e.Index, e.Kind, level, s.level)
	}
}

// leveled says whether the level is in force that all members know; true if one of them can't say what it knows.
func (w *World) leveled() bool {
	i := w.leading()
	if i < 0 {
		return false
	}
	known := raft.LatestLevel
	configuration := w.servers[i].core.Status().Configuration
	for _, m := range configuration.Members {
		j := serverOf(m.ID)
		if j >= w.n || !w.healthy(j) {
			return true
		}
		known = min(known, w.servers[j].level)
	}
	return max(configuration.Level, raft.LevelFirst) >= known
}
