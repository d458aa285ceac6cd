package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest/history"
)

// maxClients is how many clients there may be.
const maxClients = 32

// A load is how much the clients ask for.
type load struct {
	name    string
	clients int
	pause   time.Duration // of a client between two operations: on average
}

// loads are the loads to choose from, in rising order.
var loads = []load{
	{"none", 0, 0},
	{"light", 4, 80 * time.Millisecond},
	{"medium", 12, 40 * time.Millisecond},
	{"heavy", maxClients, 2 * time.Millisecond},
}

// clientPatience is how long a client waits for an answer. Then it goes on, and doesn't know what
// became of its write.
const clientPatience = 2 * time.Second

// errDown says that no process runs at any server. So the operation never happened.
var errDown = fmt.Errorf("raftlab: all servers are down: %w", raft.ErrNotApplied)

// A host is a server as its clients see it.
type host interface {
	// serve returns the node and the state machine; nil while the server is down.
	serve() (*raft.Node, *registers)
}

// Clients perform one operation after the other: half of them writes, half of them reads. A client
// stays at one server until an operation fails there, or no process runs; then luck chooses another
// one. It also moves now and then without a reason, so that they spread over all servers.
type clients struct {
	judge *judge
	tally *tally
	hosts func() []host // the servers to choose from

	stale atomic.Bool // reads don't ask the leader (Node.StaleRead): the judge shall see it
	load  atomic.Int32
	woken [maxClients]chan struct{}
	end   context.CancelFunc
	group sync.WaitGroup
}

// newClients makes clients, which don't ask for anything yet.
func newClients(j *judge, t *tally, hosts func() []host) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{judge: j, tally: t, hosts: hosts, end: cancel}
	for i := range maxClients {
		c.woken[i] = make(chan struct{}, 1)
		c.group.Go(func() { c.run(ctx, i) })
	}
	return c
}

// close ends the clients. The judge must have ended: a client may wait for it.
func (c *clients) close() {
	c.end()
	c.group.Wait()
}

// setLoad chooses a load by its name.
func (c *clients) setLoad(name string) error {
	i := slices.IndexFunc(loads, func(l load) bool { return l.name == name })
	if i < 0 {
		return fmt.Errorf("there is no load %q", name)
	}
	c.load.Store(int32(i))
	for _, woken := range c.woken {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	return nil
}

// run is one client.
func (c *clients) run(ctx context.Context, client int) {
	var at host // the server at which the client is
	for number := 0; ctx.Err() == nil; {
		l := loads[c.load.Load()]
		if client >= l.clients {
			select {
			case <-c.woken[client]:
			case <-ctx.Done():
			}
			continue
		}
		number++
		at = c.operate(ctx, at, client, number)
		rest := time.NewTimer(time.Duration((rand.Float64() + 0.5) * float64(l.pause)))
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
		rest.Stop()
	}
}

// moveAfter is after how many operations, on average, a client moves without a reason.
const moveAfter = 50

// choose returns the server for the next operation: the one at which the client is, or another one.
// It returns no node if no process runs anywhere.
func (c *clients) choose(at host) (host, *raft.Node, *registers) {
	hosts := c.hosts()
	rand.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	if i := slices.Index(hosts, at); i >= 0 && rand.IntN(moveAfter) > 0 {
		hosts[0], hosts[i] = hosts[i], hosts[0]
	}
	for _, h := range hosts {
		if node, machine := h.serve(); node != nil {
			return h, node, machine
		}
	}
	return nil, nil, nil
}

// operate performs one operation, and tells the judge and the tally. It returns the server at which
// the client stays; nil if it leaves.
func (c *clients) operate(ctx context.Context, at host, client, number int) host {
	o := c.judge.take(rand.IntN(slots))
	if o == nil {
		return nil
	}
	call := history.RegisterCall{Key: o.key(), Read: rand.IntN(2) == 0}
	if !call.Read {
		call.Value = fmt.Sprintf("%d of client %d", number, client)
	}
	ctx, cancel := context.WithTimeout(ctx, clientPatience)
	defer cancel()
	at, node, machine := c.choose(at)
	began, start := o.history.Begin(client, call), time.Now()
	value, err := "", errDown
	if node != nil {
		value, err = c.perform(ctx, node, machine, o, call)
	}
	began.End(value, err)
	c.judge.give(o, err)
	c.tally.add(time.Since(start), err)
	if err != nil {
		return nil
	}
	return at
}

// errLate says that a register had a later generation although its operations hadn't ended. The
// judge must see that as what it is, an answer that no register gives.
var errLate = errors.New("too late")

// perform performs one operation at a server. A read that fails has no effect, and so it counts as
// not applied.
func (c *clients) perform(ctx context.Context, node *raft.Node, machine *registers, o *object, call history.RegisterCall) (string, error) {
	if !call.Read {
		result, err := node.Propose(ctx, write{o.slot, o.generation, call.Value}.encode())
		if err == nil && (len(result) == 0 || result[0] != '=') {
			return errLate.Error(), nil
		}
		return string(result[min(1, len(result)):]), err
	}
	err := c.read(ctx, node)
	if err != nil {
		return "", errors.Join(err, raft.ErrNotApplied)
	}
	value, known := machine.Value(o.slot, o.generation)
	if !known {
		return errLate.Error(), nil
	}
	return value, nil
}

// staleness is how old the state may be that a stale read shows: as old as it likes.
const staleness = time.Hour

// read prepares a read.
func (c *clients) read(ctx context.Context, node *raft.Node) error {
	if c.stale.Load() {
		_, err := node.StaleRead(ctx, staleness)
		return err
	}
	return node.Read(ctx)
}
