package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/rafttest"
	"github.com/e17579a5/raft/wire"
)

// do applies one command to a machine.
func do(t require.TestingT, m *machine, c command) (r result) {
	return raw(t, m, encode(c))
}

func raw(t require.TestingT, m *machine, data []byte) (r result) {
	results := make([][]byte, 1)
	m.Apply([]raft.Entry{{Kind: wire.EntryCommand, Data: data}}, results)
	require.NoError(t, json.Unmarshal(results[0], &r))
	return r
}

// acquireOf returns an acquire that waits.
func acquireOf(name, owner string) command {
	return command{Do: doAcquire, Name: name, Owner: owner, Lease: time.Second, Wait: time.Second}
}

// commands generates commands of few owners and locks, and some that make no sense. Numbers are so
// low that they often fit.
func commands() *rapid.Generator[command] {
	return rapid.Custom(func(t *rapid.T) command {
		number := rapid.Uint64Range(0, 40)
		c := command{
			Do:    rapid.SampledFrom([]string{doAcquire, doAcquire, doAcquire, doRenew, doRelease, doExpire, "steal"}).Draw(t, "do"),
			Name:  rapid.SampledFrom([]string{"x", "y", "y", "x", strings.Repeat("n", maxName+1)}).Draw(t, "name"),
			Owner: rapid.SampledFrom([]string{"a", "b", "c", "d", "a", "b", "c", "\n"}).Draw(t, "owner"),
			Lease: time.Duration(rapid.IntRange(1, 40).Draw(t, "lease")) * minLease,
			Wait:  time.Duration(rapid.IntRange(0, 3).Draw(t, "wait")) * time.Second,
			Token: number.Draw(t, "token"),
		}
		if c.Do == doExpire {
			for range rapid.IntRange(0, 3).Draw(t, "expired") {
				c.Expired = append(c.Expired, sighting{rapid.SampledFrom([]string{"x", "y"}).Draw(t, "of"), number.Draw(t, "claim"), number.Draw(t, "stamp")})
			}
		}
		return c
	})
}

// TestLocksReplicated: the locks give the same results on every server, whatever crashes, parts or is
// forgotten, and keep their invariants.
func TestLocksReplicated(t *testing.T) {
	rafttest.Check(t, rafttest.Property{
		Machine:   func() raft.StateMachine { return newMachine() },
		Command:   rapid.Map(commands(), func(c command) []byte { return encode(c) }),
		Invariant: func(m raft.StateMachine) error { return m.(*machine).check() },
	})
}

// TestLocksAreAStateMachine: the locks keep the contract of a state machine.
func TestLocksAreAStateMachine(t *testing.T) {
	require.NoError(t, rafttest.TestStateMachine(func() raft.StateMachine { return newMachine() }, func(r *rand.Rand) []byte {
		owner := string(rune('a' + r.IntN(4)))
		switch r.IntN(4) {
		case 0:
			return encode(command{Do: doRelease, Name: "x", Owner: owner})
		case 1:
			n := uint64(r.IntN(100))
			return encode(command{Do: doExpire, Expired: []sighting{{"x", n, n + uint64(r.IntN(3))}}})
		}
		return encode(acquireOf("x", owner))
	}))
}

// A model is what the locks do, said in another way: one list of claims for all locks, in the order
// in which they came. The first claim of a lock holds it.
type model struct {
	claims []modelClaim
	token  uint64 // the highest that was granted
}

type modelClaim struct {
	name, owner string
	number      uint64
	token       uint64
	lease       time.Duration
	renewals    int // how often it was renewed or granted
}

func (o *model) of(name string) (all []modelClaim) {
	for _, c := range o.claims {
		if c.name == name {
			all = append(all, c)
		}
	}
	return all
}

// TestLocksAgreeWithModel: who holds which lock and who waits in which order is what the model says;
// every token is higher than all before it.
func TestLocksAgreeWithModel(t *testing.T) {
	reached := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		m, o := newMachine(), &model{}
		stamps := map[sighting]int{} // how often a claim had been renewed when it was seen so
		for range rapid.IntRange(1, 60).Draw(t, "commands") {
			c := commands().Draw(t, "command")
			if len(m.locks) > 0 && rapid.Bool().Draw(t, "aimed") {
				aim(t, m, &c)
			}
			r := do(t, m, c)
			require.NoError(t, m.check())
			o.apply(t, &c, &r, stamps)
			o.compare(t, m, stamps)
			reached[c.Do+" "+r.Refused]++
		}
	})
	for _, what := range []string{"acquire ", "acquire held", "acquire malformed", "renew ", "renew not_holder", "release ", "release not_holder", "expire ", "steal malformed"} {
		require.Positive(t, reached[what], "%s: %v", what, reached)
	}
}

// aim makes a command one that is about a claim that there is.
func aim(t *rapid.T, m *machine, c *command) {
	name := rapid.SampledFrom(slices.Sorted(maps.Keys(m.locks))).Draw(t, "lock")
	is := rapid.SampledFrom(m.locks[name]).Draw(t, "claim")
	switch c.Do {
	case doExpire:
		c.Expired = append(c.Expired, sighting{name, is.Claim, is.Stamp})
	case doRenew, doRelease:
		c.Name, c.Owner, c.Token = name, is.Owner, is.Token
	}
}

// apply applies a command to the model, and holds the result to it.
func (o *model) apply(t *rapid.T, c *command, r *result, stamps map[sighting]int) {
	malformed := c.check() != nil
	require.Equal(t, malformed, r.Refused == refusedMalformed)
	if malformed {
		return
	}
	at := slices.IndexFunc(o.claims, func(x modelClaim) bool { return x.name == c.Name && x.owner == c.Owner })
	holds := at >= 0 && o.of(c.Name)[0].owner == c.Owner && o.claims[at].token == c.Token
	switch {
	case c.Do == doAcquire && at >= 0:
		o.claims[at].lease = max(o.claims[at].lease, c.Lease)
		o.claims[at].renewals++
		require.Equal(t, o.claims[at].token, r.Token, "a repeated acquire gets the same token")
		require.Equal(t, o.claims[at].number, r.Claim)
	case c.Do == doAcquire && len(o.of(c.Name)) > 0 && c.Wait == 0:
		require.Equal(t, refusedHeld, r.Refused)
	case c.Do == doAcquire:
		require.Empty(t, r.Refused)
		o.claims = append(o.claims, modelClaim{name: c.Name, owner: c.Owner, number: r.Claim, lease: c.Lease, renewals: 1})
	case c.Do == doRenew && holds:
		require.Empty(t, r.Refused)
		o.claims[at].renewals++
	case c.Do == doRelease && (holds || at >= 0 && c.Token == 0):
		require.Empty(t, r.Refused)
		o.claims = slices.Delete(o.claims, at, at+1)
	case c.Do == doExpire:
		o.claims = slices.DeleteFunc(o.claims, func(x modelClaim) bool {
			return slices.ContainsFunc(c.Expired, func(s sighting) bool {
				renewals, known := stamps[s]
				return s.Name == x.name && s.Claim == x.number && known && renewals == x.renewals
			})
		})
	default:
		require.Equal(t, refusedNotHolder, r.Refused)
	}
}

// compare holds the state to the model. The first claim of each lock must hold it; if it didn't
// before, its token must be new.
func (o *model) compare(t *rapid.T, m *machine, stamps map[sighting]int) {
	seen := map[string]int{}
	highest := o.token
	for i := range o.claims {
		c := &o.claims[i]
		require.Less(t, seen[c.name], len(m.locks[c.name]), "%s is not in the queue", c.owner)
		is := m.locks[c.name][seen[c.name]]
		require.Equal(t, c.owner, is.Owner, "the queue of %s", c.name)
		require.Equal(t, c.number, is.Claim)
		require.Equal(t, c.lease, is.Lease)
		if seen[c.name] == 0 && c.token == 0 {
			require.Greater(t, is.Token, o.token, "a grant has a token that is higher than all before it")
			c.token = is.Token
			c.renewals++
			highest = max(highest, is.Token)
		}
		require.Equal(t, c.token, is.Token)
		seen[c.name]++
		stamps[sighting{c.name, c.number, is.Stamp}] = c.renewals
	}
	o.token = highest
	for name, claims := range m.locks {
		require.Len(t, claims, seen[name])
	}
}

// TestTokensGrowWithEveryGrant: an owner that takes its own lock again gets a higher token, also if
// nobody else was there, and if another lock was used meanwhile.
func TestTokensGrowWithEveryGrant(t *testing.T) {
	m := newMachine()
	last := uint64(0)
	for _, end := range []string{"release", "expire", "release", "expire"} {
		for _, name := range []string{"x", "y"} {
			got := do(t, m, acquireOf(name, "a"))
			require.Greater(t, got.Token, last)
			last = got.Token
			if end == "release" {
				require.Empty(t, do(t, m, command{Do: doRelease, Name: name, Owner: "a", Token: last}).Refused)
			} else {
				do(t, m, command{Do: doExpire, Expired: []sighting{{name, got.Claim, last}}})
			}
			require.Empty(t, m.locks, "a lock that nobody holds takes no memory")
		}
	}
}

// TestExpiryAfterRenewal: an expiry that was measured before a renewal changes nothing. The one that
// was measured after it ends the claim.
func TestExpiryAfterRenewal(t *testing.T) {
	m := newMachine()
	held := do(t, m, acquireOf("x", "a"))
	waits := do(t, m, acquireOf("x", "b"))
	measured := []sighting{{"x", held.Claim, m.locks["x"][0].Stamp}, {"x", waits.Claim, m.locks["x"][1].Stamp}}
	do(t, m, command{Do: doRenew, Name: "x", Owner: "a", Token: held.Token})
	do(t, m, acquireOf("x", "b"))
	do(t, m, command{Do: doExpire, Expired: measured})
	require.Len(t, m.locks["x"], 2)
	do(t, m, command{Do: doExpire, Expired: []sighting{{"x", held.Claim, m.locks["x"][0].Stamp}}})
	require.Equal(t, "b", m.locks["x"][0].Owner)
}

// TestExpiryOfHolderAndWaiter: if the holder and the next waiter are both gone, the waiter doesn't
// get the lock, in whichever order they are named.
func TestExpiryOfHolderAndWaiter(t *testing.T) {
	for _, first := range []int{0, 1} {
		m := newMachine()
		for _, owner := range []string{"a", "b", "c"} {
			do(t, m, acquireOf("x", owner))
		}
		seen := func(at int) sighting { c := m.locks["x"][at]; return sighting{"x", c.Claim, c.Stamp} }
		do(t, m, command{Do: doExpire, Expired: []sighting{seen(first), seen(1 - first)}})
		require.Len(t, m.locks["x"], 1)
		require.Equal(t, "c", m.locks["x"][0].Owner)
		require.NoError(t, m.check())
	}
}

// TestLeasesDontGetShorter: a late copy of an acquire with a shorter lease changes no promise.
func TestLeasesDontGetShorter(t *testing.T) {
	m := newMachine()
	long := acquireOf("x", "a")
	long.Lease = time.Hour
	do(t, m, long)
	require.Equal(t, time.Hour, do(t, m, acquireOf("x", "a")).Lease)
}

func TestLimits(t *testing.T) {
	m := newMachine()
	for i := range 1 + maxWaiters {
		require.Empty(t, do(t, m, acquireOf("x", fmt.Sprint(i))).Refused)
	}
	require.Equal(t, refusedTooMany, do(t, m, acquireOf("x", "one more")).Refused)
	require.Empty(t, do(t, m, acquireOf("x", "5")).Refused, "whoever waits may ask again")
	for i := range maxClaims - 1 - maxWaiters {
		require.Empty(t, m.apply(encode(acquireOf(fmt.Sprint("lock ", i), "a"))).Refused)
	}
	require.Equal(t, refusedTooMany, do(t, m, acquireOf("one more", "a")).Refused)
	do(t, m, command{Do: doRelease, Name: "lock 7", Owner: "a"})
	require.Empty(t, do(t, m, acquireOf("one more", "a")).Refused)
	require.NoError(t, m.check())
}

func TestMalformedCommands(t *testing.T) {
	m := newMachine()
	at := func(change func(*command)) []byte {
		c := acquireOf("x", "a")
		change(&c)
		return encode(c)
	}
	for want, data := range map[string][]byte{
		"no command":                nil,
		"no command \"steal\"":      at(func(c *command) { c.Do = "steal" }),
		"name of the lock is empty": at(func(c *command) { c.Name = "" }),
		"is .., which no path":      at(func(c *command) { c.Name = ".." }),
		"owner is empty":            at(func(c *command) { c.Owner = "" }),
		"129 bytes, more than 128":  at(func(c *command) { c.Owner = strings.Repeat("x", maxName+1) }),
		"can't be seen":             at(func(c *command) { c.Name = "a\x00" }),
		"lease is 99":               at(func(c *command) { c.Lease = minLease - time.Millisecond }),
		"lease is 24h0m1s":          at(func(c *command) { c.Lease = maxLease + time.Second }),
		"wait is -1ns":              at(func(c *command) { c.Wait = -1 }),
		"wait is 1m0.000000001s":    at(func(c *command) { c.Wait = maxWait + 1 }),
		"needs the token":           at(func(c *command) { c.Do = doRenew }),
		"1001 claims expire":        at(func(c *command) { c.Do, c.Expired = doExpire, make([]sighting, maxExpired+1) }),
	} {
		r := raw(t, m, data)
		require.Equal(t, refusedMalformed, r.Refused)
		if data != nil {
			require.Contains(t, r.Detail, want)
		}
	}
	require.Empty(t, m.locks)
	require.Empty(t, do(t, m, command{Do: doAcquire, Name: strings.Repeat("ü", maxName/2), Owner: "a", Lease: minLease}).Refused)
	require.Empty(t, do(t, m, command{Do: doAcquire, Name: "x", Owner: "a", Lease: maxLease, Wait: maxWait}).Refused)
	require.ErrorContains(t, checkName("the key", "\xff"), "not UTF-8")
}

func TestSnapshotsThatCantBeRead(t *testing.T) {
	m := newMachine()
	do(t, m, acquireOf("x", "a"))
	do(t, m, acquireOf("x", "b"))
	captured, err := m.Snapshot()
	require.NoError(t, err)
	var text bytes.Buffer
	n, err := captured.WriteTo(&text)
	require.NoError(t, err)
	require.EqualValues(t, text.Len(), n)

	restored := newMachine()
	do(t, restored, acquireOf("z", "a"))
	broken := errors.New("broken disk")
	require.ErrorIs(t, restored.Restore(iotest.ErrReader(broken)), broken)
	for _, wrong := range []string{
		"", text.String()[:text.Len()/2], text.String() + "1",
		strings.Replace(text.String(), `"last":3`, `"last":2`, 1),
		strings.Replace(text.String(), `"owner":"b"`, `"owner":"a"`, 1),
		strings.Replace(text.String(), `"lease":1000000000`, `"lease":1`, 1),
	} {
		require.NotEqual(t, text.String(), wrong)
		require.ErrorContains(t, restored.Restore(strings.NewReader(wrong)), "lock: read snapshot: ", wrong)
	}
	require.Contains(t, restored.locks, "z", "a snapshot that can't be read changes nothing")
	require.NoError(t, restored.Restore(bytes.NewReader(text.Bytes())))
	require.Equal(t, m.locks, restored.locks)
	require.Equal(t, m.last, restored.last)
}
