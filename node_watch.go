package raft

// standing returns what the loop looks at after each turn, to find out what has changed.
func (n *Node) standing() Standing {
	s := n.core.Standing()
	if s.Trouble == nil && s.Configuration == nil && len(n.config.Bootstrap) == 0 {
		s.Trouble = ErrNoCluster
	}
	return s
}

// observe answers who asked for the status, and tells what has changed: the log, and those who watch.
func (n *Node) observe() {
	for _, q := range n.events.queries {
		reply(q, n.status())
	}
	n.events.queries = emptied(n.events.queries)
	was, now := n.seen, n.standing()
	if now == was {
		return
	}
	n.seen = now
	if now.Leader == "" && was.Leader != "" {
		n.leaderless = n.read
	}
	if led := was.Role == leaderRole && was.Term == now.Term; now.Role == leaderRole && !led {
		n.ledSince = n.read
	}
	n.board.post(n.news(was)...)
	if now.Diverged != was.Diverged {
		n.logger.Error("raft: state machines differ", "peer", now.Diverged.With, "index", now.Diverged.Upto, "err", now.Diverged)
	}
	if now.Trouble != nil && now.Trouble != was.Trouble {
		n.logger.Warn("raft: this server takes no part", "term", now.Term, "err", now.Trouble)
	}
	led := now.Role != was.Role || now.Term != was.Term || now.Leader != was.Leader
	if led && (now.Role != was.Role || now.Leader != "") {
		n.logger.Info("raft: "+now.Role, "term", now.Term, "index", n.core.Status().Last, "peer", now.Leader)
	}
}

// news returns what has changed since an earlier standing.
func (n *Node) news(was Standing) (events []Event) {
	now := n.seen
	leadership := Leadership{now.Term, now.Role, now.Leader, n.addressOf(now.Leader, now.Configuration), now.Leads}
	if leadership != n.board.leadership() {
		events = append(events, leadership)
	}
	if now.Configuration != nil && (now.Configuration != was.Configuration || now.ConfigurationCommitted != was.ConfigurationCommitted) {
		events = append(events, Membership{now.ConfigurationIndex, *now.Configuration, now.ConfigurationCommitted})
	}
	if now.Snapshot != was.Snapshot || now.SnapshotSerial != was.SnapshotSerial {
		events = append(events, now.Snapshot)
	}
	if now.Trouble != was.Trouble {
		events = append(events, Trouble{now.Trouble})
	}
	return events
}

// addressOf returns where others reach a server: from the latest configuration, or while there is none, from
// Bootstrap.
func (n *Node) addressOf(id ServerID, configuration *Configuration) string {
	if configuration != nil {
		if member := configuration.member(id); member != nil {
			return member.Address
		}
	}
	for _, server := range n.config.Bootstrap {
		if server.ID == id {
			return server.Address
		}
	}
	return ""
}
