package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/memory"
)

// TestAnswers: each request has the answer that the README says.
func TestAnswers(t *testing.T) {
	store, err := kv.Open("bolt", t.TempDir(), kv.Options{})
	require.NoError(t, err)
	node, err := raft.Start(raft.Config{
		ID: "a", Bootstrap: []raft.Server{{ID: "a"}}, Machine: store, Durable: store.Durable(), Storage: memory.NewStorage(),
		Transport: memory.NewNetwork(memory.Options{}).Join("a"), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	defer func() {
		require.NoError(t, node.Close(context.Background()))
		require.NoError(t, store.Close())
	}()
	api := httpapi.New(node, httpapi.Options{Timeout: process.Patience, MaxBody: kv.MaxValue})
	handler := httpapi.Mux((&service{api, node, store}).routes())
	session := ""
	for _, step := range []struct {
		method, path, body, key string
		status                  int
		answer                  string // a part of it
	}{
		{"GET", "/keys/x", "", "", 404, `"code":"no_value","outcome":"not applied"`},
		{"DELETE", "/keys/x", "", "", 404, `"code":"no_value","outcome":"not applied"`},
		{"PUT", "/keys/x", "hello", "", 200, `{"value":"hello"}`},
		{"GET", "/keys/x", "", "", 200, `{"value":"hello"}`},
		{"POST", "/keys/x/add", "", "", 409, `{"error":"the value is no number","code":"refused","outcome":"refused"}`},
		{"DELETE", "/keys/x", "", "", 200, `{"value":""}`},
		{"GET", "/keys/x", "", "", 404, `the key has no value`},
		{"POST", "/keys/x/add", "", "", 200, `{"value":"1"}`},
		{"POST", "/keys/x/add?n=9223372036854775806", "", "", 200, `{"value":"9223372036854775807"}`},
		{"POST", "/keys/x/add", "", "", 409, `the sum is too large`},
		{"POST", "/keys/x/add?n=-7", "", "", 200, `{"value":"9223372036854775800"}`},
		{"POST", "/keys/x/add?n=1.5", "", "", 400, `n is no number`},
		{"PUT", "/keys/" + strings.Repeat("k", kv.MaxKey+1), "hello", "", 400, `the key has 1025 bytes, not 1 to 1024`},
		{"PUT", "/keys/x", strings.Repeat("v", kv.MaxValue), "", 200, `{"value":"vvv`},
		{"PUT", "/keys/x", strings.Repeat("v", kv.MaxValue+1), "", 413, `"code":"too_large","outcome":"not applied"`},
		{"PATCH", "/keys/x", "", "", 405, `"code":"method_not_allowed"`},
		{"GET", "/elsewhere", "", "", 404, `"code":"not_found"`},
		{"GET", "/status", "", "", 200, `"role":"leader"`},
		{"POST", "/sessions", "", "", 201, `{"session":"`},
		{"POST", "/keys/y/add?n=5", "", "1", 200, `{"value":"5"}`},
		{"POST", "/keys/y/add?n=5", "", "1", 200, `{"value":"5"}`}, // the same once more
		{"POST", "/keys/y/add?n=5", "", "2", 200, `{"value":"10"}`},
	} {
		r := httptest.NewRequestWithContext(t.Context(), step.method, step.path, strings.NewReader(step.body))
		if step.key != "" {
			r.Header.Set(httpapi.KeyField, fmt.Sprintf("%q", session+"-"+step.key))
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		what := step.method + " " + step.path[:min(len(step.path), 50)]
		require.Equal(t, step.status, w.Code, "%s: %s", what, w.Body)
		require.Contains(t, w.Body.String()[:min(w.Body.Len(), 1000)], step.answer, what)
		if step.path == "/sessions" {
			_, text, _ := strings.Cut(w.Body.String(), `{"session":"`)
			session, _, _ = strings.Cut(text, `"`)
		}
	}
}

// TestRunEnds: a server that is told to end lets go of its log and of its database, so that it can be
// started again at once; and it has kept what it had.
func TestRunEnds(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	web := listener.Addr().String()
	require.NoError(t, listener.Close())
	for _, kind := range kv.Kinds {
		for life := range 2 {
			ctx, end := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				ended <- run(ctx, []string{"-id", "a", "-peers", "a=127.0.0.1:0", "-http", web, "-data", filepath.Join(dir, kind), "-store", kind}, io.Discard)
			}()
			var sum value
			process.Await(t, func() bool {
				code, err := process.Request(http.DefaultClient, http.MethodPost, "http://"+web+"/keys/lives/add", &sum)
				return err == nil && code == http.StatusOK
			}, "the server doesn't answer")
			require.Equal(t, fmt.Sprint(life+1), sum.Value, kind)
			end()
			require.NoError(t, <-ended, kind)
		}
	}
}
