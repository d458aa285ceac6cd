package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// runLab runs the command until the test ends, and returns the page's address and the token.
func runLab(t *testing.T, arguments ...string) (address, token string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, append([]string{"-listen", "127.0.0.1:0"}, arguments...), in) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	_, line, _ = strings.Cut(strings.TrimSpace(line), "open ")
	address, token, found := strings.Cut(line, "/#")
	require.True(t, found, line)
	return address, token
}

// ask makes a request, and returns the status and what came.
func ask(t *testing.T, method, address, token, body string) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set(tokenHeader, token)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header, string(text)
}

// The command serves the page to everybody, and the cluster to those who have the token.
func TestCommand(t *testing.T) {
	address, token := runLab(t, "-servers", "1")
	status, header, text := ask(t, http.MethodGet, address+"/", "", "")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, "<title>raftlab</title>")
	require.NotContains(t, text, token)
	require.Contains(t, header.Get("Content-Security-Policy"), "default-src 'self'")
	for _, test := range []struct {
		method, path, token, body string
		status                    int
	}{
		{http.MethodGet, "/live.js", "", "", http.StatusOK},
		{http.MethodGet, "/nothing", "", "", http.StatusNotFound},
		{http.MethodGet, "/events", token, "", http.StatusUnauthorized}, // here it is in the address
		{http.MethodGet, "/violation?token=" + token, "", "", http.StatusNotFound},
		{http.MethodPost, "/do", "", `{"action":"heal"}`, http.StatusUnauthorized},
		{http.MethodPost, "/do?token=" + token, "", `{"action":"heal"}`, http.StatusUnauthorized},
		{http.MethodPost, "/do", token, `{"action":"heal"}`, http.StatusAccepted},
		{http.MethodPost, "/do", token, `{"action":"explode"}`, http.StatusNotFound},
		{http.MethodPost, "/do", token, `{"acton":"heal"}`, http.StatusBadRequest},
		{http.MethodPost, "/do", token, `{"action":"` + strings.Repeat("x", maxRequest) + `"}`, http.StatusBadRequest},
		{http.MethodGet, "/do", token, "", http.StatusNotFound},
	} {
		status, _, text := ask(t, test.method, address+test.path, test.token, test.body)
		require.Equal(t, test.status, status, "%+v: %s", test, text)
	}
}

// A stream begins with what can be done, goes on with ten views a second at most, and ends with the
// lab. Nothing of the news and the counts comes twice.
func TestStream(t *testing.T) {
	address, token := runLab(t, "-servers", "1")
	answer, err := http.Get(address + "/events?token=" + token)
	require.NoError(t, err)
	defer answer.Body.Close()
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	next := func(event string, into any) {
		for _, prefix := range []string{"event: ", "data: ", ""} {
			require.True(t, lines.Scan())
			text, found := strings.CutPrefix(lines.Text(), prefix)
			require.True(t, found, lines.Text())
			switch prefix {
			case "event: ":
				require.Equal(t, event, text)
			case "data: ":
				require.NoError(t, json.Unmarshal([]byte(text), into))
			}
		}
	}
	var first welcome
	next("welcome", &first)
	require.Len(t, first.Actions, len(actions))
	const views = 15
	told, counted := 0, 0
	start := time.Now()
	for range views {
		var v view
		next("view", &v)
		require.Len(t, v.Servers, 1)
		for _, p := range v.News {
			require.Equal(t, told+1, p.Number)
			told = p.Number
		}
		require.GreaterOrEqual(t, v.Span, counted)
		require.LessOrEqual(t, len(v.Spans), v.Span-counted)
		counted = v.Span
	}
	// The first view may have been made long before it was asked for, and one waits for the stream.
	require.GreaterOrEqual(t, time.Since(start), (views-2)*viewEvery)
	require.Positive(t, told)
}

// The live page is small: what it consists of takes no more than 150 KiB.
func TestPageIsSmall(t *testing.T) {
	total := int64(0)
	require.NoError(t, fs.WalkDir(pageFiles, "page", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.Contains(path, "replay") {
			return err
		}
		info, err := entry.Info()
		total += info.Size()
		return err
	}))
	t.Logf("%d bytes", total)
	require.LessOrEqual(t, total, int64(150<<10))
	require.Greater(t, total, int64(10<<10), "something is missing")
}

// Flags that make no sense are refused.
func TestFlags(t *testing.T) {
	for text, arguments := range map[string][]string{
		"0 servers":             {"-listen", "127.0.0.1:0", "-servers", "0"},
		"it takes no arguments": {"nine"},
		"missing port":          {"-listen", "127.0.0.1"},
		"twice as long":         {"-listen", "127.0.0.1:0", "-election", "100ms"},
	} {
		require.ErrorContains(t, run(t.Context(), arguments, io.Discard), text)
	}
}
