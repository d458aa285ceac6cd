package main

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// A place is where keys are: the node and the state machine of their group.
type place struct {
	node    *raft.Node
	machine *kv.Machine
}

// here returns the places at this server: one, or those of its shards.
func (s *server) here() (places []place) {
	if s.shards == nil {
		return []place{{s.node, s.machine}}
	}
	for i := range s.shards.Table().Shards {
		if node, machine, ok := s.shards.Local(i); ok {
			places = append(places, place{node, machine.(*kv.Machine)})
		}
	}
	return places
}

// summary returns what the places at this server hold together.
func (s *server) summary() (sum kv.Summary) {
	for _, p := range s.here() {
		is := p.machine.Summary()
		sum.Keys += is.Keys
		sum.Expiring += is.Expiring
		sum.Applied += is.Applied
		sum.Now = max(sum.Now, is.Now)
	}
	return sum
}

// locate returns the place of a slot. If another server has it, the refusal says where, as Redis Cluster does.
func (s *server) locate(slot int) (at place, refusal string) {
	shards := len(s.shards.Table().Shards)
	if shards == 0 {
		return at, "CLUSTERDOWN The cluster isn't founded yet"
	}
	number := shard.OfSlot(slot, shards)
	if node, machine, ok := s.shards.Local(number); ok {
		return place{node, machine.(*kv.Machine)}, ""
	}
	t := s.shards.Table()
	if number < len(t.Shards) {
		if other := t.Server(s.inOrder(t, number, s.leaders(t))[0]); other != nil && other.ID != s.self.ID {
			return at, fmt.Sprintf("MOVED %d %s", slot, other.Client)
		}
	}
	return at, "TRYAGAIN not carried out: the shard is on its way"
}

// leaders returns how many of the shards here each server leads, as far as this one knows. Who leads is there.
func (s *server) leaders(t *shard.Table) map[raft.ServerID]int {
	lead := map[raft.ServerID]int{s.self.ID: 1}
	for i := range t.Shards {
		if node, _, ok := s.shards.Local(i); ok {
			lead[node.Leadership().Leader]++
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
	if node, _, ok := s.shards.Local(i); ok {
		leader = node.Leadership().Leader
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

// slotOf returns the slot of the keys of a command; -1 if it has none. They must have one slot.
func slotOf(command *kv.Command, args [][]byte) (slot int, refusal string) {
	slot = -1
	last := command.Last
	if last < 0 {
		last += len(args)
	}
	for i := command.First; i > 0 && i <= last; i += command.Step {
		of := shard.Slot(string(args[i]))
		if slot >= 0 && of != slot {
			return slot, crossSlot
		}
		slot = of
	}
	return slot, ""
}

const crossSlot = "CROSSSLOT Keys in request don't hash to the same slot"

// route finds the place of a command's keys. It returns false if the command is refused: its keys, or those of
// its transaction, have several slots, another server has them, or it looks at all keys. A batch is for one
// place, so the one before runs first.
func (c *connection) route(command *kv.Command, args [][]byte) bool {
	if c.server.shards == nil || keyless(command) {
		return true
	}
	slot, refusal := slotOf(command, args)
	if refusal == "" && slot < 0 {
		refusal = "ERR '" + command.Name + "' looks at all keys, and there is no such command over shards"
	}
	return c.routeTo(slot, refusal)
}

// keyless says whether a command looks at no keys at all.
func keyless(command *kv.Command) bool { return command.Name == "ping" || command.Name == "echo" }

func (c *connection) routeTo(slot int, refusal string) bool {
	var at place
	if refusal == "" && c.open && c.pinned && slot != c.slot {
		refusal = crossSlot
	}
	if refusal == "" {
		at, refusal = c.server.locate(slot)
	}
	if refusal != "" {
		c.refuse(refusal)
		return false
	}
	if c.open {
		c.pinned, c.slot = true, slot
	} else if c.batch.at != at {
		c.run()
		c.batch.at = at
	}
	return !c.ending
}

// routeExec finds the place of a transaction. It returns false if that is another server by now, and nothing
// was carried out.
func (c *connection) routeExec() bool {
	if c.server.shards == nil || !c.pinned {
		return true
	}
	at, refusal := c.server.locate(c.slot)
	if refusal != "" {
		c.out.Error(refusal)
		return false
	}
	c.batch.at = at
	return true
}

// place returns where the batch is carried out. In a server without shards there is one place.
func (c *connection) place() place {
	if c.server.shards == nil {
		return place{c.server.node, c.server.machine}
	}
	return c.batch.at
}

// clusterShards carries out CLUSTER with the subcommands that clients of Redis Cluster use.
func (c *connection) clusterShards(args [][]byte) {
	t := c.server.shards.Table()
	switch strings.ToLower(string(args[1])) {
	case "info":
		state := "ok"
		if len(t.Shards) == 0 {
			state = "fail"
		}
		c.out.Text(lines("cluster_enabled", 1, "cluster_state", state, "cluster_slots_assigned", shard.Slots, "cluster_slots_ok", shard.Slots,
			"cluster_known_nodes", len(t.Servers), "cluster_size", len(t.Servers)))
	case "myid":
		c.out.Text(string(c.server.self.ID))
	case "keyslot":
		if len(args) != 3 {
			c.out.Error("ERR wrong number of arguments for 'cluster|keyslot' command")
			return
		}
		c.out.Int(int64(shard.Slot(string(args[2]))))
	case "slots":
		leaders := c.server.leaders(t)
		c.out.Array(len(t.Shards))
		for i := range t.Shards {
			c.clusterSlots(t, i, leaders)
		}
	default:
		c.out.Error(unknownSubcommand(args))
	}
}

// clusterSlots tells the run of slots of a shard, and the servers that have it. Any of them takes any command.
// The first one is the one that clients take for the master.
func (c *connection) clusterSlots(t *shard.Table, i int, leaders map[raft.ServerID]int) {
	first, last := shard.Run(i, len(t.Shards))
	members := c.server.inOrder(t, i, leaders)
	c.out.Array(2 + len(members))
	c.out.Int(int64(first))
	c.out.Int(int64(last))
	for _, id := range members {
		client := ""
		if s := t.Server(id); s != nil {
			client = s.Client
		}
		host, port, _ := net.SplitHostPort(client)
		number, _ := strconv.Atoi(port) // 0 is of a server that can't be found
		c.out.Array(3)
		c.out.Text(host)
		c.out.Int(int64(number))
		c.out.Text(string(id))
	}
}
