package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/e17579a5/raft/httpapi"
)

var (
	// ErrHeld says that another owner holds the lock, and that the call was not to wait.
	ErrHeld = errors.New("lock: held by another owner")
	// ErrLeaseOver says that the lease may be over, by the client's own clock, or is, by the servers'
	// word.
	ErrLeaseOver = errors.New("lock: the lease may be over")
	// ErrReleased says that the lock was released by its user.
	ErrReleased = errors.New("lock: released")
)

// Terms are how a lock is to be held.
type Terms struct {
	// Lease is for how long the lock is held without a renewal, and so the time after which another
	// owner gets it if this process dies: 100 ms to 24 h. 0 stands for 10 s. It should be well above
	// the time that the servers take to elect a leader.
	Lease time.Duration
	// Owner is how others see who holds the lock, at most 64 bytes of what can be seen. Something is
	// added that makes each holding's owner unique. "" stands for the name of the host.
	Owner string
}

// The limits of Terms.
const (
	minLease     = 100 * time.Millisecond
	maxLease     = 24 * time.Hour
	defaultLease = 10 * time.Second
	maxOwner     = 64
)

// poll is for how long one request waits for a lock. Its place in the queue is kept for that long and
// a lease, so this must not be long: one who is gone holds up the queue.
const poll = 5 * time.Second

// A Lock is one holding of a lock. It is renewed in the background until it is released, its lease
// may be over, or the context with which it was acquired ends. Several goroutines may use it.
type Lock struct {
	client      *Client
	name, owner string
	token       uint64
	ctx         context.Context
	cancel      context.CancelCauseFunc
	renewed     chan struct{} // closed when the lock isn't renewed any more

	mu    sync.Mutex
	lease time.Duration
	end   time.Time // when the lease may be over
}

// Acquire waits for a lock and takes it. Until ctx ends, the lock is renewed; when ctx ends, it is
// not released by that. The error is that of ctx, an *Error, or one that names what is wrong with the
// terms.
func (c *Client) Acquire(ctx context.Context, name string, terms Terms) (*Lock, error) {
	return c.acquire(ctx, name, terms, poll)
}

// TryAcquire takes a lock if nobody holds it. Otherwise the error is ErrHeld.
func (c *Client) TryAcquire(ctx context.Context, name string, terms Terms) (*Lock, error) {
	return c.acquire(ctx, name, terms, 0)
}

// A granted is the answer to an acquire, and to a renewal. Without a token, the lock isn't granted
// yet.
type granted struct {
	Token   uint64 `json:"token"`
	LeaseMS int64  `json:"lease_ms"`
}

func (c *Client) acquire(ctx context.Context, name string, terms Terms, wait time.Duration) (*Lock, error) {
	owner, err := terms.check()
	if err == nil {
		err = checkName(name)
	}
	if err != nil {
		return nil, err
	}
	for {
		lease := cmp.Or(terms.Lease, defaultLease)
		r := &request{method: http.MethodPost, path: lockPath(name, "/acquire"), wait: wait, body: map[string]any{
			"owner": owner, "lease_ms": lease.Milliseconds(), "wait_ms": wait.Milliseconds(),
		}}
		var is granted
		err := c.command(ctx, r, &is)
		failure, _ := errors.AsType[*Error](err)
		switch {
		case err == nil && is.Token == 0:
			// It is held still; the next request keeps the place. A server that answers early is about
			// to stop.
			if time.Since(r.began) < wait/2 {
				c.leave(ctx)
			}
			continue
		case err == nil:
			l := c.hold(ctx, name, owner, is, r.began)
			// A lock that was waited for may have been granted a while ago.
			if l.left() < l.lease/2 {
				if err := l.renew(ctx); err != nil {
					l.cancel(ErrLeaseOver)
					c.withdraw(ctx, name, owner)
					if ctx.Err() != nil {
						return nil, err
					}
					owner, _ = terms.check() // nobody knows what the old one has
					continue
				}
			}
			go l.keep()
			return l, nil
		case failure != nil && failure.Code == "held":
			return nil, fmt.Errorf("%w: %s", ErrHeld, failure.Message)
		case failure != nil && ctx.Err() == nil && (failure.Code == "claim_over" || failure.Status == http.StatusGone):
			// The request came too late, or its session has expired. Another owner begins anew; what
			// the old one may have ends with its lease.
			owner, _ = terms.check()
			continue
		}
		if failure == nil || failure.Outcome == httpapi.Unknown || ctx.Err() != nil {
			c.withdraw(ctx, name, owner)
		}
		return nil, err
	}
}

// check says what is wrong with the terms, and returns an owner that nobody else has.
func (t *Terms) check() (owner string, err error) {
	if t.Lease != 0 && (t.Lease < minLease || t.Lease > maxLease) {
		return "", fmt.Errorf("lock: Terms.Lease is %v, not from %v to %v", t.Lease, minLease, maxLease)
	}
	if len(t.Owner) > maxOwner {
		return "", fmt.Errorf("lock: Terms.Owner has %d bytes, more than %d", len(t.Owner), maxOwner)
	}
	name := t.Owner
	if name == "" {
		host, _ := os.Hostname() // without a name of its host, the owner is a number
		name = strings.ToValidUTF8(host[:min(len(host), maxOwner)], "")
	}
	return name + "/" + rand.Text(), nil
}

// withdraw gives up what an owner has of a lock, in a moment or not at all: then the lease does it.
func (c *Client) withdraw(ctx context.Context, name, owner string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	body := map[string]any{"owner": owner}
	_ = c.command(ctx, &request{method: http.MethodPost, path: lockPath(name, "/release"), body: body}, nil)
}

// hold returns a lock that was granted. began is when the request that was granted was about to be
// sent.
func (c *Client) hold(ctx context.Context, name, owner string, is granted, began time.Time) *Lock {
	l := &Lock{client: c, name: name, owner: owner, token: is.Token, renewed: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.extend(is, began)
	return l
}

// extend begins the lease anew.
func (l *Lock) extend(is granted, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lease = time.Duration(is.LeaseMS) * time.Millisecond
	l.end = began.Add(l.lease - l.lease/100) // clocks don't run alike
}

// left returns how much of the lease is left.
func (l *Lock) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.end)
}

// Name returns the name of the lock.
func (l *Lock) Name() string { return l.name }

// Owner returns the owner as the servers know it.
func (l *Lock) Owner() string { return l.owner }

// Token returns the fencing token: it is higher than that of every holding that was granted before.
// What the lock guards must get it with each request.
func (l *Lock) Token() uint64 { return l.token }

// Context returns a context that ends when the lease may be over (the cause is ErrLeaseOver), when
// the lock is released (ErrReleased), or with the context with which it was acquired.
func (l *Lock) Context() context.Context { return l.ctx }

// Held says whether the lease still lasts, by the client's clock. A process that was stopped may
// learn it here a moment before its Context ends.
func (l *Lock) Held() bool { return l.ctx.Err() == nil && l.left() > 0 }

// Release gives the lock up, so that the next owner gets it at once. It is nil also if the lease was
// over. Another error is that of ctx or an *Error: then the lock is held until its lease ends, if it
// is held at all.
func (l *Lock) Release(ctx context.Context) error {
	l.cancel(ErrReleased)
	<-l.renewed
	r := &request{method: http.MethodPost, path: lockPath(l.name, "/release"), body: map[string]any{"owner": l.owner, "token": l.token}}
	err := l.client.command(ctx, r, nil)
	if failure, ok := errors.AsType[*Error](err); ok && failure.Code == "not_holder" {
		return nil
	}
	return err
}

// keep renews the lock until it isn't held any more.
func (l *Lock) keep() {
	defer close(l.renewed)
	for {
		l.mu.Lock()
		pause := time.Until(l.end) - l.lease*2/3 // a third of the lease after its begin
		l.mu.Unlock()
		timer := time.NewTimer(max(pause, 0))
		select {
		case <-timer.C:
		case <-l.ctx.Done():
			timer.Stop()
			return
		}
		if err := l.renew(l.ctx); err != nil {
			l.cancel(ErrLeaseOver) // unless there is a cause already
			return
		}
	}
}

// shortestAttempt is the least time that a server is given to answer a renewal.
const shortestAttempt = 50 * time.Millisecond

// renew renews the lock, and returns an error if that hasn't succeeded while the lease lasts.
func (l *Lock) renew(ctx context.Context) error {
	left := l.left()
	ctx, cancel := context.WithTimeoutCause(ctx, left, ErrLeaseOver)
	defer cancel()
	if left <= 0 {
		return ErrLeaseOver
	}
	for {
		r := &request{
			method: http.MethodPost, path: lockPath(l.name, "/renew"), body: map[string]any{"owner": l.owner, "token": l.token},
			attempt: max(left/4, shortestAttempt), // there must be time to ask all servers
		}
		var is granted
		err := l.client.command(ctx, r, &is)
		if err == nil {
			l.extend(is, r.began)
			return nil
		}
		if failure, ok := errors.AsType[*Error](err); ok && failure.Status == http.StatusGone && ctx.Err() == nil {
			continue // the session is gone; a renewal may come twice
		}
		return err
	}
}
