package model

import (
	"fmt"
	"math"

	"github.com/e17579a5/raft"
)

// Bounds say which runs are explored: all those that stay within them. A step that would leave them isn't
// taken. The zero values of Servers, Terms and InFlight stand for 3, 2 and 2.
type Bounds struct {
	// Servers is the size of the cluster (2 to MaxServers); all of them vote.
	Servers int
	// Terms is how many terms there are beside the one in which the cluster was founded (1 to MaxTerms).
	Terms int
	// Commands is how often somebody proposes, Reads how often somebody reads: at servers that lead, or with
	// Anywhere at every server, so that commands and reads are forwarded.
	Commands, Reads int
	Anywhere        bool
	// Changes is how often somebody asks a leader to remove one of the servers, or to add one anew that was removed.
	// Transfers is how often somebody asks a leader to hand over to another server.
	Changes, Transfers int
	// InFlight is how many messages a link holds, from one server to another. What is on a link arrives in
	// any order, or never.
	InFlight int
	// Soup takes the links away: a message that was once sent stays, to arrive at any time, any number of
	// times, or never. That is more than any InFlight, Losses and Duplicates allow.
	Soup bool
	// Crashes is how often some server crashes and starts again, Duplicates how often some message arrives
	// and stays on its link all the same.
	Crashes, Duplicates int
	// Losses is how often a message makes room for another on a link that is full; negative for any number of
	// times. Who is late for ever isn't counted, but keeps its place on the link.
	Losses int

	// Timeouts lets every armed deadline pass at any time, so that elections begin with pre-votes, leaders
	// step down and so on. Without it no time passes; servers then campaign because they are told to by
	// TimeoutNow, at any time.
	Timeouts bool
	// Stalls lets disks stand still for too long, with Timeouts: then a leader hands over by itself and steps down.
	Stalls bool
	// Rounds is how many rounds of heartbeats of each leader leave it. With 0 not even those leave with which
	// it begins: they are lost, and followers learn of a leader by its appends.
	Rounds int
	// AsyncDisks makes the end of each write a step of its own, before which others happen, and a crash, of
	// which the oldest writes in the disk's queue survive: any number of them. Without it every write takes
	// effect at once.
	AsyncDisks bool
	// Writes is how many writes a disk is given at a time (1 when 0).
	Writes int
	// Held is how many messages wait for a disk: what would make them more doesn't happen (as many as the
	// links to the other servers hold when 0). Without links there is no such bound.
	Held int
	// AppendBytes bounds the entries in one append beyond the first (the default of raft.CoreConfig when 0).
	AppendBytes int
}

// Limits of what can be explored.
const (
	MaxServers = 5
	MaxTerms   = 6
	// maxCount bounds each of the numbers of events.
	maxCount = 14
	// maxInFlight bounds the messages on a link.
	maxInFlight = 16
)

// normalize fills in the defaults and refuses what can't be explored.
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

// lastTerm is the highest term that a server may be in.
func (b *Bounds) lastTerm() raft.Term { return foundingTerm + raft.Term(b.Terms) }

// A budget is what may still happen: how often, by what.
type budget struct {
	commands, reads, crashes, duplicates, losses, changes, transfers uint8
}

// endless stands for any number of losses.
const endless = 255

// budget returns what may happen in the whole of a run.
func (b *Bounds) budget() budget {
	losses := uint8(endless)
	if b.Losses >= 0 {
		losses = uint8(b.Losses)
	}
	duplicates := uint8(b.Duplicates)
	if b.Soup {
		duplicates = 0 // any number of them costs nothing
	}
	return budget{uint8(b.Commands), uint8(b.Reads), uint8(b.Crashes), duplicates, losses, uint8(b.Changes), uint8(b.Transfers)}
}

// pack returns the budget as a number.
func (b budget) pack() uint32 {
	return uint32(b.commands) | uint32(b.reads)<<4 | uint32(b.crashes)<<8 | uint32(b.duplicates)<<12 |
		uint32(b.losses)<<16 | uint32(b.changes)<<24 | uint32(b.transfers)<<28
}

// unpackBudget undoes pack.
func unpackBudget(n uint32) budget {
	return budget{uint8(n & 15), uint8(n >> 4 & 15), uint8(n >> 8 & 15), uint8(n >> 12 & 15), uint8(n >> 16),
		uint8(n >> 24 & 15), uint8(n >> 28)}
}
