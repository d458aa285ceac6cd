package raft_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// join starts servers that wait to be added.
func (c *cluster) join(ids ...raft.ServerID) {
	adjust := c.adjust
	c.adjust = func(config *raft.Config) {
		adjust(config)
		config.Address, config.Bootstrap = "at "+string(config.ID), nil
	}
	for _, id := range ids {
		c.disks[id] = &disk{MemoryStorage: raft.NewMemoryStorage()}
		c.start(id)
	}
	c.ids, c.adjust = append(c.ids, ids...), adjust
}

// reached returns a server as the members know it.
func reached(id raft.ServerID) raft.Server { return raft.Server{ID: id, Address: "at " + string(id)} }

func TestNodeMembership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, raft.Faults{MaxDelay: 5 * time.Millisecond})
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
		removed, err := c.nodes["d"].RemoveServer(t.Context(), "d", raft.Expect(added)) // at itself
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
		_, err = c.nodes["d"].Propose(t.Context(), []byte("from a learner"))
		require.NoError(t, err)
		require.Equal(t, []string{"before", "from a learner"}, c.machines["d"].applied())

		_, err = others[0].SetMembers(t.Context(), []raft.Member{{Server: reached("a")}, {Server: reached("a")}})
		require.ErrorIs(t, err, raft.ErrMembers)
		require.ErrorContains(t, err, `"a"`)
		_, err = others[0].SetMembers(t.Context(), []raft.Member{{Server: reached("d")}})
		require.NoError(t, err)
		_, err = c.nodes["d"].Propose(t.Context(), []byte("alone"))
		require.NoError(t, err)
	})
}

// A server that lost its disk says so, and Replace is the cure.
func TestNodeReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, raft.Faults{})
		_, err := c.nodes["a"].Propose(t.Context(), []byte("before"))
		require.NoError(t, err)
		c.leader()
		c.close("c")
		c.disks["c"] = &disk{MemoryStorage: raft.NewMemoryStorage()}
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

// Clients propose all the time at servers that come and go, while the members are changed at random again and again. No
// command is lost that was acknowledged, none is applied twice, and none that was refused.
func TestRandomSetMembersUnderLoad(t *testing.T) {
	const changes, clients = 24, 8
	synctest.Test(t, func(t *testing.T) {
		c := startCluster(t, 3, raft.Faults{MinDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond})
		c.leader()
		c.join("d", "e", "f")
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		var acknowledged, refused, unknown []string
		done := make(chan struct{})
		var running sync.WaitGroup
		for client := range clients {
			running.Go(func() {
				luck := rand.New(rand.NewPCG(3, uint64(client)))
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					case <-time.After(time.Millisecond):
					}
					command := fmt.Sprintf("client %d command %d", client, i)
					_, err := c.nodes[c.ids[luck.IntN(len(c.ids))]].Propose(within(t, 2*electionTimeout), []byte(command))
					mu.Lock()
					switch {
					case err == nil:
						acknowledged = append(acknowledged, command)
					case errors.Is(err, raft.ErrNotApplied):
						refused = append(refused, command)
					default:
						require.ErrorIs(t, err, raft.ErrOutcomeUnknown)
						unknown = append(unknown, command)
					}
					mu.Unlock()
				}
			})
		}
		present := []raft.ServerID{"a", "b", "c"}
		for range changes {
			time.Sleep(time.Duration(random.IntN(500)) * time.Millisecond)
			order := random.Perm(len(c.ids))[:1+random.IntN(5)]
			var members []raft.Member
			var next []raft.ServerID
			for i, place := range order {
				m := raft.Member{Server: reached(c.ids[place])}
				if i > 0 && random.IntN(4) == 0 {
					m.Role = raft.Learner
				}
				members, next = append(members, m), append(next, m.ID)
			}
			at := present[random.IntN(len(present))]
			_, err := c.nodes[at].SetMembers(within(t, 30*electionTimeout), members)
			require.NoError(t, err, "at %s: %v", at, next)
			present = next
		}
		close(done)
		running.Wait()
		require.NoError(t, c.nodes[present[0]].Read(t.Context()))
		applied := map[string]int{}
		for _, command := range c.machines[present[0]].applied() {
			applied[command]++
			require.Equal(t, 1, applied[command], command)
		}
		for _, command := range acknowledged {
			require.Equal(t, 1, applied[command], "%s was acknowledged", command)
		}
		for _, command := range refused {
			require.Zero(t, applied[command], "%s was refused", command)
		}
		t.Logf("%d changes; %d commands acknowledged, %d refused, %d unknown", changes, len(acknowledged), len(refused), len(unknown))
		require.Greater(t, len(acknowledged), 50*changes)
	})
}
