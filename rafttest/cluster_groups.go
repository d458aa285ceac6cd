package rafttest

import (
	"context"

	"github.com/e17579a5/raft"
)

// Group returns the same cluster of hosts, as far as another group is concerned: Node, Machine, Leader,
// Converge, RemoveGroup and StartGroup are about it. What happens to servers and to the network happens
// to all groups. The group need not be one of ClusterOptions.Groups: StartGroup begins it. Group fails
// the test if the servers aren't hosts.
func (c *Cluster[M]) Group(group raft.GroupID) *Cluster[M] {
	c.t.Helper()
	c.needHosts()
	view := *c
	view.group = group
	return &view
}

// Host returns the host of a server. For a server that is down it returns the host that the server had
// last.
func (c *Cluster[M]) Host(server int) *raft.Host { return c.servers[server].life.Load().host }

// StartGroup starts the group at a server where it was closed, or removed, or has never been.
func (c *Cluster[M]) StartGroup(server int) {
	c.t.Helper()
	c.needHosts()
	s := c.servers[server]
	s.send(c.group, false)
	if err := s.life.Load().startGroup(c.group); err != nil {
		c.t.Fatalf("rafttest: start group %q at server %s: %v", c.group, s.ID, err)
	}
}

// RemoveGroup removes the group from a server, with all that its disk holds of it (raft.Host.Remove).
// Until StartGroup, the server has no such group, also after a crash, and whatever others say.
func (c *Cluster[M]) RemoveGroup(server int) {
	c.t.Helper()
	c.needHosts()
	s := c.servers[server]
	node := c.Node(server) // which the host knows no longer in a moment
	s.send(c.group, true)
	ctx, cancel := context.WithTimeout(context.Background(), c.wait())
	defer cancel()
	if err := c.Host(server).Remove(ctx, c.group); err != nil {
		c.t.Fatalf("rafttest: remove group %q from server %s: %v", c.group, s.ID, err)
	}
	if node != nil && node.Err() != nil {
		c.t.Errorf("rafttest: group %q had stopped at server %s: %v", c.group, s.ID, node.Err())
	}
}

func (c *Cluster[M]) needHosts() {
	c.t.Helper()
	if c.group == "" {
		c.t.Fatal("rafttest: the servers are nodes, not hosts: ClusterOptions.Groups is empty")
	}
}

// taking returns the numbers of the servers that run and take part in the group, in ascending order. A
// server doesn't if the group was closed or removed there.
func (c *Cluster[M]) taking() (numbers []int) {
	for _, i := range c.Running() {
		if c.group == "" || !c.servers[i].isAway(c.group) && serves(c.Node(i)) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// serves says whether a node runs, or has stopped by a failure.
func serves(node *raft.Node) bool {
	if node == nil {
		return false
	}
	select {
	case <-node.Done():
		return node.Err() != nil
	default:
		return true
	}
}

// send sends a group away, or takes it back.
func (s *clusterServer[M]) send(group raft.GroupID, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away[group] = away
}

func (s *clusterServer[M]) isAway(group raft.GroupID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away[group]
}
