package raft

import (
	"bytes"
	"slices"
)

// A process may serve thousands of groups, in most of which nothing happens. Their cores rest: they let
// go of what they need only while something happens (Coalesced.Rest), and have it anew with the next
// event.

// aside is what is empty while nothing happens. A core that rests has none, which is the same.
type aside struct {
	calls    calls
	answers  []Answer `state:"transient"`
	reads    readLists
	incoming incoming
	streamEffects
	snapshotCalls
	machineWork
	diskReads
	fingerprints fingerprints
	courtesy     courtesy
	repairs      repairs
	scrubbing    scrubbing
}

func (a *aside) encode(s *stateEncoder) {
	a.calls.encode(s)
	a.reads.encode(s)
	a.incoming.encode(s)
	a.streamEffects.encode(s)
	a.snapshotCalls.encode(s)
	a.machineWork.encode(s)
	a.diskReads.encode(s)
	a.fingerprints.encode(s)
	a.courtesy.encode(s)
	a.repairs.encode(s)
	a.scrubbing.encode(s)
}

func (a *aside) clone() *aside {
	n := *a
	n.calls, n.answers = a.calls.clone(), slices.Clone(a.answers)
	n.reads = a.reads.clone()
	n.streamEffects, n.snapshotCalls = a.streamEffects.clone(), a.snapshotCalls.clone()
	n.machineWork = a.machineWork.clone()
	n.diskReads = a.diskReads.clone()
	n.fingerprints = a.fingerprints.clone()
	n.repairs = a.repairs.clone()
	return &n
}

// empty says whether nothing of it decides anything: then its encoding is that of an empty one.
func (a *aside) empty() bool {
	some := func(id ServerID) byte { return byte(min(len(id), 1)) }
	is, would := stateEncoder{name: some}, stateEncoder{name: some}
	a.encode(&is)
	new(aside).encode(&would)
	return bytes.Equal(is.b, would.b)
}

// wake gives a core that rests what it has let go of. Each event begins with it, and so does each
// question about what may be aside.
func (c *Core) wake() {
	if c.aside == nil {
		c.aside = new(aside)
	}
}

// rest lets go of what this core needs only while something happens: what is aside, room for what
// isn't there, and the entries in memory if nobody is about to need them, since the disk has them.
func (c *Core) rest() {
	c.wake()
	if !c.still() {
		return
	}
	spare(&c.out.ready)
	spare(&c.out.held)
	spare(&c.out.flights)
	spare(&c.proposals.items)
	c.log.tail = tail{}
	if c.aside.empty() {
		c.aside = nil
	}
}

// spare lets go of the memory of a slice that is empty.
func spare[T any](s *[]T) {
	if len(*s) == 0 {
		*s = nil
	}
}
