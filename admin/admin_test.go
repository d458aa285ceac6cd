package admin_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

const three = "a voter at a:1, b voter at b:1, c voter at c:1"

// TestNoHandlerIsOpen: a handler needs somebody who decides who may use it.
func TestNoHandlerIsOpen(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		_, err := admin.New(admin.Config{Node: c.nodes["a"]})
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "no Authorize")
		_, err = admin.New(admin.Config{Authorize: admin.UnixSocket})
		require.ErrorIs(t, err, raft.ErrConfig)
		require.ErrorContains(t, err, "no Node")
	})
}

// everything are all requests, with bodies that would be taken.
var everything = [][3]string{
	{"GET", "host", ""},
	{"GET", "status", ""},
	{"POST", "members/add", `{"members": [{"id": "d", "address": "d:1"}]}`},
	{"POST", "members/remove", `{"members": [{"id": "b"}]}`},
	{"POST", "members/replace", `{"members": [{"id": "b"}]}`},
	{"POST", "members/set", `{"members": [{"id": "a"}]}`},
	{"POST", "transfer", `{"to": ""}`},
	{"POST", "snapshot", `{}`},
	{"POST", "export", `{}`},
}

// TestRefusedRequestsDoNothing: what Authorize refuses, and what a web page may have sent, does
// nothing and learns nothing.
func TestRefusedRequestsDoNothing(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		before := c.status("a")
		requireNothingDone := func() {
			t.Helper()
			synctest.Wait()
			after := c.status("a")
			require.Equal(t, before.Membership, after.Membership)
			require.Equal(t, before.Term, after.Term)
			require.Zero(t, after.Snapshot)
		}
		for _, request := range everything {
			c.refuse = errors.New("not you")
			requireFailure(t, c.ask("a", request[0], request[1], request[2]), 403, "forbidden", httpapi.NotApplied, "not you")
			c.refuse = nil
			for _, header := range [][]string{
				{"Origin", "http://elsewhere"}, {"Origin", "null"}, {"Origin", ""}, {"Sec-Fetch-Site", "cross-site"},
				{"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "same-origin"},
			} {
				requireFailure(t, c.ask("a", request[0], request[1], request[2], header...), 403, "forbidden", httpapi.NotApplied, "web page")
			}
			requireNothingDone()
			if request[0] == "POST" && request[1] != "export" { // a page may send a form without asking
				w := c.ask("a", request[0], request[1], request[2], "Content-Type", "text/plain")
				requireFailure(t, w, 400, "bad_request", httpapi.NotApplied, "Content-Type")
			}
		}
		requireNothingDone()
		require.Contains(t, c.log.String(), `msg="raft: administration refused" node=a what="POST /raft/members/remove"`)
		require.Equal(t, http.StatusOK, c.ask("a", "GET", "status", "", "Sec-Fetch-Site", "none").Code, "somebody has typed it in")
	})
}

func TestStatus(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		leader, other := c.leader()
		_, err := c.nodes[other].Propose(t.Context(), []byte("x"))
		require.NoError(t, err)
		synctest.Wait()
		is := c.nodes[leader].Status()
		s := c.status(leader)
		require.Equal(t, leader, s.ID)
		require.Equal(t, "leader", s.Role)
		require.Equal(t, leader, s.Leader)
		require.Equal(t, is.Cluster.String(), s.Membership.Cluster)
		require.Equal(t, three, roles(s.Membership.Members))
		require.Equal(t, fmt.Sprintf("%016x", uint64(is.Members[0].Incarnation)), s.Membership.Members[0].Disk)
		require.Equal(t, is.Applied, s.Applied)
		require.Equal(t, is.ConfigurationIndex, s.Membership.Index)
		require.Len(t, s.Peers, 2)
		require.Empty(t, s.Problems)
		require.Empty(t, s.Waiting)

		c.network.Isolate(leader)
		done := make(chan error)
		go func() {
			_, err := c.nodes[leader].Propose(t.Context(), []byte("y"))
			done <- err
		}()
		time.Sleep(100 * time.Millisecond)
		s = c.status(leader)
		require.Equal(t, 1, s.Pending.Commands)
		require.Equal(t, "command", s.Waiting[0].Kind)
		require.Equal(t, raft.WaitStored, s.Waiting[0].On)
		require.Len(t, s.Waiting[0].Servers, 2)
		require.Contains(t, s.Waiting[0].Text, "on a majority to store")
		c.network.SetFaults(memory.Faults{})
		<-done
	})
}

// TestChanges: each change shows the members before and after, and is made.
func TestChanges(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		c.start(raft.Server{ID: "d", Address: "d:1"}, memory.NewStorage(), nil)
		changed := c.change("b", "add", `{"members": [{"id": "d", "address": "d:1", "role": "learner"}]}`)
		require.Equal(t, three, roles(changed.Before.Members))
		require.Equal(t, three+", d learner at d:1", roles(changed.After.Members))
		require.Less(t, changed.Before.Index, changed.Index)
		changed = c.change("d", "add", `{"members": [{"id": "d", "address": "d:1"}], "timeout_ms": 5000}`)
		require.Equal(t, three+", d voter at d:1", roles(changed.After.Members))
		for _, server := range []raft.ServerID{"b", "c"} { // through another server, and through itself
			by := map[raft.ServerID]raft.ServerID{"b": "a", "c": "c"}[server]
			changed = c.change(by, "remove", `{"members": [{"id": "`+string(server)+`"}]}`)
		}
		require.Equal(t, "a voter at a:1, d voter at d:1", roles(changed.After.Members))
		requireFailure(t, c.ask("a", "POST", "members/remove", `{"members": [{"id": "x"}]}`), 409, "not_member", httpapi.NotApplied, "x")
	})
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		require.NoError(t, c.nodes["c"].Close(t.Context()))
		c.start(raft.Server{ID: "c", Address: "c:1"}, memory.NewStorage(), nil)
		c.awaitDisk("c")
		requireFailure(t, c.ask("a", "POST", "members/add", `{"members": [{"id": "c", "address": "c:1"}], "timeout_ms": 5000}`),
			409, "other_incarnation", httpapi.NotApplied, `server "c"`)
		changed := c.change("a", "replace", `{"members": [{"id": "c"}]}`)
		require.Equal(t, three, roles(changed.After.Members))
		require.NotEqual(t, changed.Before.Members[2].Disk, changed.After.Members[2].Disk)
		changed = c.change("b", "set", `{"members": [{"id": "c"}, {"id": "a", "role": "learner"}]}`)
		require.Equal(t, "a learner at a:1, c voter at c:1", roles(changed.After.Members))
		require.Contains(t, c.log.String(), `msg="raft: administration" node=b what="POST /raft/members/set"`)
	})
}

// TestExpectation: a change is made only if the configuration is the one that was expected.
func TestExpectation(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		c.change("a", "add", `{"members": [{"id": "c", "address": "c:1", "role": "learner"}]}`)
		time.Sleep(time.Second) // until nothing follows the change any more
		at := c.status("a").Membership.Index
		for _, expect := range []raft.Index{at - 1, at + 1, at + 1000} {
			w := c.ask("b", "POST", "members/remove", fmt.Sprintf(`{"members": [{"id": "c"}], "expect": %d}`, expect))
			requireFailure(t, w, 409, "conflict", httpapi.NotApplied, fmt.Sprintf("at index %d now, not that at %d", at, expect))
		}
		require.Equal(t, at, c.status("a").Membership.Index)
		changed := c.change("b", "remove", fmt.Sprintf(`{"members": [{"id": "c"}], "expect": %d}`, at))
		require.Equal(t, at, changed.Before.Index)
		w := c.ask("b", "POST", "members/remove", fmt.Sprintf(`{"members": [{"id": "b"}], "expect": %d}`, at))
		requireFailure(t, w, 409, "conflict", httpapi.NotApplied, "")

		term := c.status("a").Term
		w = c.ask("a", "POST", "transfer", fmt.Sprintf(`{"expect_term": %d}`, term+1))
		requireFailure(t, w, 409, "conflict", httpapi.NotApplied, fmt.Sprintf("the term is %d now", term))
		require.Equal(t, term, c.status("a").Term)
	})
}

// TestTransfer: the leadership goes where it was sent.
func TestTransfer(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		leader, other := c.leader()
		for _, to := range []raft.ServerID{other, leader} {
			synctest.Wait() // until all know who leads
			before := c.status(to)
			w := c.ask("a", "POST", "transfer", fmt.Sprintf(`{"to": %q, "expect_term": %d}`, to, before.Term))
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			var done admin.Transferred
			decode(t, w, &done)
			require.Equal(t, admin.Leadership{Leader: before.Leader, Term: before.Term}, done.Before)
			require.Equal(t, to, done.After.Leader)
			require.Greater(t, done.After.Term, done.Before.Term)
		}
		term := c.status(leader).Term
		w := c.ask(other, "POST", "transfer", fmt.Sprintf(`{"to": %q}`, leader))
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, term, c.status(leader).Term, "it led already")
		requireFailure(t, c.ask("a", "POST", "transfer", `{"to": "x"}`), 409, "transfer_target", httpapi.NotApplied, "")
	})
}

// TestSnapshotAndExport: a snapshot covers what was applied, an export what was acknowledged anywhere.
func TestSnapshotAndExport(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		_, other := c.leader()
		for _, command := range []string{"one", "two"} {
			_, err := c.nodes["a"].Propose(t.Context(), []byte(command))
			require.NoError(t, err)
		}
		w := c.ask(other, "POST", "export", `{}`)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		require.Equal(t, "application/octet-stream", w.Header().Get("Content-Type"))
		require.Contains(t, w.Body.String(), "onetwo")
		export, err := raft.VerifyExport(bytes.NewReader(w.Body.Bytes()))
		require.NoError(t, err)
		require.Equal(t, c.status("a").Membership.Cluster, export.Cluster.String())

		synctest.Wait()
		for range 2 {
			w = c.ask("a", "POST", "snapshot", `{"timeout_ms": 1000}`)
			require.Equal(t, http.StatusOK, w.Code, w.Body)
			var done admin.Snapshotted
			decode(t, w, &done)
			require.Equal(t, raft.ServerID("a"), done.ID)
			require.Equal(t, c.status("a").Applied, done.After)
			require.LessOrEqual(t, done.Before, done.After)
		}

		_, err = c.nodes["a"].Propose(t.Context(), []byte("three"))
		require.NoError(t, err)
		c.machines["a"].mu.Lock()
		c.machines["a"].broken = true
		c.machines["a"].mu.Unlock()
		for _, path := range []string{"snapshot", "export"} {
			requireFailure(t, c.ask("a", "POST", path, `{}`), 503, "not_taken", httpapi.NotApplied, "the state can't be captured")
		}
		c.start(raft.Server{ID: "d", Address: "d:1"}, memory.NewStorage(), nil)
		requireFailure(t, c.ask("d", "POST", "snapshot", `{}`), 409, "no_snapshot", httpapi.NotApplied, "")
		requireFailure(t, c.ask("d", "POST", "members/add", `{"members": [{"id": "d", "address": "d:1"}]}`), 503, "no_part", httpapi.NotApplied, "waiting to be added")
	})
}

// TestWithoutLeader: nothing is changed, and the answer says why.
func TestWithoutLeader(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		leader, other := c.leader()
		for id := range c.nodes {
			c.network.Isolate(id)
		}
		time.Sleep(5 * time.Second)
		begin := time.Now()
		w := c.ask(other, "POST", "members/remove", fmt.Sprintf(`{"members": [{"id": %q}], "timeout_ms": 3000}`, leader))
		requireFailure(t, w, 503, "no_leader", httpapi.NotApplied, "silent")
		require.Equal(t, 3*time.Second, time.Since(begin))
		w = c.ask(other, "POST", "members/remove", fmt.Sprintf(`{"members": [{"id": %q}], "expect": 1000, "timeout_ms": 3000}`, leader))
		requireFailure(t, w, 503, "no_leader", httpapi.NotApplied, "")
		requireFailure(t, c.ask(other, "POST", "transfer", `{"timeout_ms": 3000}`), 503, "no_leader", httpapi.NotApplied, "")
		requireFailure(t, c.ask(other, "POST", "export", `{}`), 503, "no_leader", httpapi.NotApplied, "")
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
		require.Equal(t, three, roles(c.status(leader).Membership.Members))
	})
}

// TestUnknownOutcome: a server that is cut off after it has asked the leader can't know whether the
// change is made, and the answer says just that.
func TestUnknownOutcome(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		_, other := c.leader()
		answered := make(chan *httptest.ResponseRecorder)
		go func() {
			answered <- c.ask(other, "POST", "members/add", `{"members": [{"id": "d", "address": "d:1"}], "timeout_ms": 3000}`)
		}()
		time.Sleep(10 * time.Millisecond) // the leader looks for the new server
		c.network.Isolate(other)
		requireFailure(t, <-answered, 504, "outcome_unknown", httpapi.Unknown, "")
		require.Contains(t, c.log.String(), `msg="raft: administration failed"`)
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, c.nodes["a"].Read(t.Context()))
	})
}

// TestBadRequests: the error names what is wrong.
func TestBadRequests(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		for _, wrong := range [][3]string{
			{"members/add", `{}`, "the number of members is 0"},
			{"members/add", `{"members": [{"id": "d", "address": "d:1"}, {"id": "e", "address": "e:1"}]}`, "the number of members is 2"},
			{"members/add", `{"members": [{"id": "d"}]}`, `server "d" has no address`},
			{"members/add", `{"members": [{"id": "d", "address": "d:1", "role": "king"}]}`, `"king"`},
			{"members/set", `{"members": []}`, "the number of members is 0"},
			{"members/remove", `{"members": [{"id": "c"}], "expected": 1}`, `unknown field "expected"`},
			{"members/remove", `{"members": [{"id": "c"}], "timeout_ms": -1}`, "timeout_ms is -1"},
			{"members/remove", `{"members": [{"id": "c"}], "timeout_ms": 600001}`, "from 0 to 600000"},
			{"members/remove", `{"members": [{"id": "c"}], "timeout_ms": 9223372036854775807}`, "from 0 to 600000"},
			{"transfer", `{"to": "b"} {}`, "more than one"},
			{"transfer", ``, "EOF"},
			{"snapshot", `{"to": "b"}`, `unknown field "to"`},
		} {
			requireFailure(t, c.ask("a", "POST", wrong[0], wrong[1]), 400, "bad_request", httpapi.NotApplied, wrong[2])
		}
		long := strings.Repeat("x", 300)
		for _, wrong := range [][2]string{
			{"add", `{"members": [{"id": "", "address": "d:1"}]}`},
			{"add", `{"members": [{"id": "x", "address": "a:1"}]}`},
			{"add", `{"members": [{"id": "` + long + `", "address": "d:1"}]}`},
			{"remove", `{"members": [{"id": "` + long + `"}]}`},
		} {
			requireFailure(t, c.ask("a", "POST", "members/"+wrong[0], wrong[1]), 409, "bad_members", httpapi.NotApplied, "")
		}
		w := c.ask("a", "POST", "members/add", `{"members": [{"id": "x", "address": "nowhere:1"}]}`)
		requireFailure(t, w, 503, "unreachable", httpapi.NotApplied, `server "x"`)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
		requireFailure(t, c.ask("a", "GET", "nothing", ""), 404, "not_found", httpapi.NotApplied, "/raft/nothing")
		requireFailure(t, c.ask("a", "GET", "transfer", ""), 405, "method_not_allowed", httpapi.NotApplied, "POST")
		require.Equal(t, three, roles(c.status("a").Membership.Members))
	})
}

// TestChangesAtOnce: changes that come at the same time are made one after the other, and what each
// shows as before is what the one before it has left.
func TestChangesAtOnce(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		ids := []raft.ServerID{"d", "e", "f", "g"}
		made := make(chan admin.Changed)
		for _, id := range ids {
			c.start(raft.Server{ID: id, Address: string(id) + ":1"}, memory.NewStorage(), nil)
		}
		for _, id := range ids {
			go func() {
				for {
					w := c.ask("b", "POST", "members/add", fmt.Sprintf(`{"members": [{"id": %q, "address": "%s:1", "role": "learner"}]}`, id, id))
					if w.Code == http.StatusOK {
						var changed admin.Changed
						decode(t, w, &changed)
						made <- changed
						return
					}
					time.Sleep(time.Millisecond) // another change is under way
				}
			}()
		}
		var all []admin.Changed
		for range ids {
			all = append(all, <-made)
		}
		slices.SortFunc(all, func(a, b admin.Changed) int { return cmp.Compare(a.Index, b.Index) })
		for i := range all {
			require.Len(t, all[i].Before.Members, 3+i)
			if i > 0 {
				require.GreaterOrEqual(t, all[i].Before.Index, all[i-1].Index)
			}
		}
	})
}
