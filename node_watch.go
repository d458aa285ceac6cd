package raft

// shown is what the loop has told others, so that it tells them only of changes.
type shown struct {
	standing  Standing
	committed Index // that the trace was told of
	// leaderless is since when no leader is known, ledSince since when this server leads, while
	// that is so.
	leaderless, ledSince Instant
}

// standing returns what the loop looks at after each turn, to find out what has changed.
func (l *loop) standing() Standing {
	s := l.core.Standing()
	if s.Trouble == nil && s.Configuration == nil && len(l.bootstrap) == 0 {
		s.Trouble = ErrNoCluster
	}
	return s
}

// observe answers who asked for the status, and tells what has changed: the log, and those who
// watch.
func (l *loop) observe() {
	for _, q := range l.intake.queries {
		reply(q, l.status())
	}
	l.intake.queries = emptied(l.intake.queries)
	was, now := l.shown.standing, l.standing()
	if now == was {
		return
	}
	l.shown.standing = now
	if now.Leader == "" && was.Leader != "" {
		l.shown.leaderless = l.read
	}
	if led := was.Role == leaderRole && was.Term == now.Term; now.Role == leaderRole && !led {
		l.shown.ledSince = l.read
	}
	l.board.post(l.news(was)...)
	if now.Diverged != was.Diverged {
		l.logger.Error("raft: state machines differ", "peer", now.Diverged.With, "index", now.Diverged.Upto, "err", now.Diverged)
	}
	if now.Trouble != nil && now.Trouble != was.Trouble {
		l.logger.Warn("raft: this server takes no part", "term", now.Term, "err", now.Trouble)
	}
	if now.TroubledPeer != "" && now.TroubledPeer != was.TroubledPeer {
		l.logger.Warn("raft: another server takes no part", "term", now.Term, "peer", now.TroubledPeer, "err", now.PeerTrouble)
	}
	led := now.Role != was.Role || now.Term != was.Term || now.Leader != was.Leader
	if led && (now.Role != was.Role || now.Leader != "") {
		l.logger.Info("raft: "+now.Role, "term", now.Term, "index", l.core.Status().Last, "peer", now.Leader)
	}
}

// news returns what has changed since an earlier standing.
func (l *loop) news(was Standing) (events []Event) {
	now := l.shown.standing
	leadership := Leadership{now.Term, now.Role, now.Leader, l.addressOf(now.Leader, now.Configuration), now.Leads}
	if leadership != l.board.leadership() {
		events = append(events, leadership)
	}
	other := now.Configuration != was.Configuration || now.ConfigurationCommitted != was.ConfigurationCommitted
	if now.Configuration != nil && other {
		events = append(events, Membership{now.ConfigurationIndex, *now.Configuration, now.ConfigurationCommitted})
	}
	if now.Snapshot != was.Snapshot || now.SnapshotSerial != was.SnapshotSerial {
		events = append(events, now.Snapshot)
	}
	if now.Trouble != was.Trouble {
		events = append(events, Trouble{now.Trouble})
	}
	if now.TroubledPeer != was.TroubledPeer || now.PeerTrouble != was.PeerTrouble {
		events = append(events, PeerTrouble{now.TroubledPeer, now.PeerTrouble})
	}
	return events
}

// addressOf returns where others reach a server: from the latest configuration, or while there is
// none, from Bootstrap.
func (l *loop) addressOf(id ServerID, configuration *Configuration) string {
	if configuration != nil {
		if member := configuration.Member(id); member != nil {
			return member.Address
		}
	}
	for _, server := range l.bootstrap {
		if server.ID == id {
			return server.Address
		}
	}
	return ""
}
