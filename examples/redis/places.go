package main

import (
	"fmt"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/redis/kv"
	"github.com/e17579a5/raft/examples/shards/shard"
)

// A place is where keys are: the node and the state machine of their group, or, if the node is nil, another
// server that has their shard.
type place struct {
	node    *raft.Node
	machine *kv.Machine
	shard   int
}

// here returns the places at this server: one, or those of its shards.
func (s *server) here() (places []place) {
	if s.shards == nil {
		return []place{{s.node, s.machine, 0}}
	}
	for i := range s.shards.Table().Shards {
		if at := s.where(i); at.node != nil {
			places = append(places, at)
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

// where returns the place of a shard.
func (s *server) where(number int) place {
	if node, machine, ok := s.shards.Local(number); ok {
		return place{node, machine.(*kv.Machine), number}
	}
	return place{shard: number}
}

// locate returns the place of a slot. If another server has it, clients of Redis Cluster are told which one by
// the refusal, and for plain ones this server goes there.
func (s *server) locate(slot int) (at place, refusal string) {
	shards := len(s.shards.Table().Shards)
	if shards == 0 {
		return at, unfounded
	}
	at = s.where(shard.OfSlot(slot, shards))
	if at.node != nil || s.plain {
		return at, ""
	}
	return at, s.elsewhere(at.shard, slot)
}

const unfounded = "CLUSTERDOWN The cluster isn't founded yet"

// elsewhere says which server has a shard that this one doesn't have, as Redis Cluster does.
func (s *server) elsewhere(number, slot int) string {
	t := s.shards.Table()
	if other := t.Server(s.inOrder(t, number, s.leaders(t))[0]); other != nil && other.ID != s.self.ID {
		return fmt.Sprintf("MOVED %d %s", slot, other.Client)
	}
	return codeNotApplied + " not carried out: the shard is on its way"
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

// route finds the place of a command's keys. It returns false if that was all there is to do: the command is
// refused, since its keys, or those of its transaction, have several slots, or another server has them; or it
// looks at all keys, and was carried out. A batch is for one
// place, so the one before runs first.
func (c *connection) route(command *kv.Command, args [][]byte) bool {
	if c.server.shards == nil || keyless(command) {
		return true
	}
	slot, refusal := slotOf(command, args)
	if refusal == "" && slot < 0 {
		c.everywhere(command, args)
		return false
	}
	return c.routeTo(slot, refusal)
}

// keyless says whether a command looks at no keys at all.
func keyless(command *kv.Command) bool { return command.Name == "ping" || command.Name == "echo" }

func (c *connection) routeTo(slot int, refusal string) bool {
	var at place
	if refusal == "" && c.open && c.pinned && !c.goesWith(slot) {
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

// goesWith says whether a command for a slot may be in the transaction that is open.
func (c *connection) goesWith(slot int) bool {
	shards := len(c.server.shards.Table().Shards)
	return slot == c.slot || c.whole && shard.OfSlot(slot, shards) == shard.OfSlot(c.slot, shards)
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
		return place{c.server.node, c.server.machine, 0}
	}
	return c.batch.at
}
