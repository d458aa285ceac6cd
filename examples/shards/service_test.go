package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/history"
)

// A cluster is servers in one process: their hosts over a network in memory, and their handlers, which call
// each other.
type cluster struct {
	t       *testing.T
	network *memory.Network
	shards  int
	disks   map[raft.ServerID]*memory.Storage

	mu       sync.Mutex
	hosts    map[raft.ServerID]*shard.Host
	handlers map[string]http.Handler // by the server's Client
	doors    map[raft.ServerID]http.Handler
	lost     int // how many answers of one server to another still get lost
}

// newCluster starts servers a, b and c, and waits until the store is founded.
func newCluster(t *testing.T, shards int) *cluster {
	c := &cluster{
		t: t, network: memory.NewNetwork(memory.Options{Faults: memory.Faults{MinDelay: time.Millisecond, MaxDelay: 3 * time.Millisecond}}),
		shards: shards, disks: map[raft.ServerID]*memory.Storage{}, hosts: map[raft.ServerID]*shard.Host{}, handlers: map[string]http.Handler{},
		doors: map[raft.ServerID]http.Handler{},
	}
	for _, s := range founders {
		c.start(s.ID)
	}
	c.await((*shard.Table).Settled)
	return c
}

var founders = []raft.Server{{ID: "a", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"}}

func (c *cluster) start(id raft.ServerID) {
	c.t.Helper()
	if c.disks[id] == nil {
		c.disks[id] = memory.NewStorage()
	}
	c.disks[id] = c.disks[id].Reopen()
	o := shard.Options{
		Self: shard.Server{ID: id, Address: string(id), Client: "client-" + string(id)}, Shards: c.shards, Moves: 2,
		Storage: c.disks[id], Transport: c.network.Join(id), Group: group, Logger: slog.New(slog.DiscardHandler),
	}
	if slices.ContainsFunc(founders, func(s raft.Server) bool { return s.ID == id }) {
		o.Founders = founders
	}
	host, err := shard.Start(o)
	require.NoError(c.t, err)
	limits := httpapi.Options{Timeout: 2 * time.Second, MaxBody: maxBody}
	s := &service{host: host, api: httpapi.New(host.TableNode(), limits), options: limits, client: &http.Client{Transport: c}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hosts[id], c.handlers[o.Self.Client], c.doors[id] = host, httpapi.Mux(s.routes()), host.Administration(limits)
}

// end ends a server; with crash as kill -9 does.
func (c *cluster) end(id raft.ServerID, crash bool) {
	c.mu.Lock()
	host := c.hosts[id]
	delete(c.hosts, id)
	delete(c.handlers, "client-"+string(id))
	c.mu.Unlock()
	if crash {
		c.network.Isolate(id)
		c.disks[id] = c.disks[id].Reopen()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := host.Close(ctx); !crash {
		require.NoError(c.t, err)
	}
	c.network.Heal()
}

func (c *cluster) close() {
	for _, id := range slices.Sorted(maps.Keys(c.hosts)) {
		c.end(id, false)
	}
}

func (c *cluster) await(holds func(*shard.Table) bool) {
	c.t.Helper()
	for late := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		good := true
		for _, host := range c.hosts {
			good = good && holds(host.Table())
		}
		if good {
			return
		}
		require.True(c.t, time.Now().Before(late))
	}
}

// RoundTrip sends a request to another server.
func (c *cluster) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	handler := c.handlers[r.URL.Host]
	c.mu.Unlock()
	if handler == nil {
		return nil, &net.OpError{Op: "dial", Err: errors.New("nobody listens")}
	}
	w := httptest.NewRecorder()
	received := httptest.NewRequestWithContext(r.Context(), r.Method, r.URL.RequestURI(), r.Body)
	received.Header = r.Header
	handler.ServeHTTP(w, received)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost > 0 && r.Header.Get(forwardedField) != "" {
		c.lost--
		return nil, io.ErrUnexpectedEOF
	}
	return w.Result(), nil
}

// request sends a request to a server.
func (c *cluster) request(at, method, path, body string, header ...string) (status int, answer string, got http.Header) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://client-"+at+path, strings.NewReader(body))
	require.NoError(c.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := c.RoundTrip(r)
	if err != nil {
		return 0, err.Error(), nil
	}
	text, err := io.ReadAll(w.Body)
	require.NoError(c.t, err)
	return w.StatusCode, string(text), w.Header
}

// administer sends a request to the administration of a server.
func (c *cluster) administer(at raft.ServerID, method, path, body string) (status int, answer string) {
	w := httptest.NewRecorder()
	c.doors[at].ServeHTTP(w, httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

// Any server answers any request, and forwards what it doesn't have.
func TestAnyServerAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 8)
		defer c.close()
		c.start("d")
		status, answer := c.administer("b", http.MethodPut, "/servers/d", `{"address": "d", "client": "client-d"}`)
		require.Equal(t, http.StatusNoContent, status, answer)
		c.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 4 && table.Moves > 0 })
		for i := range 20 {
			path := fmt.Sprint("/keys/some/key", i)
			for n, at := range []string{"a", "b", "c", "d"} {
				status, answer, header := c.request(at, http.MethodPut, path, at)
				require.Equal(t, http.StatusOK, status, answer)
				for _, other := range []string{"a", "b", "c", "d"} {
					status, answer, got := c.request(other, http.MethodGet, path, "")
					require.Equal(t, http.StatusOK, status, answer)
					require.Equal(t, at, answer)
					require.Equal(t, header.Get("Etag"), got.Get("Etag"))
					require.Equal(t, "application/octet-stream", got.Get("Content-Type"))
				}
				if n == 3 {
					status, _, _ = c.request("a", http.MethodDelete, path, "")
					require.Equal(t, http.StatusNoContent, status)
					status, answer, _ = c.request("b", http.MethodGet, path, "")
					require.Equal(t, http.StatusNotFound, status, answer)
				}
			}
		}
	})
}

// An operator moves a shard by hand, and back, while any server answers for its keys.
func TestShardIsMovedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 8)
		defer c.close()
		c.start("d")
		status, answer := c.administer("b", http.MethodPut, "/servers/d", `{"address": "d", "client": "client-d"}`)
		require.Equal(t, http.StatusNoContent, status, answer)
		c.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 4 && table.Moves > 0 })
		path := "/keys/" + keyOfAnother("x", 8)
		in := shard.Of(strings.TrimPrefix(path, "/keys/"), 8)
		where := func() *shard.Shard { return &c.hosts["a"].Table().Shards[in] }
		from, to := where().Members[0], raft.ServerID("")
		for _, id := range []raft.ServerID{"a", "b", "c", "d"} {
			if !where().Has(id) {
				to = id
			}
		}
		got, text, _ := c.request("a", http.MethodPut, path, "v")
		require.Equal(t, http.StatusOK, got, text)
		for range 2 {
			status, answer := c.administer("c", http.MethodPut, fmt.Sprintf("/shards/%d/place", in), fmt.Sprintf(`{"from": %q, "to": %q}`, from, to))
			require.Equal(t, http.StatusNoContent, status, answer)
			c.await(func(table *shard.Table) bool {
				return table.Settled() && table.Shards[in].Has(to) && !table.Shards[in].Has(from)
			})
			for _, at := range []string{"a", "b", "c", "d"} {
				got, text, _ := c.request(at, http.MethodGet, path, "")
				require.Equal(t, http.StatusOK, got, text)
				require.Equal(t, "v", text)
			}
			from, to = to, from
		}
		require.True(t, where().Placed)
		status, answer = c.administer("c", http.MethodDelete, fmt.Sprintf("/shards/%d/place", in), "")
		require.Equal(t, http.StatusNoContent, status, answer)
		c.await(func(table *shard.Table) bool { return !table.Shards[in].Placed })
		for path, want := range map[string]int{"/shards/8/place": http.StatusConflict, "/shards/x/place": http.StatusBadRequest} {
			status, answer := c.administer("c", http.MethodDelete, path, "")
			require.Equal(t, want, status, answer)
		}
		status, answer = c.administer("c", http.MethodPut, "/shards/0/place", `{"to": "a"}`)
		require.Equal(t, http.StatusBadRequest, status, answer)
		status, answer = c.administer("c", http.MethodGet, "/raft/host", "")
		require.Equal(t, http.StatusForbidden, status, answer) // it isn't asked over a loopback address
	})
}

// What clients can do wrong is answered with a code, from wherever it comes.
func TestRequestsThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 8)
		defer c.close()
		other := c.session("k") // of the shard of k
		requests := 0
		fails := func(status int, code, method, path, body string, header ...string) {
			t.Helper()
			requests++
			got, answer, _ := c.request(string(rune('a'+requests%3)), method, path, body, header...)
			require.Equal(t, status, got, answer)
			var failure httpapi.Error
			require.NoError(t, json.Unmarshal([]byte(answer), &failure), answer)
			require.Equal(t, code, failure.Code)
		}
		status, answer, header := c.request("a", http.MethodPut, "/keys/k", "v", "If-None-Match", "*")
		require.Equal(t, http.StatusOK, status, answer)
		fails(412, otherVersion, http.MethodPut, "/keys/k", "w", "If-None-Match", "*")
		fails(412, otherVersion, http.MethodDelete, "/keys/k", "", "If-Match", `"1000"`)
		fails(409, notANumber, http.MethodPost, "/keys/k", `{"add": 1}`)
		status, answer, _ = c.request("b", http.MethodPut, "/keys/k", "9223372036854775807", "If-Match", header.Get("Etag"))
		require.Equal(t, http.StatusOK, status, answer)
		fails(409, overflow, http.MethodPost, "/keys/k", "")
		fails(400, "bad_request", http.MethodPost, "/keys/k", `{"sub": 1}`)
		fails(400, "bad_request", http.MethodPost, "/keys/k", `{}`)
		fails(400, "bad_request", http.MethodPut, "/keys/k", "", "If-Match", "7")
		fails(400, "bad_request", http.MethodPut, "/keys/k", "", "If-Match", `"7"`, "If-None-Match", "*")
		fails(400, "bad_request", http.MethodGet, "/keys/", "")
		fails(400, "bad_request", http.MethodGet, "/keys/"+strings.Repeat("k", maxKey+1), "")
		fails(400, "bad_request", http.MethodGet, "/keys/%ff", "")
		fails(413, "too_large", http.MethodPut, "/keys/k", strings.Repeat("v", maxValue+1))
		fails(413, "too_large", http.MethodPut, "/keys/k", strings.Repeat("v", maxBody+1))
		fails(400, "other_shard", http.MethodPost, "/keys/"+keyOfAnother("k", 8), "", httpapi.KeyField, fmt.Sprintf(`"%s-1"`, other))
		fails(400, "other_shard", http.MethodPost, "/keys/k", "", httpapi.KeyField, `"1.8-1"`)
		fails(400, "bad_key", http.MethodPost, "/keys/k", "", httpapi.KeyField, fmt.Sprintf(`"%s"`, other))
		fails(404, "not_found", http.MethodGet, "/key/k", "")
		fails(405, "method_not_allowed", http.MethodPatch, "/keys/k", "")
		fails(400, "bad_request", http.MethodGet, "/shards/8/keys", "")
		fails(400, "bad_request", http.MethodGet, "/shards/0/keys?limit=0", "")
		fails(400, "bad_request", http.MethodDelete, "/sessions/1.8", "")
		fails(404, "not_found", http.MethodDelete, "/servers/a", "")
		for body, code := range map[string]string{`{"address": "x", "client": "y"}`: "other_address", `{"address": ""}`: "bad_server"} {
			status, answer := c.administer("b", http.MethodPut, "/servers/a", body)
			require.Equal(t, http.StatusConflict, status)
			require.Contains(t, answer, code)
		}
		status, answer = c.administer("a", http.MethodDelete, "/servers/b", "")
		require.Equal(t, http.StatusConflict, status)
		require.Contains(t, answer, "too_few_servers")
	})
}

// A request whose answer was lost on the way from another server isn't sent to a second one, unless it only
// reads.
func TestLostAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 8)
		defer c.close()
		c.start("d")
		status, answer := c.administer("b", http.MethodPut, "/servers/d", `{"address": "d", "client": "client-d"}`)
		require.Equal(t, http.StatusNoContent, status, answer)
		c.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 4 && table.Moves > 0 })
		key := ""
		for i := 0; key == ""; i++ {
			if _, _, ok := c.hosts["d"].Local(shard.Of(fmt.Sprint(i), 8)); !ok {
				key = "/keys/" + fmt.Sprint(i)
			}
		}
		c.lost = 1
		status, answer, _ = c.request("d", http.MethodPost, key, "")
		require.Equal(t, http.StatusGatewayTimeout, status, answer)
		require.Contains(t, answer, "outcome_unknown")
		c.lost = 1
		status, answer, _ = c.request("d", http.MethodGet, key, "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "1", answer)
	})
}

// session opens a session for a key.
func (c *cluster) session(key string) string {
	var opened struct{ Session string }
	status, answer, header := c.request("a", http.MethodPost, "/sessions?key="+key, "")
	require.Equal(c.t, http.StatusCreated, status, answer)
	require.NoError(c.t, json.Unmarshal([]byte(answer), &opened))
	require.Equal(c.t, "/sessions/"+opened.Session, header.Get("Location"))
	return opened.Session
}

// keyOfAnother returns a key of another shard.
func keyOfAnother(key string, shards int) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint(key, i); shard.Of(other, shards) != shard.Of(key, shards) {
			return other
		}
	}
}

// A command of a session is applied once, however often it comes and wherever.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 8)
		defer c.close()
		session := c.session("{n}1")
		for _, at := range []string{"a", "b", "c", "a"} {
			status, answer, _ := c.request(at, http.MethodPost, "/keys/{n}2", `{"add": 5}`, httpapi.KeyField, fmt.Sprintf(`"%s-1"`, session))
			require.Equal(t, http.StatusOK, status, answer)
			require.Contains(t, answer, `"value":5`)
		}
		status, answer, _ := c.request("b", http.MethodDelete, "/sessions/"+session, "")
		require.Equal(t, http.StatusNoContent, status, answer)
		status, answer, _ = c.request("c", http.MethodPost, "/keys/{n}2", `{"add": 5}`, httpapi.KeyField, fmt.Sprintf(`"%s-2"`, session))
		require.Equal(t, http.StatusGone, status, answer)
		in := shard.Of("{n}2", 8)
		status, answer, _ = c.request("a", http.MethodGet, fmt.Sprintf("/shards/%d/keys?after=a&limit=5", in), "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, `{"keys":["{n}2"]}`+"\n", answer)
	})
}

// What clients see is linearizable while servers join, crash and leave.
func TestLinearizableWhileShardsMove(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { linearizable(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func linearizable(t *testing.T, random *rand.Rand) {
	c := newCluster(t, 4)
	defer c.close()
	h := history.New[history.RegisterCall, string]()
	var clients sync.WaitGroup
	done := make(chan struct{})
	for client := range 4 {
		lots := rand.New(rand.NewPCG(random.Uint64(), 0))
		clients.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				c.call(h, client, lots, i)
				time.Sleep(time.Duration(lots.IntN(50)) * time.Millisecond)
			}
		})
	}
	c.start("d")
	status, answer := c.administer("a", http.MethodPut, "/servers/d", `{"address": "d", "client": "client-d"}`)
	require.Equal(t, http.StatusNoContent, status, answer)
	time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
	c.end("b", true)
	time.Sleep(2 * time.Second)
	c.start("b")
	c.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 4 && table.Moves > 0 })
	status, answer = c.administer("d", http.MethodDelete, "/servers/c", "")
	require.Equal(t, http.StatusNoContent, status, answer)
	time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
	c.end("c", true)
	c.await(func(table *shard.Table) bool { return table.Settled() && len(table.Servers) == 3 })
	time.Sleep(time.Second)
	close(done)
	clients.Wait()
	require.NoError(t, history.Check(h, history.Registers()))
}

// call writes or reads a key at some server.
func (c *cluster) call(h *history.History[history.RegisterCall, string], client int, lots *rand.Rand, i int) {
	input := history.RegisterCall{Key: fmt.Sprint("k", lots.IntN(6)), Value: fmt.Sprintf("%d.%d", client, i), Read: lots.IntN(2) == 0}
	method, at := http.MethodPut, string(rune('a'+lots.IntN(4)))
	if input.Read {
		method, input.Value = http.MethodGet, ""
	}
	call := h.Begin(client, input)
	status, answer, _ := c.request(at, method, "/keys/"+input.Key, input.Value)
	switch {
	case status == http.StatusOK && input.Read:
		call.End(answer, nil)
	case status == http.StatusOK:
		call.End(input.Value, nil)
	case status == http.StatusNotFound:
		call.End("", nil)
	case status == 0, status == http.StatusServiceUnavailable, input.Read:
		call.End("", raft.ErrNotApplied)
	default:
		require.Equal(c.t, http.StatusGatewayTimeout, status, answer)
	}
}
