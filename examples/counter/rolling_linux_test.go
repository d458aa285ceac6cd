package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/e17579a5/raft/internal/process"
)

// These flags make the long version:
//
//	go test ./examples/counter -run TestRollingRestart -v -timeout 60m -rolling-rounds 100 -rolling-clients 256
var (
	rollingRounds  = flag.Int("rolling-rounds", 1, "how many times TestRollingRestart starts each server anew")
	rollingClients = flag.Int("rolling-clients", 32, "how many clients TestRollingRestart has")
)

// A balancer sends requests to the servers that are ready, as what stands before a service does: it
// asks each of them again and again.
type balancer struct {
	cluster *process.Cluster
	ready   atomic.Pointer[[]string]
	turn    atomic.Uint64
	client  *http.Client
}

// probeEach is how often a server is asked whether it is ready. A server that stops takes requests for
// longer than that (-drain).
const probeEach = 20 * time.Millisecond

// watch asks the servers until ctx ends.
func (b *balancer) watch(ctx context.Context) {
	for ctx.Err() == nil {
		ready := []string{}
		for _, s := range b.cluster.Servers {
			if b.isReady(ctx, s) {
				ready = append(ready, s.Address)
			}
		}
		b.ready.Store(&ready)
		time.Sleep(probeEach)
	}
}

// isReady is the probe.
func (b *balancer) isReady(ctx context.Context, s *process.Process) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address+"/readyz", nil)
	if err != nil {
		return false
	}
	response, err := b.client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// send sends a request to one of the servers that are ready, and decodes the answer of a success.
func (b *balancer) send(ctx context.Context, path, key, body string, answer any) (status int, err error) {
	ready := *b.ready.Load()
	if len(ready) == 0 {
		return 0, errors.New("no server is ready")
	}
	address := ready[b.turn.Add(1)%uint64(len(ready))]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.GetBody = nil // nothing is sent again but by the client itself
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := b.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode, nil
	}
	return response.StatusCode, json.NewDecoder(response.Body).Decode(answer)
}

// A pulse knows how long it took at most from one success to the next one, of all clients.
type pulse struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	beats   int64
}

func (p *pulse) beat() {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.beats++; p.beats > 1 {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last = now
}

// sofar returns the longest gap and the number of beats.
func (p *pulse) sofar() (longest time.Duration, beats int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.longest, p.beats
}

// increments sends increments one after the other, each until it is answered, and until ctx ends.
func (b *balancer) increments(ctx context.Context, t *testing.T, p *pulse, again *atomic.Int64) {
	var session struct{ Session string }
	process.Await(t, func() bool {
		status, err := b.send(t.Context(), "/sessions", "", "", &session)
		return err == nil && status == http.StatusCreated
	}, "no session is opened")
	for number := 1; ctx.Err() == nil; number++ {
		key := fmt.Sprintf(`"%s-%d";lowest=%d`, session.Session, number, number)
		process.Await(t, func() bool {
			var got value
			status, err := b.send(t.Context(), "/counter", key, `{"add": 1}`, &got)
			if err != nil || status != http.StatusOK {
				again.Add(1)
				return false
			}
			return true
		}, "the outcome of an increment stays unknown")
		p.beat()
	}
}

// TestRollingRestart: all servers are started anew, one after the other, under load. The probe for
// readiness says when the next one may go, and where requests go. No outcome stays unknown, and each
// increment is applied once.
func TestRollingRestart(t *testing.T) {
	cluster := process.NewCluster(t, func(c *process.Cluster, s *process.Process) *exec.Cmd {
		return process.Command(t, server, "-id", s.Name, "-peers", c.Peers, "-http", s.Address, "-data", c.Dir, "-drain", "200ms")
	})
	cluster.StartAll()
	b := &balancer{cluster: cluster, client: &http.Client{
		Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: *rollingClients + 1, IdleConnTimeout: time.Minute},
	}}
	b.ready.Store(&[]string{})
	watching, stopWatching := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() { b.watch(watching) })
	process.Await(t, func() bool { return len(*b.ready.Load()) == len(cluster.Servers) }, "the servers aren't ready")

	loading, stopLoading := context.WithCancel(t.Context())
	p, again := &pulse{}, &atomic.Int64{}
	var clients sync.WaitGroup
	for range *rollingClients {
		clients.Go(func() { b.increments(loading, t, p, again) })
	}
	for round := range *rollingRounds {
		for _, s := range cluster.Servers {
			s.Terminate()
			s.Start()
			process.Await(t, func() bool { return b.isReady(t.Context(), s) }, "server %s isn't ready", s.Name)
			process.Await(t, func() bool { return len(*b.ready.Load()) == len(cluster.Servers) }, "no requests go to server %s", s.Name)
		}
		if round%10 == 9 {
			longest, beats := p.sofar()
			t.Logf("%d rounds: %d increments, longest gap %v, %d requests sent again", round+1, beats, longest, again.Load())
		}
	}
	stopLoading()
	clients.Wait()
	stopWatching()
	background.Wait()
	b.client.CloseIdleConnections()

	longest, beats := p.sofar()
	t.Logf("%d rounds with %d clients: %d increments, longest gap %v, %d requests sent again",
		*rollingRounds, *rollingClients, beats, longest, again.Load())
	(&processes{cluster, t}).requireValue(beats)
}
