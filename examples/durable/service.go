package main

import (
	"io"
	"net/http"
	"strconv"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/durable/kv"
	"github.com/e17579a5/raft/httpapi"
)

// A service answers HTTP requests at one server of the cluster. Any server answers any request.
type service struct {
	api   *httpapi.API
	node  *raft.Node
	store kv.Store
}

// routes returns the routes: those of keys, and those that every service has.
func (s *service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /keys/{key}", s.api.Handle(s.get))
	mux.Handle("PUT /keys/{key}", s.api.Handle(s.set))
	mux.Handle("DELETE /keys/{key}", s.api.Handle(s.remove))
	mux.Handle("POST /keys/{key}/add", s.api.Handle(s.add))
	s.api.Routes(mux)
	return mux
}

// value is the body of an answer.
type value struct {
	Value string `json:"value"`
}

// noValue is the answer for a key that has no value.
func noValue() error {
	return &httpapi.Error{Status: http.StatusNotFound, Code: "no_value", Outcome: httpapi.NotApplied, Message: "the key has no value"}
}

// set gives a key the value in the body.
func (s *service) set(r *http.Request) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return s.propose(r, kv.Command{Op: "set", Key: []byte(r.PathValue("key")), Value: body})
}

// remove takes the value of a key away.
func (s *service) remove(r *http.Request) (any, error) {
	return s.propose(r, kv.Command{Op: "delete", Key: []byte(r.PathValue("key"))})
}

// add adds to the number that the value of a key is: the n in the query, or 1.
func (s *service) add(r *http.Request) (any, error) {
	amount := int64(1)
	if n := r.URL.Query().Get("n"); n != "" {
		var err error
		if amount, err = strconv.ParseInt(n, 10, 64); err != nil {
			return nil, httpapi.BadRequest("n is no number: %w", err)
		}
	}
	return s.propose(r, kv.Command{Op: "add", Key: []byte(r.PathValue("key")), Add: amount})
}

// propose replicates a command and answers what came of it.
func (s *service) propose(r *http.Request, command kv.Command) (any, error) {
	data, err := command.Encode()
	if err != nil {
		return nil, httpapi.BadRequest("%w", err)
	}
	b, err := s.api.Propose(r, data) // exactly once, if the request has an Idempotency-Key
	if err != nil {
		return nil, err
	}
	result, err := kv.DecodeResult(b)
	switch {
	case err != nil:
		return nil, err
	case result.Refused != "":
		return nil, httpapi.Refusal("refused", "%s", result.Refused)
	case command.Op == "delete" && !result.Found:
		return nil, noValue()
	}
	return value{string(result.Value)}, nil
}

// get answers the value of a key, linearizably: it has every change that was answered before the
// request came.
func (s *service) get(r *http.Request) (any, error) {
	if err := s.node.Read(r.Context()); err != nil {
		return nil, err
	}
	b, found, err := s.store.Get([]byte(r.PathValue("key")))
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, noValue()
	}
	return value{string(b)}, nil
}
