// Package client takes locks of the service in examples/lock.
//
//	c, err := client.New(client.Options{Servers: []string{"127.0.0.1:8180", "127.0.0.1:8181", "127.0.0.1:8182"}})
//	lock, err := c.Acquire(ctx, "door", client.Terms{Lease: 10 * time.Second})
//	work(lock.Context(), lock.Token()) // the context ends when the lease may be over
//	err = lock.Release(ctx)
//
// A lock is held while its lease lasts, which the client renews in the background. Whatever the
// client does, a process can be stopped for a while between a look at the lock and what it does
// next, and then another one may hold the lock already. So what the lock guards must be told the
// token, and refuse one that is lower than one that it has seen.
//
// The client measures the lease by its own clock, from before it sent the request that began it, and
// takes off a hundredth, for clocks that run differently. Clocks that stand still while the machine
// sleeps are a reason more for the token.
package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/httpapi"
)

// Options are the settings of a Client.
type Options struct {
	// Servers are the HTTP addresses of the servers, host:port, at least one. Any of them will do;
	// the client takes the next one when one doesn't answer.
	Servers []string
	// Attempt is how long one server may take to answer a request, beside the time that the request
	// waits for a lock (5 s). It should be longer than the servers' own timeout. 0 and less stands
	// for the default.
	Attempt time.Duration
	// HTTP sends the requests; nil for one with a transport of its own. Its Timeout should be 0.
	HTTP *http.Client
}

// A Client asks the servers of one cluster. Several goroutines may use it.
//
// It has a session at the servers, in which each of its commands has a number. By that a command is
// carried out once, however often the client has to send it (package httpapi).
type Client struct {
	options Options

	mu      sync.Mutex
	at      int           // the server to ask first
	session *raft.Session // nil until there is one
}

// New returns a client. It sends nothing yet. The error names what is wrong with the options.
func New(options Options) (*Client, error) {
	if len(options.Servers) == 0 {
		return nil, errors.New("lock: Options.Servers is empty")
	}
	for _, server := range options.Servers {
		if _, _, err := net.SplitHostPort(server); err != nil {
			return nil, fmt.Errorf("lock: Options.Servers: %w", err)
		}
	}
	options.Attempt = cmp.Or(max(options.Attempt, 0), 5*time.Second)
	options.HTTP = cmp.Or(options.HTTP, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second}})
	return &Client{options: options}, nil
}

// Close closes the client's session and its idle connections. Locks that weren't released stay held
// until their leases end. If the session can't be closed, it expires by itself, and the error says
// why.
func (c *Client) Close(ctx context.Context) error {
	defer c.options.HTTP.CloseIdleConnections()
	c.mu.Lock()
	session := c.session
	c.session = nil
	c.mu.Unlock()
	if session == nil {
		return nil
	}
	return c.send(ctx, &request{method: http.MethodDelete, path: "/sessions/" + session.ID().String()}, nil)
}

// A View says who holds a lock, and who waits for it.
type View struct {
	// Holder is the owner that holds the lock with Token; "" if nobody does.
	Holder string
	Token  uint64
	// Waiters are the owners that wait, in the order in which they get the lock.
	Waiters []string
}

// Look returns who holds a lock, linearizably. The error is an *Error, one of ctx, or one that names
// what is wrong with the name.
func (c *Client) Look(ctx context.Context, name string) (View, error) {
	if err := checkName(name); err != nil {
		return View{}, err
	}
	var answer struct {
		Holder struct {
			Owner string
			Token uint64
		}
		Waiters []string
	}
	err := c.send(ctx, &request{method: http.MethodGet, path: lockPath(name, "")}, &answer)
	return View{answer.Holder.Owner, answer.Holder.Token, answer.Waiters}, err
}

// checkName refuses names that can't be in a path. The servers look at all else.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("lock: %q can't be the name of a lock", name)
	}
	return nil
}

// lockPath returns the path of what is done with a lock.
func lockPath(name, do string) string { return "/locks/" + url.PathEscape(name) + do }

// An Error is the answer of a server to a request that failed.
type Error struct {
	// Status is that of HTTP; 0 if no server has answered.
	Status int
	// Code is for programs, and Message for people.
	Code, Message string
	// Outcome says what became of the request, and of all its copies.
	Outcome httpapi.Outcome
}

// Error returns the message, with the outcome.
func (e *Error) Error() string { return fmt.Sprintf("lock: %s (%s)", e.Message, e.Outcome) }

// A request is one to whichever server answers.
type request struct {
	method, path string
	body         any           // nil for none
	wait         time.Duration // for how long the server waits for a lock
	attempt      time.Duration // for how long one server may take besides; 0 for Options.Attempt
	key          string        // Idempotency-Key; "" for none
	began        time.Time     // when the first copy was about to be sent
}

// The client waits for so long when no server could carry a request out.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = time.Second
)

// command carries a request out as a command of the session, exactly once.
func (c *Client) command(ctx context.Context, r *request, answer any) error {
	session, err := c.open(ctx)
	if err != nil {
		return err
	}
	number, err := session.Next()
	if err != nil {
		return &Error{Code: "overloaded", Message: "too many requests of this client are under way", Outcome: httpapi.NotApplied}
	}
	defer session.Done(number)
	r.key = httpapi.FormatKey(number)
	err = c.send(ctx, r, answer)
	if failure, ok := errors.AsType[*Error](err); ok && failure.Status == http.StatusGone {
		c.forget(session)
	}
	return err
}

// open returns the session, and opens one if there is none.
func (c *Client) open(ctx context.Context) (*raft.Session, error) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	if session != nil {
		return session, nil
	}
	var opened httpapi.OpenedSession
	if err := c.send(ctx, &request{method: http.MethodPost, path: "/sessions"}, &opened); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil { // otherwise another goroutine was faster; this session expires
		c.session = raft.NewSession(opened.Session)
	}
	return c.session, nil
}

// forget makes the next command open another session, since this one is gone.
func (c *Client) forget(session *raft.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == session {
		c.session = nil
	}
}

// send sends a request to one server after the other until one of them carries it out or refuses it,
// or ctx ends. Copies of a request with a key are carried out once; all others may come twice.
func (c *Client) send(ctx context.Context, r *request, answer any) error {
	r.began = time.Now()
	var body []byte
	if r.body != nil {
		var err error
		if body, err = json.Marshal(r.body); err != nil {
			return err
		}
	}
	c.mu.Lock()
	at := c.at
	c.mu.Unlock()
	maybe := false // a copy may have been carried out
	pause := firstPause
	for copies := 1; ; copies++ {
		failure := c.attempt(ctx, c.options.Servers[at], r, body, answer)
		if failure == nil {
			c.mu.Lock()
			c.at = at
			c.mu.Unlock()
			return nil
		}
		maybe = maybe || failure.Outcome == httpapi.Unknown
		if final := failure.Status >= 400 && failure.Status < 500 && failure.Status != http.StatusRequestTimeout; final {
			if failure.Outcome == httpapi.NotApplied && maybe {
				failure.Outcome = httpapi.Unknown
			}
			return failure
		}
		at = (at + 1) % len(c.options.Servers)
		if copies%len(c.options.Servers) == 0 {
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, lastPause)
		}
		if ctx.Err() != nil {
			failure.Outcome = httpapi.NotApplied
			if maybe {
				failure.Outcome = httpapi.Unknown
			}
			return fmt.Errorf("%w: %w", context.Cause(ctx), failure)
		}
	}
}

// leave makes the next request begin with another server, in a moment.
func (c *Client) leave(ctx context.Context) {
	c.mu.Lock()
	c.at = (c.at + 1) % len(c.options.Servers)
	c.mu.Unlock()
	select {
	case <-time.After(firstPause):
	case <-ctx.Done():
	}
}

// attempt sends one copy of a request to one server.
func (c *Client) attempt(ctx context.Context, server string, r *request, body []byte, answer any) *Error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.attempt, c.options.Attempt)+r.wait)
	defer cancel()
	sent, err := http.NewRequestWithContext(ctx, r.method, "http://"+server+r.path, bytes.NewReader(body))
	if err != nil {
		return &Error{Status: http.StatusBadRequest, Code: "bad_request", Message: err.Error(), Outcome: httpapi.NotApplied}
	}
	if r.key != "" {
		sent.Header.Set(httpapi.KeyField, r.key)
	}
	got, err := c.options.HTTP.Do(sent)
	if err != nil {
		failure := &Error{Code: "no_answer", Message: err.Error(), Outcome: httpapi.Unknown}
		if broken, ok := errors.AsType[*net.OpError](err); ok && broken.Op == "dial" {
			failure.Code, failure.Outcome = "no_server", httpapi.NotApplied
		}
		return failure
	}
	text, err := io.ReadAll(io.LimitReader(got.Body, maxAnswer))
	if err = errors.Join(err, got.Body.Close()); err != nil {
		return &Error{Code: "no_answer", Message: err.Error(), Outcome: httpapi.Unknown}
	}
	if got.StatusCode < 300 {
		if answer != nil {
			err = json.Unmarshal(text, answer)
		}
		if err != nil {
			return &Error{Status: got.StatusCode, Code: "bad_answer", Message: fmt.Sprintf("%s: %v", server, err), Outcome: httpapi.Unknown}
		}
		return nil
	}
	var failed httpapi.Error
	if err := json.Unmarshal(text, &failed); err != nil || failed.Code == "" {
		return &Error{Status: got.StatusCode, Code: "bad_answer", Message: server + ": " + got.Status, Outcome: httpapi.Unknown}
	}
	return &Error{Status: got.StatusCode, Code: failed.Code, Message: failed.Message, Outcome: failed.Outcome}
}

// maxAnswer bounds the body of an answer, in bytes: a lock with a thousand waiters has less.
const maxAnswer = 1 << 20
