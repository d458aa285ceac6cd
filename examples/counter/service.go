package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/e17579a5/raft"
)

// maxBody bounds the body of a request, in bytes.
const maxBody = 64 << 10

// A service answers HTTP requests at one server of the cluster. Any server answers any request.
type service struct {
	node    *raft.Node
	counter *counter
	timeout time.Duration // for one request
}

// handler returns the routes.
func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /counter", s.add)
	mux.HandleFunc("GET /counter", s.get)
	mux.HandleFunc("/counter", wrongMethod("GET, HEAD, POST"))
	mux.HandleFunc("PUT /members/{id}", s.join)
	mux.HandleFunc("DELETE /members/{id}", s.leave)
	mux.HandleFunc("/members/{id}", wrongMethod("DELETE, PUT"))
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
		Value int64 `json:"value"`
	}
	failure struct {
		Error   string `json:"error"`
		Outcome string `json:"outcome,omitempty"`
	}
	status struct {
		ID      raft.ServerID `json:"id"`
		Role    string        `json:"role"`
		Term    raft.Term     `json:"term"`
		Leader  raft.ServerID `json:"leader"` // "" when there is none
		Commit  raft.Index    `json:"commit"`
		Applied raft.Index    `json:"applied"`
		Members []member      `json:"members"`
		Trouble string        `json:"trouble,omitempty"` // for example, servers were started with different -peers
	}
	member struct {
		ID      raft.ServerID `json:"id"`
		Address string        `json:"address"`
		Role    string        `json:"role"`
	}
)

// add adds the amount in the body, and answers the new value once the amount is applied.
func (s *service) add(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	amount, err := readAmount(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		answer(w, http.StatusRequestEntityTooLarge, failure{Error: err.Error()})
		return
	}
	if err != nil {
		answer(w, http.StatusBadRequest, failure{Error: err.Error()})
		return
	}
	result, err := s.node.Propose(ctx, encode(amount))
	if err != nil {
		fail(w, err)
		return
	}
	sum, err := decode(result)
	if err != nil {
		answer(w, http.StatusConflict, failure{Error: "overflow: the sum is not an int64"})
		return
	}
	answer(w, http.StatusOK, value{sum})
}

// fail answers the error of a call that was to change something.
func fail(w http.ResponseWriter, err error) {
	if errors.Is(err, raft.ErrNotApplied) { // it never will be applied, so it is safe to send it again
		answer(w, http.StatusServiceUnavailable, failure{err.Error(), "not applied"})
		return
	}
	// The change may have been applied, or may still be applied later.
	answer(w, http.StatusGatewayTimeout, failure{err.Error(), "unknown"})
}

// join adds a server that waits for this at an address, and answers once the server is a voter.
func (s *service) join(w http.ResponseWriter, r *http.Request) {
	server := raft.Server{ID: raft.ServerID(r.PathValue("id")), Address: r.URL.Query().Get("address")}
	if server.Address == "" {
		answer(w, http.StatusBadRequest, failure{Error: "the query has no address=host:port"})
		return
	}
	s.change(w, r, func(ctx context.Context) (raft.Index, error) { return s.node.AddServer(ctx, server) })
}

// leave removes a server, and answers once the server isn't a member any more.
func (s *service) leave(w http.ResponseWriter, r *http.Request) {
	id := raft.ServerID(r.PathValue("id"))
	s.change(w, r, func(ctx context.Context) (raft.Index, error) { return s.node.RemoveServer(ctx, id) })
}

// change changes the members, and then answers the status of this server.
func (s *service) change(w http.ResponseWriter, r *http.Request, change func(context.Context) (raft.Index, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	if _, err := change(ctx); err != nil {
		fail(w, err)
		return
	}
	s.status(w, r)
}

// readAmount reads {"add": 5}. An empty body stands for 1.
func readAmount(body io.Reader) (int64, error) {
	text, err := io.ReadAll(body)
	if err != nil || len(text) == 0 {
		return 1, err
	}
	var request struct{ Add *int64 }
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return 0, fmt.Errorf(`the body is not {"add": N}: %w`, err)
	}
	if _, err := decoder.Token(); err != io.EOF || request.Add == nil {
		return 0, errors.New(`the body is not {"add": N}`)
	}
	return *request.Add, nil
}

// get answers the value, linearizably: the value has every change that was answered before the
// request came.
func (s *service) get(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	if err := s.node.Read(ctx); err != nil {
		answer(w, http.StatusServiceUnavailable, failure{err.Error(), "not applied"})
		return
	}
	answer(w, http.StatusOK, value{s.counter.Value()})
}

// status answers what this server knows, without asking another server.
func (s *service) status(w http.ResponseWriter, _ *http.Request) {
	is := s.node.Status()
	body := status{is.ID, is.Role, is.Term, is.Leader, is.Commit, is.Applied, []member{}, ""}
	for _, m := range is.Members {
		body.Members = append(body.Members, member{m.ID, m.Address, m.Role.String()})
	}
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
		slog.Debug("counter: the client is gone", "error", err)
	}
}
