package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A configuration is in force from the moment that it is in the log, committed or not (§4.1). When
// its entry is truncated, the configuration goes too. This file is what every server does about
// configurations. What a leader does to change the members is in membership_change.go.

// membership is what a server knows of its own place in the cluster.
type membership struct {
	// serversChanged says that the list of the servers that messages may go to is to be handed out.
	serversChanged bool `state:"transient"`
	// trouble says why this server takes no part in its cluster, as far as it knows.
	trouble error `state:"luck"`
	// named is the index of the first configuration that names this server with its present disk.
	// It is 0 if there is none.
	named Index
	// removed is the index of the configuration that has removed this server. It is 0 if there is
	// none, as far as this server knows.
	removed Index
}

func (m *membership) encode(s *stateEncoder) { s.numbers(uint64(m.named), uint64(m.removed)) }

// checkConfigurations: each configuration may follow the one before (mayFollow). A leader doesn't
// begin a step before the last step is committed.
func (c *Core) checkConfigurations() error {
	for i := 1; i < len(c.log.configurations); i++ {
		before, after := &c.log.configurations[i-1], &c.log.configurations[i]
		if before.index >= after.index || !mayFollow(before.configuration, after.configuration) {
			return broken("Joint Steps", "the configurations at %d and %d", before.index, after.index)
		}
		if l, leads := c.role.(*leader); leads && after.index > l.begin && before.index > c.log.commit {
			return broken("One Change At A Time", "the configurations at %d and %d, commit %d",
				before.index, after.index, c.log.commit)
		}
	}
	if placed := c.log.placed(); placed != nil && placed.index > c.log.last {
		return broken("Configurations In Log", "the one at %d, last %d", placed.index, c.log.last)
	}
	return nil
}

// configurationAppended lets a configuration take effect. It does nothing for any other entry.
func (c *Core) configurationAppended(e *Entry) {
	if e.Kind != wire.EntryConfiguration {
		return
	}
	configuration, err := wire.DecodeConfiguration(e.Data)
	assert(err == nil, "Configurations Decode")
	c.log.configurations = append(c.log.configurations, placedConfiguration{e.Index, &configuration})
	c.serversChanged = true
	if c.named == 0 && configuration.Names(c.id, c.state.Incarnation) {
		c.named = e.Index
	}
	c.addedAnew(&configuration)
	c.keyAppended()
	if l, leads := c.role.(*leader); leads {
		c.voidLease(l)
		c.syncPeers(l, e.Index)
	}
}

// truncate drops the entries that a leader contradicts, and with them their configurations.
func (c *Core) truncate(after Index) {
	before := len(c.log.configurations)
	c.log.truncate(after)
	c.out.truncated(after)
	c.repairs.keep(c.log.lost)
	if len(c.log.configurations) != before {
		c.serversChanged = true
	}
	if c.named > after {
		c.named = 0
	}
}

// findNamed finds the first configuration in the log that names this server with its present disk.
func (c *Core) findNamed() {
	c.named = 0
	for i := range c.log.configurations {
		if placed := &c.log.configurations[i]; placed.configuration.Names(c.id, c.state.Incarnation) {
			c.named = placed.index
			return
		}
	}
}

// ownOrigin says whether an entry really comes from this server's present start, given its origin
// and its index. The origin alone may deceive: a server that was given another disk begins to count
// its starts anew. An entry before the configuration that names the present disk was asked for by
// the lost disk. Behind that configuration, leaders take entries only from the present disk.
func (c *Core) ownOrigin(origin Origin, index Index) bool {
	return origin.Start == c.state.Start && origin.Server == c.id && c.named != 0 && index > c.named
}

// AddressTerm returns the term of the entry that gave a server the address at which the latest configuration
// in the log has it; 0 if the log doesn't go back to it, or there is no such server.
func (c *Core) AddressTerm(id ServerID) (term Term) {
	l, address := &c.log, ""
	for i := len(l.configurations) - 1; i >= 0; i-- {
		member := l.configurations[i].configuration.Member(id)
		if member == nil || address != "" && member.Address != address {
			return term
		}
		address = member.Address
		term, _ = l.term(l.configurations[i].index)
	}
	return term
}

// otherServers returns the servers that this one may speak to, each once. They are the servers of
// the latest configuration. While it lacks bytes, the members of the last configuration that is known
// to be committed are among them; and while it leads, those which it tells that they don't belong to
// the cluster any more. The list isn't nil.
func (c *Core) otherServers() []Server {
	others := []Server{}
	add := func(s Server) {
		if s.ID != c.id && !slices.ContainsFunc(others, func(o Server) bool { return o.ID == s.ID }) {
			others = append(others, s)
		}
	}
	configuration := c.log.configuration()
	if configuration == nil {
		for _, s := range c.config.Bootstrap {
			add(s)
		}
		return others
	}
	for _, half := range [2][]Member{configuration.Members, configuration.Old} {
		for i := range half {
			add(half[i].Server)
		}
	}
	if final := c.log.finalConfiguration(); final != configuration && len(c.log.lost) > 0 {
		for _, half := range [2][]Member{final.Members, final.Old} {
			for i := range half {
				add(half[i].Server)
			}
		}
	}
	if l, leads := c.role.(*leader); leads {
		for i := range l.peers {
			add(Server{ID: l.peers[i].id, Address: l.peers[i].address})
		}
	}
	return others
}

// syncPeers makes a leader's peers those of the latest configuration. A new peer is probed before
// the entry at next. A peer that doesn't belong to the configuration any more stays until it has
// learned that.
func (c *Core) syncPeers(l *leader, next Index) {
	placed := c.log.placed()
	configuration := placed.configuration
	kept := make([]progress, 0, len(l.peers))
	for i := range l.peers {
		p := l.peers[i]
		switch m := configuration.Member(p.id); {
		case m == nil:
			if p.leaving == 0 {
				p.leaving, p.farewell = placed.index, c.farewell()
			}
		case m.Incarnation != p.incarnation:
			c.endSending(&p)
			continue // the other disk is another peer
		default:
			if p.leaving != 0 {
				p.since = c.notYetFinal(&p)
			}
			p.leaving, p.address = 0, m.Address
		}
		kept = append(kept, p)
	}
	l.peers = kept
	for _, half := range [2][]Member{configuration.Members, configuration.Old} {
		for i := range half {
			if m := &half[i]; m.ID != c.id && l.peer(m.ID) == nil {
				p := progress{id: m.ID, incarnation: m.Incarnation, address: m.Address, next: next}
				p.since = c.notYetFinal(&p)
				l.peers = append(l.peers, p)
			}
		}
	}
}

// notYetFinal returns the index of the latest configuration if a peer is a member by that one alone,
// which isn't known to be committed: until it is, the peer is sent no entries. Otherwise it returns
// 0.
func (c *Core) notYetFinal(p *progress) Index {
	if c.log.finalConfiguration().Names(p.id, p.incarnation) {
		return 0
	}
	return c.log.placed().index
}

// farewell returns the number of rounds in which a leader tries to tell a server that it was
// removed. They take ten election timeouts. A server that can't be reached meanwhile learns it when
// it asks for votes.
func (c *Core) farewell() int { return int(10 * c.config.ElectionTimeout / c.config.Heartbeat) }

// dismiss lets go of the removed peers that have learned that they were removed, or that can't be
// reached.
func (c *Core) dismiss(l *leader) {
	before := len(l.peers)
	l.peers = slices.DeleteFunc(l.peers, func(p progress) bool {
		goes := p.leaving != 0 && (p.farewell <= 0 || p.match >= p.leaving && p.told >= p.leaving)
		if goes {
			c.endSending(&p)
		}
		return goes
	})
	if len(l.peers) != before {
		c.serversChanged = true
	}
}

// A server learns that it was removed in one of two ways. Either it has applied a configuration
// without it. Or another server tells it so, when it asks for votes, because it may never get that
// configuration. The other server must have committed such a configuration.
//
// From then on the removed server is quiet, so that it disturbs nobody. The quiet ends when a
// leader of its cluster speaks to it again, because it was added anew. What a server that lags
// behind says may be outdated: it doesn't count against a later configuration in this server's own
// log.

// noticeRemoval looks whether this server has applied a configuration to which it doesn't belong.
// If it follows a leader that counts it as a member, a later configuration that names it is on its
// way. A log that went back in time doesn't know whether a later one does.
func (c *Core) noticeRemoval() {
	if f, follows := c.role.(*follower); !follows || f.leader != "" && f.member {
		return
	}
	placed := c.log.placed()
	if c.removed == 0 && !c.noticed && placed != nil && placed.index <= c.log.applied && placed.configuration.Member(c.id) == nil {
		c.wasRemoved(placed.index)
	}
}

// removedBy takes the word of another server that the configuration in force at a committed place
// leaves this server out. This server knows better if its own latest configuration is a later one:
// it has a higher index, and its term is not below that of the place. Any other configuration isn't
// in force any more, or never was.
func (c *Core) removedBy(m *wire.Message) {
	placed := c.log.placed()
	if _, leads := c.role.(*leader); leads || placed == nil || c.removed != 0 {
		return
	}
	committed := m.Removed().Committed
	if term, known := c.log.term(placed.index); placed.index > committed.Index && (!known || term >= committed.Term) {
		return
	}
	if _, asks := c.role.(*candidate); asks {
		c.stepDown()
	}
	c.wasRemoved(committed.Index)
}

// wasRemoved notes that this server was removed, and ends the calls of its callers: nobody will
// answer them.
func (c *Core) wasRemoved(by Index) {
	c.removed, c.trouble = by, ErrRemoved
	c.failCallers(ErrRemoved)
}

// failCallers answers everybody who waits at this server, as honestly as a Cancel of each call
// would.
func (c *Core) failCallers(reason error) {
	for item := c.proposals.from(0); item != nil; {
		number := item.number
		c.Cancel(number, reason)
		item = c.proposals.from(number + 1)
	}
	for _, item := range slices.Clone(c.calls.items) {
		c.CancelCall(item.number, reason)
	}
	for i := range c.reads {
		list := &c.reads[i]
		for _, r := range list.waiting {
			if !r.canceled {
				c.answers = append(c.answers, Answer{Number: r.number, Read: true, Err: reason})
			}
		}
		list.waiting, list.canceled = list.waiting[:0], 0
	}
}

// addedAnew ends the quiet of a removed server if a configuration in its log names it again.
func (c *Core) addedAnew(configuration *Configuration) {
	if c.removed != 0 && configuration.Names(c.id, c.state.Incarnation) {
		c.heardOfLeader()
	}
}

// heardOfLeader ends the quiet of a removed server: a leader that speaks to it counts it as a
// member.
func (c *Core) heardOfLeader() {
	c.removed, c.trouble = 0, nil
}

// tellRemoval tells a server that asks for votes that it was removed, if this server knows it for
// certain: the configuration that is committed here leaves the other one out. It does so even while
// it hears a leader; otherwise a removed server would ask for ever. The request is judged like any
// other all the same: this server may be the one that lags behind, and its vote may be needed.
func (c *Core) tellRemoval(m *wire.Message) {
	for n := len(c.log.configurations); n > 0; n-- {
		placed := &c.log.configurations[n-1]
		if placed.configuration.Names(m.From, m.FromIncarnation) {
			return
		}
		if placed.index <= c.log.commit {
			term, known := c.log.term(c.log.commit)
			assert(known, "Committed Terms Known")
			removed := wire.Removed{Committed: wire.Place{Index: c.log.commit, Term: term}}.Message()
			if m.Stranger {
				c.tellStranger(m, removed)
			} else {
				c.reply(m, removed)
			}
			return
		}
	}
}

// askStanding asks all servers that this one knows whether it still belongs to the cluster. It is
// called when this server can't campaign and no leader speaks to it: it may not vote, or its disk may
// stand still. It asks for pre-votes, and makes no use of them.
func (c *Core) askStanding() {
	if c.log.configuration() != nil && c.barred() == nil {
		c.askVotes(&candidate{pre: true})
	}
}

// mayBeNeeded says whether this server counts, or may still be needed though it doesn't. As long as
// the configuration without it isn't committed, it may be the only server with a log long enough to
// lead (§4.2.2).
//
//	a   …  joint  final   The leader was a or b, and has failed. By the final configuration
//	b   …  joint  final   c alone votes. But c knows only the joint one, by which it needs a
//	c   …  joint          vote of a or b too. Their logs are longer, so they refuse. One of
//	                      them must lead, though by its own log it doesn't vote any more.
func (c *Core) mayBeNeeded() bool {
	for n := len(c.log.configurations); n > 0; n-- {
		placed := &c.log.configurations[n-1]
		if placed.configuration.Counts(c.id, c.state.Incarnation) {
			return true
		}
		if placed.index <= c.log.commit {
			return false
		}
	}
	return false
}
