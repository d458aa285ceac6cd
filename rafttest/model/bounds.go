package model

import (
	"fmt"
	"math"

	"github.com/e17579a5/raft"
)

// Bounds say which runs are explored: all runs that stay within them. A step that would leave them
// isn't taken. If Servers, Terms or InFlight is 0, it stands for 3, 2 or 2.
type Bounds struct {
	// Servers is the number of servers in the cluster (2 to MaxServers). All of them vote.
	Servers int
	// Terms is the number of terms after the one in which the cluster was founded (1 to MaxTerms).
	Terms int
	// Commands is how often a command is proposed, and Reads how often a read is called. They
	// happen only at servers that lead. With Anywhere they happen at every server, so that commands
	// and reads are forwarded.
	Commands, Reads int
	Anywhere        bool
	// Changes is how often a leader is asked to remove a server, or to add one again that was
	// removed. Transfers is how often a leader is asked to hand over to another server.
	Changes, Transfers int
	// InFlight is the number of messages that a link holds. A link leads from one server to
	// another. The messages on it arrive in any order, or never.
	InFlight int
	// Soup takes the links away: a message that was once sent stays. It may arrive at any time, any
	// number of times, or never. This allows more than any InFlight, Losses and Duplicates do.
	Soup bool
	// Crashes is how often a server crashes and starts again. Duplicates is how often a message
	// arrives and stays on its link all the same.
	Crashes, Duplicates int
	// Damages is how often a server crashes and finds, when it starts again, that its disk has lost
	// the bytes of an entry behind the founding one. Without Soup, or with Rounds or Timeouts, states
	// that differ only in the names of servers count as different then: a server asks the others for
	// these bytes in an order.
	Damages int
	// Losses is how often a message is lost to make room for another one on a full link; negative
	// means any number of times. A message that is never delivered doesn't count, but it keeps its
	// place on the link.
	Losses int

	// Timeouts lets every armed deadline pass at any time. So elections begin with pre-votes,
	// leaders step down, and so on. Without it no time passes. Servers then campaign because they
	// are told to by TimeoutNow, at any time.
	Timeouts bool
	// Stalls lets disks stand still for too long. It needs Timeouts. A leader then hands over by
	// itself and steps down.
	Stalls bool
	// Rounds is the number of rounds of heartbeats that each leader sends. With 0, even the first
	// round is lost, and followers learn of a leader by its appends.
	Rounds int
	// AsyncDisks makes the end of each write a step of its own. Other steps may happen before it,
	// and so may a crash. The oldest writes in the disk's queue survive a crash: any number of
	// them. Without AsyncDisks every write takes effect at once.
	AsyncDisks bool
	// Writes is the number of writes that a disk is given at a time (1 if it is 0).
	Writes int
	// Held is the number of messages that may wait for a disk. A step that would make them more
	// isn't taken. If it is 0, it stands for the number of messages that the links to the other
	// servers hold. With Soup there is no such bound.
	Held int
	// AppendBytes bounds the entries in one append beyond the first, in bytes (the default of
	// raft.CoreConfig if it is 0).
	AppendBytes int
}

// The limits of what can be explored
const (
	MaxServers = 5
	MaxTerms   = 6
	// maxCount bounds each number of events.
	maxCount = 14
	// maxInFlight bounds the messages on a link.
	maxInFlight = 16
)

// normalize fills in the defaults. It returns an error if the bounds exceed the limits.
func (b *Bounds) normalize() error {
	if b.Servers == 0 {
		b.Servers = 3
	}
	if b.Terms == 0 {
		b.Terms = 2
	}
	if b.InFlight == 0 {
		b.InFlight = 2
	}
	for _, limit := range []struct {
		name            string
		value, min, max int
	}{
		{"Servers", b.Servers, 2, MaxServers},
		{"Terms", b.Terms, 1, MaxTerms},
		{"Commands", b.Commands, 0, maxCount},
		{"Reads", b.Reads, 0, maxCount},
		{"Changes", b.Changes, 0, maxCount},
		{"Transfers", b.Transfers, 0, maxCount},
		{"InFlight", b.InFlight, 1, maxInFlight},
		{"Crashes", b.Crashes, 0, maxCount},
		{"Damages", b.Damages, 0, maxCount},
		{"Duplicates", b.Duplicates, 0, maxCount},
		{"Losses", b.Losses, -1 << 31, 250},
		{"Rounds", b.Rounds, 0, maxCount},
		{"Writes", b.Writes, 0, 4},
		{"Held", b.Held, 0, 1000},
		{"AppendBytes", b.AppendBytes, 0, 1 << 30},
	} {
		if limit.value < limit.min || limit.value > limit.max {
			return fmt.Errorf("model: %s is %d; %d to %d are possible", limit.name, limit.value, limit.min, limit.max)
		}
	}
	if b.Soup {
		b.Held = math.MaxInt
	} else if b.Held == 0 {
		b.Held = b.InFlight * (b.Servers - 1)
	}
	return nil
}

// lastTerm returns the highest term that a server may be in.
func (b *Bounds) lastTerm() raft.Term { return foundingTerm + raft.Term(b.Terms) }

// A budget says how often each kind of event may still happen.
type budget struct {
	commands, reads, crashes, duplicates, losses, changes, transfers, damages uint8
}

// endless stands for any number of losses.
const endless = 255

// budget returns the budget of a whole run.
func (b *Bounds) budget() budget {
	losses := uint8(endless)
	if b.Losses >= 0 {
		losses = uint8(b.Losses)
	}
	duplicates := uint8(b.Duplicates)
	if b.Soup {
		duplicates = 0 // with Soup any number of them costs nothing
	}
	return budget{uint8(b.Commands), uint8(b.Reads), uint8(b.Crashes), duplicates, losses, uint8(b.Changes), uint8(b.Transfers),
		uint8(b.Damages)}
}

// pack returns the budget as a number.
func (b budget) pack() uint64 {
	return uint64(b.commands) | uint64(b.reads)<<4 | uint64(b.crashes)<<8 | uint64(b.duplicates)<<12 |
		uint64(b.losses)<<16 | uint64(b.changes)<<24 | uint64(b.transfers)<<28 | uint64(b.damages)<<32
}

// unpackBudget undoes pack.
func unpackBudget(n uint64) budget {
	return budget{uint8(n & 15), uint8(n >> 4 & 15), uint8(n >> 8 & 15), uint8(n >> 12 & 15), uint8(n >> 16),
		uint8(n >> 24 & 15), uint8(n >> 28 & 15), uint8(n >> 32)}
}
