package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/e17579a5/raft"
)

// A machine is the replicated state: who holds which lock, and who waits for it. It is a
// raft.StateMachine, and so it has no clock. What it knows of time is what the log says: a command
// expire ends claims, and names each by the stamp that it had when its time was measured (expiry.go).
//
// These always hold. check looks at those that one state shows, and the model in machine_test.go at
// the others.
//
//   - A lock has at most one holder, and if it has waiters, it has a holder.
//   - Each grant has a token that is higher than all before it, of whatever lock, also if the owner
//     is the same. There is one counter for all locks: so tokens never fall, although a lock that
//     nobody holds takes no memory.
//   - Waiters get the lock in the order in which they came.
//   - An expiry whose measuring began before a renewal in the log changes nothing: each renewal
//     gives the claim another stamp.
//   - A claim's lease never gets shorter.
//   - Whoever isn't the holder with this very token can neither renew nor release.
type machine struct {
	mu sync.Mutex // the service reads the state while commands are applied

	last  uint64              // the latest number given: claims, tokens and stamps are numbered together
	locks map[string][]*claim // by name. The first claim holds the lock, the others wait in this order
	count int                 // the number of claims

	// The rest isn't replicated. It is how this server tells its own goroutines what changes.
	waiting map[uint64]chan struct{} // by claim: closed when it isn't waiting any more
	feed    *feed                    // of the goroutine that measures leases; nil if there is none
}

// A claim is one owner's stake in one lock: it holds the lock, or waits for it.
type claim struct {
	Name  string        `json:"name"`
	Owner string        `json:"owner"`
	Claim uint64        `json:"claim"`           // the number of the claim, which it keeps
	Token uint64        `json:"token,omitempty"` // the fencing token; 0 while the claim waits
	Stamp uint64        `json:"stamp"`           // another one after each renewal, and after the grant
	Lease time.Duration `json:"lease"`
	Wait  time.Duration `json:"wait,omitempty"` // for how long the latest request of a waiter waits
}

// lasts returns for how long the claim lasts, from when it got its stamp. A waiter must repeat its
// request before, so that one who is gone doesn't hold up the queue.
func (c *claim) lasts() time.Duration {
	if c.Token != 0 {
		return c.Lease
	}
	return c.Wait + c.Lease
}

func newMachine() *machine {
	return &machine{locks: map[string][]*claim{}, waiting: map[uint64]chan struct{}{}}
}

// Apply carries out commands. Every command gets a result, which says so if it was refused.
func (m *machine) Apply(entries []raft.Entry, results [][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		results[i] = encode(m.apply(entries[i].Data))
	}
}

func (m *machine) apply(data []byte) result {
	var c command
	err := json.Unmarshal(data, &c)
	if err == nil {
		err = c.check()
	}
	if err != nil {
		return result{Refused: refusedMalformed, Detail: err.Error()}
	}
	switch c.Do {
	case doAcquire:
		return m.acquire(&c)
	case doRenew:
		return m.renew(&c)
	case doRelease:
		return m.release(&c)
	}
	return m.expire(&c)
}

// next returns a number that is higher than all before it.
func (m *machine) next() uint64 {
	m.last++
	return m.last
}

// find returns the place of an owner's claim in a lock, or -1.
func (m *machine) find(name, owner string) int {
	return slices.IndexFunc(m.locks[name], func(c *claim) bool { return c.Owner == owner })
}

// acquire grants a lock that is free. For one that is held it adds a waiter. If the owner has a claim
// already, this is renewed: so whoever waits for long repeats the request, and keeps its place.
func (m *machine) acquire(c *command) result {
	claims := m.locks[c.Name]
	if at := m.find(c.Name, c.Owner); at >= 0 {
		own := claims[at]
		own.Lease, own.Stamp = max(own.Lease, c.Lease), m.next()
		if own.Token == 0 {
			own.Wait = c.Wait
		}
		m.touched(own)
		return result{Claim: own.Claim, Token: own.Token, Lease: own.Lease}
	}
	switch {
	case len(claims) > 0 && c.Wait == 0:
		return result{Refused: refusedHeld, Detail: fmt.Sprintf("%s is held by %s", c.Name, claims[0].Owner)}
	case len(claims) > maxWaiters:
		return result{Refused: refusedTooMany, Detail: fmt.Sprintf("%d wait for %s already", maxWaiters, c.Name)}
	case m.count == maxClaims:
		return result{Refused: refusedTooMany, Detail: fmt.Sprintf("there are %d holders and waiters already", maxClaims)}
	}
	added := &claim{Name: c.Name, Owner: c.Owner, Claim: m.next(), Lease: c.Lease, Wait: c.Wait}
	added.Stamp = added.Claim
	m.locks[c.Name] = append(claims, added)
	m.count++
	if len(claims) == 0 {
		m.grant(added)
	} else {
		m.touched(added)
	}
	return result{Claim: added.Claim, Token: added.Token, Lease: added.Lease}
}

// grant makes the first claim of a lock its holder.
func (m *machine) grant(c *claim) {
	c.Token = m.next()
	c.Stamp, c.Wait = c.Token, 0
	m.touched(c)
	m.wake(c)
}

// holder returns the claim that a command is about if its owner holds the lock with its token, and
// nil otherwise.
func (m *machine) holder(c *command) *claim {
	if claims := m.locks[c.Name]; len(claims) > 0 && claims[0].Owner == c.Owner && claims[0].Token == c.Token {
		return claims[0]
	}
	return nil
}

func (m *machine) renew(c *command) result {
	own := m.holder(c)
	if own == nil {
		return notHolder(c)
	}
	own.Stamp = m.next()
	m.touched(own)
	return result{Claim: own.Claim, Token: own.Token, Lease: own.Lease}
}

func (m *machine) release(c *command) result {
	own := m.holder(c)
	if at := m.find(c.Name, c.Owner); c.Token == 0 && at >= 0 {
		own = m.locks[c.Name][at]
	}
	if own == nil {
		return notHolder(c)
	}
	m.end(own)
	return result{}
}

func notHolder(c *command) result {
	detail := fmt.Sprintf("%s doesn't hold %s with token %d", c.Owner, c.Name, c.Token)
	if c.Token == 0 {
		detail = fmt.Sprintf("%s neither holds %s nor waits for it", c.Owner, c.Name)
	}
	return result{Refused: refusedNotHolder, Detail: detail}
}

// expire ends the claims that are still as they were seen. Waiters come first: if a lock's holder
// and the next waiter are both gone, the waiter must not get the lock.
func (m *machine) expire(c *command) result {
	for _, holders := range []bool{false, true} {
		for _, seen := range c.Expired {
			claims := m.locks[seen.Name]
			at := slices.IndexFunc(claims, func(c *claim) bool { return c.Claim == seen.Claim && c.Stamp == seen.Stamp })
			if at >= 0 && (claims[at].Token != 0) == holders {
				m.end(claims[at])
			}
		}
	}
	return result{}
}

// end removes a claim. If it held its lock, the next waiter gets that.
func (m *machine) end(c *claim) {
	claims := slices.DeleteFunc(m.locks[c.Name], func(other *claim) bool { return other == c })
	m.count--
	if m.feed != nil {
		m.feed.note(sighting{c.Name, c.Claim, c.Stamp}, 0)
	}
	m.wake(c)
	if len(claims) == 0 {
		delete(m.locks, c.Name)
		return
	}
	m.locks[c.Name] = claims
	if claims[0].Token == 0 {
		m.grant(claims[0])
	}
}

// touched tells the goroutine that measures leases of a claim with a new stamp.
func (m *machine) touched(c *claim) {
	if m.feed != nil {
		m.feed.note(sighting{c.Name, c.Claim, c.Stamp}, c.lasts())
	}
}

// wake wakes the requests that wait for a claim.
func (m *machine) wake(c *claim) {
	if wake, found := m.waiting[c.Claim]; found {
		close(wake)
		delete(m.waiting, c.Claim)
	}
}
