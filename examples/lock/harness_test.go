package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/memory"
)

// These are the names of programs, for tests that run them in processes: the program itself, and a
// holder (holder_linux_test.go).
const (
	asProgram = "lock"
	asHolder  = "holder"
)

// programs are those by these names.
var programs = map[string]func(){asProgram: main}

func TestMain(m *testing.M) { process.Main(m, programs) }

const requestTimeout = 3 * time.Second

// cluster is three services in one bubble, with disks and a network in memory.
type cluster struct {
	t        *testing.T
	network  *memory.Network
	nodes    []*raft.Node
	handlers []http.Handler
}

// bubble runs a test on a cluster in virtual time. The cluster has a leader.
func bubble(t *testing.T, test func(*testing.T, *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, network: memory.NewNetwork(memory.Options{})}
		servers := []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}, {ID: "c", Address: "c:1"}}
		var measuring sync.WaitGroup
		defer func() {
			for _, node := range c.nodes {
				require.NoError(t, node.Close(context.Background()))
			}
			measuring.Wait()
		}()
		for i, self := range servers {
			machine := newMachine()
			node, err := raft.Start(raft.Config{
				ID: self.ID, Machine: machine, Storage: memory.NewStorage(), Transport: c.network.Join(self.ID),
				Bootstrap: servers, Seed: uint64(i + 1), Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			c.nodes = append(c.nodes, node)
			api := httpapi.New(node, httpapi.Options{Timeout: requestTimeout, MaxBody: maxBody})
			c.handlers = append(c.handlers, httpapi.Mux((&service{api, node, machine, requestTimeout}).routes()))
			measuring.Go(func() { expireClaims(context.Background(), node, machine) })
		}
		require.NoError(t, c.nodes[0].Read(t.Context()))
		test(t, c)
	})
}

// leader returns the server that leads, by its number and its ID.
func (c *cluster) leader() (int, raft.ServerID) {
	for i, node := range c.nodes {
		if status := node.Status(); status.Role == "leader" {
			return i, status.ID
		}
	}
	require.FailNow(c.t, "nobody leads")
	return 0, ""
}

// ask sends a request to a server, and returns the code and the body. key is an Idempotency-Key; "" for
// none.
func (c *cluster) ask(server int, method, path, body, key string) (int, map[string]any) {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if key != "" {
		r.Header.Set(httpapi.KeyField, key)
	}
	w := httptest.NewRecorder()
	c.handlers[server].ServeHTTP(w, r)
	var answer map[string]any
	decoder := json.NewDecoder(w.Body)
	require.NoError(c.t, decoder.Decode(&answer))
	_, err := decoder.Token()
	require.ErrorIs(c.t, err, io.EOF)
	return w.Code, answer
}

// require sends a request of lock x, and requires the status and, if it isn't "", the code of the
// failure. It returns the token, if there is one.
func (c *cluster) require(status int, code string, server int, do, body string) (token uint64) {
	c.t.Helper()
	method := http.MethodPost
	if do == "" {
		method = http.MethodGet
	}
	got, answer := c.ask(server, method, "/locks/x"+do, body, "")
	require.Equal(c.t, status, got, answer)
	if code != "" {
		require.Equal(c.t, code, answer["code"])
	}
	number, _ := answer["token"].(float64)
	return uint64(number)
}

// requireHolder requires that a server names the holder of lock x.
func (c *cluster) requireHolder(server int, want string, waiters ...any) {
	c.t.Helper()
	status, answer := c.ask(server, http.MethodGet, "/locks/x", "", "")
	require.Equal(c.t, http.StatusOK, status, answer)
	holder, _ := answer["holder"].(map[string]any)
	owner, _ := holder["owner"].(string)
	require.Equal(c.t, want, owner)
	require.Equal(c.t, append([]any{}, waiters...), answer["waiters"])
}

// waiters returns who waits for lock x.
func (c *cluster) waiters(server int) []any {
	c.t.Helper()
	status, answer := c.ask(server, http.MethodGet, "/locks/x", "", "")
	require.Equal(c.t, http.StatusOK, status, answer)
	return answer["waiters"].([]any)
}

// openSession opens a session, and returns its ID.
func (c *cluster) openSession() string {
	status, answer := c.ask(0, http.MethodPost, "/sessions", "", "")
	require.Equal(c.t, http.StatusCreated, status, answer)
	return answer["session"].(string)
}
