package raft

import (
	"slices"

	"github.com/e17579a5/raft/wire"
)

// Admission is the front door of every message. A message that isn't admitted touches neither term,
// nor log, nor role. A message must be well formed. It must come from this server's cluster, or
// from servers with which this one may found a cluster, or from a cluster that it may join
// (founding.go). Its sender must not be a stranger (strangers.go), nor be in an absurd term
// (refusals.go). And it must mean this server's present disk, not one that this server has lost.

// admit says whether a message concerns this server as it is now, as the comment above says. The
// questions about identities and removals are answered here, and go no further.
func (c *Core) admit(m *wire.Message) bool {
	if m.To != c.id || m.From == c.id || m.From == "" || m.Kind() == wire.KindProcessHeartbeat || !m.WellFormed() || !c.invited(m) {
		return false
	}
	if c.strange(m) && !c.admitStranger(m) {
		return false
	}
	if c.absurd(m.Term) {
		c.refuse(m, "no cluster gets to this term")
		return false
	}
	switch m.Kind() {
	case wire.KindIdentityRequest:
		if c.noticed {
			c.saysRolledBack(m)
		} else {
			c.tellIdentity(m)
		}
		return false
	case wire.KindIdentityResponse:
		c.identityTold(m)
		return false
	}
	if c.noticed {
		if m.ToIncarnation == c.state.Incarnation {
			c.saysRolledBack(m)
		}
		return false
	}
	switch {
	case c.state.Cluster == m.Cluster:
		if m.ToIncarnation != 0 && m.ToIncarnation != c.state.Incarnation {
			c.takenForAnother(m)
			if m.Kind() == wire.KindPreVoteRequest || m.Kind() == wire.KindStarted {
				c.tellRemoval(m) // it may have been away so long that it knows an older disk here
			}
			return false
		}
		if m.Kind() == wire.KindRemoved {
			c.removedBy(m)
			return false
		}
		return c.state.Cluster != ClusterID{} || c.mayFoundWith(m)
	case c.state.Cluster == ClusterID{}:
		// A cluster that names this very disk is one to belong to. A cluster that names another
		// disk knew one that this server has lost, with votes and acknowledgements on it.
		if m.ToIncarnation != c.state.Incarnation {
			if m.ToIncarnation != 0 {
				c.takenForAnother(m)
			} else {
				c.foundedWithout(m)
			}
			return false
		}
		return true
	case m.Cluster == ClusterID{}:
		return c.admitUnfounded(m)
	}
	if c.leaderID() == "" && c.trouble == nil {
		c.trouble = ErrOtherCluster // a server that hears its leader has no trouble
	}
	if (m.Kind() == wire.KindPreVoteRequest || m.Kind() == wire.KindStarted) && c.continues(m.Cluster) {
		c.send(m.From, wire.PreVoteResponse{}.Message()) // so that it hears of this cluster
	}
	return false
}

// continues says whether this cluster was made of another one by a recovery, as far as the log
// says. A member of that one, which was left behind, asks in vain for votes of the servers that are
// here now.
func (c *Core) continues(cluster ClusterID) bool {
	return slices.ContainsFunc(c.log.configurations, func(p placedConfiguration) bool { return p.configuration.Recovered == cluster })
}

// takenForAnother notes that the cluster knows this server with another disk, and tells a leader
// which disk it has. A sender that isn't a leader may have an older configuration than this server.
func (c *Core) takenForAnother(m *wire.Message) {
	leads := (m.Kind() == wire.KindHeartbeat || m.Kind() == wire.KindAppendRequest) && m.Term >= c.state.Term
	if c.named == 0 || leads {
		c.trouble = ErrOtherIncarnation
	}
	if m.Heartbeat().Round != 0 {
		c.send(m.From, wire.IdentityResponse{AskedIn: m.Term}.Message())
	}
}

// admitUnfounded judges a message from a server that doesn't know yet, or not any more, that it
// belongs to this server's cluster. Its answers count if it has the disk that the configuration
// names: it has voted for the founder, but hasn't got the first entry yet. If it wants to found a
// cluster, it is told that there is one.
func (c *Core) admitUnfounded(m *wire.Message) bool {
	switch m.Kind() {
	case wire.KindPreVoteRequest:
		c.send(m.From, wire.PreVoteResponse{}.Message())
		return false
	case wire.KindVoteRequest:
		c.send(m.From, wire.VoteResponse{}.Message())
		return false
	}
	return c.log.configuration() != nil && c.log.configuration().Names(m.From, m.FromIncarnation)
}

// outsideOfTerms takes a message that is outside of all terms. It says whether it was one.
func (c *Core) outsideOfTerms(m *wire.Message) bool {
	switch m.Kind() {
	case wire.KindStarted:
		c.answerStarted(m)
	case wire.KindKnown:
		c.knownTold(m)
	case wire.KindRepairRequest:
		c.answerRepair(m)
	case wire.KindRepairResponse:
		c.repairAnswered(m)
	case wire.KindSnapshotPull:
		c.answerPull(m)
	default:
		return false
	}
	return true
}
