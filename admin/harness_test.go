package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/memory"
)

// A tally is a state machine that keeps all commands.
type tally struct {
	mu     sync.Mutex
	text   []byte
	broken bool          // no snapshot of it can be taken
	hold   chan struct{} // if it isn't nil, a snapshot waits until it is closed
}

func (m *tally) Apply(entries []raft.Entry, results [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, e := range entries {
		m.text = append(m.text, e.Data...)
		results[i] = fmt.Append(nil, len(m.text))
	}
}

func (m *tally) Snapshot() (io.WriterTo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return nil, errors.New("the state can't be captured")
	}
	if m.hold != nil {
		return held{bytes.NewReader(bytes.Clone(m.text)), m.hold}, nil
	}
	return bytes.NewReader(bytes.Clone(m.text)), nil
}

// A held is a captured state that waits before it is written.
type held struct {
	io.WriterTo
	hold chan struct{}
}

func (h held) WriteTo(w io.Writer) (int64, error) {
	<-h.hold
	return h.WriterTo.WriteTo(w)
}

func (m *tally) Restore(r io.Reader) (err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.text, err = io.ReadAll(r)
	return err
}

// A cluster is servers with their handlers in one bubble, with disks and a network in memory.
type cluster struct {
	t        *testing.T
	network  *memory.Network
	nodes    map[raft.ServerID]*raft.Node
	machines map[raft.ServerID]*tally
	handlers map[raft.ServerID]http.Handler
	refuse   error      // what Authorize returns
	lock     sync.Mutex // of log
	log      bytes.Buffer
	seen     func(r *http.Request, sent string, w *httptest.ResponseRecorder) // told of each answer; may be nil
}

// founders are the servers that found the cluster.
var founders = []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}, {ID: "c", Address: "c:1"}}

// bubble runs a test on a cluster in virtual time. The cluster has a leader, unless the network is
// cut from the start.
func bubble(t *testing.T, faults memory.Faults, test func(*testing.T, *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{
			t: t, network: memory.NewNetwork(memory.Options{Faults: faults}), nodes: map[raft.ServerID]*raft.Node{},
			machines: map[raft.ServerID]*tally{}, handlers: map[raft.ServerID]http.Handler{},
		}
		defer func() {
			for _, node := range c.nodes {
				require.NoError(t, node.Close(context.Background()))
			}
		}()
		for _, self := range founders {
			c.start(self, memory.NewStorage(), founders)
		}
		if !faults.Cut {
			require.NoError(t, c.nodes["a"].Read(t.Context()))
			synctest.Wait()
		}
		test(t, c)
	})
}

// start starts a server.
func (c *cluster) start(self raft.Server, storage *memory.Storage, founders []raft.Server) {
	c.machines[self.ID] = &tally{}
	node, err := raft.Start(raft.Config{
		ID: self.ID, Address: self.Address, Machine: c.machines[self.ID], Storage: storage, Transport: c.network.Join(self.ID),
		Bootstrap: founders, Seed: uint64(self.ID[0]), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(c.t, err)
	c.nodes[self.ID] = node
	c.handlers[self.ID], err = admin.New(admin.Config{Node: node, Authorize: func(*http.Request) error { return c.refuse }, Logger: c.logger()})
	require.NoError(c.t, err)
}

// logger returns a logger that writes to the cluster's log.
func (c *cluster) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		c.lock.Lock()
		defer c.lock.Unlock()
		return c.log.Write(b)
	}), nil))
}

// A writer is a function that writes.
type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// ask sends a request to a server.
func (c *cluster) ask(server raft.ServerID, method, path, body string, header ...string) *httptest.ResponseRecorder {
	return c.askWith(server, method, path, strings.NewReader(body), body, header...)
}

// askWith sends a request whose body comes from a reader.
func (c *cluster) askWith(server raft.ServerID, method, path string, from io.Reader, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(c.t.Context(), method, admin.Path+path, from)
	if method != http.MethodGet {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.handlers[server].ServeHTTP(w, r)
	if c.seen != nil {
		c.seen(r, body, w)
	}
	return w
}

// change asks for a change and requires that it is made.
func (c *cluster) change(server raft.ServerID, name, body string) (changed admin.Changed) {
	c.t.Helper()
	w := c.ask(server, http.MethodPost, "members/"+name, body)
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	decode(c.t, w, &changed)
	require.NotNil(c.t, changed.After)
	require.GreaterOrEqual(c.t, changed.After.Index, changed.Index)
	return changed
}

// status asks a server what it knows.
func (c *cluster) status(server raft.ServerID) (s admin.Status) {
	c.t.Helper()
	w := c.ask(server, http.MethodGet, "status", "")
	require.Equal(c.t, http.StatusOK, w.Code, w.Body)
	decode(c.t, w, &s)
	return s
}

// awaitDisk waits until the leader knows that a server has another disk.
func (c *cluster) awaitDisk(id raft.ServerID) {
	for range 100 {
		for _, node := range c.nodes {
			for _, peer := range node.Status().Peers {
				if peer.ID == id && peer.Trouble != nil {
					return
				}
			}
		}
		time.Sleep(100 * time.Millisecond) // of the bubble
	}
	require.FailNow(c.t, "no leader knows of the other disk")
}

// leader returns the server that leads, and another one.
func (c *cluster) leader() (leader, other raft.ServerID) {
	synctest.Wait()
	for id, node := range c.nodes {
		if is := node.Status(); is.Role == "leader" {
			return id, is.Members[(len(is.Members)-1+indexOf(is.Members, id))%len(is.Members)].ID
		}
	}
	require.FailNow(c.t, "nobody leads")
	return "", ""
}

func indexOf(members []raft.Member, id raft.ServerID) int {
	for i := range members {
		if members[i].ID == id {
			return i
		}
	}
	return -1
}

// decode reads an answer, which has no field that the type doesn't have.
func decode(t *testing.T, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	decoder := json.NewDecoder(bytes.NewReader(w.Body.Bytes()))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(into), w.Body)
}

// requireFailure requires that a request has failed.
func requireFailure(t *testing.T, w *httptest.ResponseRecorder, status int, code string, outcome httpapi.Outcome, text string) {
	t.Helper()
	var e httpapi.Error
	decode(t, w, &e)
	require.Equal(t, status, w.Code, e.Message)
	require.Equal(t, code, e.Code, e.Message)
	require.Equal(t, outcome, e.Outcome, e.Message)
	require.Contains(t, e.Message, text)
}

// roles returns the members with their roles, in a line.
func roles(members []admin.Member) string {
	var list []string
	for _, m := range members {
		list = append(list, fmt.Sprintf("%s %s at %s", m.ID, m.Role, m.Address))
	}
	return strings.Join(list, ", ")
}
