package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
	"github.com/e17579a5/raft/internal/openapi"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A walk sends requests to clusters in all states, and holds the answers to openapi.json.
type walk struct {
	t        *testing.T
	document *openapi.Document
}

// in walks on a cluster.
func (k *walk) in(faults memory.Faults, change func(*raft.Config), on func(*testing.T, *cluster)) {
	bubble(k.t, faults, change, func(t *testing.T, c *cluster) {
		c.seen = func(r *http.Request, sent string, w *httptest.ResponseRecorder) {
			require.NoError(t, k.document.Check(r, sent, w.Result()), "%s %s: %s", r.Method, r.URL, w.Body)
		}
		on(t, c)
	})
}

// TestDocument: openapi.json describes what the handlers do, and nothing else. Each answer in the
// file is given here, and each answer that is given here is in the file.
func TestDocument(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	k := &walk{t, document}
	k.in(memory.Faults{}, nil, whenAllIsWell)
	k.in(memory.Faults{}, func(c *raft.Config) { c.MaxSessions = 1 }, whenSessionsEnd)
	k.in(memory.Faults{Cut: true}, nil, whenNobodyLeads)
	k.in(memory.Faults{}, nil, whenServersAreCutOff)
	k.in(memory.Faults{}, func(c *raft.Config) { c.Level = wire.LevelSessions - 1 }, whenSessionsAreUnknown)
	k.in(memory.Faults{}, refuseLongCommands, whenCommandsAreRefused)
	k.in(memory.Faults{}, smallDisks, whenDisksAreFull)
	k.in(memory.Faults{}, nil, whenMembersChange)
	k.in(memory.Faults{}, nil, whenServersEnd)
	hang := &hanging{}
	k.in(memory.Faults{}, hang.in, hang.whenANodeStandsStill)

	require.Equal(t, document.Answers(), document.Seen())

	// The codes of failures are those of ErrorOf and of the handlers. Not every one of them is given
	// above; TestErrorOf gives the others.
	table, err := os.ReadFile("errors_test.go")
	require.NoError(t, err)
	for _, code := range document.Codes() {
		require.True(t, slices.Contains(document.SeenCodes(), code) || strings.Contains(string(table), `"`+code+`"`), "no test gives %s", code)
	}
}

// TestDocumentHasAllRoutes: what the document has is what the muxes of services have.
func TestDocumentHasAllRoutes(t *testing.T) {
	document, err := openapi.Read("openapi.json")
	require.NoError(t, err)
	source, err := os.ReadFile("api.go")
	require.NoError(t, err)
	routes := []string{"POST /commands"} // a service adds it
	for _, found := range regexp.MustCompile(`(?m)^\tmux\.Handle\("([^"]+)"`).FindAllSubmatch(source, -1) {
		routes = append(routes, string(found[1]))
	}
	require.ElementsMatch(t, routes, document.Operations())
}

func whenAllIsWell(t *testing.T, c *cluster) {
	id := c.session(0)
	for server := range 3 {
		requireResult(t, "5", c.command(server, "5", `"`+id+`-1"`))
		requireResult(t, "5", c.command(server, "5", `"`+id+`-1";lowest=1`))
		c.requireReady(server, "")
		require.Equal(t, http.StatusOK, c.ask(server, http.MethodGet, "/livez", "").Code)
		require.Equal(t, http.StatusOK, c.ask(server, http.MethodGet, "/status", "").Code)
	}
	requireFailure(t, c.command(0, "5", "x"), 400, "bad_key", httpapi.NotApplied)
	requireFailure(t, c.command(0, strings.Repeat("1", 1001), ""), 413, "too_large", httpapi.NotApplied)
	for cause, code := range map[error]string{os.ErrDeadlineExceeded: "slow_request", errors.New("broken"): "bad_request"} {
		r := httptest.NewRequest(http.MethodPost, "/commands", io.MultiReader(strings.NewReader("5"), iotest.ErrReader(cause)))
		w := httptest.NewRecorder()
		c.handlers[0].ServeHTTP(w, r)
		c.seen(r, "", w)
		require.Equal(t, code, failure(t, w).Code)
	}
	requireFailure(t, c.ask(0, http.MethodDelete, "/sessions/x", ""), 400, "bad_request", httpapi.NotApplied)
	require.Equal(t, http.StatusNoContent, c.ask(0, http.MethodDelete, "/sessions/"+id, "").Code)
}

func whenSessionsEnd(t *testing.T, c *cluster) {
	first, second := c.session(0), c.session(0)
	requireFailure(t, c.command(0, "5", `"`+first+`-1"`), 410, "session_expired", httpapi.Unknown)
	requireResult(t, "5", c.command(0, "5", `"`+second+`-2";lowest=2`))
	requireFailure(t, c.command(0, "5", `"`+second+`-1"`), 410, "session_answered", httpapi.Unknown)
}

// everything are requests that need a leader.
var everything = [][2]string{
	{http.MethodPost, "/sessions"}, {http.MethodDelete, "/sessions/1.1"}, {http.MethodPost, "/commands"},
}

func whenNobodyLeads(t *testing.T, c *cluster) {
	for _, request := range everything {
		w := c.ask(0, request[0], request[1], "")
		requireFailure(t, w, 503, "no_leader", httpapi.NotApplied)
		require.Equal(t, "1", w.Header().Get("Retry-After"))
	}
	c.requireReady(0, "no_part")
	require.NotEmpty(t, c.status(0).NoLeader)
}

func whenServersAreCutOff(t *testing.T, c *cluster) {
	for _, request := range everything {
		leader, _ := c.leader()
		c.isolate(leader)
		requireFailure(t, c.ask(leader, request[0], request[1], ""), 504, "outcome_unknown", httpapi.Unknown)
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, c.nodes[0].Read(t.Context()))
	}
}

func whenSessionsAreUnknown(t *testing.T, c *cluster) {
	requireFailure(t, c.ask(0, http.MethodPost, "/sessions", ""), 409, "not_in_force", httpapi.NotApplied)
	requireFailure(t, c.ask(0, http.MethodDelete, "/sessions/1.1", ""), 409, "not_in_force", httpapi.NotApplied)
	requireFailure(t, c.command(0, "5", `"1.1-1"`), 409, "not_in_force", httpapi.NotApplied)
}

// refuseLongCommands makes Validate refuse them. Even longer ones are over the limit.
func refuseLongCommands(c *raft.Config) {
	c.MaxCommandBytes = 10
	c.Validate = func(command []byte) error {
		if len(command) > 5 {
			return errors.New("too long to be a number that we like")
		}
		return nil
	}
}

func whenCommandsAreRefused(t *testing.T, c *cluster) {
	requireFailure(t, c.command(0, "123456", ""), 409, "not_applied", httpapi.NotApplied)
	requireFailure(t, c.command(0, "12345678901", ""), 413, "too_large", httpapi.NotApplied)
}

// A hoarder takes no snapshots, so that its log is never forgotten.
type hoarder struct{ sum }

func (*hoarder) Snapshot() (io.WriterTo, error) { return nil, errors.New("not today") }

// smallDisks makes the disks small, and lets nothing free them.
func smallDisks(c *raft.Config) {
	c.ReserveBytes, c.Machine = 2000, &hoarder{}
	c.Storage.(*memory.Storage).SetSize(12_000)
}

func whenDisksAreFull(t *testing.T, c *cluster) {
	w := c.command(0, "1", "")
	for range 1000 {
		if w.Code != http.StatusOK {
			break
		}
		w = c.command(0, "1"+strings.Repeat(" ", 400), "")
	}
	requireFailure(t, w, 503, "full", httpapi.NotApplied)
	require.Equal(t, "10", w.Header().Get("Retry-After"))
	leader, _ := c.leader()
	require.Contains(t, c.status(leader).Problems[0], "the disk has been full for ")
}

// A hanging is a function of the service that holds up the node of server c.
type hanging struct {
	hangs   atomic.Bool
	release chan struct{}
}

func (h *hanging) in(c *raft.Config) {
	if c.ID == "c" {
		h.release = make(chan struct{}) // of the test's bubble
		c.Trace = &raft.Trace{Turn: func(raft.TurnTrace) {
			if h.hangs.Load() {
				<-h.release
			}
		}}
	}
}

func (h *hanging) whenANodeStandsStill(t *testing.T, c *cluster) {
	require.Equal(t, http.StatusOK, c.ask(2, http.MethodGet, "/livez", "").Code)
	h.hangs.Store(true)
	time.Sleep(time.Minute)
	requireFailure(t, c.ask(2, http.MethodGet, "/livez", ""), 503, "stuck", httpapi.NotApplied)
	require.Equal(t, http.StatusOK, c.ask(0, http.MethodGet, "/livez", "").Code)
	h.hangs.Store(false)
	close(h.release)
	time.Sleep(time.Second)
	require.Equal(t, http.StatusOK, c.ask(2, http.MethodGet, "/livez", "").Code)
}

func whenMembersChange(t *testing.T, c *cluster) {
	requireResult(t, "5", c.command(0, "5", ""))
	slow := &slowMachine{goOn: make(chan struct{})}
	c.start(raft.Config{ID: "d", Address: "d:1", Seed: 4}, func(config *raft.Config) { config.Machine = slow })
	require.NotEmpty(t, c.status(3).Trouble)
	requireFailure(t, c.command(3, "5", ""), 503, "no_part", httpapi.NotApplied)
	_, err := c.nodes[0].AddServer(t.Context(), raft.Server{ID: "d", Address: "d:1"})
	require.NoError(t, err)
	c.requireReady(3, "catching_up")
	close(slow.goOn)
	time.Sleep(retryRead)
	c.requireReady(3, "")
	_, err = c.nodes[0].RemoveServer(t.Context(), "d")
	require.NoError(t, err)
	time.Sleep(requestTimeout)
	requireFailure(t, c.command(3, "5", ""), 503, "removed", httpapi.NotApplied)
}

// A silence is a listener to which nobody connects.
type silence struct {
	net.Listener
	closed chan struct{}
}

func (s silence) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s silence) Close() error              { close(s.closed); return nil }

func whenServersEnd(t *testing.T, c *cluster) {
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- c.apis[2].Serve(ctx, silence{closed: make(chan struct{})}, c.handlers[2]) }()
	stop()
	<-c.apis[2].Stopping()
	c.requireReady(2, "stopping")
	requireResult(t, "5", c.command(2, "5", ""))
	require.NoError(t, <-stopped)
	for _, request := range everything {
		requireFailure(t, c.ask(2, request[0], request[1], ""), 503, "closed", httpapi.NotApplied)
	}
	require.Equal(t, "stopped", c.status(2).Role)
	requireFailure(t, c.ask(2, http.MethodGet, "/livez", ""), 503, "closed", httpapi.NotApplied)
	requireFailure(t, c.ask(2, http.MethodGet, "/readyz", ""), 503, "closed", httpapi.NotApplied)
}

// TestOtherRoutes: a path that there isn't, and a method that a path doesn't take, are failures like
// all others.
func TestOtherRoutes(t *testing.T) {
	bubble(t, memory.Faults{}, nil, func(t *testing.T, c *cluster) {
		requireFailure(t, c.ask(0, http.MethodGet, "/", ""), 404, "not_found", httpapi.NotApplied)
		w := c.ask(0, http.MethodGet, "/sessions", "")
		requireFailure(t, w, 405, "method_not_allowed", httpapi.NotApplied)
		require.Equal(t, "POST", w.Header().Get("Allow"))
		w = c.ask(0, http.MethodPost, "/status", "")
		requireFailure(t, w, 405, "method_not_allowed", httpapi.NotApplied)
		require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
		require.Equal(t, http.StatusOK, c.ask(0, http.MethodHead, "/status", "").Code)
		require.Contains(t, []int{301, 307, 308}, c.ask(0, http.MethodGet, "//status", "").Code)
	})
}
