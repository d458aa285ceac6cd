package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
	"github.com/e17579a5/raft/internal/process"
)

// This flag makes the long version:
//
//	go test ./examples/lock -run TestDeadHolder -v -hand-overs 20
var handOvers = flag.Int("hand-overs", 1, "how many holders die in TestDeadHolder")

// A holder is a program that works with lock x. These variables tell it what it needs.
const (
	holderServers = "LOCK_TEST_SERVERS"
	holderStore   = "LOCK_TEST_STORE"
	holderLease   = "LOCK_TEST_LEASE"
)

func init() { programs[asHolder] = runHolder }

// runHolder acquires the lock, and then does what each line of the input says. It writes without
// looking at its lease: in a real program there is always a moment between the look and the write.
func runHolder() {
	lease, err := time.ParseDuration(os.Getenv(holderLease))
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Options{Servers: strings.Split(os.Getenv(holderServers), ","), Attempt: 2 * time.Second})
	if err != nil {
		panic(err)
	}
	lock, err := c.Acquire(context.Background(), "x", client.Terms{Lease: lease, Owner: "holder"})
	if err != nil {
		panic(err)
	}
	fmt.Println("holds", lock.Token())
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		switch do, value, _ := strings.Cut(lines.Text(), " "); do {
		case "look":
			fmt.Println("believes", lock.Held())
		case "write":
			status, err := write(os.Getenv(holderStore), "x", lock.Token(), value)
			fmt.Println("wrote", status, err)
		case "cause":
			<-lock.Context().Done()
			fmt.Println(context.Cause(lock.Context()))
		case "release":
			fmt.Println("released", lock.Release(context.Background()))
		}
	}
}

// write writes to the store at an address, and returns the status of HTTP.
func write(store, key string, token uint64, value string) (int, error) {
	body := strings.NewReader(fmt.Sprintf(`{"token": %d, "value": %q}`, token, value))
	r, err := http.NewRequest(http.MethodPut, "http://"+store+"/store/"+key, body)
	if err != nil {
		return 0, err
	}
	w, err := (&http.Client{Timeout: 5 * time.Second}).Do(r)
	if err != nil {
		return 0, err
	}
	return w.StatusCode, w.Body.Close()
}

// TestStoppedHolder: a holder is stopped for longer than its lease, between its look at the lock and
// its write. Another one gets the lock and writes. When the first one wakes up, it still does what it
// was about to do, and the store refuses that.
func TestStoppedHolder(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	first, low := p.startHolder(2 * time.Second)
	require.Equal(t, "wrote 200 <nil>", first.Ask("write before"))
	require.Equal(t, "believes true", first.Ask("look"))
	first.Pause()

	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	second, err := p.client().Acquire(ctx, "x", client.Terms{Lease: 10 * time.Second})
	require.NoError(t, err)
	require.Greater(t, second.Token(), low)
	status, err := write(p.store.Address, "x", second.Token(), "by the second")
	require.NoError(t, err)
	require.Equal(t, 200, status)
	require.True(t, second.Held())

	first.Tell("write late") // it is what the first one does next, whatever happens
	first.Resume()
	require.Equal(t, "wrote 409 <nil>", first.Line())
	require.Equal(t, "believes false", first.Ask("look"))
	require.Equal(t, client.ErrLeaseOver.Error(), first.Ask("cause"))
	var is record
	_, err = p.Request(p.store, http.MethodGet, "/store/x", &is)
	require.NoError(t, err)
	require.Equal(t, record{"x", second.Token(), "by the second"}, is)
	require.True(t, second.Held())
	require.NoError(t, second.Release(ctx))
}

// heartbeat is the default of raft.Config.
const heartbeat = 100 * time.Millisecond

// TestDeadHolder: when a holder dies, the next waiter gets the lock after the lease, and at most a
// heartbeat and a second later.
func TestDeadHolder(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	const lease = time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 2*process.Patience)
	defer cancel()
	waiter := p.client()
	var took []time.Duration
	for range *handOvers {
		first, low := p.startHolder(lease)
		granted := make(chan time.Time, 1)
		waiting, stop := context.WithCancel(ctx)
		go func() {
			if lock, err := waiter.Acquire(waiting, "x", client.Terms{Lease: 10 * time.Second}); err == nil && lock.Token() > low {
				granted <- time.Now()
				_ = lock.Release(ctx) // otherwise the next round takes too long
			}
			close(granted)
		}()
		process.Await(t, func() bool {
			is, err := waiter.Look(ctx, "x")
			return err == nil && len(is.Waiters) == 1
		}, "nobody waits")
		died := time.Now()
		first.Kill()
		at, ok := <-granted
		require.True(t, ok)
		stop()
		took = append(took, at.Sub(died))
		require.LessOrEqual(t, at.Sub(died), lease+heartbeat+time.Second)
	}
	slices.Sort(took)
	t.Logf("%d hand-overs after a death, lease %v: median %v, worst %v", len(took), lease, took[len(took)/2], took[len(took)-1])
}

// TestLeaderKilledWhileLocksAreHeld: the leader is killed. Holders that renew keep their locks, and a
// lease that nobody renews is not shorter than was promised. Every later grant has a higher token.
func TestLeaderKilledWhileLocksAreHeld(t *testing.T) {
	t.Parallel()
	p := startProcesses(t)
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	c := p.client()
	const lease = 3 * time.Second
	highest := uint64(0)
	var held []*client.Lock
	for i := range 5 {
		lock, err := c.Acquire(ctx, fmt.Sprint("held ", i), client.Terms{Lease: lease})
		require.NoError(t, err)
		require.Greater(t, lock.Token(), highest)
		highest = lock.Token()
		held = append(held, lock)
	}
	dying, die := context.WithCancel(ctx)
	began := time.Now()
	left, err := c.Acquire(dying, "left", client.Terms{Lease: lease})
	require.NoError(t, err)
	die() // nobody renews it any more
	highest = left.Token()

	killed := p.LeaderByStatus()
	killed.Kill()
	next, err := p.client().Acquire(ctx, "left", client.Terms{Lease: lease})
	require.NoError(t, err)
	took := time.Since(began)
	require.GreaterOrEqual(t, took, lease, "the lease was shorter than promised")
	require.Greater(t, next.Token(), highest)
	for _, lock := range held {
		require.True(t, lock.Held(), "%v", context.Cause(lock.Context()))
		_, err := c.TryAcquire(ctx, lock.Name(), client.Terms{})
		require.ErrorIs(t, err, client.ErrHeld)
		require.NoError(t, lock.Release(ctx))
		again, err := c.TryAcquire(ctx, lock.Name(), client.Terms{})
		require.NoError(t, err)
		require.Greater(t, again.Token(), next.Token())
		require.NoError(t, again.Release(ctx))
	}
	killed.Start()
	t.Logf("a lease of %v that nobody renewed lasted %v, with the leader killed", lease, took)
	require.ErrorIs(t, context.Cause(held[0].Context()), client.ErrReleased)
	require.False(t, errors.Is(context.Cause(next.Context()), client.ErrLeaseOver))
}
