package main

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/admin"
	"github.com/e17579a5/raft/memory"
)

// TestServiceGrantsInOrder: every server answers, waiters get the lock in the order in which they
// came, and each has a higher token.
func TestServiceGrantsInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		token := c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 60000}`)
		require.Equal(t, token, c.require(200, "", 1, "/acquire", `{"owner": "a"}`), "a repeated acquire gets the same token")
		c.require(409, refusedHeld, 1, "/acquire", `{"owner": "b"}`)
		tokens := make(chan uint64, 3)
		for i := range 3 {
			go func() {
				tokens <- c.require(200, "", i, "/acquire", fmt.Sprintf(`{"owner": "w%d", "lease_ms": 60000, "wait_ms": 30000}`, i))
			}()
			synctest.Wait()
			time.Sleep(time.Millisecond)
		}
		c.requireHolder(2, "a", "w0", "w1", "w2")
		for i := range 3 {
			c.require(200, "", 2, "/release", fmt.Sprintf(`{"owner": %q, "token": %d}`, []string{"a", "w0", "w1"}[i], token))
			next := <-tokens
			require.Greater(t, next, token)
			token = next
			c.requireHolder(0, fmt.Sprint("w", i), []any{"w1", "w2"}[i:]...)
		}
	})
}

// TestServiceRefusesOthers: whoever isn't the holder with this very token neither renews nor releases.
func TestServiceRefusesOthers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		token := c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 60000}`)
		for _, do := range []string{"/renew", "/release"} {
			c.require(409, refusedNotHolder, 1, do, fmt.Sprintf(`{"owner": "a", "token": %d}`, token-1))
			c.require(409, refusedNotHolder, 1, do, fmt.Sprintf(`{"owner": "a", "token": %d}`, token+1))
			c.require(409, refusedNotHolder, 1, do, fmt.Sprintf(`{"owner": "b", "token": %d}`, token))
		}
		c.require(409, refusedNotHolder, 1, "/release", `{"owner": "b"}`)
		c.requireHolder(2, "a")
		c.require(200, "", 1, "/renew", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		c.require(200, "", 1, "/release", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		c.require(409, refusedNotHolder, 1, "/release", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		c.requireHolder(2, "")
	})
}

// TestLeaseEnds: a lease lasts for its time, not less and hardly more, and each renewal begins it anew.
func TestLeaseEnds(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		const lease = 2 * time.Second
		token := c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 2000}`)
		for range 5 {
			time.Sleep(lease - time.Millisecond)
			c.require(200, "", 1, "/renew", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		}
		time.Sleep(lease - time.Millisecond)
		c.requireHolder(0, "a")
		time.Sleep(100 * time.Millisecond)
		c.requireHolder(0, "")
		c.require(409, refusedNotHolder, 1, "/renew", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		require.Greater(t, c.require(200, "", 0, "/acquire", `{"owner": "a"}`), token)
	})
}

// TestNextLeaderBeginsLeasesAnew: a lease outlives its leader, and lasts from when the next one leads.
// The old one, which still measures it while it is cut off, can't end it any more: not then, and not
// when the network works again.
func TestNextLeaderBeginsLeasesAnew(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		const lease = 5 * time.Second
		began := time.Now()
		c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 5000}`)
		time.Sleep(lease - 200*time.Millisecond)
		old, id := c.leader()
		c.network.Isolate(id)
		one, other := (old+1)%3, (old+2)%3
		for !c.nodes[one].Leadership().Ready && !c.nodes[other].Leadership().Ready {
			time.Sleep(10 * time.Millisecond)
		}
		elected := time.Now()
		require.Greater(t, elected.Sub(began), lease)
		c.network.SetFaults(memory.Faults{})
		require.NoError(t, c.nodes[old].Read(t.Context()))
		for server := range 3 {
			c.requireHolder(server, "a")
		}
		time.Sleep(time.Until(elected.Add(lease - 500*time.Millisecond)))
		c.requireHolder(one, "a")
		time.Sleep(time.Second)
		for server := range 3 {
			c.requireHolder(server, "")
		}
	})
}

// TestWaitersThatAreGone: a waiter that doesn't ask again loses its place, after its wait and its
// lease. One that has asked again keeps it.
func TestWaitersThatAreGone(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		token := c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 60000}`)
		status, answer := c.ask(1, http.MethodPost, "/locks/x/acquire", `{"owner": "gone", "lease_ms": 2000, "wait_ms": 1000}`, "")
		require.Equal(t, 202, status)
		require.Equal(t, map[string]any{"lock": "x", "owner": "gone", "place": 1.0}, answer)
		for range 4 {
			status, answer = c.ask(1, http.MethodPost, "/locks/x/acquire", `{"owner": "here", "lease_ms": 2000, "wait_ms": 900}`, "")
			require.Equal(t, 202, status)
		}
		require.Equal(t, map[string]any{"lock": "x", "owner": "here", "place": 1.0}, answer)
		c.requireHolder(2, "a", "here")
		c.require(200, "", 2, "/release", fmt.Sprintf(`{"owner": "a", "token": %d}`, token))
		c.requireHolder(0, "here")
		time.Sleep(2*time.Second + 100*time.Millisecond)
		c.requireHolder(0, "")
	})
}

// TestWaiterGivesUp: a waiter that gives up its place gets an answer that says so.
func TestWaiterGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 60000}`)
		var waiter sync.WaitGroup
		waiter.Go(func() { c.require(409, "claim_over", 1, "/acquire", `{"owner": "b", "wait_ms": 60000}`) })
		time.Sleep(time.Second)
		c.require(200, "", 2, "/release", `{"owner": "b"}`)
		waiter.Wait()
	})
}

// TestRetriedAcquireGetsTheSameToken: every copy of an acquire with one Idempotency-Key gets the same
// token, at whichever server, also when the lock was released and granted again since.
func TestRetriedAcquireGetsTheSameToken(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		key := `"` + c.openSession() + `-1"`
		var first map[string]any
		for server := range 3 {
			status, answer := c.ask(server, http.MethodPost, "/locks/x/acquire", `{"owner": "a"}`, key)
			require.Equal(t, 200, status)
			if first == nil {
				first = answer
			}
			require.Equal(t, first, answer)
			if server == 1 {
				c.require(200, "", 0, "/release", `{"owner": "a"}`)
				c.require(200, "", 0, "/acquire", `{"owner": "b"}`)
			}
		}
		c.requireHolder(0, "b")
	})
}

func TestServiceRefusesMalformedRequests(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, body := range []string{
			"", "5", "{}", `{"owner": 5}`, `{"owner": "a", "lease_ms": -1}`, `{"owner": "a", "lease_ms": 99}`, `{"owner": "a", "lease_ms": 86400001}`,
			`{"owner": "a", "lease_ms": 9223372036854775807}`, `{"owner": "a", "wait_ms": 60001}`, `{"owner": "a", "wait_ms": -1}`,
			`{"owner": "a", "lease_ms": 1.5}`, `{"owner": "a", "token": 5}`, `{"owner": "a"} {}`, `{"owner": "` + strings.Repeat("x", maxName+1) + `"}`,
		} {
			c.require(400, "bad_request", 0, "/acquire", body)
		}
		for _, body := range []string{"", `{"owner": "a"}`, `{"owner": "a", "token": -1}`, `{"token": 5}`} {
			c.require(400, "bad_request", 0, "/renew", body)
		}
		for _, body := range []string{"", "{}", `{"owner": "a", "token": "5"}`} {
			c.require(400, "bad_request", 0, "/release", body)
		}
		for _, name := range []string{"%00", strings.Repeat("x", maxName+1), "%FF"} {
			status, answer := c.ask(0, http.MethodGet, "/locks/"+name, "", "")
			require.Equal(t, 400, status, answer)
			status, answer = c.ask(0, http.MethodPost, "/locks/"+name+"/acquire", `{"owner": "a"}`, "")
			require.Equal(t, 400, status, answer)
		}
		c.requireHolder(0, "")
		status, answer := c.ask(0, http.MethodPost, "/locks/a%2Fb%20%C3%BC/acquire", `{"owner": "a"}`, "")
		require.Equal(t, 200, status)
		require.Equal(t, "a/b ü", answer["lock"])
	})
}

// TestServiceWithoutLeader: a server that is cut off says what it doesn't know, and answers in time.
func TestServiceWithoutLeader(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 60000}`)
		leader, id := c.leader()
		c.network.Isolate(id)
		began := time.Now()
		c.require(504, "outcome_unknown", leader, "/acquire", `{"owner": "b", "wait_ms": 60000}`)
		c.require(503, "no_leader", leader, "/acquire", `{"owner": "b", "wait_ms": 60000}`)
		c.require(503, "no_leader", leader, "", "")
		require.Equal(t, 3*requestTimeout, time.Since(began))
		other := (leader + 1) % 3
		c.require(202, "", other, "/acquire", `{"owner": "c", "wait_ms": 1000}`)
		c.requireHolder(other, "a", "c")
	})
}

// TestWaitersWhoseServerStops: a server that closes answers those who wait, and another one knows
// their places.
func TestWaitersWhoseServerStops(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		c.require(200, "", 0, "/acquire", `{"owner": "a", "lease_ms": 60000}`)
		var waiter sync.WaitGroup
		began := time.Now()
		waiter.Go(func() { c.require(202, "", 1, "/acquire", `{"owner": "b", "wait_ms": 60000}`) })
		time.Sleep(time.Second)
		require.NoError(t, c.nodes[1].Close(t.Context()))
		waiter.Wait()
		require.Less(t, time.Since(began), 3*time.Second)
		c.requireHolder(2, "a", "b")
	})
}

// TestClientsDontChangeTheMembers: what takes locks takes no cluster apart. That is for the
// administration, which has a listener of its own (-admin).
func TestClientsDontChangeTheMembers(t *testing.T) {
	bubble(t, func(t *testing.T, c *cluster) {
		for _, request := range [][2]string{
			{http.MethodPut, "/members/d?address=d:1"}, {http.MethodDelete, "/members/b"},
			{http.MethodPost, admin.Path + "members/add"}, {http.MethodPost, admin.Path + "members/remove"},
		} {
			code, body := c.ask(0, request[0], request[1], `{"members": [{"id": "b"}]}`, "")
			require.Equal(t, http.StatusNotFound, code, request)
			require.Equal(t, "not_found", body["code"])
		}
		require.Len(t, c.nodes[0].Status().Members, 3)
	})
}
