package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

// The limits. The state machine checks them, so they are part of what all servers agree on: servers
// with other limits must not be in one cluster.
const (
	maxName    = 128 // bytes of the name of a lock, and of an owner
	minLease   = 100 * time.Millisecond
	maxLease   = 24 * time.Hour
	maxWait    = time.Minute // for how long an acquire may ask to wait; it can be repeated
	maxClaims  = 100_000     // holders and waiters of all locks
	maxWaiters = 1_000       // of one lock
	maxExpired = 1_000       // claims that one command may end
)

// A command is what goes through the log. Do says which of the fields count.
type command struct {
	Do    string `json:"do"`
	Name  string `json:"name,omitempty"`  // of the lock: acquire, renew, release
	Owner string `json:"owner,omitempty"` // acquire, renew, release
	// Lease is for how long the lock is held without a renewal, and Wait for how long the request
	// waits for it: acquire. Wait 0 stands for not joining the queue.
	Lease time.Duration `json:"lease,omitempty"`
	Wait  time.Duration `json:"wait,omitempty"`
	// Token is that of the holding: renew and release. Release takes 0 for whatever the owner has,
	// be it the lock or a place in the queue.
	Token uint64 `json:"token,omitempty"`
	// Expired are claims that have outlasted their time: expire.
	Expired []sighting `json:"expired,omitempty"`
}

// The values of command.Do.
const (
	doAcquire = "acquire"
	doRenew   = "renew"
	doRelease = "release"
	doExpire  = "expire"
)

// A sighting names a claim as it was at a moment. A claim that was renewed since has another stamp.
type sighting struct {
	Name  string `json:"name"`
	Claim uint64 `json:"claim"`
	Stamp uint64 `json:"stamp"`
}

// A result is what the state machine answers to a command.
type result struct {
	Refused string `json:"refused,omitempty"` // the code of a refusal; "" if the command was carried out
	Detail  string `json:"detail,omitempty"`  // a refusal, for people
	Claim   uint64 `json:"claim,omitempty"`   // acquire
	// Token is that of the holding; 0 for a claim that waits.
	Token uint64        `json:"token,omitempty"`
	Lease time.Duration `json:"lease,omitempty"` // acquire and renew
}

// The codes of refusals.
const (
	refusedMalformed = "malformed"  // no command that this program proposes
	refusedHeld      = "held"       // another owner holds the lock, and the request doesn't wait
	refusedTooMany   = "too_many"   // a limit is reached
	refusedNotHolder = "not_holder" // the owner doesn't hold the lock with this token
)

// encode returns a command or a result as bytes.
func encode(value any) []byte {
	text, _ := json.Marshal(value) // neither has a field that JSON can't write
	return text
}

// check says what is wrong with a command; nil if it can be applied.
func (c *command) check() error {
	switch c.Do {
	case doExpire:
		if len(c.Expired) > maxExpired {
			return fmt.Errorf("%d claims expire at once, more than %d", len(c.Expired), maxExpired)
		}
		return nil
	case doAcquire, doRenew, doRelease:
	default:
		return fmt.Errorf("there is no command %q", c.Do)
	}
	if err := checkName("the name of the lock", c.Name); err != nil {
		return err
	}
	if err := checkName("owner", c.Owner); err != nil {
		return err
	}
	switch {
	case c.Do == doAcquire && (c.Lease < minLease || c.Lease > maxLease):
		return fmt.Errorf("the lease is %v, not from %v to %v", c.Lease, minLease, maxLease)
	case c.Do == doAcquire && (c.Wait < 0 || c.Wait > maxWait):
		return fmt.Errorf("the wait is %v, not from 0 to %v", c.Wait, maxWait)
	case c.Do == doRenew && c.Token == 0:
		return errors.New("a renewal needs the token of the holding")
	}
	return nil
}

// checkName checks a name, of which what says whose it is. Names are shown to people, so that they
// have only what can be seen, and they are segments of paths.
func checkName(what, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%s is empty", what)
	case name == "." || name == "..":
		return fmt.Errorf("%s is %s, which no path can have", what, name)
	case len(name) > maxName:
		return fmt.Errorf("%s has %d bytes, more than %d", what, len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("%s %q is not UTF-8", what, name)
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) {
			return fmt.Errorf("%s %q has a character that can't be seen: %q", what, name, r)
		}
	}
	return nil
}
