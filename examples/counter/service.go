package main

import (
	"net/http"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// A service answers HTTP requests at one server of the cluster. Any server answers any request.
type service struct {
	api     *httpapi.API
	node    *raft.Node
	counter *counter
}

// routes returns the routes: the counter's own, and those that every service has.
func (s *service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST /counter", s.api.Handle(s.add))
	mux.Handle("GET /counter", s.api.Handle(s.get))
	s.api.Routes(mux)
	return mux
}

// value is the body of an answer.
type value struct {
	Value int64 `json:"value"`
}

// add adds the amount in the body, and answers the new value once the amount is applied.
func (s *service) add(r *http.Request) (any, error) {
	amount, err := readAmount(r)
	if err != nil {
		return nil, err
	}
	result, err := s.api.Propose(r, encode(amount)) // exactly once, if the request has an Idempotency-Key
	if err != nil {
		return nil, err
	}
	sum, err := decode(result)
	if err != nil {
		return nil, httpapi.Refusal("overflow", "the sum is not an int64")
	}
	return value{sum}, nil
}

// readAmount reads {"add": 5}. An empty body stands for 1.
func readAmount(r *http.Request) (int64, error) {
	if r.ContentLength == 0 {
		return 1, nil
	}
	var request struct{ Add *int64 }
	if err := httpapi.ReadJSON(r, &request); err != nil {
		return 0, err
	}
	if request.Add == nil {
		return 0, httpapi.BadRequest(`the body is not {"add": N}`)
	}
	return *request.Add, nil
}

// get answers the value, linearizably: the value has every change that was answered before the
// request came.
func (s *service) get(r *http.Request) (any, error) {
	if err := s.node.Read(r.Context()); err != nil {
		return nil, err
	}
	return value{s.counter.Value()}, nil
}
