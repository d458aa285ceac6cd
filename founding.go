package raft

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/e17579a5/raft/wire"
)

// A cluster is founded once. A candidate without a log needs the vote of every server of its
// Bootstrap list, and each vote names the incarnation of the voter's disk. The founder's first
// entry is the configuration with the cluster's ID and all incarnations. From then on a vote, an
// acknowledgement or an answer to a heartbeat counts only when it comes from the disk that the
// configuration names.
//
// Without this rule, one replaced disk and an unchanged Bootstrap list would lose committed
// entries. Of three servers, one has lost its log, and one has never got it. These two are a
// majority, and would found the cluster a second time. With this rule, a second founding needs
// every server's vote. So a server that holds an entry of the first founding would have to vote for
// an empty log, and none does.

// mayFoundWith judges a message between two servers without a cluster. Both must have the same
// list.
func (c *Core) mayFoundWith(m *wire.Message) bool {
	switch m.Kind() {
	case wire.KindPreVoteRequest:
		r := m.PreVoteRequest()
		return c.mayFoundTogether(m.From, r.Last, r.FoundedFrom, r.Bootstrap)
	case wire.KindVoteRequest:
		r := m.VoteRequest()
		return c.mayFoundTogether(m.From, r.Last, r.FoundedFrom, r.Bootstrap)
	case wire.KindPreVoteResponse:
		if m.PreVoteResponse().Mismatch && c.founds(m.From) {
			c.trouble = ErrBootstrapMismatch
			return false
		}
		return c.founds(m.From)
	}
	return m.Kind() == wire.KindVoteResponse && c.founds(m.From)
}

// foundedWithout takes the answer of a server of the list that belongs to a cluster already, and
// doesn't know this server: this list isn't the one that the cluster was founded with.
func (c *Core) foundedWithout(m *wire.Message) {
	listed := slices.ContainsFunc(c.config.Bootstrap, func(s Server) bool { return s.ID == m.From })
	refuses := m.Kind() == wire.KindPreVoteResponse || m.Kind() == wire.KindVoteResponse
	if listed && refuses && c.trouble == nil {
		c.trouble = because(ErrBootstrapMismatch, fmt.Errorf(
			"%q belongs to a cluster without this one: start this one without Bootstrap, and call AddServer at a member", m.From))
	}
}

// mayFoundTogether judges a candidate that wants to found a cluster. Both servers must have the
// same list. If both begin with a state, it must be the same state. A server without a state gets
// it from the founder.
func (c *Core) mayFoundTogether(with ServerID, last wire.Place, from uint64, list []Server) bool {
	other := c.log.last > 0 && last.Index > 0 &&
		(c.log.last != last.Index || c.log.lastTerm() != last.Term || c.foundedFrom() != from)
	if slices.Equal(list, c.config.Bootstrap) && !c.founds(with) {
		return false // it isn't one of those that it names
	}
	if slices.Equal(list, c.config.Bootstrap) && !other {
		return true
	}
	if len(c.config.Bootstrap) > 0 {
		c.trouble = ErrBootstrapMismatch
		c.send(with, wire.PreVoteResponse{Mismatch: true}.Message())
	}
	return false
}

// founding says whether this is a snapshot that was exported from another cluster, for a new
// cluster to be founded with. It has no members. Its configuration names the cluster that it comes
// from.
func (m *SnapshotMeta) founding() bool { return m.Index > 0 && len(m.Configuration.Members) == 0 }

// foundedFrom names the cluster whose state this server wants to found a cluster with: the first
// eight bytes of that cluster's ID. It is 0 without such a state.
func (c *Core) foundedFrom() uint64 {
	current := c.snapshots.current
	if current == nil || !current.meta.founding() {
		return 0
	}
	return binary.BigEndian.Uint64(current.meta.Configuration.Cluster[:8])
}

// found returns the first entry of the log: the configuration of a new cluster, with the disks that
// have voted for it.
func (c *Core) found(votes []ballot) Entry {
	high, low := c.luck(luckClusterHigh, uint64(c.state.Incarnation), uint64(c.state.Term)),
		c.luck(luckClusterLow, uint64(c.state.Incarnation), uint64(c.state.Term))
	binary.BigEndian.PutUint64(c.state.Cluster[:8], high)
	binary.BigEndian.PutUint64(c.state.Cluster[8:], low)
	c.out.dirty = true

	configuration := Configuration{Cluster: c.state.Cluster, Level: c.config.Level}
	for _, server := range c.config.Bootstrap {
		member := Member{Server: server, Role: Voter, Incarnation: c.state.Incarnation}
		for _, b := range votes {
			if b.from == server.ID {
				member.Incarnation = b.incarnation
				configuration.Level = min(configuration.Level, max(b.level, wire.LevelFirst))
			}
		}
		configuration.Members = append(configuration.Members, member)
	}
	c.setKeys(&Configuration{}, &configuration)
	return Entry{Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}
}

// join makes this server belong to the cluster that a leader speaks for.
func (c *Core) join(cluster ClusterID) {
	if c.state.Cluster == (ClusterID{}) {
		c.state.Cluster = cluster
		c.out.dirty = true
		c.trouble = nil
	}
}

// sortedServers returns a copy of a list, sorted by ID.
func sortedServers(servers []Server) []Server {
	sorted := slices.Clone(servers)
	slices.SortFunc(sorted, func(a, b Server) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return sorted
}
