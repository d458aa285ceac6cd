package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

const requestTimeout = 3 * time.Second

// A sum is a state machine: it adds numbers in digits. Its result is the sum.
type sum struct {
	mu  sync.Mutex
	sum int
}

func (s *sum) Apply(entries []raft.Entry, results [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range entries {
		if n, err := strconv.Atoi(string(e.Data)); err == nil {
			s.sum += n
			results[i] = []byte(strconv.Itoa(s.sum))
		}
	}
}

func (s *sum) Snapshot() (io.WriterTo, error) {
	return strings.NewReader(strconv.Itoa(s.value())), nil
}

func (s *sum) Restore(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sum, err = strconv.Atoi(string(text))
	return err
}

func (s *sum) value() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum
}

// A cluster is three services in one bubble, with disks and a network in memory.
type cluster struct {
	t        *testing.T
	network  *memory.Network
	storages []*memory.Storage
	nodes    []*raft.Node
	apis     []*httpapi.API
	handlers []http.Handler
	machines []*sum
	seen     func(r *http.Request, sent string, w *httptest.ResponseRecorder) // told of each answer; may be nil
}

// bubble runs a test on a cluster in virtual time. The cluster has a leader, unless the network is
// cut from the start.
func bubble(t *testing.T, faults memory.Faults, change func(*raft.Config), test func(*testing.T, *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{t: t, network: memory.NewNetwork(memory.Options{Faults: faults})}
		defer func() {
			for _, node := range c.nodes {
				require.NoError(t, node.Close(context.Background()))
			}
		}()
		servers := []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}, {ID: "c", Address: "c:1"}}
		for i, self := range servers {
			c.start(raft.Config{ID: self.ID, Address: self.Address, Bootstrap: servers, Seed: uint64(i + 1)}, change)
		}
		if !faults.Cut {
			require.NoError(t, c.nodes[0].Read(t.Context()))
		}
		test(t, c)
	})
}

// start starts another server.
func (c *cluster) start(config raft.Config, change func(*raft.Config)) {
	machine, storage := &sum{}, memory.NewStorage()
	config.Machine, config.Storage, config.Transport = machine, storage, c.network.Join(config.ID)
	config.Logger = slog.New(slog.DiscardHandler)
	if change != nil {
		change(&config)
	}
	node, err := raft.Start(config)
	require.NoError(c.t, err)
	api := httpapi.New(node, httpapi.Options{Timeout: requestTimeout, MaxBody: 1000, Drain: time.Minute, Logger: config.Logger})
	mux := http.NewServeMux()
	api.Routes(mux)
	mux.Handle("POST /commands", api.Handle(api.Commands))
	c.machines, c.storages, c.nodes = append(c.machines, machine), append(c.storages, storage), append(c.nodes, node)
	c.apis, c.handlers = append(c.apis, api), append(c.handlers, httpapi.Mux(mux))
}

// ask sends a request to a server. header has a name and a value, or nothing.
func (c *cluster) ask(server int, method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if len(header) > 0 {
		r.Header.Set(header[0], header[1])
	}
	w := httptest.NewRecorder()
	c.handlers[server].ServeHTTP(w, r)
	if c.seen != nil {
		c.seen(r, body, w)
	}
	return w
}

// command sends a command with a key, or without one if the key is "".
func (c *cluster) command(server int, command, key string) *httptest.ResponseRecorder {
	if key == "" {
		return c.ask(server, http.MethodPost, "/commands", command)
	}
	return c.ask(server, http.MethodPost, "/commands", command, httpapi.KeyField, key)
}

// session opens a session.
func (c *cluster) session(server int) string {
	w := c.ask(server, http.MethodPost, "/sessions", "")
	require.Equal(c.t, http.StatusCreated, w.Code, w.Body)
	var opened httpapi.OpenedSession
	require.NoError(c.t, json.Unmarshal(w.Body.Bytes(), &opened))
	require.Equal(c.t, "/sessions/"+opened.Session.String(), w.Header().Get("Location"))
	return opened.Session.String()
}

// leader returns the server that leads, by its number, and another one.
func (c *cluster) leader() (leader, other int) {
	synctest.Wait()
	for i, node := range c.nodes {
		if node.Status().Role == "leader" {
			return i, (i + 1) % len(c.nodes)
		}
	}
	require.FailNow(c.t, "nobody leads")
	return 0, 0
}

// isolate cuts a server off from the others.
func (c *cluster) isolate(server int) { c.network.Isolate(c.nodes[server].Status().ID) }

// failure reads the body of a request that failed.
func failure(t *testing.T, w *httptest.ResponseRecorder) (e httpapi.Error) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&e), w.Body)
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.NotEmpty(t, e.Message)
	require.GreaterOrEqual(t, w.Code, 400)
	return e
}

// requireFailure requires that a request has failed.
func requireFailure(t *testing.T, w *httptest.ResponseRecorder, status int, code string, outcome httpapi.Outcome) {
	t.Helper()
	e := failure(t, w)
	require.Equal(t, status, w.Code, e.Message)
	require.Equal(t, code, e.Code, e.Message)
	require.Equal(t, outcome, e.Outcome, e.Message)
}
