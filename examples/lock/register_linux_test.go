package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft/examples/lock/client"
	"github.com/e17579a5/raft/internal/process"
	"github.com/e17579a5/raft/rafttest/history"
)

// These flags make the long version:
//
//	go test ./examples/lock -run TestFencedRegister -v -timeout 30m -operations 100000 -kills 20
var (
	operations = flag.Int("operations", 1500, "how many operations TestFencedRegister checks")
	kills      = flag.Int("kills", 1, "how many times it kills the leader meanwhile")
)

const (
	workers   = 8
	perLock   = 1000          // there is an exact lock for so many operations
	perLossy  = 5000          // there is a lossy one for so many
	longLease = 2 * time.Hour // it doesn't end while the test runs
	lossyTime = 150 * time.Millisecond
)

// A bench is clients that take locks and write to the store, and remember what they saw. There are
// two kinds of locks. Holders of exact ones always release them, and their leases don't end. Holders
// of lossy ones often don't, and write to the store also when their leases are long over.
type bench struct {
	p            *processes
	begin        time.Time
	locks, lossy int

	mu     sync.Mutex
	count  map[string]int // of operations, by what they were and how they ended
	total  int
	grants []grant
	broken error
	stores *history.History[storeCall, storeState]
	exact  *history.History[lockCall, string]
}

// TestFencedRegister: clients use three processes and a store while the leader is killed. Each grant
// has a token that is higher than all before, no lease is shorter than was promised, each write that
// the store takes has a token that is at least the highest before, and locks and store are
// linearizable.
func TestFencedRegister(t *testing.T) {
	t.Parallel()
	b := &bench{
		p: startProcesses(t), begin: time.Now(), locks: 2 + *operations/perLock, lossy: 2 + *operations/perLossy, count: map[string]int{},
		stores: history.New[storeCall, storeState](), exact: history.New[lockCall, string](),
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range workers {
		c := b.p.client()
		all.Go(func() { b.work(ctx, i, c) })
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	for i := range *kills {
		b.awaitOperations(t, (i+1)*(*operations)/(*kills+1))
		leader := b.p.LeaderByStatus()
		leader.Kill()
		b.awaitOperations(t, b.done()+100)
		leader.Start()
	}
	b.awaitOperations(t, *operations)
	took := time.Since(b.begin)
	cancel()
	all.Wait()
	require.NoError(t, b.broken)
	require.NoError(t, judge(b.grants))
	require.NoError(t, history.Check(b.stores, fencedRegisters()))
	require.NoError(t, history.Check(b.exact, exactLocks()))
	for _, what := range []string{"try granted", "try held", "release", "look", "write accepted", "write refused", "read"} {
		require.Positive(t, b.count[what], "%s: %v", what, b.count)
	}
	require.Zero(t, b.exact.Count().Unknown, "a command of a session gets its result")
	t.Logf("%d operations in %v, %d kills: %v; %d grants", b.total, took.Round(time.Millisecond), *kills, b.count, len(b.grants))
}

func (b *bench) done() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.total
}

func (b *bench) awaitOperations(t *testing.T, n int) {
	require.Eventually(t, func() bool { return b.done() >= n }, 20*process.Patience, process.PollEach, "the cluster answers no more")
}

// did remembers that an operation came to its end.
func (b *bench) did(what string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count[what]++
	b.total++
	b.broken = errors.Join(b.broken, err)
}

// work is one client. When ctx ends, it still finishes what is under way.
func (b *bench) work(ctx context.Context, worker int, c *client.Client) {
	luck := rand.New(rand.NewPCG(uint64(worker), 1))
	var old grant // one that is over, or will be soon
	for round := 0; ctx.Err() == nil; round++ {
		name := fmt.Sprint("exact ", luck.IntN(b.locks))
		owner := fmt.Sprint(worker, "-", round)
		switch luck.IntN(10) {
		case 0, 1, 2, 3:
			b.holdExact(worker, c, name, owner)
		case 4, 5, 6:
			if g := b.holdLossy(worker, c, fmt.Sprint("lossy ", luck.IntN(b.lossy)), luck.IntN(3) > 0); g.token != 0 {
				old = g
			}
		case 7:
			began := b.exact.Begin(worker, lockCall{name, "", "look"})
			is, err := c.Look(context.Background(), name)
			holder, _, _ := strings.Cut(is.Holder, "/")
			began.End(holder, err)
			b.did("look", err)
		case 8:
			if old.token != 0 {
				b.write(worker, old.lock, old.token)
			}
		case 9:
			b.read(worker, fmt.Sprint("lossy ", luck.IntN(b.lossy)))
		}
	}
}

// try takes a lock if it is free.
func (b *bench) try(ctx context.Context, c *client.Client, name string, terms client.Terms) (*client.Lock, grant) {
	g := grant{lock: name, begin: time.Since(b.begin)}
	lock, err := c.TryAcquire(ctx, name, terms)
	g.end = time.Since(b.begin)
	switch {
	case err == nil:
		g.token, g.over = lock.Token(), g.begin+terms.Lease
		b.did("try granted", nil)
	case errors.Is(err, client.ErrHeld):
		b.did("try held", nil)
	default:
		b.did("try failed", err)
	}
	return lock, g
}

// keep remembers a grant.
func (b *bench) keep(g grant) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.grants = append(b.grants, g)
}

// holdExact takes a lock, writes, and releases the lock.
func (b *bench) holdExact(worker int, c *client.Client, name, owner string) {
	began := b.exact.Begin(worker, lockCall{name, owner, "try"})
	lock, g := b.try(context.Background(), c, name, client.Terms{Lease: longLease, Owner: owner})
	if lock == nil {
		began.End("held", nil)
		return
	}
	began.End("granted", nil)
	b.write(worker, name, lock.Token())
	g.over = time.Since(b.begin)
	released := b.exact.Begin(worker, lockCall{name, owner, "release"})
	err := lock.Release(context.Background())
	released.End("", err)
	b.did("release", err)
	b.keep(g)
}

// holdLossy takes a lock and writes. Then it releases the lock, or leaves it to its lease. It returns
// the grant, if there is one.
func (b *bench) holdLossy(worker int, c *client.Client, name string, release bool) grant {
	holding, leave := context.WithCancel(context.Background())
	defer leave()
	lock, g := b.try(holding, c, name, client.Terms{Lease: lossyTime})
	if lock == nil {
		return g
	}
	b.write(worker, name, lock.Token())
	if release {
		g.over = min(g.over, time.Since(b.begin))
		b.did("release", lock.Release(context.Background()))
	}
	b.keep(g)
	return g
}

// write writes to the store, and read reads from it.
func (b *bench) write(worker int, key string, token uint64) {
	call := storeCall{key, token, fmt.Sprint(worker, " ", time.Since(b.begin).Nanoseconds())}
	began := b.stores.Begin(worker, call)
	status, err := write(b.p.store.Address, strings.ReplaceAll(key, " ", "%20"), token, call.Value)
	is := storeState{Token: token, Value: call.Value}
	what := "write accepted"
	if status == http.StatusConflict {
		is, what = storeState{Refused: true}, "write refused"
	} else if err == nil && status != http.StatusOK {
		err = fmt.Errorf("a write got status %d", status)
	}
	began.End(is, err)
	b.did(what, err)
}

func (b *bench) read(worker int, key string) {
	began := b.stores.Begin(worker, storeCall{Key: key})
	var is record
	w, err := b.p.Client.Get("http://" + b.p.store.Address + "/store/" + strings.ReplaceAll(key, " ", "%20"))
	if err == nil {
		err = json.NewDecoder(w.Body).Decode(&is)
		err = errors.Join(err, w.Body.Close())
	}
	began.End(storeState{Token: is.Token, Value: is.Value}, err)
	b.did("read", err)
}
