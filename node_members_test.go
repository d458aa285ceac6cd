package raft_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/tcp"
	"github.com/e17579a5/raft/wal"
)

// join starts servers that wait to be added.
func (c *cluster) join(ids ...raft.ServerID) {
	adjust := c.adjust
	c.adjust = func(config *raft.Config) {
		adjust(config)
		config.Address, config.Bootstrap = "at "+string(config.ID), nil
	}
	for _, id := range ids {
		c.disks[id] = &disk{Storage: memory.NewStorage()}
		c.start(id)
	}
	c.ids, c.adjust = append(c.ids, ids...), adjust
}

// reached returns a server with the address at which the members reach it.
func reached(id raft.ServerID) raft.Server { return raft.Server{ID: id, Address: "at " + string(id)} }

func TestNodeMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{MaxDelay: 5 * time.Millisecond})
		_, others := c.leader()
		_, err := others[0].Propose(t.Context(), []byte("before"))
		require.NoError(t, err)
		c.join("d")
		require.ErrorIs(t, c.nodes["d"].Status().Trouble, raft.ErrNoCluster)

		_, err = others[0].AddServer(t.Context(), raft.Server{ID: "x", Address: "nowhere"})
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, raft.ErrUnreachable)
		added, err := others[0].AddServer(t.Context(), reached("d"))
		require.NoError(t, err)
		require.NoError(t, c.nodes["d"].Read(t.Context()))
		require.Equal(t, []string{"before"}, c.machines["d"].applied())
		require.Equal(t, added, c.nodes["d"].Status().ConfigurationIndex)
		require.Len(t, c.nodes["d"].Status().Members, 4)

		_, err = others[0].RemoveServer(t.Context(), "d", raft.Expect(added-1))
		require.ErrorIs(t, err, raft.ErrConflict)
		removed, err := c.nodes["d"].RemoveServer(t.Context(), "d", raft.Expect(added)) // at d
		require.NoError(t, err)
		require.Greater(t, removed, added)
		time.Sleep(electionTimeout)
		require.ErrorIs(t, c.nodes["d"].Status().Trouble, raft.ErrRemoved)
		_, err = c.nodes["d"].Propose(t.Context(), []byte("to nobody"))
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorIs(t, err, raft.ErrRemoved)
		require.ErrorIs(t, c.nodes["d"].Read(t.Context()), raft.ErrRemoved)
		_, err = c.nodes["d"].AddServer(t.Context(), reached("d"))
		require.ErrorIs(t, err, raft.ErrRemoved)

		_, err = others[0].AddLearner(t.Context(), reached("d"))
		require.NoError(t, err)
		time.Sleep(electionTimeout) // the majority needn't wait for the learner
		_, err = c.nodes["d"].Propose(t.Context(), []byte("from a learner"))
		require.NoError(t, err)
		require.Equal(t, []string{"before", "from a learner"}, c.machines["d"].applied())
		_, err = others[0].Propose(t.Context(), []byte("read at a learner"))
		require.NoError(t, err)
		require.NoError(t, c.nodes["d"].Read(t.Context()))
		require.Equal(t, []string{"before", "from a learner", "read at a learner"}, c.machines["d"].applied())

		_, err = others[0].SetMembers(t.Context(), []raft.Member{{Server: reached("a")}, {Server: reached("a")}})
		require.ErrorIs(t, err, raft.ErrMembers)
		require.ErrorContains(t, err, `"a"`)
		_, err = others[0].SetMembers(t.Context(), []raft.Member{{Server: reached("d")}})
		require.NoError(t, err)
		_, err = c.nodes["d"].Propose(t.Context(), []byte("alone"))
		require.NoError(t, err)
	})
}

// A server that has lost its disk says so, and Replace is the cure.
func TestNodeReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		_, err := c.nodes["a"].Propose(t.Context(), []byte("before"))
		require.NoError(t, err)
		c.leader()
		c.close("c")
		c.disks["c"] = &disk{Storage: memory.NewStorage()}
		c.start("c")
		time.Sleep(electionTimeout)
		require.ErrorIs(t, c.nodes["c"].Status().Trouble, raft.ErrOtherIncarnation)
		_, err = c.nodes["a"].Replace(t.Context(), raft.Server{ID: "c"})
		require.NoError(t, err)
		require.NoError(t, c.nodes["c"].Read(t.Context()))
		require.NoError(t, c.nodes["c"].Status().Trouble)
		require.Equal(t, []string{"before"}, c.machines["c"].applied())
		again, err := c.nodes["c"].Replace(t.Context(), raft.Server{ID: "c"})
		require.NoError(t, err)
		require.Equal(t, again, c.nodes["c"].Status().ConfigurationIndex, "nothing left to do")
	})
}

// A call that changes nothing says so where the caller could take it for done.
func TestAnswersAboutMembersAreHonest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{})
		leader, others := c.leader()
		id, node := leader.Status().ID, others[0]
		_, err := node.RemoveServer(t.Context(), "z")
		require.ErrorIs(t, err, raft.ErrNotMember)
		require.ErrorIs(t, err, raft.ErrNotApplied)
		require.ErrorContains(t, err, `"z"`)

		_, err = node.AddServer(t.Context(), raft.Server{ID: id, Address: "elsewhere"})
		require.ErrorIs(t, err, raft.ErrUnreachable)
		require.ErrorContains(t, err, `which leads and has another address`)
		_, err = node.AddServer(t.Context(), reached(id))
		require.NoError(t, err, "it is a voter")

		lost := others[1].Status().ID
		c.close(lost)
		c.disks[lost] = &disk{Storage: memory.NewStorage()}
		c.start(lost)
		time.Sleep(electionTimeout)
		_, err = node.AddServer(t.Context(), reached(lost))
		require.ErrorIs(t, err, raft.ErrOtherIncarnation)
		require.ErrorIs(t, err, raft.ErrNotApplied)

		// While the new disk gets nothing, Replace comes to half of its goal. The next one goes on.
		giveUp := within(t, 100*electionTimeout)
		release := make(chan struct{})
		c.disks[lost].set(nil, release)
		_, err = node.Replace(giveUp, reached(lost))
		require.ErrorIs(t, err, raft.ErrNotCaughtUp)
		require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
		role := func() raft.MemberRole { return leader.Status().Members[lost[0]-'a'].Role }
		require.Equal(t, raft.Learner, role())
		c.disks[lost].set(nil, nil)
		close(release)
		_, err = node.Replace(giveUp, reached(lost))
		require.NoError(t, err)
		require.Equal(t, raft.Voter, role())
	})
}

// A changing is a cluster whose members are changed while clients propose.
type changing struct {
	t        *testing.T
	ids      []raft.ServerID // of all servers
	present  []raft.ServerID // the members
	nodes    map[raft.ServerID]*raft.Node
	machines map[raft.ServerID]*journal
	reached  func(raft.ServerID) raft.Server
	// again says whether a change that has failed is to be asked for again, because it failed for a
	// reason that a busy machine may cause.
	again func(error) bool

	timeout time.Duration // how long an election timeout is

	mu                             sync.Mutex
	acknowledged, refused, unknown []string
	left                           int           // how many commands are to be acknowledged
	enough                         chan struct{} // closed when left is 0
}

// after returns a channel that is closed when this many more commands were acknowledged.
func (c *changing) after(commands int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left, c.enough = commands, make(chan struct{})
	return c.enough
}

// work lets a client propose at any server until it is done.
func (c *changing) work(client int, done <-chan struct{}) {
	luck := rand.New(rand.NewPCG(3, uint64(client)))
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		case <-time.After(time.Millisecond):
		}
		command := fmt.Sprintf("client %d command %d", client, i)
		_, err := c.nodes[c.ids[luck.IntN(len(c.ids))]].Propose(within(c.t, 2*c.timeout), []byte(command))
		c.mu.Lock()
		switch {
		case err == nil:
			c.acknowledged = append(c.acknowledged, command)
			if c.left--; c.left == 0 {
				close(c.enough)
			}
		case errors.Is(err, raft.ErrNotApplied):
			c.refused = append(c.refused, command)
		default:
			assert.ErrorIs(c.t, err, raft.ErrOutcomeUnknown)
			c.unknown = append(c.unknown, command)
		}
		c.mu.Unlock()
	}
}

// change makes some of the servers the members. A change that is refused must have changed nothing.
func (c *changing) change(random *rand.Rand) {
	var members []raft.Member
	var next []raft.ServerID
	for i, place := range random.Perm(len(c.ids))[:1+random.IntN(5)] {
		m := raft.Member{Server: c.reached(c.ids[place])}
		if i > 0 && random.IntN(4) == 0 {
			m.Role = raft.Learner
		}
		members, next = append(members, m), append(next, m.ID)
	}
	at := c.nodes[c.present[random.IntN(len(c.present))]]
	for {
		_, err := at.SetMembers(within(c.t, 2*time.Minute), members)
		if err == nil {
			break
		}
		require.True(c.t, c.again(err), "at %s: %v: %v", at.Status().ID, next, err)
		if errors.Is(err, raft.ErrOutcomeUnknown) {
			at = c.nodes[next[0]] // the server called was removed, and didn't hear the outcome
			continue
		}
		require.ErrorIs(c.t, err, raft.ErrNotApplied)
		require.NoError(c.t, at.Read(c.t.Context()))
		var are []raft.ServerID
		for _, m := range at.Status().Members {
			are = append(are, m.ID)
		}
		require.ElementsMatch(c.t, c.present, are)
	}
	c.present = next
}

// run changes the members again and again, each time after at most this many more commands. No
// acknowledged command is lost, none is applied twice, and no refused command is applied.
func (c *changing) run(changes, clients, commands int) {
	t := c.t
	random := rand.New(rand.NewPCG(1, 2))
	done := make(chan struct{})
	var running sync.WaitGroup
	stop := sync.OnceFunc(func() { close(done); running.Wait() })
	defer stop()
	for client := range clients {
		running.Go(func() { c.work(client, done) })
	}
	for range changes {
		<-c.after(1 + random.IntN(commands))
		c.change(random)
	}
	stop()
	last := c.present[0]
	require.NoError(t, c.nodes[last].Read(t.Context()))
	applied := map[string]int{}
	for _, command := range c.machines[last].applied() {
		applied[command]++
		require.Equal(t, 1, applied[command], command)
	}
	for _, command := range c.acknowledged {
		require.Equal(t, 1, applied[command], "%s was acknowledged", command)
	}
	for _, command := range c.refused {
		require.Zero(t, applied[command], "%s was refused", command)
	}
	t.Logf("%d changes; %d commands acknowledged, %d refused, %d unknown", changes, len(c.acknowledged), len(c.refused), len(c.unknown))
	require.Greater(t, len(c.acknowledged), changes*commands/4)
}

// Clients propose all the time, at servers that come and go. Meanwhile the members are changed at
// random, again and again.
func TestRandomSetMembersUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, memory.Faults{MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond})
		c.leader()
		c.join("d", "e", "f")
		r := &changing{
			t: t, ids: c.ids, present: []raft.ServerID{"a", "b", "c"}, nodes: c.nodes, machines: c.machines, reached: reached,
			again: func(error) bool { return false }, timeout: electionTimeout,
		}
		r.run(24, 8, 300)
	})
}

// This is the same over TCP, with logs on a disk, and with snapshots that new servers are sent.
func TestRandomSetMembersOverTCP(t *testing.T) {
	servers := map[raft.ServerID]raft.Server{}
	c := &changing{
		t: t, present: []raft.ServerID{"a", "b", "c"}, nodes: map[raft.ServerID]*raft.Node{}, machines: map[raft.ServerID]*journal{},
		reached: func(id raft.ServerID) raft.Server { return servers[id] },
		again: func(err error) bool {
			return errors.Is(err, raft.ErrUnreachable) || errors.Is(err, raft.ErrNotCaughtUp) || errors.Is(err, raft.ErrRemoved)
		},
		timeout: 300 * time.Millisecond,
	}
	var transports []*tcp.Transport
	var founders []raft.Server
	for i := range 6 {
		transport, err := tcp.Listen("127.0.0.1:0", tcp.Options{})
		require.NoError(t, err)
		s := raft.Server{ID: raft.ServerID(rune('a' + i)), Address: transport.Addr().String()}
		c.ids, transports, servers[s.ID] = append(c.ids, s.ID), append(transports, transport), s
		if i < len(c.present) {
			founders = append(founders, s)
		}
	}
	for i, id := range c.ids {
		log, err := wal.Open(t.TempDir(), wal.Options{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		c.machines[id] = &journal{}
		config := raft.Config{
			ID: id, Address: servers[id].Address, Machine: c.machines[id], Storage: log, Transport: transports[i],
			Heartbeat: c.timeout / 10, ElectionTimeout: c.timeout, SnapshotMinBytes: 2000, SnapshotFactor: 1,
			Logger: slog.New(slog.DiscardHandler),
		}
		if i < len(founders) {
			config.Bootstrap = founders
		}
		node, err := startNode(t, config)
		require.NoError(t, err)
		c.nodes[id] = node
		t.Cleanup(func() { require.NoError(t, node.Close(context.Background())) })
	}
	c.run(24, 8, 50)
	restored := 0
	for _, machine := range c.machines {
		machine.mu.Lock()
		restored += machine.restored
		machine.mu.Unlock()
	}
	require.Positive(t, restored, "some have come by a snapshot")
	t.Logf("%d snapshots restored", restored)
}
