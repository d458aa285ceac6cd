package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
)

// A pipe carries the requests of a client to the servers of a bubble, without sockets.
type pipe struct {
	c     *cluster
	delay time.Duration              // of each answer
	cut   atomic.Bool                // nothing gets through
	lose  func(r *http.Request) bool // whether an answer is lost; nil for never
}

// RoundTrip implements http.RoundTripper.
func (p *pipe) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.cut.Load() {
		return nil, &net.OpError{Op: "dial", Err: errors.New("cut off")}
	}
	server := strings.Index("abc", r.URL.Hostname())
	w := httptest.NewRecorder()
	p.c.handlers[server].ServeHTTP(w, r)
	time.Sleep(p.delay)
	if p.cut.Load() || p.lose != nil && p.lose(r) || r.Context().Err() != nil {
		return nil, errors.New("the answer is lost")
	}
	answer := w.Result()
	answer.Request = r
	return answer, nil
}

// client returns a client of the servers of a bubble.
func (c *cluster) client(p *pipe) *client.Client {
	made, err := client.New(client.Options{Servers: []string{"a:1", "b:1", "c:1"}, HTTP: &http.Client{Transport: p}})
	require.NoError(c.t, err)
	return made
}

// TestClientKeepsTheLock: a lock is renewed until it is released. A waiter asks again and again, and
// then gets it with the whole lease.
func TestClientKeepsTheLock(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		first, second := c.client(&pipe{c: c}), c.client(&pipe{c: c})
		lock, err := first.Acquire(t.Context(), "x", client.Terms{Lease: 2 * time.Second, Owner: "first"})
		require.NoError(t, err)
		_, err = second.TryAcquire(t.Context(), "x", client.Terms{})
		require.ErrorIs(t, err, client.ErrHeld)
		var waiter sync.WaitGroup
		waiter.Go(func() {
			next, err := second.Acquire(t.Context(), "x", client.Terms{Lease: time.Second, Owner: "second"})
			require.NoError(t, err)
			require.Greater(t, next.Token(), lock.Token())
			time.Sleep(900 * time.Millisecond)
			require.True(t, next.Held())
			require.NoError(t, next.Release(t.Context()))
			require.False(t, next.Held())
			require.ErrorIs(t, context.Cause(next.Context()), client.ErrReleased)
		})
		time.Sleep(time.Minute)
		require.True(t, lock.Held())
		is, err := first.Look(t.Context(), "x")
		require.NoError(t, err)
		require.Equal(t, lock.Owner(), is.Holder)
		require.Equal(t, lock.Token(), is.Token)
		require.Len(t, is.Waiters, 1)
		require.NoError(t, lock.Release(t.Context()))
		waiter.Wait()
		require.NoError(t, lock.Release(t.Context()), "to release twice does no harm")
		require.NoError(t, first.Close(t.Context()))
		require.NoError(t, second.Close(t.Context()))
	})
}

// TestClientNoticesTheEnd: a holder that reaches no server says that its lease may be over before
// another one has the lock, however long the answer was on its way that granted it.
func TestClientNoticesTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		lonely := &pipe{c: c, delay: time.Second}
		lock, err := c.client(lonely).Acquire(t.Context(), "x", client.Terms{Lease: 3 * time.Second})
		require.NoError(t, err)
		lonely.cut.Store(true)
		var second *client.Lock
		var waiter sync.WaitGroup
		waiter.Go(func() {
			var err error
			second, err = c.client(&pipe{c: c}).Acquire(t.Context(), "x", client.Terms{})
			require.NoError(t, err)
			require.Error(t, lock.Context().Err())
			require.False(t, lock.Held())
			require.ErrorIs(t, context.Cause(lock.Context()), client.ErrLeaseOver)
		})
		waiter.Wait()
		require.Greater(t, second.Token(), lock.Token())
		lonely.cut.Store(false)
		require.NoError(t, lock.Release(t.Context()), "the lease is over, and so it is released")
		require.True(t, second.Held())
		require.NoError(t, second.Release(t.Context()))
	})
}

// TestClientWithLostAnswers: a client whose answers are lost sends its requests again, to other
// servers. Each lock is granted once, and released.
func TestClientWithLostAnswers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		luck := rand.New(rand.NewPCG(1, 1))
		var mu sync.Mutex
		lost := 0
		lossy := c.client(&pipe{c: c, lose: func(*http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			if luck.IntN(2) == 0 {
				return false
			}
			lost++
			return true
		}})
		sound := c.client(&pipe{c: c})
		last := uint64(0)
		for i := range 50 {
			lock, err := lossy.Acquire(t.Context(), "x", client.Terms{Lease: time.Hour})
			require.NoError(t, err)
			require.Greater(t, lock.Token(), last)
			if i > 0 {
				require.LessOrEqual(t, lock.Token(), last+2, "nothing else was granted or renewed")
			}
			last = lock.Token()
			require.NoError(t, lock.Release(t.Context()))
			is, err := sound.Look(t.Context(), "x")
			require.NoError(t, err)
			require.Empty(t, is.Holder)
		}
		require.Greater(t, lost, 50)
	})
}

// TestClientWhoseSessionIsGone: the client opens another session, and what it holds stays held.
func TestClientWhoseSessionIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		var session atomic.Value
		seen := c.client(&pipe{c: c, lose: func(r *http.Request) bool {
			session.Store(strings.Trim(r.Header.Get("Idempotency-Key"), `"`))
			return false
		}})
		lock, err := seen.Acquire(t.Context(), "x", client.Terms{Lease: 2 * time.Second})
		require.NoError(t, err)
		gone, _, _ := strings.Cut(session.Load().(string), "-")
		r := httptest.NewRequestWithContext(t.Context(), http.MethodDelete, "/sessions/"+gone, nil)
		w := httptest.NewRecorder()
		c.handlers[0].ServeHTTP(w, r)
		require.Equal(t, http.StatusNoContent, w.Code, w.Body)
		time.Sleep(time.Minute)
		require.True(t, lock.Held())
		require.NoError(t, lock.Release(t.Context()))
	})
}

// TestClientLeavesAServerThatStops: a waiter whose server stops goes on at another one, and keeps its
// place.
func TestClientLeavesAServerThatStops(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		asked := map[string]int{} // by server
		var mu sync.Mutex
		user := c.client(&pipe{c: c, lose: func(r *http.Request) bool {
			mu.Lock()
			defer mu.Unlock()
			asked[r.URL.Hostname()]++
			return false
		}})
		lock, err := c.client(&pipe{c: c}).Acquire(t.Context(), "x", client.Terms{Lease: time.Minute})
		require.NoError(t, err)
		var waiter sync.WaitGroup
		waiter.Go(func() {
			next, err := user.Acquire(t.Context(), "x", client.Terms{})
			require.NoError(t, err)
			require.NoError(t, next.Release(t.Context()))
		})
		time.Sleep(time.Second)
		require.Len(t, c.waiters(1), 1)
		require.NoError(t, c.nodes[0].Close(t.Context()))
		time.Sleep(5 * time.Second)
		require.Len(t, c.waiters(1), 1)
		require.NoError(t, lock.Release(t.Context()))
		waiter.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Less(t, asked["a"], 10)
	})
}

// TestClientGivesUp: whoever gives up waiting leaves the queue.
func TestClientGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		user := c.client(&pipe{c: c})
		lock, err := user.Acquire(t.Context(), "x", client.Terms{})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		_, err = user.Acquire(ctx, "x", client.Terms{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		is, err := user.Look(t.Context(), "x")
		require.NoError(t, err)
		require.Empty(t, is.Waiters)
		require.NoError(t, lock.Release(t.Context()))
	})
}

// TestClientSaysWhatIsWrong: wrong options and terms, and a server's refusal, are named.
func TestClientSaysWhatIsWrong(t *testing.T) {
	_, err := client.New(client.Options{})
	require.ErrorContains(t, err, "Servers is empty")
	_, err = client.New(client.Options{Servers: []string{"nowhere"}})
	require.ErrorContains(t, err, "nowhere")
	bubble(t, func(t *testing.T, c *cluster) {
		user := c.client(&pipe{c: c})
		for want, terms := range map[string]client.Terms{
			"Terms.Lease is 1ms": {Lease: time.Millisecond}, "Terms.Owner has 65 bytes": {Owner: strings.Repeat("x", 65)}, "can't be seen": {Owner: "\n"},
		} {
			_, err := user.Acquire(t.Context(), "x", terms)
			require.ErrorContains(t, err, want)
		}
		for _, name := range []string{"", ".", ".."} {
			_, err := user.Acquire(t.Context(), name, client.Terms{})
			require.ErrorContains(t, err, "can't be the name")
			_, err = user.Look(t.Context(), name)
			require.ErrorContains(t, err, "can't be the name")
		}
		_, err := user.TryAcquire(t.Context(), strings.Repeat("x", maxName+1), client.Terms{})
		failure, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, http.StatusBadRequest, failure.Status)
		require.Equal(t, "bad_request", failure.Code)
		require.ErrorContains(t, err, "129 bytes")
		require.ErrorContains(t, err, "not applied")
	})
}
