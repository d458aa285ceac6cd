package httpapi_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// status asks a server for its status.
func (c *cluster) status(server int) (s httpapi.Status) {
	w := c.ask(server, http.MethodGet, "/status", "")
	require.Equal(c.t, http.StatusOK, w.Code)
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &s))
	return s
}

// requireReady requires that a server says that it is ready, or why it isn't.
func (c *cluster) requireReady(server int, code string) {
	c.t.Helper()
	synctest.Wait() // the server learns by itself that it has caught up
	w := c.ask(server, http.MethodGet, "/readyz", "")
	require.Equal(c.t, code == "", c.status(server).Ready)
	if code != "" {
		requireFailure(c.t, w, http.StatusServiceUnavailable, code, httpapi.NotApplied)
		return
	}
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(c.t, `{"ready": true}`, w.Body.String())
}

func TestStatus(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		requireResult(t, "5", c.command(0, "5", ""))
		synctest.Wait()
		leader, other := c.leader()
		s := c.status(leader)
		require.Equal(t, "leader", s.Role)
		require.Equal(t, c.nodes[leader].Status().ID, s.ID)
		require.Equal(t, s.ID, s.Leader)
		require.Equal(t, s.Commit, s.Applied)
		require.Equal(t, []httpapi.Member{{ID: "a", Address: "a:1", Role: "voter"}, {ID: "b", Address: "b:1", Role: "voter"}, {ID: "c", Address: "c:1", Role: "voter"}}, s.Members)
		require.Empty(t, s.NoLeader+s.Trouble)
		require.Empty(t, s.Problems)
		require.Equal(t, s.ID, c.status(other).Leader)

		c.storages[other].SetSize(1)
		requireResult(t, "10", c.command(leader, "5", ""))
		time.Sleep(requestTimeout)
		require.Contains(t, c.status(other).Problems[0], "the disk has been full for ")
	})
}

// TestReady: a server is ready once it is a member and has applied what was committed, and stays so
// when the leader goes.
func TestReady(t *testing.T) {
	bubble(t, memory.Faults{Cut: true}, nil, func(t *testing.T, c *cluster) {
		c.requireReady(0, "no_part") // the cluster isn't founded
		require.Equal(t, http.StatusOK, c.ask(0, http.MethodGet, "/livez", "").Code)
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, c.nodes[0].Read(t.Context()))
		synctest.Wait()
		c.requireReady(0, "")

		c.network.SetFaults(memory.Faults{Cut: true})
		time.Sleep(time.Minute)
		require.NotEmpty(t, c.status(0).NoLeader)
		c.requireReady(0, "")

		require.NoError(t, c.nodes[0].Close(t.Context()))
		c.requireReady(0, "closed")
		requireFailure(t, c.ask(0, http.MethodGet, "/livez", ""), 503, "closed", httpapi.NotApplied)
	})
}

// TestReadyOnceCaughtUp: a server that lags behind isn't ready until its state machine has come as
// far as the cluster was when it started.
func TestReadyOnceCaughtUp(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		requireResult(t, "5", c.command(0, "5", ""))
		slow := &slowMachine{goOn: make(chan struct{})}
		c.start(raft.Config{ID: "d", Address: "d:1", Seed: 4}, func(config *raft.Config) { config.Machine = slow })
		c.requireReady(3, "no_part") // nobody has added it

		_, err := c.nodes[0].AddServer(t.Context(), raft.Server{ID: "d", Address: "d:1"})
		require.NoError(t, err)
		synctest.Wait()
		c.requireReady(3, "catching_up")
		close(slow.goOn)
		synctest.Wait()
		time.Sleep(retryRead)
		c.requireReady(3, "")

		_, err = c.nodes[1].RemoveServer(t.Context(), "d")
		require.NoError(t, err)
		time.Sleep(requestTimeout)
		c.requireReady(3, "no_part")
		require.Contains(t, failure(t, c.ask(3, http.MethodGet, "/readyz", "")).Message, "removed from the cluster")
		requireFailure(t, c.command(3, "5", ""), 503, "removed", httpapi.NotApplied)
	})
}

// retryRead is more than it takes until a server asks again whether it has caught up.
const retryRead = 2 * time.Second

// A slowMachine applies nothing until goOn is closed.
type slowMachine struct {
	sum
	goOn chan struct{}
}

func (m *slowMachine) Apply(entries []raft.Entry, results [][]byte) {
	<-m.goOn
	m.sum.Apply(entries, results)
}

// TestLiveUntilTheNodeStops: a node that has failed says so.
func TestLiveUntilTheNodeStops(t *testing.T) {
	var broken *breaking
	bubble(t, memory.Faults{}, func(config *raft.Config) {
		broken = &breaking{Storage: config.Storage.(*memory.Storage)}
		config.Storage = broken // that of the last server
	}, func(t *testing.T, c *cluster) {
		require.JSONEq(t, `{"live": true}`, c.ask(2, http.MethodGet, "/livez", "").Body.String())
		broken.broken.Store(true)
		require.Equal(t, http.StatusOK, c.command(0, "5", "").Code)
		<-c.nodes[2].Done()
		requireFailure(t, c.ask(2, http.MethodGet, "/livez", ""), 503, "stopped", httpapi.NotApplied)
		requireFailure(t, c.ask(2, http.MethodGet, "/readyz", ""), 503, "stopped", httpapi.NotApplied)
		requireFailure(t, c.command(2, "5", ""), 503, "stopped", httpapi.NotApplied)
	})
}
