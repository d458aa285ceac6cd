package raft_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// group returns what a host says of a group.
func groupOf(t *testing.T, s raft.HostStatus, group raft.GroupID) raft.GroupStatus {
	for _, g := range s.Groups {
		if g.Group == group {
			return g
		}
	}
	t.Fatalf("the host doesn't know %q", group)
	return raft.GroupStatus{}
}

// A host says how many of its groups it leads and follows, how far they have come, and what its disk
// has written.
func TestHostStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		const groups = 12
		for i := range groups {
			h.propose("a", raft.GroupID(fmt.Sprintf("g%02d", i)), "1")
		}
		for range 5 {
			h.propose("a", "g03", "more")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait() // whatever begins at this instant has ended
		led := 0
		for _, server := range h.servers {
			s := h.running[server.ID].Status()
			require.Equal(t, server.ID, s.ID)
			require.Equal(t, string(server.ID), s.Address)
			require.False(t, s.Stopped)
			require.NoError(t, s.Err)
			require.Equal(t, [...]int{groups, groups, 0, groups, 0}, [...]int{s.Running, s.Led + s.Followed, s.Leaderless, s.Quiet, s.Ended})
			require.Len(t, s.Groups, groups)
			led += s.Led
			for i, g := range s.Groups {
				require.Equal(t, raft.GroupID(fmt.Sprintf("g%02d", i)), g.Group)
				node, err := h.running[server.ID].Group(g.Group)
				require.NoError(t, err)
				is := node.Status()
				require.Equal(t, node.Leadership(), g.Leadership)
				require.Equal(t, [...]raft.Index{is.Commit, is.Applied}, [...]raft.Index{g.Commit, g.Applied})
				require.Zero(t, g.Leaderless)
			}
			require.Equal(t, groupOf(t, s, "g02").Applied+5, groupOf(t, s, "g03").Applied)
			require.Zero(t, s.WaitingBytes)
			require.Zero(t, s.Disk)
			require.Positive(t, s.Writes)
			require.GreaterOrEqual(t, s.GroupWrites, s.Writes)
			require.Len(t, s.Processes, 2)
			leads := s.Led
			for _, p := range s.Processes {
				leads += p.Leads
				require.Equal(t, string(p.ID), p.Address)
				require.False(t, p.Lost)
				require.Zero(t, p.Absent)
				require.LessOrEqual(t, p.Silent, time.Second)
			}
			require.Equal(t, groups, leads)
		}
		require.Equal(t, groups, led)
	})
}

// A host says which process is gone, and which groups have no leader, and for how long.
func TestHostStatusOfLostProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		for i := range 12 {
			h.propose("a", raft.GroupID(fmt.Sprint("g", i)), "1")
		}
		time.Sleep(10 * time.Second)
		h.network.Isolate("c")
		time.Sleep(10 * time.Second)
		lost := func(id raft.ServerID) map[raft.ServerID]bool {
			lost := map[raft.ServerID]bool{}
			for _, p := range h.running[id].Status().Processes {
				lost[p.ID] = p.Lost
				require.Equal(t, p.Lost, p.Silent >= 9*time.Second, "%s of %s", p.ID, id)
			}
			return lost
		}
		require.Equal(t, map[raft.ServerID]bool{"b": false, "c": true}, lost("a"))
		require.Equal(t, map[raft.ServerID]bool{"a": true, "b": true}, lost("c"))
		s := h.running["a"].Status()
		require.Zero(t, s.Leaderless)
		for _, p := range s.Processes {
			want := 0
			if p.ID == "c" {
				want = s.Led
			}
			require.Equal(t, want, p.Absent, p.ID)
		}
		s = h.running["c"].Status()
		require.Equal(t, 12, s.Leaderless)
		for _, g := range s.Groups {
			require.Greater(t, g.Leaderless, 5*time.Second)
			require.Less(t, g.Leaderless, 11*time.Second)
		}
		h.network.Heal()
		time.Sleep(10 * time.Second)
		require.Equal(t, map[raft.ServerID]bool{"a": false, "b": false}, lost("c"))
		require.Equal(t, map[raft.ServerID]bool{"b": false, "c": false}, lost("a"), "it is back, though it leads nothing")
		require.Zero(t, h.running["c"].Status().Leaderless)
		require.NoError(t, h.running["b"].Close(t.Context()))
		time.Sleep(10 * time.Second)
		require.Equal(t, map[raft.ServerID]bool{"b": true, "c": false}, lost("a"))
		h.start("b")
		time.Sleep(10 * time.Second)
		require.Equal(t, map[raft.ServerID]bool{"b": false, "c": false}, lost("a"), "it has started again, and leads nothing")
	})
}

// A group that begins late has been without a leader since its own start, not since that of its host.
func TestLateGroupIsLeaderlessSinceItsStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 3)
		defer h.close()
		time.Sleep(time.Hour)
		h.network.Isolate("a")
		node, err := h.running["a"].Group("late")
		require.NoError(t, err)
		synctest.Wait()
		require.Less(t, node.Status().NoLeader.For, time.Second)
		time.Sleep(10 * time.Second)
		require.Equal(t, 10*time.Second, node.Status().NoLeader.For)
		require.InDelta(t, 10*time.Second, groupOf(t, h.running["a"].Status(), "late").Leaderless, float64(time.Second))
	})
}

// Groups that have ended stay in sight with the reason until they are removed, and so do those that
// can't be started. A host that was closed still says how it was.
func TestHostStatusOfEndedGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 1)
		for _, group := range []raft.GroupID{"closed", "broken", "fine"} {
			h.propose("a", group, "1")
		}
		host := h.running["a"]
		h.machine("a", "broken").whileApplying(func(string) { panic("a bug") })
		node, err := host.Group("broken")
		require.NoError(t, err)
		_, err = node.Propose(t.Context(), []byte("2"))
		require.Error(t, err)
		node, err = host.Group("closed")
		require.NoError(t, err)
		require.NoError(t, node.Close(t.Context()))
		synctest.Wait()
		s := host.Status()
		require.Equal(t, [...]int{1, 1, 2}, [...]int{s.Running, s.Led, s.Ended})
		require.NoError(t, groupOf(t, s, "closed").Err)
		require.Equal(t, "stopped", groupOf(t, s, "closed").Leadership.Role)
		var broken *raft.PanicError
		require.ErrorAs(t, groupOf(t, s, "broken").Err, &broken)

		h.unknown["no machine"] = true
		_, err = host.Group("no machine")
		require.ErrorIs(t, err, raft.ErrConfig)
		h.adaptGroup = func(_ raft.ServerID, _ raft.GroupID, c *raft.Config) { c.Heartbeat = time.Hour }
		_, err = host.Group("refused")
		require.ErrorContains(t, err, "Heartbeat")
		s = host.Status()
		require.Len(t, s.Groups, 4, "a group that there isn't is none that has ended")
		require.ErrorIs(t, groupOf(t, s, "refused").Err, err)
		require.NoError(t, host.Remove(t.Context(), "refused"))
		require.NoError(t, host.Remove(t.Context(), "broken"))
		require.Len(t, host.Status().Groups, 2)
		h.close()
		s = host.Status()
		require.True(t, s.Stopped)
		require.NoError(t, s.Err)
		require.Equal(t, [...]int{0, 2}, [...]int{s.Running, s.Ended})
		require.Zero(t, s.Disk.Pending)
	})
}

// The status can be asked for by functions that a host calls, and while a state machine hangs.
func TestHostStatusWithinCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHosts(t, 1)
		defer h.close()
		asked, host := map[string]int{}, h.running["a"]
		ask := func(where string) {
			host.Status()
			h.mu.Lock()
			asked[where]++
			h.mu.Unlock()
		}
		h.adaptGroup = func(_ raft.ServerID, group raft.GroupID, c *raft.Config) {
			h.mu.Unlock()
			ask("Group")
			h.mu.Lock()
			c.Trace = &raft.Trace{
				Turn: func(raft.TurnTrace) { ask("Turn") }, Wrote: func(raft.WriteTrace) { ask("Wrote") },
				Applied: func(raft.ApplyTrace) { ask("Applied") }, Changed: func(raft.Event) { ask("Changed") },
			}
			c.Validate = func([]byte) error { ask("Validate"); return nil }
		}
		h.propose("a", "g", "1")
		for _, where := range []string{"Group", "Turn", "Wrote", "Applied", "Changed", "Validate"} {
			h.mu.Lock()
			require.Positive(t, asked[where], where)
			h.mu.Unlock()
		}
		release := make(chan struct{})
		h.machine("a", "g").whileApplying(func(string) { <-release })
		node, err := h.running["a"].Group("g")
		require.NoError(t, err)
		answered := propose(context.Background(), node, "2")
		synctest.Wait()
		before := time.Now()
		g := groupOf(t, h.running["a"].Status(), "g")
		require.Zero(t, time.Since(before))
		require.Equal(t, 1, g.Pending)
		require.Less(t, g.Applied, g.Commit)
		close(release)
		require.NoError(t, (<-answered).err)
	})
}
