package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// mixed starts three servers of which one, c, is of an older version. They found a cluster and
// commit a command.
func mixed(t *testing.T) *cores {
	c := newCoresWith(t, 3, func(config *raft.CoreConfig) {
		if config.ID == "c" {
			config.Level = wire.LevelFirst
		}
	})
	c.elect("a")
	c.propose("a", "first")
	c.pass(3 * heartbeat)
	return c
}

// answerOfOpen opens a session at a server and returns the answer.
func (c *cores) answerOfOpen(id raft.ServerID) raft.Answer {
	s := c.servers[id]
	number := s.core.ProposeEntry(c.now, raft.Proposal{
		Kind: wire.EntryOpenSession, Data: wire.AppendSessionLimits(nil, wire.SessionLimits{Sessions: 100, Bytes: 1 << 20}),
	})
	c.drain(id)
	c.pass(2 * heartbeat)
	answer := s.answers[len(s.answers)-1]
	require.Equal(c.t, number, answer.Number)
	return answer
}

// While one server doesn't know a kind of entry, no server puts it into the log. Once all know it,
// the leader puts it in force.
func TestLevelIsRaisedOnceAllKnowIt(t *testing.T) {
	c := mixed(t)
	require.Zero(t, c.status("a").Configuration.Level, "all founders know the first one only")
	for _, id := range c.ids {
		answer := c.answerOfOpen(id)
		require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
		require.ErrorIs(t, answer.Err, raft.ErrNotInForce)
	}
	last := c.status("a").Last

	c.servers["c"].config.Level = 0 // an upgrade
	c.restart("c")
	c.pass(3 * heartbeat)
	for _, id := range c.ids {
		require.Equal(t, wire.LatestLevel, c.status(id).Configuration.Level)
		require.Equal(t, last+1, c.status(id).Last, "one entry does it")
		require.NoError(t, c.answerOfOpen(id).Err)
		last++
	}
}

// A forwarded entry that the leader's level doesn't allow isn't appended, and its caller learns
// why.
func TestLeaderRefusesWhatIsNotInForce(t *testing.T) {
	c := mixed(t)
	before := c.status("a").Last
	_, forward := c.offer("b", "x")
	request := forward.ForwardRequest()
	request.Commands = append(request.Commands, raft.Entry{
		Kind: wire.EntryOpenSession, Number: request.Lowest + 1, Data: wire.AppendSessionLimits(nil, wire.SessionLimits{Sessions: 1, Bytes: 1}),
	})
	c.deliver(request.Message().In(forward.Envelope))
	require.Equal(t, before+1, c.status("a").Last)
	refused := c.take(is(wire.KindForwardResponse))
	require.Len(t, refused, 1)
	require.Equal(t, []uint64{request.Lowest + 1}, refused[0].ForwardResponse().Refused)

	// "Not applied" is a promise: the number stays refused for the whole term, even if the leader
	// would take it by now.
	request.Commands[1] = raft.Entry{Kind: wire.EntryCommand, Number: request.Lowest + 1}
	c.deliver(request.Message().In(forward.Envelope))
	require.Equal(t, before+1, c.status("a").Last)
	require.Len(t, c.take(is(wire.KindForwardResponse)), 1)
}

// A server that doesn't know the level in force doesn't start, takes nothing from the leader, and
// isn't added to the cluster. It says why.
func TestOutdatedServer(t *testing.T) {
	c := founded(t, 3)
	b := c.servers["b"]
	config := b.config
	config.Level = wire.LevelFirst
	config.Saved = raft.Saved{State: b.saved, Last: 1, Runs: []raft.TermRun{{First: 1, Term: 1}}, Configurations: b.log[:1]}
	_, err := raft.NewCore(config)
	require.ErrorIs(t, err, raft.ErrOutdated)
	require.ErrorContains(t, err, "level 3 is in force, and the server knows level 1")

	c.spare("d")
	c.servers["d"].config.Level = wire.LevelFirst
	c.restart("d")
	answer := c.change("a", wire.Call{Kind: wire.CallAdd, Members: []raft.Member{named("d")}})
	require.ErrorIs(t, answer.Err, raft.ErrNotApplied)
	require.ErrorIs(t, answer.Err, raft.ErrOutdated)
	require.ErrorContains(t, answer.Err, `"d"`)

	// b went back to an older version after it had said that it knows the level, and before the
	// level was in force.
	c = mixed(t)
	c.servers["b"].slowDisk = true // the level reaches b's log, but not its disk
	c.servers["c"].config.Level = 0
	c.restart("c")
	c.pass(3 * heartbeat)
	require.Equal(t, wire.LatestLevel, c.status("c").Configuration.Level)
	c.servers["b"].config.Level = wire.LevelFirst
	c.restart("b")
	last := c.status("b").Last
	c.pass(3 * heartbeat)
	require.Equal(t, last, c.status("b").Last)
	require.ErrorIs(t, c.status("b").Trouble, raft.ErrOutdated)
	c.servers["b"].config.Level = 0
	c.restart("b")
	c.pass(3 * heartbeat)
	require.NoError(t, c.status("b").Trouble)
	require.Equal(t, c.status("a").Last, c.status("b").Last)
}

// A change of the members keeps the level.
func TestLevelOutlivesChanges(t *testing.T) {
	c := founded(t, 3)
	require.NoError(t, c.change("a", wire.Call{Kind: wire.CallRemove, Members: []raft.Member{named("c")}}).Err)
	c.pass(2 * heartbeat)
	require.Equal(t, wire.LatestLevel, c.status("a").Configuration.Level)
	require.NoError(t, c.answerOfOpen("b").Err)
}

func TestLevelOfAConfig(t *testing.T) {
	_, err := raft.NewCore(raft.CoreConfig{ID: "a", Incarnation: 1, Level: wire.LatestLevel + 1})
	require.ErrorIs(t, err, raft.ErrConfig)
	require.ErrorContains(t, err, "Level is 4, and the latest is 3")
}

// A mixed cluster serves whatever all its servers know, while they are upgraded one after the
// other.
func TestMixedCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, memory.Faults{})
		old := map[raft.ServerID]bool{"a": true, "b": true, "c": true}
		c.adjust = func(config *raft.Config) {
			if old[config.ID] {
				config.Level = wire.LevelFirst
			}
		}
		for _, id := range c.ids {
			c.start(id)
		}
		for i, id := range c.ids {
			_, err := c.nodes[id].OpenSession(t.Context())
			require.ErrorIs(t, err, raft.ErrNotApplied)
			require.ErrorIs(t, err, raft.ErrNotInForce)
			_, err = c.nodes[id].Propose(t.Context(), fmt.Append(nil, i))
			require.NoError(t, err)
			c.close(id)
			old[id] = false
			c.start(id)
		}
		for _, err := c.nodes["a"].OpenSession(t.Context()); err != nil; _, err = c.nodes["a"].OpenSession(t.Context()) {
			require.ErrorIs(t, err, raft.ErrNotInForce)
			time.Sleep(electionTimeout / 10)
		}
		for _, id := range c.ids {
			require.NoError(t, c.nodes[id].Read(t.Context()))
			require.Equal(t, wire.LatestLevel, c.nodes[id].Status().Level)
			_, err := c.nodes[id].OpenSession(t.Context())
			require.NoError(t, err)
		}
		c.close("b")
		old["b"] = true
		config := c.config("b")
		config.Machine, config.Storage = &journal{}, c.disks["b"].Storage.Reopen()
		_, err := raft.Start(config)
		require.ErrorIs(t, err, raft.ErrOutdated)
	})
}

func ExampleConfig_level() {
	network := memory.NewNetwork(memory.Options{})
	node, err := raft.Start(raft.Config{
		ID: "a", Machine: &tally{}, Storage: memory.NewStorage(), Transport: network.Join("a"), Bootstrap: []raft.Server{{ID: "a"}},
		Logger: slog.New(slog.DiscardHandler),
		Level:  wire.LevelFirst, // until we are sure that we won't go back to the version of last week
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = node.OpenSession(ctx)
	fmt.Println("in force:", !errors.Is(err, raft.ErrNotInForce))
	if err := node.Close(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: in force: false
}
