package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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

// errWrongState says that the servers, or the answers, disagree. It is never tried again.
var errWrongState = errors.New("wrong state")

// A load is the clients of a run.
type load struct {
	cluster Cluster
	phase   atomic.Int32
	clients []*client
	running sync.WaitGroup

	// failed gets the first error; the client that met it has stopped.
	failed chan error
}

// A client proposes one command after the other.
type client struct {
	number    int
	command   []byte
	answered  uint64    // commands, warm-up included
	sum       uint64    // of their results
	latencies histogram // of those answered while measuring
}

// startLoad starts the clients.
func startLoad(ctx context.Context, cluster Cluster, clients, payload int) *load {
	l := &load{cluster: cluster, failed: make(chan error, 1)}
	for n := range clients {
		c := &client{number: n, command: make([]byte, payload)}
		binary.LittleEndian.PutUint64(c.command, uint64(n))
		fill := uint64(n)
		for i := commandHeader; i < payload; i++ { // bytes that no peer could compress
			fill = fill*6364136223846793005 + 1442695040888963407
			c.command[i] = byte(fill >> 56)
		}
		l.clients = append(l.clients, c)
		l.running.Go(func() {
			if err := c.run(ctx, l); err != nil {
				select {
				case l.failed <- fmt.Errorf("client %d: %w", c.number, err):
				default:
				}
			}
		})
	}
	return l
}

// run proposes until the load stops. The end of one command is the beginning of the next.
func (c *client) run(ctx context.Context, l *load) error {
	begin := time.Now()
	for l.phase.Load() != stopping {
		c.answered++
		binary.LittleEndian.PutUint64(c.command[8:], c.answered)
		got, err := l.cluster.Propose(ctx, c.number, c.command)
		if err != nil {
			return err
		}
		want := result64(c.command)
		if got != want {
			return fmt.Errorf("%w: result %x of command %d is not its own, %x", errWrongState, got, c.answered, want)
		}
		c.sum += got
		end := time.Now()
		if l.phase.Load() == measuring {
			c.latencies.add(end.Sub(begin))
		}
		begin = end
	}
	return nil
}

// stop lets every client finish its command, and returns the first error that one met.
func (l *load) stop() error {
	l.phase.Store(stopping)
	l.running.Wait()
	select {
	case err := <-l.failed:
		return err
	default:
		return nil
	}
}

// totals returns how many commands were answered, and the sum of their results. The load has stopped.
func (l *load) totals() (answered, sum uint64) {
	for _, c := range l.clients {
		answered += c.answered
		sum += c.sum
	}
	return answered, sum
}

// latencies returns those of all clients. The load has stopped.
func (l *load) latencies() *histogram {
	var all histogram
	for _, c := range l.clients {
		all.merge(&c.latencies)
	}
	return &all
}
