package main

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/openapi"
	"github.com/e17579a5/raft/memory"
)

// A reader of openapi.json sends requests, and holds the answers to the file.
type reader struct {
	*openapi.Document
	cluster *cluster
}

// require sends a request with a body and an Idempotency-Key, either of which may be "", and
// requires that it is answered with a status.
func (d *reader) require(t *testing.T, status, server int, method, path, body, key string) {
	t.Helper()
	d.requireOf(t, status, server, method, path, strings.NewReader(body), body, key)
}

func (d *reader) requireOf(t *testing.T, status, server int, method, path string, from io.Reader, body, key string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, from)
	if key != "" {
		r.Header.Set(httpapi.KeyField, key)
	}
	w := httptest.NewRecorder()
	d.cluster.handlers[server].ServeHTTP(w, r)
	require.Equal(t, status, w.Code, w.Body)
	require.NoError(t, d.Check(r, body, w.Result()), "%s %s", method, path)
}

// TestDocument: openapi.json describes what the service does. Each answer to a request for the
// counter that is in the file is given here. Those to others are the business of package httpapi.
func TestDocument(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	d := &reader{Document: document}
	bubble(t, memory.Faults{}, func(t *testing.T, c *cluster) {
		d.cluster = c
		d.require(t, 200, 0, http.MethodGet, "/counter", "", "")
		d.require(t, 200, 0, http.MethodPost, "/counter", "", "")
		d.require(t, 201, 0, http.MethodPost, "/sessions", "", "")
		session := `"` + openSession(t, c) + "-"
		d.require(t, 200, 1, http.MethodPost, "/counter", `{"add": 5}`, session+`1"`)
		d.require(t, 200, 2, http.MethodPost, "/counter", `{"add": 5}`, session+`1"`)
		c.requireValue(t, 6, 0, http.MethodGet, "")
		d.require(t, 200, 2, http.MethodPost, "/counter", `{"add": -5}`, session+`2";lowest=2`)
		d.require(t, 410, 2, http.MethodPost, "/counter", `{"add": 5}`, session+`1"`)
		d.require(t, 400, 0, http.MethodPost, "/counter", `{"add": 5}`, "5")
		d.require(t, 400, 0, http.MethodPost, "/counter", `{"ad": 5}`, "")
		d.require(t, 413, 0, http.MethodPost, "/counter", strings.Repeat(" ", maxBody+1), "")
		d.requireOf(t, 408, 0, http.MethodPost, "/counter", iotest.ErrReader(os.ErrDeadlineExceeded), "", "")
		overflow := `{"add": ` + strconv.FormatInt(math.MaxInt64, 10) + `}`
		for range 2 { // a refusal is a result, which every copy gets
			d.require(t, 409, 0, http.MethodPost, "/counter", overflow, session+`3"`)
			d.require(t, 200, 0, http.MethodPost, "/counter", `{"add": -1}`, session+`4"`)
		}
		c.requireValue(t, 0, 0, http.MethodGet, "")
		leader, id := c.leader(t)
		c.network.Isolate(id)
		d.require(t, 504, leader, http.MethodPost, "/counter", "", "")
		d.require(t, 503, leader, http.MethodGet, "/counter", "", "")
		require.NoError(t, c.nodes[leader].Close(t.Context()))
		d.require(t, 503, leader, http.MethodPost, "/counter", "", "")
	})
	require.Equal(t, ofTheCounter(d.Answers()), ofTheCounter(d.Seen()))
}

// ofTheCounter returns the answers to requests for the counter.
func ofTheCounter(answers []string) []string {
	return slices.DeleteFunc(answers, func(a string) bool { return !strings.Contains(a, " /counter ") })
}

// TestDocumentHasAllRoutes: the service has each route that the document has.
func TestDocumentHasAllRoutes(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	mux := (&service{api: &httpapi.API{}}).routes()
	for _, operation := range document.Operations() {
		method, path, _ := strings.Cut(operation, " ")
		_, pattern := mux.Handler(httptest.NewRequest(method, path, nil))
		require.Equal(t, operation, pattern)
	}
}

// openSession opens a session, and returns its ID.
func openSession(t *testing.T, c *cluster) string {
	code, answer := c.ask(t, 0, http.MethodPost, "/sessions", "")
	require.Equal(t, http.StatusCreated, code, answer)
	return answer["session"].(string)
}
