package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// A stranger is a server that isn't a member and hasn't shown otherwise, whatever certificate it
// holds. The transport says who is one (wire.Envelope.Stranger). What a member of a cluster with a
// key hears of it:
//
//	an IdentityRequest     is answered: there is a cluster here, and nothing else is said
//	an IdentityResponse    counts for the leader that has asked this very server
//	a PreVoteRequest       of this cluster is answered if the configuration leaves its sender out
//	anything else          isn't heard
//
// None of this changes the member's state, log, term or role. A server that leaves is a stranger to
// its leader once the configuration without it is committed, but for its answers: by them the
// leader learns that it has got that configuration.

// admitStranger says whether the message of a stranger concerns this server. What is answered is
// answered here.
func (c *Core) admitStranger(m *wire.Message) bool {
	switch m.Kind() {
	case wire.KindIdentityRequest:
		c.tellStranger(m, wire.IdentityResponse{Round: m.IdentityRequest().Round, AskedIn: m.Term}.Message())
		return false
	case wire.KindIdentityResponse:
		return c.asksIdentity(m)
	case wire.KindPreVoteRequest:
		if m.Cluster == c.state.Cluster {
			c.tellRemoval(m)
			return false
		}
	}
	if m.Stranger {
		c.refuse(m, "its sender isn't a member of the cluster")
	}
	return false
}

// tellStranger answers a stranger. Nothing in the envelope says who or where this server is, but
// for its name.
func (c *Core) tellStranger(to *wire.Message, m wire.Message) {
	m.From, m.To, m.ToIncarnation = c.id, to.From, to.FromIncarnation
	m.Cluster = to.Cluster // of a pre-vote; it is this one
	c.out.send(m, 0)
}

// asksIdentity says whether this server, as a leader, waits to hear from the sender of a message
// which disk it has.
func (c *Core) asksIdentity(m *wire.Message) bool {
	l, leads := c.role.(*leader)
	return leads && l.change != nil && m.IdentityResponse().Round == l.change.nonce && wire.FindMember(l.change.asked, m.From) >= 0
}

// strange says whether the sender of a message is a stranger to this server.
func (c *Core) strange(m *wire.Message) bool {
	if !m.Stranger && !c.hasLeft(m) {
		return false
	}
	return c.guarded() != wire.ClusterKey{}
}

// hasLeft says whether this server leads and the sender of a message is a peer that doesn't belong
// to the cluster any more. What it answers to this leader is heard all the same.
func (c *Core) hasLeft(m *wire.Message) bool {
	l, leads := c.role.(*leader)
	if !leads {
		return false
	}
	p := l.peer(m.From)
	if p == nil || p.leaving == 0 || p.leaving > c.log.commit {
		return false
	}
	switch m.Kind() {
	case wire.KindAppendResponse, wire.KindHeartbeatResponse, wire.KindSnapshotResponse:
		return m.Term > c.state.Term
	}
	return true
}

// invited says whether a server that belongs to no cluster listens to the sender of a message.
// Without a list (CoreConfig.AddedBy) it listens to everybody. The servers with which it may found
// a cluster are always heard.
func (c *Core) invited(m *wire.Message) bool {
	return len(c.config.AddedBy) == 0 || c.state.Cluster != ClusterID{} ||
		slices.Contains(c.config.AddedBy, m.From) || c.founds(m.From)
}

// founds says whether a server is one of those with which this one may found a cluster.
func (c *Core) founds(id ServerID) bool {
	return slices.ContainsFunc(c.config.Bootstrap, func(s Server) bool { return s.ID == id })
}
