package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only this machine can reach the lab.
func TestListensOnLoopbackAlone(t *testing.T) {
	for _, address := range []string{"127.0.0.1:7070", "localhost:0", "[::1]:7070", "127.0.0.2:1"} {
		require.NoError(t, checkListen(address), address)
	}
	for _, address := range []string{"0.0.0.0:7070", ":7070", "[::]:7070", "10.0.0.1:7070", "example.org:7070"} {
		require.ErrorIs(t, checkListen(address), errNotLoopback, address)
	}
	require.Error(t, checkListen("127.0.0.1"), "a port is missing")
	require.ErrorIs(t, run(t.Context(), []string{"-listen", "0.0.0.0:0"}, nil), errNotLoopback)
}

// What comes from another page, under another name, or without the token, is refused.
func TestAccess(t *testing.T) {
	a := newAccess()
	require.Len(t, a.token, 32)
	require.NotEqual(t, a.token, newAccess().token)
	served := a.guarded(a.withToken(func(w http.ResponseWriter, r *http.Request) {}, inHeader))
	for name, test := range map[string]struct {
		host   string
		header map[string]string
		token  string
		status int
	}{
		"the page itself":       {"127.0.0.1:7070", map[string]string{"Origin": "http://127.0.0.1:7070", "Sec-Fetch-Site": "same-origin"}, a.token, http.StatusOK},
		"a program":             {"localhost:7070", nil, a.token, http.StatusOK},
		"IPv6":                  {"[::1]:7070", map[string]string{"Origin": "http://[::1]:7070"}, a.token, http.StatusOK},
		"the port of HTTP":      {"localhost", map[string]string{"Origin": "http://localhost"}, a.token, http.StatusOK},
		"no token":              {"127.0.0.1:7070", nil, "", http.StatusUnauthorized},
		"another token":         {"127.0.0.1:7070", nil, newAccess().token, http.StatusUnauthorized},
		"another origin":        {"127.0.0.1:7070", map[string]string{"Origin": "http://example.org"}, a.token, http.StatusForbidden},
		"another port":          {"127.0.0.1:7070", map[string]string{"Origin": "http://127.0.0.1:8080"}, a.token, http.StatusForbidden},
		"a page in a sandbox":   {"127.0.0.1:7070", map[string]string{"Origin": "null"}, a.token, http.StatusForbidden},
		"another site":          {"127.0.0.1:7070", map[string]string{"Sec-Fetch-Site": "cross-site"}, a.token, http.StatusForbidden},
		"another port's page":   {"127.0.0.1:7070", map[string]string{"Sec-Fetch-Site": "same-site"}, a.token, http.StatusForbidden},
		"a name that was bound": {"rebound.example.org:7070", map[string]string{"Origin": "http://rebound.example.org:7070"}, a.token, http.StatusForbidden},
	} {
		request := httptest.NewRequest(http.MethodPost, "/do", nil)
		request.Host = test.host
		for key, value := range test.header {
			request.Header.Set(key, value)
		}
		request.Header.Set(tokenHeader, test.token)
		answer := httptest.NewRecorder()
		served.ServeHTTP(answer, request)
		require.Equal(t, test.status, answer.Code, "%s: %s", name, answer.Body)
	}
}
