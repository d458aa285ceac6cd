package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// defaultLease is the lease of an acquire that names none.
const defaultLease = 10 * time.Second

// A service answers HTTP requests at one server of the cluster. Any server answers any request.
type service struct {
	api     *httpapi.API
	node    *raft.Node
	machine *machine
	timeout time.Duration // for what doesn't wait for a lock
}

// routes returns the routes: the locks' own, and those that every service has.
func (s *service) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /locks/{name}", s.api.Handle(s.get))
	mux.Handle("POST /locks/{name}/acquire", s.api.HandleWithin(maxWait+2*s.timeout, s.acquire))
	mux.Handle("POST /locks/{name}/renew", s.api.Handle(s.renew))
	mux.Handle("POST /locks/{name}/release", s.api.Handle(s.release))
	s.api.Routes(mux)
	return mux
}

// A holding is the answer to whoever holds a lock.
type holding struct {
	Lock  string `json:"lock"`
	Owner string `json:"owner"`
	Token uint64 `json:"token"`
	// LeaseMS is for how many milliseconds the lock is held, from no earlier than the request was
	// sent. If the request has waited for the lock, its client can't know when the lease began, and
	// renews it at once.
	LeaseMS int64 `json:"lease_ms"`
}

// A place is the answer to whoever waits for a lock and has to ask again.
type place struct {
	Lock  string `json:"lock"`
	Owner string `json:"owner"`
	Place int    `json:"place"` // in the queue, from 1 on
}

// A view is the answer to GET /locks/{name}.
type view struct {
	Lock    string   `json:"lock"`
	Holder  *holder  `json:"holder,omitempty"` // missing if the lock is free
	Waiters []string `json:"waiters"`          // their owners, in the order in which they get the lock
}

// A holder is who holds a lock.
type holder struct {
	Owner   string `json:"owner"`
	Token   uint64 `json:"token"`
	LeaseMS int64  `json:"lease_ms"`
}

// get answers who holds a lock, linearizably.
func (s *service) get(r *http.Request) (any, error) {
	name := r.PathValue("name")
	if err := checkName("the name of the lock", name); err != nil {
		return nil, httpapi.BadRequest("%w", err)
	}
	if err := s.node.Read(r.Context()); err != nil {
		return nil, err
	}
	state := s.machine.state(name)
	answer := view{Lock: name, Waiters: append([]string{}, state.waiters...)}
	if h := state.holder; h != nil {
		answer.Holder = &holder{h.Owner, h.Token, h.Lease.Milliseconds()}
	}
	return answer, nil
}

// acquire takes a lock, or waits for it as long as the request wants. If it is still held then, the
// answer is 202: the owner has a place in the queue, and keeps it if it asks again.
func (s *service) acquire(r *http.Request) (any, error) {
	end := time.NewTimer(maxWait)
	defer end.Stop()
	var request struct {
		Owner   string `json:"owner"`
		LeaseMS int64  `json:"lease_ms"`
		WaitMS  int64  `json:"wait_ms"`
	}
	if err := httpapi.ReadJSON(r, &request); err != nil {
		return nil, err
	}
	lease, err := milliseconds("lease_ms", cmp.Or(request.LeaseMS, defaultLease.Milliseconds()))
	if err != nil {
		return nil, err
	}
	wait, err := milliseconds("wait_ms", request.WaitMS)
	if err != nil {
		return nil, err
	}
	end.Reset(wait)
	c := &command{Do: doAcquire, Name: r.PathValue("name"), Owner: request.Owner, Lease: lease, Wait: wait}
	done, err := s.do(r, c)
	if err != nil {
		return nil, err
	}
	if done.Token != 0 {
		return holding{c.Name, c.Owner, done.Token, done.Lease.Milliseconds()}, nil
	}
	return s.await(r, c, done.Claim, end.C)
}

// await waits until a claim holds its lock, or until end.
func (s *service) await(r *http.Request, c *command, number uint64, end <-chan time.Time) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	err := s.node.Read(ctx) // the command may not be applied here yet
	cancel()
	if err != nil {
		return nil, unanswered(err)
	}
	for {
		at, is, changed := s.machine.look(c.Name, number)
		switch {
		case at == 0:
			return holding{c.Name, c.Owner, is.Token, is.Lease.Milliseconds()}, nil
		case at < 0:
			return nil, httpapi.Refusal("claim_over", "%s neither holds %s any more nor waits for it: it was too late, or has released it", c.Owner, c.Name)
		}
		waiting := httpapi.Answer{Status: http.StatusAccepted, Body: place{c.Name, c.Owner, at}}
		select {
		case <-changed:
		case <-end:
			return waiting, nil
		case <-s.api.Stopping(): // another server knows the place too
			return waiting, nil
		case <-s.node.Done():
			return waiting, nil
		case <-r.Context().Done(): // nobody reads the answer
			return waiting, nil
		}
	}
}

// unanswered is the answer to an acquire that was carried out, when this server can't find out what
// has become of it. To send it again does no harm.
func unanswered(err error) *httpapi.Error {
	return &httpapi.Error{
		Status: http.StatusGatewayTimeout, Code: "outcome_unknown", Outcome: httpapi.Unknown, Err: err,
		Message: fmt.Sprintf("the owner waits for the lock, or holds it; this server can't tell: %v", err),
	}
}

// renew begins the lease of a holder anew.
func (s *service) renew(r *http.Request) (any, error) {
	c := &command{Do: doRenew, Name: r.PathValue("name")}
	if err := readOwner(r, c); err != nil {
		return nil, err
	}
	done, err := s.do(r, c)
	if err != nil {
		return nil, err
	}
	return holding{c.Name, c.Owner, done.Token, done.Lease.Milliseconds()}, nil
}

// release gives up a lock, or a place in its queue.
func (s *service) release(r *http.Request) (any, error) {
	c := &command{Do: doRelease, Name: r.PathValue("name")}
	if err := readOwner(r, c); err != nil {
		return nil, err
	}
	if _, err := s.do(r, c); err != nil {
		return nil, err
	}
	return struct {
		Released bool `json:"released"`
	}{true}, nil
}

// readOwner reads {"owner": "me", "token": 5}.
func readOwner(r *http.Request, c *command) error {
	var request struct {
		Owner string `json:"owner"`
		Token uint64 `json:"token"`
	}
	err := httpapi.ReadJSON(r, &request)
	c.Owner, c.Token = request.Owner, request.Token
	return err
}

// do proposes a command for a request, and returns its result. With an Idempotency-Key the command
// is applied once, however often the request comes.
func (s *service) do(r *http.Request, c *command) (done result, err error) {
	if err := c.check(); err != nil {
		return done, httpapi.BadRequest("%w", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	defer cancel()
	answer, err := s.api.Propose(r.WithContext(ctx), encode(c))
	if err != nil {
		return done, err
	}
	if err := json.Unmarshal(answer, &done); err != nil {
		return done, fmt.Errorf("the result of a command can't be read: %w", err)
	}
	if done.Refused != "" {
		return done, httpapi.Refusal(done.Refused, "%s", done.Detail)
	}
	return done, nil
}

// milliseconds reads a duration. The state machine says which make sense; this one only sees to it
// that the number can be converted.
func milliseconds(what string, n int64) (time.Duration, error) {
	if most := maxLease.Milliseconds(); n < 0 || n > most {
		return 0, httpapi.BadRequest("%s is %d, not from 0 to %d", what, n, most)
	}
	return time.Duration(n) * time.Millisecond, nil
}
