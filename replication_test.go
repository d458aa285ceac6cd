package raft_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// settleCounting delivers messages until there are none, and counts the entries on their way to one
// server.
func (c *cores) settleCounting(to raft.ServerID) (entries int) {
	for len(c.network) > 0 {
		m := c.network[0]
		c.network = c.network[1:]
		if m.Kind() == wire.KindAppendRequest && m.To == to {
			entries += len(m.Entries())
		}
		c.deliver(m)
	}
	return entries
}

// tick lets a server's next deadline pass.
func (c *cores) tick(id raft.ServerID) {
	s := c.servers[id]
	c.now = max(c.now, s.core.Deadline())
	s.core.Tick(c.now)
	c.drain(id)
}

// behindAfterRestart returns a cluster that has just restarted as a whole. Every disk holds 200
// commands, and those of a and b hold 5 more. a has asked for pre-votes.
func behindAfterRestart(t *testing.T) *cores {
	c := newCores(t, 3)
	c.elect("a")
	for i := range 200 {
		c.propose("a", fmt.Sprint(i))
	}
	c.servers["c"].cut = true
	for i := range 5 {
		c.propose("a", fmt.Sprint("more ", i))
	}
	c.servers["c"].cut = false
	for _, id := range c.ids {
		c.restart(id)
	}
	c.network = nil
	c.tick("a")
	return c
}

// §3.5: a refusal says where the logs may agree, so that little is sent twice. A server that has
// just started doesn't know what is committed. So the refusal goes by its log, not by its commit
// index.
func TestRefusalLeadsToWhereTheLogsAgree(t *testing.T) {
	c := behindAfterRestart(t)
	require.LessOrEqual(t, c.settleCounting("c"), 10)
	require.Equal(t, c.status("a").Last, c.status("c").Last)
}

func TestLostProbeIsRepeatedWhereItWas(t *testing.T) {
	c := behindAfterRestart(t)
	for c.status("a").Role != "leader" {
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
	lost := c.take(func(m wire.Message) bool { return m.Kind() == wire.KindAppendRequest && m.To == "c" })
	require.Len(t, lost, 1)
	entries := c.settleCounting("c")
	require.Zero(t, entries, "nothing tells yet that the probe was lost")
	for range 2 {
		c.tick("a")
		entries += c.settleCounting("c")
	}
	require.LessOrEqual(t, entries, 10)
	require.Equal(t, c.status("a").Last, c.status("c").Last)
}

// The round that begins a leadership leaves before the first append. So its answer doesn't show
// that the append was lost.
func TestFirstAppendIsSentOnce(t *testing.T) {
	c := newCores(t, 3)
	c.tick("a")
	require.Equal(t, 1, c.settleCounting("c"))
	require.Equal(t, "leader", c.status("a").Role)
}

// A peer that acknowledges what it has hasn't answered the probe yet. Until it does, nothing more
// is sent to it.
func TestOnlyTheAnswerToAProbeEndsProbing(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	for i := range 5 {
		c.propose("a", fmt.Sprint(i))
	}
	c.pass(2 * heartbeat)
	c.servers["a"].cut, c.servers["c"].cut = true, false
	for c.status("b").Role != "leader" {
		if len(c.network) == 0 {
			c.tick("b")
			continue
		}
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
	probes := c.take(func(m wire.Message) bool { return m.Kind() == wire.KindAppendRequest && m.To == "c" })
	require.Len(t, probes, 1)
	c.settle() // c answers the heartbeat, and acknowledges what is committed
	for i := range 5 {
		c.servers["b"].core.Propose(c.now, []byte(fmt.Sprint("more ", i)))
		c.drain("b")
	}
	require.Empty(t, c.take(is(wire.KindAppendRequest)))
	c.deliver(probes[0])
	c.settle()
	require.Equal(t, c.status("b").Last, c.status("c").Last)
}

// Indexes have 64 bits, even where an int has 32.
func TestOldAppendFarBelowCommit(t *testing.T) {
	const last = 1 << 31
	configuration := raft.Configuration{Cluster: raft.ClusterID{1}}
	for i, id := range []raft.ServerID{"a", "b", "c"} {
		configuration.Members = append(configuration.Members,
			raft.Member{Server: raft.Server{ID: id}, Role: raft.Voter, Incarnation: raft.Incarnation(100 + i)})
	}
	first := raft.Entry{Index: 1, Term: 1, Kind: wire.EntryConfiguration, Data: wire.AppendConfiguration(nil, &configuration)}
	core, err := raft.NewCore(raft.CoreConfig{ID: "b", Saved: raft.Saved{
		State: raft.DurableState{HardState: raft.HardState{Term: 1}, Server: "b", Incarnation: 101, Cluster: configuration.Cluster},
		Last:  last, Runs: []raft.TermRun{{First: 1, Term: 1}}, Configurations: []raft.Entry{first},
	}})
	require.NoError(t, err)
	from := wire.Envelope{From: "a", To: "b", Cluster: configuration.Cluster, FromIncarnation: 100, Term: 1}
	for i, id := range []raft.ServerID{"a", "b", "c"} {
		told := wire.Known{Start: core.Origin().Start}.Message().In(from)
		told.From, told.FromIncarnation, told.ToIncarnation = id, raft.Incarnation(100+i), 101
		core.Receive(0, told)
	}
	core.Receive(0, wire.AppendRequest{Previous: wire.Place{Index: last, Term: 1}, Commit: last}.Message().In(from))
	require.Equal(t, raft.Index(last), core.Status().Commit)
	core.Receive(0, wire.AppendRequest{Entries: []raft.Entry{first}}.Message().In(from))
	require.NoError(t, core.Check())
}

// The entries that a lagging peer needs are read from the disk about once, though they fill more
// than a window.
func TestCatchingUpReadsLittleTwice(t *testing.T) {
	c := founded(t, 3)
	c.servers["c"].cut = true
	a := c.servers["a"]
	a.config.TailBytes = 1
	c.restart("a")
	c.elect("a")
	const count, size = 10000, 1000
	for range 10 {
		for range count / 10 {
			a.core.Propose(c.now, make([]byte, size))
		}
		c.drain("a")
		c.settle()
	}
	c.servers["c"].cut, a.fetches = false, nil
	c.pass(4 * heartbeat)
	require.Equal(t, c.status("a").Last, c.status("c").Last)
	bytes := 0
	for _, f := range a.fetches {
		bytes += min(f.MaxBytes, int(f.Last-f.After)*size)
	}
	require.Less(t, bytes, 2*count*size)
	require.Less(t, len(a.fetches), 100)
}
