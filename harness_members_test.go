package raft_test

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// members describes a list of members, such as "a b c(learner)".
func members(list []raft.Member) string {
	var words []string
	for _, m := range list {
		word := string(m.ID)
		if m.Role != raft.Voter {
			word += "(" + m.Role.String() + ")"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// describe describes a configuration, such as "a b + c d → e": Members, Old and Next.
func describe(c *raft.Configuration) string {
	text := members(c.Members)
	if c.Old != nil {
		text += " + " + members(c.Old)
	}
	if c.Next != nil {
		text += " → " + members(c.Next)
	}
	return text
}

// configurations describes the configurations in a server's log on the disk.
func (c *cores) configurations(id raft.ServerID) []string {
	var all []string
	for _, e := range c.servers[id].log {
		if e.Kind == wire.EntryConfiguration {
			configuration, err := wire.DecodeConfiguration(e.Data)
			require.NoError(c.t, err)
			all = append(all, describe(&configuration))
		}
	}
	return all
}

// named returns a voter without a known disk, as a call names it.
func named(id raft.ServerID) raft.Member {
	return raft.Member{Server: raft.Server{ID: id, Address: string(id) + ":1"}, Role: raft.Voter}
}

// set returns a call that sets the members: "a", or "a?" for a learner.
func set(ids ...string) wire.Call {
	call := wire.Call{Kind: wire.CallSet}
	for _, id := range ids {
		m := named(raft.ServerID(strings.TrimSuffix(id, "?")))
		if strings.HasSuffix(id, "?") {
			m.Role = raft.Learner
		}
		call.Members = append(call.Members, m)
	}
	return call
}

// change makes a call at a server, lets time pass until it is answered, and returns the answer.
func (c *cores) change(id raft.ServerID, call wire.Call) raft.Answer {
	s := c.servers[id]
	before := len(s.answers)
	number := s.core.Call(c.now, call)
	c.drain(id)
	c.settle()
	for range 40 {
		for _, a := range s.answers[before:] {
			if a.Call && a.Number == number {
				return a
			}
		}
		c.pass(election / 2)
	}
	require.Fail(c.t, "no answer", "to %v at %s", &call, id)
	return raft.Answer{}
}

// joining makes a call at b to add a new server, which can't catch up: its connections are lost
// once it has said who it is. So the change stays where it is in the log.
func (c *cores) joining(id raft.ServerID) {
	c.spare(id)
	_, request := c.call("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named(id)}})
	c.deliver(request)
	for _, m := range c.take(is(wire.KindIdentityRequest)) {
		c.deliver(m)
	}
	for _, other := range c.ids {
		c.part(other, id)
	}
	c.settle()
	c.pass(2 * heartbeat)
	all := c.configurations("b")
	require.Contains(c.t, all[len(all)-1], string(id)+"(joining)")
}
