package model

import (
	"time"

	"github.com/e17579a5/raft"
)

// Hosts say which runs of processes that serve several groups are explored: all runs that stay within
// these bounds. Each group has a member at each process, and real cores and a real Book
// (internal/coalesce) make up a process.
//
// Here time is a number of ticks. A heartbeat is sent once in a tick. The clocks of all processes are
// one, but any process may be late with whatever is due.
type Hosts struct {
	Name string
	// Processes and Groups are how many there are (2 to MaxServers, and 1 to maxGroups).
	Processes, Groups int
	// Learners are those of the processes, one bit each, whose members don't vote at first.
	Learners uint8
	// Fresh says that all begins when the processes have just started. Otherwise it begins when all
	// groups are led, and nothing happens any more: they are led by the first process, or with Spread by
	// one after the other.
	Fresh, Spread bool
	// Cut says that all begins when nothing has come to the first process for a while, and it has done
	// nothing: the others have lost it, and have elected another leader of the one group. The first
	// messages that were sent to it meanwhile are on their way.
	Cut bool
	// Given says that all begins when the first process has let the second one campaign, which doesn't know
	// it yet, and has given up waiting for that. The word is on its way.
	Given bool
	// Leases says that leaders ask for leases.
	Leases bool
	// AsyncDisks makes the end of each write a step of its own.
	AsyncDisks bool
	// Apart makes the begin and the end of a turn two steps, between which the process may do
	// something else. Late makes a turn that a Book asks for a step of its own.
	Apart, Late bool
	// InFlight is how many messages a link holds. When it is full, any of them may be lost.
	InFlight int
	// Targets are the sets of voters, one bit for each process, that a leader may be asked for. The
	// other processes become learners.
	Targets []uint8

	// How often something happens at most. Ticks is how often a tick passes. Elections is how often a
	// core campaigns before its time. Losses is how often a transport says that it has lost a process.
	// Failures is how often a group ends in a process that goes on; it may start there again.
	// Turns is how often a group takes a turn without a reason, and Hangs how often all shards of a
	// process stand still for a while.
	// Reads is how often any member is asked for a read, and LeaseReads for one that a lease may confirm.
	Ticks, Elections, Losses, Crashes, Failures, Transfers, Commands, Turns, Changes, Duplicates, Hangs, Reads, LeaseReads int
}

// maxGroups bounds the groups.
const maxGroups = 4

// The time of the cores and the Books
const (
	tick     = time.Millisecond
	hostWait = 5 * tick // an election timeout
	hostHold = 3 * tick // a lease
)

// A budgetOf is what may still happen.
type budgetOf uint8

const (
	ofTicks budgetOf = iota
	ofElections
	ofLosses
	ofCrashes
	ofFailures
	ofTransfers
	ofCommands
	ofTurns
	ofChanges
	ofDuplicates
	ofHangs
	ofReads
	ofLeaseReads
	numBudgets
)

type hostBudget [numBudgets]uint8

func (h *Hosts) budget() (b hostBudget) {
	for i, n := range [numBudgets]int{
		h.Ticks, h.Elections, h.Losses, h.Crashes, h.Failures, h.Transfers, h.Commands, h.Turns, h.Changes, h.Duplicates, h.Hangs,
		h.Reads, h.LeaseReads,
	} {
		b[i] = uint8(n)
	}
	return b
}

// configuration returns the configuration with some of the processes as voters.
func (h *Hosts) configuration(voters uint8) (members []raft.Member) {
	for i := range h.Processes {
		m := raft.Member{Server: raft.Server{ID: idOf(i), Address: string(idOf(i))}, Role: raft.Learner, Incarnation: incarnation}
		if voters>>i&1 != 0 {
			m.Role = raft.Voter
		}
		members = append(members, m)
	}
	return members
}

// reads says whether anybody reads, so that it matters what callers know.
func (h *Hosts) reads() bool { return h.Reads+h.LeaseReads > 0 }

// leaders returns how many processes lead groups in the beginning.
func (h *Hosts) leaders() int {
	if h.Spread {
		return h.Processes
	}
	return 1
}
