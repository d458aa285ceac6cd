package raft

// A standing is what the loop looks at after each turn, to find out what has changed.
type standing struct {
	role   string
	term   Term
	leader ServerID
	ready  bool

	configuration *Configuration
	committed     bool
	snapshot      *storedSnapshot
	trouble       error
	diverged      *Divergence
}

// standing returns what it is now.
func (n *Node) standing() standing {
	c := n.core
	s := standing{role: c.roleName(), term: c.state.Term, leader: c.leaderID(), ready: c.Leads(), snapshot: c.snapshots.current, trouble: n.trouble(), diverged: c.fingerprints.differ}
	if latest := len(c.log.configurations) - 1; latest >= 0 {
		s.configuration = c.log.configurations[latest].configuration
		s.committed = c.log.configurations[latest].index <= c.log.commit
	}
	return s
}

// trouble returns why this server takes no part in its cluster, or nil.
func (n *Node) trouble() error {
	c := n.core
	if c.trouble == nil && c.log.configuration() == nil && len(n.config.Bootstrap) == 0 {
		return ErrNoCluster
	}
	return c.trouble
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
	if now.leader == "" && was.leader != "" {
		n.leaderless = n.read
	}
	if led := was.role == leaderRole && was.term == now.term; now.role == leaderRole && !led {
		n.ledSince = n.read
	}
	n.board.post(n.news(was)...)
	if now.diverged != was.diverged {
		n.logger.Error("raft: state machines differ", "peer", now.diverged.With, "index", now.diverged.Upto, "err", now.diverged)
	}
	if now.trouble != nil && now.trouble != was.trouble {
		n.logger.Warn("raft: this server takes no part", "term", now.term, "err", now.trouble)
	}
	led := now.role != was.role || now.term != was.term || now.leader != was.leader
	if led && (now.role != was.role || now.leader != "") {
		n.logger.Info("raft: "+now.role, "term", now.term, "index", n.core.log.last, "peer", now.leader)
	}
}

// news returns what has changed since an earlier standing.
func (n *Node) news(was standing) (events []Event) {
	now := n.seen
	leadership := Leadership{now.term, now.role, now.leader, n.addressOf(now.leader), now.ready}
	if leadership != n.board.leadership() {
		events = append(events, leadership)
	}
	if now.configuration != nil && (now.configuration != was.configuration || now.committed != was.committed) {
		index := n.core.log.configurations[len(n.core.log.configurations)-1].index
		events = append(events, Membership{index, *now.configuration, now.committed})
	}
	if s := now.snapshot; s != was.snapshot {
		events = append(events, CurrentSnapshot{s.meta.Index, s.meta.Term, s.bytes, s.installed})
	}
	if now.trouble != was.trouble {
		events = append(events, Trouble{now.trouble})
	}
	return events
}

// addressOf returns where others reach a server: from the latest configuration, or while there is none, from
// Bootstrap.
func (n *Node) addressOf(id ServerID) string {
	if configuration := n.core.log.configuration(); configuration != nil {
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
