package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
)

// A story is what a test does to a lab, and sees there.
type story struct {
	t         *testing.T
	lab       *lab
	performed map[string]bool
	heard     int // the number of the last piece of news that was waited for
}

// tellStory founds a cluster for a test.
func tellStory(t *testing.T, servers int) *story {
	t.Helper()
	goroutines := runtime.NumGoroutine()
	b, err := newLab(settings{servers: servers, heartbeat: 100 * time.Millisecond, election: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, b.close())
		require.NoDirExists(t, b.folder)
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+1 }, storyPatience, 20*time.Millisecond,
			"goroutines outlive the lab") // one more, in which this is asked
	})
	s := &story{t: t, lab: b, performed: map[string]bool{}}
	s.leader()
	return s
}

// storyPatience bounds each wait. Real nodes elect real leaders, on a machine that may have much
// else to do.
const storyPatience = time.Minute

// await waits until a view is as it should be, and returns it.
func (s *story) await(what string, is func(v *view) bool) *view {
	s.t.Helper()
	for end := time.Now().Add(storyPatience); ; <-time.After(20 * time.Millisecond) {
		v := s.lab.look()
		if is(v) {
			return v
		}
		if time.Now().After(end) {
			text := ""
			for i := range v.Servers {
				text += fmt.Sprintf("%+v\n", v.Servers[i])
			}
			require.Fail(s.t, "it doesn't happen: "+what, "%s%+v", text, v.News)
		}
	}
}

// hears waits for a piece of news that contains some text.
func (s *story) hears(server raft.ServerID, kind, text string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s news of %s: %s", kind, server, text), func(v *view) bool {
		for _, p := range v.News {
			if p.Number > s.heard && p.Server == server && p.Kind == kind && strings.Contains(p.Text, text) {
				s.heard = p.Number
				return true
			}
		}
		return false
	})
}

// act performs an action, which succeeds.
func (s *story) act(name string, server raft.ServerID, to ...raft.ServerID) {
	s.t.Helper()
	s.performed[name] = true
	r := request{Action: name, Server: server}
	if len(to) > 0 {
		r.To = to[0]
	}
	require.NoError(s.t, s.lab.perform(r), "%+v", r)
}

// of returns a server in a view.
func of(v *view, id raft.ServerID) *serverView {
	for i := range v.Servers {
		if v.Servers[i].ID == id {
			return &v.Servers[i]
		}
	}
	return &serverView{}
}

// leading returns the server that leads in the highest term; "" for none.
func leading(v *view) raft.ServerID {
	id, term := raft.ServerID(""), raft.Term(0)
	for _, s := range v.Servers {
		if s.State == stateRunning && s.Role == "leader" && s.Term > term {
			id, term = s.ID, s.Term
		}
	}
	return id
}

// leader waits for a leader other than some servers, and for a command that it has committed.
func (s *story) leader(not ...raft.ServerID) raft.ServerID {
	s.t.Helper()
	found := raft.ServerID("")
	s.await("a leader", func(v *view) bool {
		found = leading(v)
		return found != "" && !slices.Contains(not, found)
	})
	done := s.lab.look().Clients.Total.Returned
	s.await("answers to clients", func(v *view) bool { return v.Clients.Total.Returned > done })
	return found
}

// follower returns a server that doesn't lead.
func (s *story) follower() raft.ServerID {
	s.t.Helper()
	leader := s.leader()
	for _, other := range s.lab.list() {
		if other.id != leader {
			return other.id
		}
	}
	return ""
}

// well waits until a server takes part again, and has all that was committed.
func (s *story) well(id raft.ServerID) {
	s.t.Helper()
	commit := of(s.lab.look(), s.leader()).Commit
	s.await(string(id)+" is well", func(v *view) bool {
		o := of(v, id)
		return o.State == stateRunning && o.Cure == "" && o.Member == "voter" && o.Leader != "" && o.Applied >= commit && o.Stable >= commit
	})
}

// says waits until a server says something.
func (s *story) says(id raft.ServerID, text string) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s says %q", id, text), func(v *view) bool {
		return slices.ContainsFunc(of(v, id).Says, func(x sentence) bool { return strings.Contains(x.Text, text) })
	})
}

// Every action does what its button says, to a real cluster, and what clients see stays
// linearizable.
func TestEveryAction(t *testing.T) {
	s := tellStory(t, 3)
	for _, part := range []struct {
		name string
		tell func(*story)
	}{
		{"processes", (*story).processes}, {"disks", (*story).disks}, {"lost disks", (*story).lostDisks},
		{"lines", (*story).lines}, {"members", (*story).members}, {"clients", (*story).reading},
	} {
		started := time.Now()
		part.tell(s)
		s.act("heal", "")
		s.leader()
		t.Logf("%s: %v", part.name, time.Since(started).Round(time.Millisecond))
	}
	for _, a := range actions {
		require.True(t, s.performed[a.Name], a.Name)
	}
}

func (s *story) processes() {
	first := s.leader()
	s.act("kill", first)
	s.leader(first)
	require.ErrorIs(s.t, s.lab.perform(request{Action: "kill", Server: first}), errNotRunning)
	s.says(first, "no process runs")
	s.act("restart", first)
	s.well(first)

	second := s.leader()
	s.act("pause", second)
	s.says(second, "stands still")
	s.leader(second)
	s.act("pause", second)
	s.well(second)

	third := s.leader()
	s.act("stop", third)
	s.leader(third)
	s.act("restart", third)
	s.well(third)
	s.act("restart", third) // also while it runs
	s.well(third)
}

func (s *story) disks() {
	follower := s.follower()
	s.act("rot", follower)
	s.act("restart", follower)
	s.hears(follower, troubleEvent, "has lost the bytes of")
	s.hears(follower, mendedEvent, "given it the lost bytes")
	s.well(follower)

	s.act("stuck", follower)
	s.says(follower, "its disk: nothing finished for")
	s.act("stuck", follower)
	s.well(follower)

	leader := s.leader()
	s.act("slow", leader)
	s.await("a slow disk", func(v *view) bool { return of(v, leader).Stable < of(v, leader).Last })
	s.act("slow", leader)

	leader = s.leader()
	s.act("fail", leader)
	s.hears(leader, troubleEvent, "input/output error")
	s.says(leader, "the node has stopped")
	s.leader(leader)
	s.act("restart", leader)
	s.well(leader)

	follower = s.follower()
	require.NoError(s.t, s.lab.perform(request{Action: "load", Value: "heavy"}))
	s.performed["load"] = true
	s.act("full", follower)
	s.says(follower, "its disk has been full for")
	s.act("full", follower)
	require.NoError(s.t, s.lab.perform(request{Action: "load", Value: "light"}))
	s.hears(follower, mendedEvent, "its disk has room again")
	s.well(follower)
}

func (s *story) lostDisks() {
	follower := s.follower()
	s.act("lose", follower)
	s.await("the way to help", func(v *view) bool { return of(v, follower).Cure == "replace" })
	s.act("replace", follower)
	s.well(follower)

	s.act("restart", follower) // it makes a copy of the disk
	s.well(follower)
	s.await("some more entries", func() func(v *view) bool {
		last := of(s.lab.look(), follower).Last
		return func(v *view) bool { return of(v, follower).Stable > last+20 }
	}())
	s.act("putback", follower)
	s.hears(follower, troubleEvent, "gone back in time")
	s.act("replace", follower)
	s.well(follower)
}

func (s *story) lines() {
	first := s.leader()
	s.act("isolate", first)
	s.leader(first)
	s.act("isolate", first)
	s.well(first)

	cut := func(from, to raft.ServerID) bool { return s.lab.network.line(from, to).cut.isShut() }
	s.act("cut", "a", "b")
	require.True(s.t, cut("a", "b") && cut("b", "a"))
	s.act("cut", "b", "a")
	require.False(s.t, cut("a", "b") || cut("b", "a"))
	s.act("oneway", "a", "b")
	require.True(s.t, cut("a", "b") && !cut("b", "a"))
	s.act("cut", "b", "a")
	require.False(s.t, cut("a", "b") || cut("b", "a"))
	s.act("lag", "a", "b")
	require.True(s.t, s.lab.network.line("b", "a").slow.Load())
	require.Error(s.t, s.lab.perform(request{Action: "cut", Server: "a", To: "a"}))

	leader := s.leader() // nothing that it sends to one of the others arrives there
	other := s.follower()
	s.act("oneway", leader, other)
	s.await("a follower that is left behind, and isn't led", func(v *view) bool { return of(v, other).Role != "follower" })
	s.act("oneway", leader, other)
	s.well(other)
}

func (s *story) members() {
	follower := s.follower()
	s.act("lead", follower)
	s.await("the hand-over", func(v *view) bool { return leading(v) == follower })
	s.act("add", "")
	s.well("d")
	s.act("remove", "d")
	v := s.await("three members", func(v *view) bool { return len(v.Servers) == 3 })
	require.Len(s.t, v.Lines, 6)
	s.act("add", "")
	s.well("e") // an ID is never used again
	leader := s.leader()
	s.act("remove", leader)
	s.leader(leader)
	require.Error(s.t, s.lab.perform(request{Action: "kill", Server: leader}), "it is gone")
}

func (s *story) reading() {
	s.act("stale", "")
	require.True(s.t, s.lab.look().Clients.Stale)
	s.act("stale", "")
	checked := s.lab.look().Verdict.Checked
	v := s.await("another verdict", func(v *view) bool { return v.Verdict.Checked > checked }).Verdict
	require.Zero(s.t, v.Violations, v.First)
	s.act("pardon", "")
	require.Less(s.t, s.lab.look().Verdict.Checked, v.Checked)
}

// Reads that ask nobody aren't linearizable, and the judge says so.
func TestStaleReadsAreConvicted(t *testing.T) {
	s := tellStory(t, 3)
	s.act("stale", "")
	require.NoError(t, s.lab.perform(request{Action: "load", Value: "medium"}))
	follower := s.follower()
	s.await("reads at every server, after which stale ones are served", func(v *view) bool { return v.Clients.Total.Returned > 100 })
	s.act("isolate", follower)
	v := s.await("a violation", func(v *view) bool { return v.Verdict.Violations > 0 })
	require.Contains(t, v.Verdict.First, "not linearizable")
	s.act("isolate", follower)
	s.act("stale", "")
	s.act("pardon", "")
}

// A lab ends at any time, whatever is broken in it, and nothing of it is left (tellStory).
func TestEndsWhileBroken(t *testing.T) {
	s := tellStory(t, 5)
	s.act("cut", "a", "b")
	s.act("oneway", "c", "d")
	s.act("lag", "a", "c")
	s.act("pause", "a")
	s.act("stuck", "b")
	s.act("stuck", "c")
	s.act("kill", "c")
	require.NoError(t, s.lab.servers[2].start(nil))
	s.says("c", "reads what is on its disk")
	s.act("slow", "d")
	s.act("full", "e")
	s.act("kill", "e")
}

// Requests that make no sense say what is wrong.
func TestRequestsThatMakeNoSense(t *testing.T) {
	s := tellStory(t, 1)
	for text, r := range map[string]request{
		`there is no action "explode"`:       {Action: "explode"},
		`there is no server "z"`:             {Action: "kill", Server: "z"},
		`there is no server ""`:              {Action: "cut", Server: "a"},
		`a has no line to itself`:            {Action: "cut", Server: "a", To: "a"},
		`there is no load "crushing"`:        {Action: "load", Value: "crushing"},
		`there is no older copy of its disk`: {Action: "putback", Server: "a"},
		`no server that could be asked`:      {Action: "remove", Server: "a"},
	} {
		require.ErrorContains(t, s.lab.perform(r), text)
	}
	for _, wrong := range []settings{{servers: 0}, {servers: maxServers + 1}} {
		_, err := newLab(wrong)
		require.ErrorContains(t, err, "servers: from 1 to 9 are possible")
	}
	used := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(used, "x"), nil, 0o600))
	_, err := newLab(settings{servers: 1, folder: used, heartbeat: 1, election: 2})
	require.ErrorContains(t, err, "isn't empty")
}

// IDs are letters, and none is given away twice.
func TestIDs(t *testing.T) {
	b := &lab{}
	given := map[raft.ServerID]bool{}
	for range 800 {
		id := b.nextID()
		require.False(t, given[id], id)
		given[id] = true
	}
	for _, id := range []raft.ServerID{"a", "z", "aa", "az", "ba", "zz", "aaa"} {
		require.True(t, given[id], id)
	}
}

// Each action has a key of its own, which no other part of the page uses.
func TestKeysAreApart(t *testing.T) {
	used := map[string]bool{}
	for _, a := range actions {
		require.Regexp(t, `^[a-z]$`, a.Key, a.Name)
		require.False(t, used[a.Key], a.Key)
		used[a.Key] = true
		require.NotEmpty(t, a.Means, a.Name)
	}
}
