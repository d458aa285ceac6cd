package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
)

// A service answers HTTP requests at one server of the cluster. Any server answers any request.
type service struct {
	node    *raft.Node
	store   kv.Store
	timeout time.Duration // for one request
}

// handler returns the routes.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /keys/{key}", s.get)
	mux.HandleFunc("PUT /keys/{key}", s.set)
	mux.HandleFunc("DELETE /keys/{key}", s.remove)
	mux.HandleFunc("/keys/{key}", wrongMethod("DELETE, GET, HEAD, PUT"))
	mux.HandleFunc("POST /keys/{key}/add", s.add)
	mux.HandleFunc("/keys/{key}/add", wrongMethod("POST"))
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("/status", wrongMethod("GET, HEAD"))
	return mux
}

// wrongMethod refuses requests to a path that takes other methods.
func wrongMethod(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		answer(w, http.StatusMethodNotAllowed, failure{Error: "the method is not one of " + allowed})
	}
}

// These are the bodies of answers.
type (
	value struct {
		Value string `json:"value"`
	}
	failure struct {
		Error   string `json:"error"`
		Outcome string `json:"outcome,omitempty"`
	}
	status struct {
		ID       raft.ServerID `json:"id"`
		Role     string        `json:"role"`
		Leader   raft.ServerID `json:"leader"` // "" when there is none
		Commit   raft.Index    `json:"commit"`
		Applied  raft.Index    `json:"applied"`
		Snapshot raft.Index    `json:"snapshot"`
		Trouble  string        `json:"trouble,omitempty"`
	}
)

// set gives a key the value in the body.
func (s *service) set(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, kv.MaxValue))
	if err != nil {
		code := http.StatusBadRequest
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			code = http.StatusRequestEntityTooLarge
		}
		answer(w, code, failure{Error: err.Error()})
		return
	}
	s.propose(w, r, kv.Command{Op: "set", Key: []byte(r.PathValue("key")), Value: body})
}

// remove takes the value of a key away.
func (s *service) remove(w http.ResponseWriter, r *http.Request) {
	s.propose(w, r, kv.Command{Op: "delete", Key: []byte(r.PathValue("key"))})
}

// add adds to the number that the value of a key is: the n in the query, or 1.
func (s *service) add(w http.ResponseWriter, r *http.Request) {
	amount := int64(1)
	if n := r.URL.Query().Get("n"); n != "" {
		var err error
		if amount, err = strconv.ParseInt(n, 10, 64); err != nil {
			answer(w, http.StatusBadRequest, failure{Error: "n is no number: " + err.Error()})
			return
		}
	}
	s.propose(w, r, kv.Command{Op: "add", Key: []byte(r.PathValue("key")), Add: amount})
}

// propose replicates a command and answers what came of it.
func (s *service) propose(w http.ResponseWriter, r *http.Request, command kv.Command) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	data, err := command.Encode()
	if err != nil {
		answer(w, http.StatusBadRequest, failure{Error: err.Error()})
		return
	}
	b, err := s.node.Propose(ctx, data)
	switch {
	case errors.Is(err, raft.ErrNotApplied): // it never will be applied, so it is safe to send it again
		answer(w, http.StatusServiceUnavailable, failure{err.Error(), "not applied"})
		return
	case err != nil: // it may have been applied, or may still be applied later
		answer(w, http.StatusGatewayTimeout, failure{err.Error(), "unknown"})
		return
	}
	result, err := kv.DecodeResult(b)
	switch {
	case err != nil:
		answer(w, http.StatusInternalServerError, failure{Error: err.Error()})
	case result.Refused != "":
		answer(w, http.StatusConflict, failure{Error: result.Refused})
	case command.Op == "delete" && !result.Found:
		answer(w, http.StatusNotFound, failure{Error: "the key has no value"})
	default:
		answer(w, http.StatusOK, value{string(result.Value)})
	}
}

// get answers the value of a key, linearizably: it has every change that was answered before the
// request came.
func (s *service) get(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	if err := s.node.Read(ctx); err != nil {
		answer(w, http.StatusServiceUnavailable, failure{Error: err.Error()})
		return
	}
	b, found, err := s.store.Get([]byte(r.PathValue("key")))
	switch {
	case err != nil:
		answer(w, http.StatusInternalServerError, failure{Error: err.Error()})
	case !found:
		answer(w, http.StatusNotFound, failure{Error: "the key has no value"})
	default:
		answer(w, http.StatusOK, value{string(b)})
	}
}

// status answers what this server knows, without asking another server.
func (s *service) status(w http.ResponseWriter, _ *http.Request) {
	is := s.node.Status()
	body := status{is.ID, is.Role, is.Leader, is.Commit, is.Applied, is.Snapshot, ""}
	if is.Trouble != nil {
		body.Trouble = is.Trouble.Error()
	}
	answer(w, http.StatusOK, body)
}

// answer writes body as JSON.
func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Debug("durable: the client is gone", "error", err)
	}
}
