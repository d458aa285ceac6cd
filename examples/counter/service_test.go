package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
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

const requestTimeout = 3 * time.Second

// cluster is three services in one bubble, with disks and a network in memory.
type cluster struct {
	network  *memory.Network
	nodes    []*raft.Node
	handlers []http.Handler
}

// bubble runs a test on a cluster in virtual time. The cluster has a leader, unless the network is
// cut from the start.
func bubble(t *testing.T, faults memory.Faults, test func(*testing.T, *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{network: memory.NewNetwork(memory.Options{Faults: faults})}
		servers := []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}, {ID: "c", Address: "c:1"}}
		for i, self := range servers {
			machine := &counter{}
			node, err := raft.Start(raft.Config{
				ID: self.ID, Machine: machine, Storage: memory.NewStorage(), Transport: c.network.Join(self.ID),
				Bootstrap: servers, Seed: uint64(i + 1), Logger: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, node.Close(context.Background())) }()
			c.nodes = append(c.nodes, node)
			c.handlers = append(c.handlers, handler(node, machine))
		}
		if !faults.Cut {
			require.NoError(t, c.nodes[0].Read(t.Context()))
		}
		test(t, c)
	})
}

// handler returns a service.
func handler(node *raft.Node, machine *counter) http.Handler {
	api := httpapi.New(node, httpapi.Options{Timeout: requestTimeout, MaxBody: maxBody})
	return httpapi.Mux((&service{api, node, machine}).routes())
}

// ask sends a request to a server, and returns the code and the body.
func (c *cluster) ask(t *testing.T, server int, method, path, body string) (int, map[string]any) {
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	c.handlers[server].ServeHTTP(w, r)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	decoder := json.NewDecoder(w.Body)
	decoder.UseNumber() // a float64 can't hold every int64
	var answer map[string]any
	require.NoError(t, decoder.Decode(&answer))
	_, err := decoder.Token()
	require.ErrorIs(t, err, io.EOF)
	return w.Code, answer
}

// requireValue requires that a request is answered with a value.
func (c *cluster) requireValue(t *testing.T, want int64, server int, method, body string) {
	t.Helper()
	code, answer := c.ask(t, server, method, "/counter", body)
	require.Equal(t, http.StatusOK, code, answer)
	require.Equal(t, map[string]any{"value": json.Number(strconv.FormatInt(want, 10))}, answer)
}

// requireFailure requires that a request fails with a status, with an error that contains a text, and
// with an outcome.
func (c *cluster) requireFailure(t *testing.T, wantCode int, text, outcome string, server int, method, body string) {
	t.Helper()
	code, answer := c.ask(t, server, method, "/counter", body)
	require.Equal(t, wantCode, code, answer)
	require.Contains(t, answer["error"], text)
	require.Equal(t, outcome, answer["outcome"])
}

// leader returns the server that leads, by its number and its ID.
func (c *cluster) leader(t *testing.T) (int, raft.ServerID) {
	for i, node := range c.nodes {
		if status := node.Status(); status.Role == "leader" {
			return i, status.ID
		}
	}
	require.FailNow(t, "nobody leads")
	return 0, ""
}

// TestServiceAddsAndReadsAtEveryServer: an amount that is added at one server shows at once at all
// others.
func TestServiceAddsAndReadsAtEveryServer(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		want := int64(0)
		for server := range 3 {
			for body, amount := range map[string]int64{`{"add": 5}`: 5, "": 1, ` {"add":-2} `: -2, `{"add": 0}`: 0} {
				want += amount
				c.requireValue(t, want, server, http.MethodPost, body)
				for other := range 3 {
					c.requireValue(t, want, other, http.MethodGet, "")
				}
			}
		}
	})
}

func TestServiceRefusesOverflow(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		for _, edge := range []int64{math.MaxInt64, math.MinInt64} {
			further := 1 | edge>>63 // 1 or -1
			c.requireValue(t, edge, 0, http.MethodPost, `{"add": `+strconv.FormatInt(edge, 10)+`}`)
			c.requireFailure(t, http.StatusConflict, "not an int64", "refused", 1, http.MethodPost, `{"add": `+strconv.FormatInt(further, 10)+`}`)
			c.requireValue(t, edge, 2, http.MethodGet, "")
			// The value goes back to 0 in two steps, since no int64 is -MinInt64.
			c.requireValue(t, further, 0, http.MethodPost, `{"add": `+strconv.FormatInt(further-edge, 10)+`}`)
			c.requireValue(t, 0, 0, http.MethodPost, `{"add": `+strconv.FormatInt(-further, 10)+`}`)
		}
	})
}

func TestServiceRefusesMalformedRequests(t *testing.T) {
	padded := func(size int) string { return strings.Repeat(" ", size-len(`{"add":1}`)) + `{"add":1}` }
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		for _, body := range []string{
			" ", "5", "null", "{}", `{"add": null}`, `{"add": "5"}`, `{"add": 1.5}`, `{"add": 9223372036854775808}`,
			`{"add": 5`, `{"add": 5} {"add": 5}`, `{"add": 5, "to": "b"}`, `[{"add": 5}]`, "\xff",
		} {
			code, answer := c.ask(t, 0, http.MethodPost, "/counter", body)
			require.Equal(t, http.StatusBadRequest, code, "%q: %v", body, answer)
			require.Contains(t, answer["error"], "the body ", "%q", body)
			require.Equal(t, "bad_request", answer["code"], "%q", body)
		}
		c.requireFailure(t, http.StatusRequestEntityTooLarge, "more than 65536 bytes", "not applied", 0, http.MethodPost, padded(maxBody+1))
		c.requireFailure(t, http.StatusRequestEntityTooLarge, "more than 65536 bytes", "not applied", 0, http.MethodPost, strings.Repeat("x", 10*maxBody))
		c.requireValue(t, 0, 0, http.MethodGet, "")
		c.requireValue(t, 1, 0, http.MethodPost, padded(maxBody))

		for _, wrong := range [][2]string{{http.MethodPut, "/counter"}, {http.MethodDelete, "/counter"}, {http.MethodPost, "/status"}} {
			code, answer := c.ask(t, 0, wrong[0], wrong[1], "")
			require.Equal(t, http.StatusMethodNotAllowed, code, wrong)
			require.Contains(t, answer["error"], "GET, HEAD", wrong)
		}
		code, _ := c.ask(t, 0, http.MethodGet, "/", "")
		require.Equal(t, http.StatusNotFound, code)
		c.requireValue(t, 1, 0, http.MethodGet, "")
	})
}

// TestServiceWithoutLeader: without a leader no command leaves a server, and so none is ever
// applied. The answer comes when the time is up.
func TestServiceWithoutLeader(t *testing.T) {
	bubble(t, memory.Faults{Cut: true}, func(t *testing.T, c *cluster) {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			begin := time.Now()
			c.requireFailure(t, http.StatusServiceUnavailable, "deadline exceeded", "not applied", 0, method, "")
			require.Equal(t, requestTimeout, time.Since(begin))
		}
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, c.nodes[0].Read(t.Context()))
		c.requireValue(t, 0, 0, http.MethodGet, "")
	})
}

// TestServiceLosesTheConnectionToTheOutcome: a leader that is cut off can't know whether a command
// that it has appended will be applied.
func TestServiceLosesTheConnectionToTheOutcome(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		leader, id := c.leader(t)
		c.network.Isolate(id)
		c.requireFailure(t, http.StatusGatewayTimeout, "deadline exceeded", "unknown", leader, http.MethodPost, `{"add": 5}`)
		c.requireFailure(t, http.StatusServiceUnavailable, "deadline exceeded", "not applied", leader, http.MethodGet, "")

		c.requireValue(t, 1, (leader+1)%3, http.MethodPost, "")
		c.network.SetFaults(memory.Faults{})
		c.requireValue(t, 1, leader, http.MethodGet, "")
	})
}

// TestServiceWhileClosing: a node that is closed accepts nothing any more.
func TestServiceWhileClosing(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		require.NoError(t, c.nodes[1].Close(t.Context()))
		c.requireFailure(t, http.StatusServiceUnavailable, "closed", "not applied", 1, http.MethodPost, "")
		c.requireFailure(t, http.StatusServiceUnavailable, "closed", "not applied", 1, http.MethodGet, "")
	})
}

func TestServiceStatus(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		c.requireValue(t, 1, 0, http.MethodPost, "")
		c.requireValue(t, 1, 1, http.MethodGet, "")
		synctest.Wait() // the others may not have applied it yet
		leader, id := c.leader(t)
		for server, name := range []string{"a", "b", "c"} {
			code, status := c.ask(t, server, http.MethodGet, "/status", "")
			require.Equal(t, http.StatusOK, code)
			require.Equal(t, name, status["id"])
			require.Equal(t, string(id), status["leader"])
			if server == leader {
				require.Equal(t, "leader", status["role"])
			} else {
				require.Equal(t, "follower", status["role"])
			}
			require.Equal(t, []any{
				map[string]any{"id": "a", "address": "a:1", "role": "voter"},
				map[string]any{"id": "b", "address": "b:1", "role": "voter"},
				map[string]any{"id": "c", "address": "c:1", "role": "voter"},
			}, status["members"])
			for _, key := range []string{"term", "commit", "applied"} {
				require.IsType(t, json.Number(""), status[key], key)
			}
		}
		_, status := c.ask(t, leader, http.MethodGet, "/status", "")
		require.Equal(t, status["commit"], status["applied"])
	})
}

// TestServiceStatusAlone: a server that has never heard of a cluster says so, with empty fields of
// the right types.
func TestServiceStatusAlone(t *testing.T) {
	bubble(t, memory.Faults{Cut: true}, func(t *testing.T, c *cluster) {
		code, status := c.ask(t, 0, http.MethodGet, "/status", "")
		require.Equal(t, http.StatusOK, code)
		require.Equal(t, "", status["leader"])
		require.Equal(t, []any{}, status["members"])
		require.NotContains(t, status, "trouble")
	})
}

// TestServiceStatusInTrouble: a server that takes no part in a cluster gives the reason.
func TestServiceStatusInTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, err := raft.Start(raft.Config{
			ID: "a", Machine: &counter{}, Storage: memory.NewStorage(), Logger: slog.New(slog.DiscardHandler),
			Transport: memory.NewNetwork(memory.Options{}).Join("a"),
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, node.Close(context.Background())) }()
		c := &cluster{handlers: []http.Handler{handler(node, &counter{})}}
		_, status := c.ask(t, 0, http.MethodGet, "/status", "")
		require.Equal(t, raft.ErrNoCluster.Error(), status["trouble"])
	})
}

// TestServiceShowsItsMembers: a server that is added is in the status, and one that is removed knows it.
func TestServiceShowsItsMembers(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		fourth, err := raft.Start(raft.Config{
			ID: "d", Address: "d:1", Machine: &counter{}, Storage: memory.NewStorage(), Transport: c.network.Join("d"),
			Seed: 4, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, fourth.Close(context.Background())) }()

		_, err = c.nodes[1].AddServer(t.Context(), raft.Server{ID: "d", Address: "d:1"})
		require.NoError(t, err)
		_, body := c.ask(t, 1, http.MethodGet, "/status", "")
		require.Contains(t, body["members"], map[string]any{"id": "d", "address": "d:1", "role": "voter"})
		require.NoError(t, fourth.Read(t.Context()))
		require.Len(t, fourth.Status().Members, 4)

		_, err = c.nodes[2].RemoveServer(t.Context(), "d")
		require.NoError(t, err)
		time.Sleep(requestTimeout)
		require.ErrorIs(t, fourth.Status().Trouble, raft.ErrRemoved)
	})
}

// TestClientsDontChangeTheMembers: what counts takes no cluster apart. That is for the administration,
// which has a listener of its own (-admin).
func TestClientsDontChangeTheMembers(t *testing.T) {
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		for _, request := range [][2]string{
			{http.MethodPut, "/members/d?address=d:1"}, {http.MethodDelete, "/members/b"},
			{http.MethodPost, admin.Path + "members/add"}, {http.MethodPost, admin.Path + "members/remove"},
		} {
			code, body := c.ask(t, 0, request[0], request[1], `{"members": [{"id": "b"}]}`)
			require.Equal(t, http.StatusNotFound, code, request)
			require.Equal(t, "not_found", body["code"])
		}
		require.Len(t, c.nodes[0].Status().Members, 3)
	})
}
