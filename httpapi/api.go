package httpapi

import (
	"cmp"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
)

// Options are the settings of an API. 0 and less stands for the default.
type Options struct {
	// Timeout is how long a request may take (5 s). When it is over, the request gets 503 or 504.
	// Reading a request may take as long, and writing an answer too.
	Timeout time.Duration
	// MaxBody is how many bytes the body of a request may have (1 MiB, as raft.Config.MaxCommandBytes).
	MaxBody int64
	// Drain is for how long Serve still takes requests after the server has said that it isn't ready
	// (0). It gives those who ask for that, such as load balancers, the time to notice.
	Drain time.Duration
	// Logger is told of panics of handlers (slog.Default()).
	Logger *slog.Logger
}

// An API answers HTTP requests at one server of a cluster. Its methods may be called from several
// goroutines.
type API struct {
	node     *raft.Node
	options  Options
	caughtUp atomic.Bool
	stopping chan struct{} // closed when the service shuts down
	stopped  atomic.Bool   // stopping is closed, or about to be
}

// withDefaults returns the options with the defaults filled in.
func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(max(o.Timeout, 0), 5*time.Second)
	o.MaxBody = cmp.Or(max(o.MaxBody, 0), 1<<20)
	o.Logger = cmp.Or(o.Logger, slog.Default())
	return o
}

// New returns an API of a node. It begins to follow whether the node is ready. For that it starts a
// goroutine, which ends when the server has caught up, and at the latest when the node stops.
func New(node *raft.Node, options Options) *API {
	a := &API{node: node, options: options.withDefaults(), stopping: make(chan struct{})}
	go a.catchUp()
	return a
}

// Routes adds the routes that every service has: POST /sessions, DELETE /sessions/{session},
// GET /status, GET /livez and GET /readyz.
func (a *API) Routes(mux *http.ServeMux) {
	mux.Handle("POST /sessions", a.bodiless(a.openSession))
	mux.Handle("DELETE /sessions/{session}", a.bodiless(a.closeSession))
	mux.Handle("GET /status", a.bodiless(a.status))
	mux.Handle("GET /livez", a.bodiless(a.live))
	mux.Handle("GET /readyz", a.bodiless(a.ready))
}

// Commands is a Func for services whose commands and results are bytes: the body of the request is
// the command, and the body of the answer is the result. Such a service has the route POST /commands:
//
//	mux.Handle("POST /commands", api.Handle(api.Commands))
func (a *API) Commands(r *http.Request) (any, error) {
	command, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	result, err := a.Propose(r, command)
	if err != nil {
		return nil, err
	}
	return Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/octet-stream"}}, Body: result}, nil
}

// Propose proposes a command for a request, at whichever server of the cluster. If the request has
// an Idempotency-Key, the command is one of a session, and is applied exactly once. The error is
// that of raft.Node.Propose or ProposeInSession, or an *Error.
func (a *API) Propose(r *http.Request, command []byte) (result []byte, err error) {
	key, found, err := Key(r)
	switch {
	case err != nil:
		return nil, err
	case found:
		return a.node.ProposeInSession(r.Context(), key, command)
	}
	return a.node.Propose(r.Context(), command)
}
