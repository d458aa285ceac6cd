package main

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// What CLUSTER tells is the table of the shards as this server knows it. Every server of a shard takes any
// command for its keys, so for clients each is a master, and the first one of a shard is the one that leads it,
// as far as that is known here.

// leaders returns how many of the shards here each server leads, as far as this one knows. Who leads is there.
func (s *server) leaders(t *shard.Table) map[raft.ServerID]int {
	lead := map[raft.ServerID]int{s.self.ID: 1}
	for i := range t.Shards {
		if at := s.where(i); at.node != nil {
			lead[at.node.Leadership().Leader]++
		}
	}
	return lead
}

// inOrder returns the members of a shard, those first to whom clients should go: the shard's leader if it is
// known here, and then servers that lead something. Members that are gone come last.
func (s *server) inOrder(t *shard.Table, i int, leaders map[raft.ServerID]int) []raft.ServerID {
	members := t.Shards[i].Members
	turn := i % len(members)
	ordered := append(append([]raft.ServerID{}, members[turn:]...), members[:turn]...)
	var leader raft.ServerID
	if at := s.where(i); at.node != nil {
		leader = at.node.Leadership().Leader
	}
	rank := func(id raft.ServerID) int {
		switch {
		case id == leader:
			return 0
		case leaders[id] > 0:
			return 1
		}
		return 2
	}
	slices.SortStableFunc(ordered, func(a, b raft.ServerID) int { return rank(a) - rank(b) })
	return ordered
}

// A stretch is slots that the same servers have, in the same order.
type stretch struct {
	first, last int
	members     []raft.ServerID
}

// stretches returns all slots in their order.
func (s *server) stretches(t *shard.Table) (all []stretch) {
	leaders := s.leaders(t)
	for i := range t.Shards {
		first, last := shard.Run(i, len(t.Shards))
		members := s.inOrder(t, i, leaders)
		if n := len(all) - 1; n >= 0 && slices.Equal(all[n].members, members) {
			all[n].last = last
		} else {
			all = append(all, stretch{first, last, members})
		}
	}
	return all
}

// clusterShards carries out CLUSTER with the subcommands that clients of Redis Cluster use.
func (c *connection) clusterShards(args [][]byte) {
	name := strings.ToLower(string(args[1]))
	sub, known := clusterCommands[name]
	switch {
	case !known:
		c.out.Error(unknownSubcommand(args))
	case len(args) != sub.arity:
		c.out.Error("ERR wrong number of arguments for 'cluster|" + name + "' command")
	default:
		sub.run(c, args)
	}
}

// clusterCommands are the subcommands of CLUSTER, with the number of their arguments.
var clusterCommands map[string]struct {
	arity int
	run   func(*connection, [][]byte)
}

func init() {
	clusterCommands = map[string]struct {
		arity int
		run   func(*connection, [][]byte)
	}{
		"countkeysinslot": {3, func(c *connection, args [][]byte) { c.keysInSlot(args[2], nil) }},
		"getkeysinslot":   {4, func(c *connection, args [][]byte) { c.keysInSlot(args[2], args[3]) }},
		"info":            {2, func(c *connection, _ [][]byte) { c.clusterInfo() }},
		"keyslot":         {3, func(c *connection, args [][]byte) { c.out.Int(int64(shard.Slot(string(args[2])))) }},
		"myid":            {2, func(c *connection, _ [][]byte) { c.out.Text(nodeID(c.server.self.ID)) }},
		"nodes":           {2, func(c *connection, _ [][]byte) { c.clusterNodes() }},
		"shards":          {2, func(c *connection, _ [][]byte) { c.clusterByShards() }},
		"slots":           {2, func(c *connection, _ [][]byte) { c.clusterSlots() }},
	}
}

// nodeID returns what a server is called in Redis Cluster: 40 digits, by which some clients know that it is one.
func nodeID(id raft.ServerID) string {
	sum := sha1.Sum([]byte(id))
	return hex.EncodeToString(sum[:])
}

// endpoint returns where clients find a server; port 0 is of one that can't be found.
func endpoint(t *shard.Table, id raft.ServerID) (host string, port int) {
	if s := t.Server(id); s != nil {
		var number string
		host, number, _ = net.SplitHostPort(s.Client)
		port, _ = strconv.Atoi(number)
	}
	return host, port
}

func (c *connection) clusterInfo() {
	t := c.server.shards.Table()
	state, slots := "ok", shard.Slots
	if len(t.Shards) == 0 {
		state, slots = "fail", 0
	}
	c.out.Text(lines("cluster_enabled", 1, "cluster_state", state, "cluster_slots_assigned", slots, "cluster_slots_ok", slots,
		"cluster_slots_pfail", 0, "cluster_slots_fail", 0, "cluster_known_nodes", len(t.Servers), "cluster_size", len(t.Servers),
		"cluster_current_epoch", t.Moves, "cluster_my_epoch", t.Moves))
}

// clusterSlots replies each run of slots with the servers that have it.
func (c *connection) clusterSlots() {
	t := c.server.shards.Table()
	all := c.server.stretches(t)
	c.out.Array(len(all))
	for _, run := range all {
		c.out.Array(2 + len(run.members))
		c.out.Int(int64(run.first))
		c.out.Int(int64(run.last))
		for _, id := range run.members {
			host, port := endpoint(t, id)
			c.out.Array(4)
			c.out.Text(host)
			c.out.Int(int64(port))
			c.out.Text(nodeID(id))
			c.out.Array(0)
		}
	}
}

// clusterByShards replies all slots that the same servers have in the same order, for each such order.
func (c *connection) clusterByShards() {
	t := c.server.shards.Table()
	all := c.server.stretches(t)
	slices.SortStableFunc(all, func(a, b stretch) int { return slices.Compare(a.members, b.members) })
	same := slices.Collect(groupsOf(all))
	c.out.Array(len(same))
	for _, runs := range same {
		c.out.Map(2)
		c.out.Text("slots")
		c.out.Array(2 * len(runs))
		for _, run := range runs {
			c.out.Int(int64(run.first))
			c.out.Int(int64(run.last))
		}
		c.out.Text("nodes")
		c.out.Array(len(runs[0].members))
		for i, id := range runs[0].members {
			c.clusterNode(t, id, i == 0)
		}
	}
}

// groupsOf cuts stretches that are sorted by their servers where these are others.
func groupsOf(all []stretch) func(yield func([]stretch) bool) {
	return func(yield func([]stretch) bool) {
		for from := 0; from < len(all); {
			to := from + 1
			for to < len(all) && slices.Equal(all[to].members, all[from].members) {
				to++
			}
			if !yield(all[from:to]) {
				return
			}
			from = to
		}
	}
}

func (c *connection) clusterNode(t *shard.Table, id raft.ServerID, first bool) {
	host, port := endpoint(t, id)
	role := "replica"
	if first {
		role = "master"
	}
	c.out.Map(7)
	for _, pair := range [][2]string{{"id", nodeID(id)}, {"endpoint", host}, {"ip", host}, {"role", role}, {"health", "online"}} {
		c.out.Text(pair[0])
		c.out.Text(pair[1])
	}
	c.out.Text("port")
	c.out.Int(int64(port))
	c.out.Text("replication-offset")
	c.out.Int(0)
}

// clusterNodes replies a line for each server, with the slots for which it is the first one. The port of the
// bus is that of the servers' own connections.
func (c *connection) clusterNodes() {
	t := c.server.shards.Table()
	slots := map[raft.ServerID]string{}
	for _, run := range c.server.stretches(t) {
		slots[run.members[0]] += fmt.Sprintf(" %d-%d", run.first, run.last)
	}
	var text strings.Builder
	for _, s := range t.Servers {
		flags := "master"
		if s.ID == c.server.self.ID {
			flags = "myself,master"
		}
		_, bus, _ := net.SplitHostPort(s.Address)
		fmt.Fprintf(&text, "%s %s@%s %s - 0 0 %d connected%s\n", nodeID(s.ID), s.Client, cmp.Or(bus, "0"), flags, t.Moves, slots[s.ID])
	}
	c.out.Text(text.String())
}

// keysInSlot counts the keys in a slot, or replies some of them.
func (c *connection) keysInSlot(text, most []byte) {
	slot, err := strconv.Atoi(string(text))
	if err != nil || slot < 0 || slot >= shard.Slots {
		c.out.Error("ERR Invalid slot")
		return
	}
	limit := 0
	if most != nil {
		if limit, err = strconv.Atoi(string(most)); err != nil || limit < 0 {
			c.out.Error("ERR Invalid number of keys")
			return
		}
	}
	at, refusal := c.server.locate(slot)
	if refusal != "" {
		c.out.Error(refusal)
		return
	}
	var found []string
	err = c.server.readAt(c.server.context(), at, c.readonly, func(r *kv.Reader) {
		found = nil
		for key := range r.Keys() {
			if shard.Slot(key) == slot {
				found = append(found, key)
			}
		}
	})
	switch {
	case err != nil:
		c.fail(err, 1)
	case most == nil:
		c.out.Int(int64(len(found)))
	default:
		found = found[:min(len(found), limit)]
		c.out.Array(len(found))
		for _, key := range found {
			c.out.Text(key)
		}
	}
}
