package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/examples/shards/shard"
	"github.com/e17579a5/raft/httpapi"
)

// forwardedField is the name of the header field of a request that another server has forwarded. Such a
// request isn't forwarded again.
const forwardedField = "Shards-Forwarded"

// These bound a forwarded request.
const (
	dialWithin    = 500 * time.Millisecond
	largestAnswer = 4 << 20
	lookAgain     = 20 * time.Millisecond // after that the table is looked at again
)

// notHere is the error of a request at a server that doesn't have the shard: not applied.
func notHere(text string) *httpapi.Error {
	return &httpapi.Error{Status: http.StatusServiceUnavailable, Code: "not_here", Outcome: httpapi.NotApplied, RetryAfter: time.Second, Message: text}
}

// elsewhere says whether a request has changed nothing at a server that doesn't serve the shard, so that
// another one may: the server doesn't have it, or has it no longer, or ends.
func elsewhere(err error) bool {
	if err == nil {
		return false
	}
	switch e := httpapi.ErrorOf(err); e.Code {
	case "not_here", "removed", "closed", "stopped":
		return e.Outcome == httpapi.NotApplied
	}
	return false
}

// newClient returns a client for requests to other servers.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: dialWithin}).DialContext, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// serve answers a request for a shard: here if this server has the shard, and otherwise by a server that
// has it. While the shard moves, the table may be behind: then it is looked at again. A request is sent to
// a second server only if it has changed nothing at the first one.
func (s *service) serve(r *http.Request, in int, here func(*http.Request, *raft.Node, *store) (any, error)) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	err = notHere("this server doesn't have the shard")
	for {
		if node, machine, ok := s.host.Local(in); ok {
			r.Body = io.NopCloser(bytes.NewReader(body))
			var answer any
			if answer, err = here(r, node, machine.(*store)); !elsewhere(err) {
				return answer, err
			}
		}
		if r.Header.Get(forwardedField) != "" {
			return nil, err
		}
		others := s.host.Others(in)
		rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
		for _, other := range others {
			var answer any
			if answer, err = s.forward(r, body, other); !elsewhere(err) {
				return answer, err
			}
		}
		select {
		case <-r.Context().Done():
			return nil, err
		case <-time.After(lookAgain):
		}
	}
}

// forward sends a request to another server, and returns its answer.
func (s *service) forward(r *http.Request, body []byte, to shard.Server) (any, error) {
	sent, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+to.Client+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"If-Match", "If-None-Match", httpapi.KeyField, "Content-Type"} {
		if values := r.Header.Values(name); len(values) > 0 {
			sent.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	sent.Header.Set(forwardedField, "true")
	received, err := s.client.Do(sent)
	if err != nil {
		return nil, lost(r, err)
	}
	defer func() { _ = received.Body.Close() }() // what was read counts
	answer, err := io.ReadAll(io.LimitReader(received.Body, largestAnswer))
	if err != nil {
		return nil, lost(r, err)
	}
	if received.StatusCode >= 300 {
		failure := &httpapi.Error{Status: received.StatusCode}
		if json.Unmarshal(answer, failure) != nil || failure.Code == "" || received.StatusCode < 400 {
			return nil, errors.New("shards: another server has answered something else than its errors")
		}
		return nil, failure
	}
	a := httpapi.Answer{Status: received.StatusCode, Header: http.Header{}}
	for _, name := range []string{"Content-Type", "Etag", "Location"} {
		if values := received.Header.Values(name); len(values) > 0 {
			a.Header[name] = values
		}
	}
	if len(answer) > 0 || received.StatusCode == http.StatusOK {
		a.Body = answer
	}
	return a, nil
}

// lost says what became of a request that got no answer from another server. One that only reads can be sent
// to the next one, and so can one that never left.
func lost(r *http.Request, err error) error {
	failed, dialing := errors.AsType[*net.OpError](err)
	if r.Context().Err() == nil && (r.Method == http.MethodGet || dialing && failed.Op == "dial") {
		return notHere("a server that has the shard doesn't answer: " + err.Error())
	}
	if r.Method == http.MethodGet || dialing && failed.Op == "dial" {
		return &httpapi.Error{Status: http.StatusServiceUnavailable, Code: "timeout", Outcome: httpapi.NotApplied, Message: "no server that has the shard answers in time"}
	}
	return &httpapi.Error{
		Status: http.StatusGatewayTimeout, Code: "outcome_unknown", Outcome: httpapi.Unknown,
		Message: "the server that has the shard didn't answer: " + err.Error(),
	}
}
