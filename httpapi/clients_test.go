package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/otherlang"
	"github.com/e17579a5/raft/wire"
)

// A scenario is what a server answers to the copies of commands, and what a client makes of that. A
// client makes two commands; it makes one if its time is to be over.
type scenario struct {
	name    string
	answers []string // "503 no_leader"; the last one is repeated
	want    []string // what came of the commands
	keys    []string // the keys that came, each once; nil if they don't matter
}

// These keys are of the first two commands of a session.
var twoKeys = []string{`"3.1042-1";lowest=1`, `"3.1042-2";lowest=2`}

var scenarios = []scenario{
	{"well", []string{"200"}, []string{"7", "7"}, twoKeys},
	{"repeated", []string{"504 outcome_unknown", "503 closed", "500 internal", "408 slow_request", "200"}, []string{"7", "7"}, twoKeys},
	{"broken-off", []string{"break", "200"}, []string{"7", "7"}, twoKeys},
	{"proxy", []string{"502", "200"}, []string{"7", "7"}, twoKeys},
	{"refused", []string{"409 overflow"}, []string{"Refused overflow 409", "Refused overflow 409"}, twoKeys},
	{"refused-later", []string{"504 outcome_unknown", "409 overflow"}, []string{"Refused overflow 409", "Refused overflow 409"}, twoKeys},
	{"wrong", []string{"400 bad_request"}, []string{"NotApplied bad_request 400", "NotApplied bad_request 400"}, twoKeys},
	{"wrong-later", []string{"504 outcome_unknown", "413 too_large"}, []string{"OutcomeUnknown too_large 413", "NotApplied too_large 413"}, twoKeys},
	// The next session is a new one, though this server gives it the same ID.
	{"expired", []string{"410 session_expired", "200"}, []string{"NotApplied session_expired 410", "7"}, twoKeys[:1]},
	{"expired-later", []string{"504 outcome_unknown", "410 session_expired", "200"}, []string{"OutcomeUnknown session_expired 410", "7"}, twoKeys[:1]},
	{"no-leader", []string{"503 no_leader"}, []string{"NoLeader no_leader 503"}, nil},
	{"overloaded", []string{"503 overloaded"}, []string{"NotApplied overloaded 503"}, nil},
	{"unknown", []string{"504 outcome_unknown"}, []string{"OutcomeUnknown outcome_unknown 504"}, nil},
	{"unknown-first", []string{"504 outcome_unknown", "503 no_leader"}, []string{"OutcomeUnknown no_leader 503"}, nil},
	{"nobody", nil, []string{"NoLeader no_server 0"}, nil},
}

// argument tells a client of a scenario. The time of a client that makes two commands is enough.
func (s *scenario) argument(server, nobody string) string {
	if s.name == "nobody" {
		server = nobody
	}
	milliseconds := 30_000
	if len(s.want) == 1 {
		milliseconds = 400
	}
	return fmt.Sprintf("%s,%s,%d,%d", s.name, server, milliseconds, len(s.want))
}

// A stage plays the scenarios to a client.
type stage struct {
	mu     sync.Mutex
	copies map[string]int      // of commands, by scenario
	keys   map[string][]string // the keys that came, without repetitions in a row
}

func (s *stage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/sessions":
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"session": "3.1042"}`)
		return
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || strings.ReplaceAll(string(body), " ", "") != `{"add":5}` {
		http.Error(w, fmt.Sprintf("the body is %q", body), http.StatusTeapot)
		return
	}
	answer := s.next(strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get(httpapi.KeyField))
	var status int
	var code string
	_, _ = fmt.Sscan(answer, &status, &code) // without a code, it is ""
	switch {
	case answer == "break":
		panic(http.ErrAbortHandler)
	case status == http.StatusOK:
		_, _ = io.WriteString(w, `{"value": 7}`)
	case code == "":
		http.Error(w, "<html>", status)
	default:
		outcome := map[bool]httpapi.Outcome{true: httpapi.Unknown, false: httpapi.NotApplied}[status == 504 || status == 500 || status == 410]
		if code == "overflow" {
			outcome = httpapi.Refused
		}
		httpapi.Fail(w, &httpapi.Error{Status: status, Code: code, Outcome: outcome, Message: "as told"})
	}
}

// next returns the next answer of a scenario.
func (s *stage) next(name, key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	played := scenarios[slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == name })]
	copies := s.copies[name]
	s.copies[name]++
	if seen := s.keys[name]; len(seen) == 0 || seen[len(seen)-1] != key {
		s.keys[name] = append(seen, key)
	}
	return played.answers[min(copies, len(played.answers)-1)]
}

// TestClients: the clients of other languages tell apart what a server says, and repeat a command
// under the same key.
func TestClients(t *testing.T) {
	inEachLanguage(t, "scenarios", func(t *testing.T, run func(http.Handler, func(server string) []string) string) {
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, closed.Close())
		s := &stage{copies: map[string]int{}, keys: map[string][]string{}}
		want := ""
		got := run(s, func(server string) (arguments []string) {
			for _, played := range scenarios {
				arguments = append(arguments, played.argument(server, closed.Addr().String()))
				want += played.name + ": " + strings.Join(played.want, ": ") + "\n"
			}
			return arguments
		})
		require.Equal(t, want, got)
		for _, played := range scenarios {
			if played.keys != nil {
				require.Equal(t, played.keys, s.keys[played.name], played.name)
			}
		}
	})
}

// A crowd is a server that gives no answer to the first command before 255 others have come.
type crowd struct {
	stage
	arrived sync.WaitGroup
	mu      sync.Mutex
	highest uint64
	early   uint64 // the highest number that came before the first one was answered
}

func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/many" {
		c.stage.ServeHTTP(w, r)
		return
	}
	command, err := httpapi.ParseKey(r.Header.Get(httpapi.KeyField))
	if err != nil {
		httpapi.Fail(w, err)
		return
	}
	c.mu.Lock()
	c.highest = max(c.highest, command.Sequence)
	c.mu.Unlock()
	if command.Sequence <= wire.MaxSessionCommands {
		c.arrived.Done()
	}
	if command.Sequence == 1 {
		c.arrived.Wait()
		c.mu.Lock()
		c.early = c.highest
		c.mu.Unlock()
	}
	_, _ = io.WriteString(w, `{"value": 7}`) // an error is the client's
}

// TestClientsWithManyCommands: a client has as many commands under way as a session takes, and no
// more.
func TestClientsWithManyCommands(t *testing.T) {
	inEachLanguage(t, "many", func(t *testing.T, run func(http.Handler, func(server string) []string) string) {
		c := &crowd{}
		c.arrived.Add(wire.MaxSessionCommands)
		require.Equal(t, "2100\n", run(c, func(server string) []string { return []string{server} }))
		require.EqualValues(t, wire.MaxSessionCommands, c.early)
		require.EqualValues(t, 300, c.highest)
	})
}

// inEachLanguage tests with a script of each language. run runs it against a server, with arguments,
// and returns what it prints.
func inEachLanguage(t *testing.T, script string, test func(t *testing.T, run func(http.Handler, func(server string) []string) string)) {
	t.Parallel()
	for _, language := range otherlang.Languages {
		t.Run(language.Program, func(t *testing.T) {
			t.Parallel()
			program := language.Find(t)
			test(t, func(handler http.Handler, arguments func(string) []string) string {
				server := httptest.NewServer(handler)
				defer server.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				all := append([]string{"testdata/" + script + language.Ending}, arguments(server.Listener.Addr().String())...)
				command := exec.CommandContext(ctx, program, all...)
				command.Env = append(os.Environ(), "PYTHONPATH=clients/python", "PYTHONDONTWRITEBYTECODE=1")
				command.Stderr = os.Stderr
				out, err := command.Output()
				require.NoError(t, err)
				return string(out)
			})
		})
	}
}
