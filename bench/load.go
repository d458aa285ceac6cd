package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Phases of a run.
const (
	warmingUp int32 = iota
	measuring
	stopping
)

// errWrongState says that the servers disagree with each other, or with the answers that clients
// got. A run that ends with it is never tried again.
var errWrongState = errors.New("wrong state")

// A loadConfig says what the clients of a load do.
type loadConfig struct {
	clients, payload int
	// first is the number of the first client.
	first int
	// reads is how many of a hundred requests are reads.
	reads int
	// limit is how many requests a client makes at most; 0 means no limit.
	limit uint64
	// rate is how many requests arrive per second, whether the earlier ones were answered or not.
	// If it is 0, each client makes its next request when the last one was answered.
	rate float64
	// deadline is the time that each request has at most, by a context of its own; 0 means that a
	// client has one context without a deadline for all its requests.
	deadline time.Duration
	// after is an earlier load with as many clients, or nil. Each client goes on with its count of
	// commands and with the sum of their results.
	after *load
}

// A load is the clients of a run.
type load struct {
	server  Server
	config  loadConfig
	phase   atomic.Int32
	clients []*client
	running sync.WaitGroup
	done    chan struct{} // closed when all clients have ended
	open    *arrivals     // nil in a closed loop

	// failed receives the first error of a client. A client that meets an error stops.
	failed chan error
}

// A client makes one request after another.
type client struct {
	number   int
	command  []byte
	credit   int    // grows by loadConfig.reads with each request; at a hundred, that request is a read
	requests uint64 // requests of any kind, warm-up included
	answered uint64 // commands that were answered, in the warm-up and in earlier loads too
	sum      uint64 // the sum of their results
	writes   histogram
	reads    histogram // latencies of the requests that were answered while the load was measured
	inTime   uint64    // in an open loop: requests that were answered before the measured time was over
	unserved uint64    // in an open loop: requests that were never made; writes has the time that they waited
}

// startLoad makes clients and starts them.
func startLoad(ctx context.Context, server Server, c loadConfig) *load {
	l := newLoad(server, c)
	l.start(ctx)
	return l
}

// newLoad returns a load whose clients do nothing yet.
func newLoad(server Server, c loadConfig) *load {
	l := &load{server: server, config: c, failed: make(chan error, 1), done: make(chan struct{})}
	for n := range c.clients {
		client := newClient(c.first+n, c.payload)
		if c.after != nil {
			client.answered, client.sum = c.after.clients[n].answered, c.after.clients[n].sum
		}
		l.clients = append(l.clients, client)
	}
	return l
}

// Logs are filled beforehand with commands of primePayload bytes, by at least primeClients clients.
// A cluster that is filled has room for as many clients.
const primePayload, primeClients = 16 << 10, 64

// prime proposes large commands until that many bytes of them were answered. Where the load has few
// clients, others help. The commands of the helpers count as commands of the first client.
func (l *load) prime(ctx context.Context, bytes int64) error {
	clients := slices.Clone(l.clients[:min(len(l.clients), primeClients)])
	for n := len(clients); n < primeClients; n++ {
		clients = append(clients, newClient(n, primePayload))
	}
	var running sync.WaitGroup
	var left atomic.Int64
	left.Store(bytes)
	failures := make([]error, len(clients))
	for i, c := range clients {
		command := newClient(c.number, primePayload).command
		running.Go(func() {
			for left.Add(-primePayload) > -primePayload && failures[i] == nil {
				failures[i] = c.propose(ctx, l.server, command)
			}
		})
	}
	running.Wait()
	for _, c := range clients[min(len(l.clients), primeClients):] {
		l.clients[0].answered += c.answered
		l.clients[0].sum += c.sum
	}
	return errors.Join(failures...)
}

// start starts the clients.
func (l *load) start(ctx context.Context) {
	run := (*client).run
	if l.config.rate > 0 {
		l.open = newArrivals(l.config.rate)
		run = (*client).serve
	}
	for _, c := range l.clients {
		l.running.Go(func() {
			own, cancel := context.WithCancel(ctx) // one context for all clients would be a lock that all take
			defer cancel()
			if err := run(c, own, l); err != nil {
				select {
				case l.failed <- fmt.Errorf("client %d: %w", c.number, err):
				default:
				}
			}
		})
	}
	go func() {
		l.running.Wait()
		close(l.done)
	}()
}

// newClient returns a client whose commands can't be compressed.
func newClient(n, payload int) *client {
	c := &client{number: n, command: make([]byte, payload), credit: 37 * n % 100}
	binary.LittleEndian.PutUint64(c.command, uint64(n))
	fill := uint64(n)
	for i := commandHeader; i < payload; i++ {
		fill = fill*6364136223846793005 + 1442695040888963407
		c.command[i] = byte(fill >> 56)
	}
	return c
}

// run makes requests until the load stops. The moment at which a request ends is the moment at
// which the next one begins.
func (c *client) run(ctx context.Context, l *load) error {
	begin := time.Now()
	for l.phase.Load() != stopping && (l.config.limit == 0 || c.requests < l.config.limit) {
		latencies, err := c.request(ctx, l)
		if err != nil {
			return err
		}
		end := time.Now()
		if l.phase.Load() == measuring {
			latencies.add(end.Sub(begin))
		}
		begin = end
	}
	return nil
}

// requestDeadline is the deadline of a request in the cell of that name: longer than any request
// should take, as in a service.
const requestDeadline = 10 * time.Second

// request makes one request, and returns the histogram in which its latency is to be counted.
func (c *client) request(ctx context.Context, l *load) (*histogram, error) {
	c.requests++
	if l.config.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.config.deadline)
		defer cancel()
	}
	if reads := l.config.reads; reads > 0 {
		if c.credit += reads; c.credit >= 100 {
			c.credit -= 100
			return &c.reads, l.server.Read(ctx, c.number)
		}
	}
	return &c.writes, c.propose(ctx, l.server, c.command)
}

// propose proposes a command and checks its result. It writes the client's count into the command,
// which makes it different from all earlier ones.
func (c *client) propose(ctx context.Context, server Server, command []byte) error {
	binary.LittleEndian.PutUint64(command[8:], c.answered+1)
	got, err := server.Propose(ctx, c.number, command)
	if err != nil {
		return err
	}
	c.answered++
	if want := result64(command); got != want {
		return fmt.Errorf("%w: result %x of command %d belongs to another command: its own is %x", errWrongState, got, c.answered, want)
	}
	c.sum += got
	return nil
}

// wait returns after a time, or earlier when all clients have ended or one of them has failed.
func (l *load) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-l.done:
		return l.failure()
	case err := <-l.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop lets every client finish its request, and returns the first error of a client that wait
// hasn't returned.
func (l *load) stop() error {
	l.phase.Store(stopping)
	<-l.done
	return l.failure()
}

// failure returns the first error of a client, unless it was returned before.
func (l *load) failure() error {
	select {
	case err := <-l.failed:
		return err
	default:
		return nil
	}
}

// totals returns how many commands were answered, and the sum of their results. It must be called
// after the load has stopped.
func (l *load) totals() (answered, sum uint64) {
	for _, c := range l.clients {
		answered += c.answered
		sum += c.sum
	}
	return answered, sum
}

// latencies returns the latencies of all clients, those of writes and those of reads. It must be
// called after the load has stopped.
func (l *load) latencies() (writes, reads *histogram) {
	writes, reads = new(histogram), new(histogram)
	for _, c := range l.clients {
		writes.merge(&c.writes)
		reads.merge(&c.reads)
	}
	return writes, reads
}
