package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// Path is where the routes of the handler begin. It is the pattern to mount the handler with.
const Path = "/raft/"

// How long a request may take: what one takes that doesn't say, and what it may say at most. An
// export takes as long as its reader goes on to read.
const (
	DefaultTimeout = 30 * time.Second
	MaxTimeout     = 10 * time.Minute
)

// A Config says what a handler administers, and for whom.
type Config struct {
	// Node is the node of this server, or Host is its host, whose groups requests name. One of them is
	// needed, and not both.
	Node *raft.Node
	Host *raft.Host
	// Authorize is asked about each request before anything else is done. An error refuses the
	// request; its text is in the answer. It is needed: UnixSocket, Loopback and Certificate are made
	// for it. It is called from several goroutines.
	Authorize func(*http.Request) error
	// Logger is told of each change that is asked for, of its outcome, and of what was refused
	// (slog.Default()).
	Logger *slog.Logger
}

// New returns a handler that administers a node, or the groups of a host. The error wraps
// raft.ErrConfig: there is neither a Node nor a Host, or both, or no Authorize.
func New(config Config) (http.Handler, error) {
	switch {
	case config.Node == nil && config.Host == nil:
		return nil, fmt.Errorf("admin: %w: no Node and no Host", raft.ErrConfig)
	case config.Node != nil && config.Host != nil:
		return nil, fmt.Errorf("admin: %w: a Node and a Host", raft.ErrConfig)
	case config.Authorize == nil:
		return nil, fmt.Errorf("admin: %w: no Authorize: whoever reaches the handler could take the cluster apart", raft.ErrConfig)
	}
	h := &handler{node: config.Node, host: config.Host, authorize: config.Authorize, logger: cmp.Or(config.Logger, slog.Default())}
	if h.node != nil {
		h.id = h.node.Status().ID
	} else {
		h.id = h.host.Status().ID
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+Path+"host", h.handle(h.hostStatus))
	mux.Handle("GET "+Path+"status", h.handle(h.inGroup((*handler).status)))
	for name, change := range changes {
		mux.Handle("POST "+Path+"members/"+name, h.handle(h.inGroup(func(h *handler, r *http.Request) (any, error) {
			return h.change(r, name, change)
		})))
	}
	mux.Handle("POST "+Path+"transfer", h.handle(h.inGroup((*handler).transfer)))
	mux.Handle("POST "+Path+"snapshot", h.handle(h.inGroup((*handler).snapshot)))
	mux.HandleFunc("POST "+Path+"export", h.export)
	h.routes = httpapi.Mux(mux)
	return h, nil
}

// A handler administers a node, or the groups of a host.
type handler struct {
	node      *raft.Node // nil if there is a host, until a request has named a group
	host      *raft.Host
	id        raft.ServerID
	authorize func(*http.Request) error
	logger    *slog.Logger
	routes    http.Handler
}

// inGroup makes a function that is about the group which a request names.
func (h *handler) inGroup(f func(*handler, *http.Request) (any, error)) httpapi.Func {
	return func(r *http.Request) (any, error) {
		of, err := h.of(r)
		if err != nil {
			return nil, err
		}
		return f(of, r)
	}
}

// of returns the handler of the group which a request names: of a node, that is none.
func (h *handler) of(r *http.Request) (*handler, error) {
	query := r.URL.Query()
	group := raft.GroupID(query.Get("group"))
	switch named := query.Has("group"); {
	case h.host == nil && named:
		return nil, noGroup("this server has one group, which has no name")
	case h.host == nil:
		return h, nil
	case !named:
		return nil, noGroup("this server has many groups: one of them must be named (group)")
	}
	for id, node := range h.host.Groups() {
		if id == group {
			of := *h
			of.node, of.logger = node, h.logger.With("group", group)
			return &of, nil
		}
	}
	return nil, noGroup("group %q doesn't run at this server", group)
}

// noGroup returns the error of a request that doesn't name a group which runs here: 404, not applied.
func noGroup(format string, args ...any) *httpapi.Error {
	err := fmt.Errorf(format, args...)
	return &httpapi.Error{Status: http.StatusNotFound, Code: "no_group", Outcome: httpapi.NotApplied, Message: err.Error(), Err: err}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := refusePages(r)
	if err == nil {
		err = h.authorize(r)
	}
	if err != nil {
		h.logger.Warn("raft: administration refused", "node", h.id, "what", what(r), "from", r.RemoteAddr, "err", err)
		httpapi.Fail(w, &httpapi.Error{Status: http.StatusForbidden, Code: "forbidden", Outcome: httpapi.NotApplied, Message: err.Error(), Err: err})
		return
	}
	h.routes.ServeHTTP(w, r)
}

// what names what a request asks for.
func what(r *http.Request) string { return r.Method + " " + r.URL.Path }

// handle makes a handler of a function. Requests bound their time themselves (within).
func (h *handler) handle(f httpapi.Func) http.Handler {
	return httpapi.Handler(f, httpapi.Options{Timeout: MaxTimeout, Logger: h.logger})
}

// logOutcome tells the logger of the outcome of a change. about says what was to be changed.
func (h *handler) logOutcome(r *http.Request, err error, about ...any) {
	if err != nil {
		h.logger.Warn("raft: administration failed", "node", h.id, "what", what(r), "from", r.RemoteAddr, "err", err, slog.Group("", about...))
		return
	}
	h.logger.Info("raft: administration", "node", h.id, "what", what(r), "from", r.RemoteAddr, slog.Group("", about...))
}

// read reads the body of a request, and returns a context that ends when the time is over that the
// body names.
func read(r *http.Request, into request) (context.Context, context.CancelFunc, error) {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		return nil, nil, httpapi.BadRequest("the Content-Type is %q, not application/json", kind)
	}
	if err := httpapi.ReadJSON(r, into); err != nil {
		return nil, nil, err
	}
	timeout := time.Duration(into.milliseconds()) * time.Millisecond
	if timeout < 0 || timeout > MaxTimeout || into.milliseconds() > MaxTimeout.Milliseconds() {
		return nil, nil, httpapi.BadRequest("timeout_ms is %d: must be from 0 to %d", into.milliseconds(), MaxTimeout.Milliseconds())
	}
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(timeout, DefaultTimeout))
	return ctx, cancel, nil
}

// A request is a body that says how long it may take.
type request interface{ milliseconds() int64 }

// A Wait says how long a request may take, in milliseconds: 0 to MaxTimeout. 0 stands for
// DefaultTimeout.
type Wait struct {
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
}

func (w *Wait) milliseconds() int64 { return w.TimeoutMS }

// lookPatience is how long a change waits until this server knows what is so. It isn't needed for the
// change, only for telling what was before and what is after.
const lookPatience = 2 * time.Second

// look waits until this server knows all that was done before, if that takes no longer than
// lookPatience.
func (h *handler) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	return h.node.Read(ctx)
}

// unavailable returns the error of a server that can't do what another one may: 503, not applied.
func unavailable(code string, err error) *httpapi.Error {
	return &httpapi.Error{Status: http.StatusServiceUnavailable, Code: code, Outcome: httpapi.NotApplied, Message: err.Error(), Err: err}
}

// snapshotError says how it is answered that no snapshot was taken.
func snapshotError(err error) error {
	own := unavailable("not_taken", err)
	switch {
	case errors.Is(err, raft.ErrNoSnapshot):
		own.Status, own.Code = http.StatusConflict, "no_snapshot"
	case errors.Is(err, raft.ErrClosed):
		own.Code = "closed"
	case errors.Is(err, raft.ErrStopped):
		own.Code = "stopped"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		own.Code, own.Outcome = "timeout", httpapi.Unknown
		own.Message += ": the snapshot may still be taken"
		own.Status = http.StatusGatewayTimeout
	}
	return own
}
