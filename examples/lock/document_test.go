package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/openapi"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/rafttest/simfs"
)

// A reader of openapi.json sends requests, and holds the answers to the file.
type reader struct {
	*openapi.Document
	t *testing.T
}

// require sends a request with a body, and requires that it is answered with a status.
func (d *reader) require(status int, to http.Handler, method, path, body string) {
	d.t.Helper()
	d.requireOf(status, to, method, path, strings.NewReader(body), body, "")
}

// requireOf is require with a body that is read from somewhere, and an Idempotency-Key; "" for none.
func (d *reader) requireOf(status int, to http.Handler, method, path string, from io.Reader, body, key string) {
	d.t.Helper()
	r := httptest.NewRequestWithContext(d.t.Context(), method, path, from)
	if key != "" {
		r.Header.Set(httpapi.KeyField, key)
	}
	w := httptest.NewRecorder()
	to.ServeHTTP(w, r)
	require.Equal(d.t, status, w.Code, w.Body)
	require.NoError(d.t, d.Check(r, body, w.Result()), "%s %s", method, path)
}

// TestDocument: openapi.json describes what the service and the store do. Each answer to a request
// for a lock or the store that is in the file is given here. Those to others are the business of
// package httpapi.
func TestDocument(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	bubble(t, func(t *testing.T, c *cluster) {
		d := &reader{document, t}
		to := c.handlers[0]
		d.require(400, to, http.MethodGet, "/locks/%00", "")
		d.require(200, to, http.MethodGet, "/locks/x", "")
		d.require(200, to, http.MethodPost, "/locks/x/acquire", `{"owner": "a", "lease_ms": 60000}`)
		d.require(409, to, http.MethodPost, "/locks/x/acquire", `{"owner": "b"}`)
		d.require(202, to, http.MethodPost, "/locks/x/acquire", `{"owner": "b", "wait_ms": 10}`)
		d.require(200, to, http.MethodGet, "/locks/x", "")
		token := c.require(200, "", 0, "/acquire", `{"owner": "a"}`)
		d.require(200, to, http.MethodPost, "/locks/x/renew", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		d.require(200, to, http.MethodPost, "/locks/x/release", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		for _, do := range []string{"acquire", "renew", "release"} {
			d.requireCommand(c, "/locks/x/"+do)
		}
		for do, body := range map[string]string{"acquire": `{"owner": "a", "wait_ms": 9}`, "renew": `{"owner": "a", "token": 5}`, "release": `{"owner": "a"}`} {
			leader, id := c.leader()
			c.network.Isolate(id)
			to = c.handlers[leader]
			d.require(504, to, http.MethodPost, "/locks/x/"+do, body)
			d.require(503, to, http.MethodPost, "/locks/x/"+do, body)
			d.require(503, to, http.MethodGet, "/locks/x", "")
			c.network.SetFaults(memory.Faults{})
			require.NoError(t, c.nodes[leader].Read(t.Context()))
		}
	})
	files := &failing{FS: simfs.New(1)}
	s, d := storeAt(t, files), &reader{document, t}
	d.require(404, s.routes(), http.MethodGet, "/store/x", "")
	d.require(200, s.routes(), http.MethodPut, "/store/x", `{"token": 7, "value": "a"}`)
	d.require(200, s.routes(), http.MethodGet, "/store/x", "")
	d.require(400, s.routes(), http.MethodPut, "/store/x", `{"token": 7}`)
	d.require(409, s.routes(), http.MethodPut, "/store/x", `{"token": 6, "value": "a"}`)
	files.broken = errors.New("broken disk")
	d.require(504, s.routes(), http.MethodPut, "/store/x", `{"token": 7, "value": "a"}`)
	d.require(503, s.routes(), http.MethodPut, "/store/x", `{"token": 7, "value": "a"}`)
	require.Equal(t, ofThisProgram(document.Answers()), ofThisProgram(document.Seen()))
}

// requireCommand requires what all commands have in common.
func (d *reader) requireCommand(c *cluster, path string) {
	d.t.Helper()
	to := c.handlers[0]
	session := `"` + c.openSession() + "-"
	body := `{"owner": "stranger", "token": 5}`
	if strings.HasSuffix(path, "/acquire") {
		body = `{"owner": "stranger"}`
	}
	d.requireOf(409, to, http.MethodPost, path, strings.NewReader(body), body, session+`2";lowest=2`)
	d.requireOf(410, to, http.MethodPost, path, strings.NewReader(body), body, session+`1"`)
	d.requireOf(400, to, http.MethodPost, path, strings.NewReader(body), body, "5")
	d.require(400, to, http.MethodPost, path, "{}")
	large := strings.Repeat(" ", maxBody+1)
	d.require(413, to, http.MethodPost, path, large)
	d.requireOf(408, to, http.MethodPost, path, iotest.ErrReader(os.ErrDeadlineExceeded), "", "")
}

// ofThisProgram returns the answers to requests for a lock or the store.
func ofThisProgram(answers []string) []string {
	return slices.DeleteFunc(answers, func(a string) bool { return !strings.Contains(a, " /locks/") && !strings.Contains(a, " /store/") })
}

// TestDocumentHasAllRoutes: the service, or the store, has each route that the document has.
func TestDocumentHasAllRoutes(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	mux := (&service{api: &httpapi.API{}}).routes()
	(&store{}).addRoutes(mux)
	for _, operation := range document.Operations() {
		method, path, _ := strings.Cut(operation, " ")
		_, pattern := mux.Handler(httptest.NewRequest(method, path, nil))
		require.Equal(t, operation, pattern)
	}
}
