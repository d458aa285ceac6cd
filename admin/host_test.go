package admin_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// onHosts runs a test in virtual time on a cluster of three hosts with so many groups: g/0, g/1 and so
// on, whose names need escapes in a path.
func onHosts(t *testing.T, groups int, test func(t *testing.T, c *cluster, hosts map[raft.ServerID]*raft.Host)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, network: memory.NewNetwork(memory.Options{}), handlers: map[raft.ServerID]http.Handler{}, machines: map[raft.ServerID]*tally{}}
		hosts := map[raft.ServerID]*raft.Host{}
		var mu sync.Mutex
		for _, self := range founders {
			host, err := raft.StartHost(raft.HostConfig{
				ID: self.ID, Address: self.Address, Storage: memory.NewStorage(), Transport: c.network.Join(self.ID), Logger: slog.New(slog.DiscardHandler),
				Group: func(group raft.GroupID) raft.Config {
					m := &tally{}
					if group == "g/0" {
						mu.Lock()
						c.machines[self.ID] = m
						mu.Unlock()
					}
					return raft.Config{Machine: m, Bootstrap: founders}
				},
			})
			require.NoError(t, err)
			defer host.Close(context.Background())
			hosts[self.ID] = host
			c.handlers[self.ID], err = admin.New(admin.Config{Host: host, Authorize: func(*http.Request) error { return c.refuse }, Logger: c.logger()})
			require.NoError(t, err)
		}
		for i := range groups {
			proposeIn(t, hosts["a"], raft.GroupID(fmt.Sprint("g/", i)))
		}
		test(t, c, hosts)
	})
}

func proposeIn(t *testing.T, host *raft.Host, group raft.GroupID) {
	node, err := host.Group(group)
	require.NoError(t, err)
	_, err = node.Propose(t.Context(), []byte("x"))
	require.NoError(t, err)
}

// host asks a server how its groups are.
func (c *cluster) host(id raft.ServerID, query string) (h admin.Host) {
	w := c.ask(id, "GET", "host"+query, "")
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	decode(c.t, w, &h)
	return h
}

// A host says how many groups it has, which are the busiest, and which aren't well. No list is longer
// than it may be.
func TestHost(t *testing.T) {
	onHosts(t, 30, func(t *testing.T, c *cluster, hosts map[raft.ServerID]*raft.Host) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 10 {
				for range 5 {
					proposeIn(t, hosts["a"], "g/7")
				}
				proposeIn(t, hosts["a"], "g/3")
				time.Sleep(time.Second)
			}
		}()
		time.Sleep(500 * time.Millisecond)
		before := time.Now()
		h := c.host("a", "?over_ms=4000")
		require.Equal(t, 4*time.Second, time.Since(before))
		require.EqualValues(t, 4000, h.OverMS)
		require.Equal(t, [...]int{30, 30, 0, 0}, [...]int{h.Running, h.Led + h.Followed, h.Leaderless, h.Ended})
		require.Len(t, h.Busiest, 2)
		require.Equal(t, raft.GroupID("g/7"), h.Busiest[0].Group)
		require.Equal(t, [...]float64{5, 1, 6}, [...]float64{h.Busiest[0].Entries, h.Busiest[1].Entries, h.Entries})
		require.Positive(t, h.Writes)
		require.Empty(t, h.NoLeader)
		require.Empty(t, h.Problems)
		require.Len(t, c.host("a", "?most=1").Busiest, 1)
		require.Len(t, h.Processes, 2)
		<-done

		node, err := hosts["a"].Group("g/5")
		require.NoError(t, err)
		require.NoError(t, node.Close(t.Context()))
		c.network.Isolate("c")
		time.Sleep(10 * time.Second)
		h = c.host("c", "?most=7")
		require.Equal(t, 30, h.Leaderless)
		require.Len(t, h.NoLeader, 7)
		require.Greater(t, h.NoLeader[0].LeaderlessMS, int64(5000))
		h = c.host("a", "")
		require.Len(t, h.Stopped, 1)
		require.Equal(t, raft.GroupID("g/5"), h.Stopped[0].Group)
		require.Contains(t, h.Problems[0], "c takes no part in")
		require.NoError(t, hosts["a"].Close(t.Context()))
		before = time.Now()
		require.Equal(t, []string{"stopped"}, c.host("a", "").Problems)
		require.Zero(t, time.Since(before), "nobody waits for what will not change")
	})
}

// Each request is about the group that it names. None makes a group.
func TestGroupsOfAHost(t *testing.T) {
	onHosts(t, 3, func(t *testing.T, c *cluster, hosts map[raft.ServerID]*raft.Host) {
		for _, request := range everything[1:] {
			requireFailure(t, c.ask("a", request[0], request[1], request[2]), 404, "no_group", httpapi.NotApplied, "many groups")
			requireFailure(t, c.ask("a", request[0], request[1]+"?group=other", request[2]), 404, "no_group", httpapi.NotApplied, "other")
		}
		for id, host := range hosts {
			require.Len(t, host.Status().Groups, 3, id)
		}
		status := func(group raft.GroupID) (s admin.Status) {
			decode(t, c.ask("a", "GET", "status?group="+url.QueryEscape(string(group)), ""), &s)
			return s
		}
		require.Len(t, status("g/1").Membership.Members, 3)
		require.Equal(t, http.StatusOK, c.ask("a", "POST", "members/remove?group=g%2F1", `{"members": [{"id": "c"}]}`).Code)
		require.Len(t, status("g/1").Membership.Members, 2)
		require.Len(t, status("g/2").Membership.Members, 3)
		require.Equal(t, http.StatusOK, c.ask("a", "POST", "transfer?group=g%2F2", `{"to": "b"}`).Code)
		require.EqualValues(t, "b", status("g/2").Leader)
		require.Equal(t, http.StatusOK, c.ask("a", "POST", "snapshot?group=g%2F2", "{}").Code)
		require.Positive(t, status("g/2").Snapshot)
		require.Zero(t, status("g/1").Snapshot)
		require.Contains(t, c.log.String(), "group=g/2")
		export := c.ask("a", "POST", "export?group=g%2F0", "{}")
		require.Equal(t, http.StatusOK, export.Code)
		_, err := raft.VerifyExport(export.Body)
		require.NoError(t, err)
	})
}

// A handler is of a node or of a host.
func TestNodeAndHost(t *testing.T) {
	allow := func(*http.Request) error { return nil }
	_, err := admin.New(admin.Config{Authorize: allow})
	require.ErrorIs(t, err, raft.ErrConfig)
	_, err = admin.New(admin.Config{Authorize: allow, Node: new(raft.Node), Host: new(raft.Host)})
	require.ErrorIs(t, err, raft.ErrConfig)
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		requireFailure(t, c.ask("a", "GET", "host", ""), 404, "no_host", httpapi.NotApplied, "one group")
		requireFailure(t, c.ask("a", "GET", "status?group=g", ""), 404, "no_group", httpapi.NotApplied, "one group")
	})
}

// The client names groups, too.
func TestClientOfAHost(t *testing.T) {
	host, err := raft.StartHost(raft.HostConfig{
		ID: "a", Storage: memory.NewStorage(), Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		Group: func(raft.GroupID) raft.Config { return raft.Config{Machine: &tally{}, Bootstrap: founders[:1]} },
	})
	require.NoError(t, err)
	defer host.Close(context.Background())
	proposeIn(t, host, "g/ä?&")
	server, err := admin.ListenHost(host, "127.0.0.1:0", nil, nil)
	require.NoError(t, err)
	defer server.Close(context.Background())
	client := newClient(t, server.Addr().String(), nil)
	_, err = client.Status(t.Context())
	requireClientFailure(t, err, 404, "no_group", httpapi.NotApplied)
	s, err := client.Group("g/ä?&").Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, "leader", s.Role)
	h, err := client.Host(t.Context(), admin.HostQuery{Over: time.Millisecond, Most: 3})
	require.NoError(t, err)
	require.Equal(t, 1, h.Led)
}

// whenTheServerIsAHost walks on hosts.
func whenTheServerIsAHost(k *walk) {
	onHosts(k.t, 3, func(t *testing.T, c *cluster, hosts map[raft.ServerID]*raft.Host) {
		c.seen = func(r *http.Request, sent string, w *httptest.ResponseRecorder) {
			require.NoError(t, k.document.Check(r, sent, w.Result()), "%s %s: %s", r.Method, r.URL, w.Body)
		}
		for _, p := range posts {
			require.Equal(t, http.StatusNotFound, c.ask("a", "POST", p.path, p.taken).Code)
		}
		require.Equal(t, http.StatusNotFound, c.ask("a", "POST", "export?group=x", "{}").Code)
		require.Equal(t, http.StatusNotFound, c.ask("a", "GET", "status", "").Code)
		require.Equal(t, http.StatusOK, c.ask("a", "GET", "status?group=g%2F1", "").Code)
		require.Equal(t, http.StatusBadRequest, c.ask("a", "GET", "host?most=1001", "").Code)
		require.Equal(t, http.StatusBadRequest, c.ask("a", "GET", "host?over_ms=x", "").Code)
		c.network.Isolate("c")
		time.Sleep(5 * time.Second)
		for id := range hosts {
			require.NotEmpty(t, c.host(id, "?over_ms=1&most=2"))
		}
		c.refuse = http.ErrNotSupported
		require.Equal(t, http.StatusForbidden, c.ask("a", "GET", "host", "").Code)
	})
	k.in(memory.Faults{}, func(t *testing.T, c *cluster) {
		require.Equal(t, http.StatusNotFound, c.ask("a", "GET", "host", "").Code)
	})
}
