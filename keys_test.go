package raft_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/wire"
)

// newKeyed starts servers that draw keys for their cluster.
func newKeyed(t *testing.T, n int) *cores {
	return newCoresWith(t, n, func(config *raft.CoreConfig) { config.KeyLuck = [32]byte{config.ID[0]} })
}

// keyed returns a cluster with a key, in which a leads and everything is committed.
func keyed(t *testing.T, n int) *cores {
	c := newKeyed(t, n)
	c.elect("a")
	c.propose("a", "first")
	c.pass(2 * heartbeat)
	return c
}

// keyedSpare starts servers that wait to be added, and draw keys when they lead.
func (c *cores) keyedSpare(ids ...raft.ServerID) {
	for _, id := range ids {
		c.spare(id)
		c.servers[id].config.KeyLuck = [32]byte{id[0]}
		c.start(id)
	}
}

// remove removes a server by a call at another one.
func (c *cores) remove(at, id raft.ServerID) raft.Answer {
	return c.change(at, wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named(id)}})
}

// add adds a voter by a call at another server.
func (c *cores) add(at, id raft.ServerID) raft.Answer {
	return c.change(at, wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named(id)}})
}

// known returns all keys that are in the log on a server's disk, or in its snapshot.
func (c *cores) known(id raft.ServerID) map[wire.ClusterKey]bool {
	all := map[wire.ClusterKey]bool{}
	for _, key := range c.servers[id].current.Configuration.Keys {
		all[key] = true
	}
	for _, e := range c.servers[id].log {
		if e.Kind == wire.EntryConfiguration {
			configuration, err := wire.DecodeConfiguration(e.Data)
			require.NoError(c.t, err)
			for _, key := range configuration.Keys {
				all[key] = true
			}
		}
	}
	return all
}

// The founder draws a key. Every member has it, and hands it to its transport.
func TestFounderDrawsAKey(t *testing.T) {
	c := keyed(t, 3)
	configuration := c.status("a").Configuration
	require.Len(t, configuration.Keys, 1)
	require.NotZero(t, configuration.Keys[0])
	require.False(t, configuration.KeyOutworn)
	for _, id := range c.ids {
		require.Equal(t, configuration.Keys, c.servers[id].keys, "server %s", id)
	}
	require.Empty(t, founded(t, 3).status("a").Configuration.Keys, "without KeyLuck")
}

// A server that leaves knows no key that counts afterwards. The call that removes it has ended only
// then.
func TestRemovalReplacesTheKey(t *testing.T) {
	for _, removed := range []raft.ServerID{"c", "a"} { // a follower, and the leader itself
		for _, at := range []raft.ServerID{"a", "b"} {
			c := keyed(t, 3)
			old := c.status("a").Configuration.Keys[0]
			answer := c.remove(at, removed)
			require.NoError(t, answer.Err)
			c.pass(4 * election)
			leader := c.leader()
			latest := c.status(leader).Configuration
			require.False(t, latest.KeyOutworn)
			require.Len(t, latest.Keys, 2)
			require.Equal(t, old, latest.Keys[1])
			require.False(t, c.known(removed)[latest.Keys[0]], "%s was removed, and knows the present key", removed)
			require.True(t, c.known(removed)[old])
			require.ErrorIs(t, c.status(removed).Trouble, raft.ErrRemoved)
			if at != removed {
				require.Equal(t, c.status(leader).ConfigurationIndex, answer.Index)
			}
			for _, id := range c.ids {
				if id != removed {
					require.Equal(t, latest.Keys, c.servers[id].keys, "server %s", id)
				}
			}
			require.Empty(t, c.servers[removed].keys, "who is no member demands nothing, and proves nothing")
		}
	}
}

// So does a lost disk: what was on it may be in anybody's hands.
func TestReplacedDiskReplacesTheKey(t *testing.T) {
	c := keyed(t, 3)
	old := c.status("a").Configuration.Keys[0]
	s := c.servers["c"]
	s.saved, s.log, s.config.Incarnation, s.config.Bootstrap = raft.DurableState{}, nil, 900, nil
	c.start("c")
	require.NoError(t, c.change("b", wire.Call{Kind: wire.CallReplace, Members: []raft.Member{{Server: raft.Server{ID: "c"}}}}).Err)
	c.pass(2 * heartbeat)
	keys := c.status("a").Configuration.Keys
	require.Len(t, keys, 2)
	require.Equal(t, old, keys[1])
	require.Equal(t, keys, c.servers["c"].keys)
}

// A server that lags behind demands the key that it knows, and every later leader proves that one,
// as long as not more keys than a configuration holds were drawn since.
func TestLaggingServerKnowsItsLeader(t *testing.T) {
	c := keyed(t, 3)
	c.servers["c"].cut = true
	demanded := c.servers["c"].keys[0]
	c.keyedSpare("d", "e")
	require.NoError(t, c.add("a", "d").Err)
	require.NoError(t, c.add("a", "e").Err)
	require.NoError(t, c.remove("d", "a").Err)
	c.pass(4 * election)
	require.NoError(t, c.remove("d", "b").Err)
	c.pass(4 * election)
	leader := c.leader()
	require.Contains(t, []raft.ServerID{"d", "e"}, leader)
	require.NotContains(t, []wire.ClusterKey{c.servers[leader].keys[0]}, demanded)
	require.Contains(t, c.servers[leader].keys, demanded)
	c.servers["c"].cut = false
	c.pass(4 * election)
	require.Equal(t, c.servers[leader].keys, c.servers["c"].keys)
}

func TestKeysOfAConfigurationAreBounded(t *testing.T) {
	c := keyed(t, 3)
	first := c.status("a").Configuration.Keys[0]
	for range wire.MaxClusterKeys {
		require.NoError(t, c.change("a", set("a", "b")).Err)
		require.NoError(t, c.change("a", set("a", "b", "c")).Err)
	}
	keys := c.status("a").Configuration.Keys
	require.Len(t, keys, wire.MaxClusterKeys)
	require.NotContains(t, keys, first)
	seen := map[wire.ClusterKey]bool{}
	for _, key := range keys {
		require.False(t, seen[key], "a key was drawn twice")
		seen[key] = true
	}
}

// A key that isn't committed may never be the cluster's. As long as a server doesn't know better,
// it demands the one before, and what a later leader overwrites goes.
func TestKeyThatIsOverwrittenGoes(t *testing.T) {
	c := keyed(t, 6)
	old := c.servers["b"].keys[0]
	_, request := c.call("b", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("f")}})
	c.deliver(request)
	c.lost = func(m *wire.Message) bool { // only b gets the configuration with the next key
		for _, e := range m.Entries() {
			if configuration, err := wire.DecodeConfiguration(e.Data); e.Kind == wire.EntryConfiguration && err == nil && len(configuration.Keys) > 1 {
				return m.To != "b"
			}
		}
		return m.From == "b" && m.To == "a" && c.status("b").Last > c.status("a").Commit // a doesn't learn that b has it
	}
	c.settle()
	c.pass(4 * heartbeat)
	lost := c.status("b").Configuration.Keys[0]
	require.NotEqual(t, old, lost)
	require.Equal(t, []wire.ClusterKey{lost, old}, c.servers["b"].keys, "for a while the new one is demanded")
	c.pass(11 * election)
	require.Equal(t, []wire.ClusterKey{old, lost}, c.servers["b"].keys, "the key that is demanded, and then the others")
	c.lost = nil
	c.servers["a"].cut, c.servers["b"].cut = true, true
	c.pass(4 * election)
	leader := c.leader()
	require.Contains(t, []raft.ServerID{"c", "d", "e"}, leader)
	c.servers["a"].cut, c.servers["b"].cut = false, false
	c.pass(4 * election)
	keys := c.status(leader).Configuration.Keys
	require.Equal(t, keys, c.servers["b"].keys)
	require.Equal(t, old, keys[len(keys)-1])
	require.NotContains(t, keys, lost)
}

// A server is sent nothing of the log before the configuration that adds it is committed: its
// addition may come to nothing.
func TestNothingIsSentBeforeMembership(t *testing.T) {
	c := keyed(t, 3)
	c.keyedSpare("d")
	_, request := c.call("b", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	c.deliver(request)
	c.lost = func(m *wire.Message) bool { return m.From == "a" && m.Kind() == wire.KindAppendRequest && m.To != "d" }
	c.settle()
	c.pass(4 * heartbeat)
	require.Equal(t, "a b c d(joining) → a b c d", describe(c.status("a").Configuration))
	require.Zero(t, c.status("d").Last)
	require.Empty(t, c.known("d"))
	c.lost = nil
	c.pass(4 * election)
	require.Equal(t, c.status("a").Last, c.status("d").Last)
	require.Equal(t, c.servers["a"].keys, c.servers["d"].keys)
}

// When the level rises that brings keys, the leader draws one. Before, there is none.
func TestLevelBringsTheKey(t *testing.T) {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
		config.KeyLuck = [32]byte{config.ID[0]}
		if config.ID == "c" {
			config.Level = wire.LevelSessions
		}
	})
	c.elect("a")
	c.pass(4 * heartbeat)
	require.Equal(t, wire.LevelSessions, c.status("a").Configuration.Level)
	require.Empty(t, c.status("a").Configuration.Keys)
	require.Empty(t, c.servers["a"].keys)
	c.servers["c"].config.Level = 0
	c.restart("c")
	c.pass(6 * heartbeat)
	require.Equal(t, wire.LevelKeys, c.status("a").Configuration.Level)
	require.Len(t, c.status("a").Configuration.Keys, 1)
	require.Equal(t, c.status("a").Configuration.Keys, c.servers["c"].keys)
}

// A restart forgets what is committed. The key that is demanded then is one that is known to be.
func TestKeyIsDemandedAfterARestart(t *testing.T) {
	c := keyed(t, 3)
	require.NoError(t, c.remove("a", "c").Err)
	c.pass(2 * heartbeat)
	keys := c.servers["b"].keys
	require.Len(t, keys, 2)
	c.restart("b")
	require.Zero(t, c.status("b").Commit)
	require.Equal(t, keys[0], c.servers["b"].keys[0], "a removed server knows the other one")
	c.pass(2 * heartbeat)
	require.Equal(t, keys, c.servers["b"].keys)
}

// A server that asks for its own removal has its answer before the key is replaced. The next call,
// at another server, waits for that end of the change: it isn't refused because of a change that is
// over for its caller.
func TestCallWaitsForTheNextKey(t *testing.T) {
	c := keyed(t, 3)
	c.keyedSpare("d")
	c.servers["c"].core.Call(c.now, wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("c")}})
	c.drain("c")
	answers := &c.servers["c"].answers
	before := len(*answers)
	for len(c.status("a").Configuration.Keys) == 1 {
		require.NotEmpty(t, c.network)
		m := c.network[0]
		c.network = c.network[1:]
		c.deliver(m)
	}
	c.part("a", "b") // so that the next key isn't committed
	c.take(func(m wire.Message) bool { return m.To == "b" })
	c.settle()
	c.pass(heartbeat)
	c.join()
	require.Len(t, *answers, before+1)
	require.NoError(t, (*answers)[before].Err)
	require.True(t, c.status("a").Changing, "the key isn't replaced yet")
	require.NoError(t, c.add("b", "d").Err)
	require.Len(t, c.status("a").Configuration.Keys, 2)
}

// A leader that has just been removed begins no other change, though the one that has removed it is
// committed: it doesn't draw the next key, for which the caller of that change waits.
func TestRemovedLeaderBeginsNoChange(t *testing.T) {
	c := newKeyed(t, 3)
	c.servers["a"].config.Address = "a:1"
	c.restart("a")
	c.elect("a")
	c.servers["b"].core.Call(c.now, set("b", "c"))
	c.drain("b")
	a := c.servers["a"]
	asked := false
	for !asked {
		require.NotEmpty(t, c.network)
		m := c.network[0]
		c.network = c.network[1:]
		if m.To != "a" || describe(c.status("a").Configuration) != "b c" {
			c.deliver(m)
			continue
		}
		a.core.Receive(c.now, m)
		if asked = c.status("a").Commit == c.status("a").Last; asked {
			require.Equal(t, "leader", c.status("a").Role)
			c.servers["c"].core.Call(c.now, set("a", "b", "c"))
			c.drain("c")
			calls := c.take(func(m wire.Message) bool { return m.Kind() == wire.KindCallRequest && m.From == "c" })
			require.Len(t, calls, 1)
			a.core.Receive(c.now, calls[0])
		}
		c.drain("a")
	}
	c.pass(5 * election)
	answers := c.servers["b"].answers
	require.Len(t, answers, 1, "the caller of the change that has removed the leader")
	require.NoError(t, answers[0].Err)
	require.Len(t, c.servers["c"].answers, 1)
	require.Equal(t, []string{"a b c", "b c + a b c", "b c", "b c"}, c.configurations("b")[:4])
}
