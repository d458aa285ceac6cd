package admin_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/internal/openapi"
	"github.com/e17579a5/raft/memory"
)

// A walk sends requests to clusters in all states, and holds the answers to openapi.json.
type walk struct {
	t        *testing.T
	document *openapi.Document
}

// in walks on a cluster.
func (k *walk) in(faults memory.Faults, on func(*testing.T, *cluster)) {
	bubble(k.t, faults, func(t *testing.T, c *cluster) {
		c.seen = func(r *http.Request, sent string, w *httptest.ResponseRecorder) {
			require.NoError(t, k.document.Check(r, sent, w.Result()), "%s %s: %s", r.Method, r.URL, w.Body)
		}
		on(t, c)
	})
}

// posts are the requests with a body, each with one that is taken, and one that isn't.
var posts = []struct{ path, taken, conflicts string }{
	{"members/add", `{"members": [{"id": "d", "address": "d:1"}], "timeout_ms": 3000}`, `{"members": [{"id": "d", "address": "d:1"}], "expect": 999}`},
	{"members/remove", `{"members": [{"id": "d"}], "timeout_ms": 3000}`, `{"members": [{"id": "x"}]}`},
	{"members/replace", `{"members": [{"id": "b"}], "timeout_ms": 3000}`, `{"members": [{"id": "x"}]}`},
	{"members/set", `{"members": [{"id": "a"}, {"id": "b"}, {"id": "c", "role": "learner"}], "timeout_ms": 3000}`, `{"members": [{"id": "a", "role": "learner"}]}`},
	{"transfer", `{"to": "", "timeout_ms": 3000}`, `{"to": "x"}`},
	{"snapshot", `{"timeout_ms": 3000}`, ""},
}

// TestDocument: openapi.json describes what the handler does, and nothing else. Each answer in the file
// is given here, and each answer that is given here is in the file.
func TestDocument(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	k := &walk{t, document}
	k.in(memory.Faults{}, whenAllIsWell)
	k.in(memory.Faults{}, whenRequestsAreWrong)
	k.in(memory.Faults{}, whenNobodyLeads)
	for _, p := range posts {
		if p.path != "snapshot" {
			k.in(memory.Faults{MinDelay: 100 * time.Millisecond, MaxDelay: 100 * time.Millisecond}, whenAServerIsCutOff(p.path, p.taken))
		}
	}
	k.in(memory.Faults{}, whenSnapshotsFail)
	whenTheServerIsAHost(k)
	require.Equal(t, document.Answers(), document.Seen())
}

// TestDocumentHasAllRoutes: the document has what the handler has.
func TestDocumentHasAllRoutes(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	var routes []string
	for _, found := range regexp.MustCompile(`(?m)^//\t(GET|POST) +(/raft/\S+) `).FindAllSubmatch(text, -1) {
		routes = append(routes, string(found[1])+" "+string(found[2]))
	}
	require.ElementsMatch(t, routes, document.Operations())
	var asked []string
	for _, request := range everything {
		asked = append(asked, request[0]+" "+admin.Path+request[1])
	}
	require.ElementsMatch(t, routes, asked)
}

func whenAllIsWell(t *testing.T, c *cluster) {
	c.start(raft.Server{ID: "d", Address: "d:1"}, memory.NewStorage(), nil)
	for _, p := range posts {
		if p.path == "members/replace" {
			require.NoError(t, c.nodes["b"].Close(t.Context()))
			c.start(raft.Server{ID: "b", Address: "b:1"}, memory.NewStorage(), nil)
			c.awaitDisk("b")
		}
		require.Equal(t, http.StatusOK, c.ask("a", "POST", p.path, p.taken).Code, p.path)
		require.Equal(t, http.StatusOK, c.ask("a", "GET", "status", "").Code)
	}
	require.Equal(t, http.StatusOK, c.ask("a", "POST", "export", "{}").Code)
	for id := range c.nodes {
		require.Equal(t, http.StatusOK, c.ask(id, "GET", "status", "").Code)
	}
}

func whenRequestsAreWrong(t *testing.T, c *cluster) {
	for _, p := range posts {
		require.Equal(t, http.StatusBadRequest, c.ask("a", "POST", p.path, "x").Code)
		require.Equal(t, http.StatusRequestEntityTooLarge, c.ask("a", "POST", p.path, strings.Repeat(" ", 2<<20)).Code)
		require.Equal(t, http.StatusRequestTimeout, c.askWith("a", "POST", p.path, iotest.ErrReader(os.ErrDeadlineExceeded), "").Code)
		if p.conflicts != "" {
			require.Equal(t, http.StatusConflict, c.ask("a", "POST", p.path, p.conflicts).Code)
		}
	}
	c.refuse = http.ErrNotSupported
	for _, request := range everything {
		require.Equal(t, http.StatusForbidden, c.ask("a", request[0], request[1], request[2]).Code)
	}
}

func whenNobodyLeads(t *testing.T, c *cluster) {
	for id := range c.nodes {
		c.network.Isolate(id)
	}
	time.Sleep(5 * time.Second)
	for _, p := range posts {
		if p.path != "snapshot" {
			require.Equal(t, http.StatusServiceUnavailable, c.ask("a", "POST", p.path, p.taken).Code)
		}
	}
	require.Equal(t, http.StatusServiceUnavailable, c.ask("a", "POST", "export", "{}").Code)
	require.Equal(t, http.StatusOK, c.ask("a", "GET", "status", "").Code)
	require.NotEmpty(t, c.status("a").NoLeader)
	c.network.SetFaults(memory.Faults{})
}

// Here a message takes 100 ms. A change takes two round trips before the leader is asked for it: from
// the server that was asked to the leader, and from the leader to a majority.
func whenAServerIsCutOff(path, body string) func(*testing.T, *cluster) {
	return func(t *testing.T, c *cluster) {
		_, other := c.leader()
		answered := make(chan int)
		go func() { answered <- c.ask(other, "POST", path, body).Code }()
		time.Sleep(450 * time.Millisecond)
		c.network.Isolate(other)
		require.Equal(t, http.StatusGatewayTimeout, <-answered, path)
		c.network.SetFaults(memory.Faults{})
	}
}

func whenSnapshotsFail(t *testing.T, c *cluster) {
	m := c.machines["a"]
	set := func(broken bool, hold chan struct{}) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.broken, m.hold = broken, hold
	}
	set(true, nil)
	require.Equal(t, http.StatusServiceUnavailable, c.ask("a", "POST", "snapshot", "{}").Code)
	require.Equal(t, http.StatusServiceUnavailable, c.ask("a", "POST", "export", "{}").Code)
	hold := make(chan struct{})
	set(false, hold)
	require.Equal(t, http.StatusGatewayTimeout, c.ask("a", "POST", "snapshot", `{"timeout_ms": 3000}`).Code)
	close(hold)
	c.start(raft.Server{ID: "d", Address: "d:1"}, memory.NewStorage(), nil)
	require.Equal(t, http.StatusConflict, c.ask("d", "POST", "snapshot", "{}").Code)
	require.Equal(t, http.StatusOK, c.ask("d", "GET", "status", "").Code)
	require.NotEmpty(t, c.status("d").Trouble)
}
