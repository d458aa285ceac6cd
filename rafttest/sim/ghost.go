package sim

import (
	"slices"
	"sort"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/sessionmodel"
	"github.com/e17579a5/raft/wire"
)

// A ghost holds what an observer knows that sees everything and forgets nothing, not even in
// crashes. The cluster itself never looks at it.
type ghost struct {
	// log has, for each index, the entries that ever stood there in any log: at most one for each
	// term.
	log [][]slot

	// committed is the log as far as some leader has committed it. The slices below have one
	// element for each of its entries: the entry, a hash of its result (0 if it is no command), and
	// the index of the last command up to it. captures, by index, has the first snapshot. given are
	// the commands that the reference got, if the state machine is a user's.
	committed []slot
	entries   []raft.Entry
	captures  []captured // by index
	given     [][]byte
	results   []uint64
	commands  []raft.Index
	reference raft.StateMachine
	one       [1]raft.Entry
	result    [1][]byte
	table     sessionmodel.Table
	verdicts  []verdict // by index
	buffer    []byte

	// leaders and commits have, for each term, its leader and the highest index that it has
	// committed.
	leaders []leader
	commits []raft.Index

	// votes has, for each disk and term, the servers that got its vote, one bit each. Only a disk
	// that went back can have voted for several.
	votes [maxDisks * MaxServers][]uint8

	// configurations are the committed ones. change is the operation that the last of them belongs
	// to. settled is the last one with which a change ended.
	configurations []placed
	change         int32 // plus 1; 0 for none
	settled        *raft.Configuration

	acknowledged raft.Index // the highest index that any client has got in an answer
	answers      []answered // the moments when acknowledged rose
}

// An answered notes the instant at which a client first got an index in an answer.
type answered struct {
	at    int64
	index raft.Index
}

// answer notes that a client got an index in an answer.
func (w *World) answer(index raft.Index) {
	g := &w.ghost
	if index > g.acknowledged {
		g.acknowledged = index
		g.answers = append(g.answers, answered{w.now, index})
	}
}

// answeredBefore returns the highest index that a client got before an instant.
func (g *ghost) answeredBefore(at int64) raft.Index {
	i := sort.Search(len(g.answers), func(i int) bool { return g.answers[i].at >= at })
	if i == 0 {
		return 0
	}
	return g.answers[i-1].index
}

// A leader is the leader of one term.
type leader struct {
	server int8 // plus 1; 0 for none
	life   uint32
	asked  uint32 // the servers that asked for votes, one bit each
}

func (g *ghost) reset(reference raft.StateMachine) {
	for i := range g.log {
		g.log[i] = g.log[i][:0]
	}
	g.log = g.log[:0]
	g.committed, g.results, g.commands = g.committed[:0], g.results[:0], g.commands[:0]
	g.entries, g.captures, g.given = g.entries[:0], g.captures[:0], g.given[:0]
	g.leaders, g.commits = g.leaders[:0], g.commits[:0]
	for i := range g.votes {
		g.votes[i] = g.votes[i][:0]
	}
	g.reference = reference
	g.configurations, g.change, g.settled = g.configurations[:0], 0, nil
	g.acknowledged, g.answers = 0, g.answers[:0]
}

func (g *ghost) commit() raft.Index { return raft.Index(len(g.committed)) }

// at returns the list of the entries that ever stood at an index.
func (g *ghost) at(i raft.Index) *[]slot {
	for raft.Index(len(g.log)) < i {
		if len(g.log) < cap(g.log) {
			g.log = g.log[:len(g.log)+1]
		} else {
			g.log = append(g.log, nil)
		}
	}
	return &g.log[i-1]
}

// maxTerm bounds the terms of a run. No luck makes them rise that far.
const maxTerm = 1 << 16

// leader returns the place for the leader of a term.
func (g *ghost) leader(t raft.Term) *leader {
	for raft.Term(len(g.leaders)) <= t {
		g.leaders = append(g.leaders, leader{})
		g.commits = append(g.commits, 0)
	}
	return &g.leaders[t]
}

// vote returns the place for the votes of a disk in a term.
func (g *ghost) vote(disk int, t raft.Term) *uint8 {
	for raft.Term(len(g.votes[disk])) <= t {
		g.votes[disk] = append(g.votes[disk], 0)
	}
	return &g.votes[disk][t]
}

// An operation is a call that a client made.
type operation struct {
	server  int8
	life    uint32
	read    bool
	outcome outcome
	full    bool   // it was refused because the disks are full
	number  uint64 // its number in the core
	index   raft.Index
	data    uint64     // a hash of the command
	size    int64      // what the command counts for against limits, in bytes
	since   raft.Index // for a read, the highest index that was acknowledged when it was called
	started bool
	begun   int64      // the instant at which the client began it
	due     int64      // the instant at which it must be answered if nothing is wrong; 0 if that isn't known
	stale   bool       // a read that may be stale
	call    *wire.Call // for a change of the members
	refused bool       // the change was given up
	parted  raft.Index // where the change had ended but for the key of the cluster; 0 for nowhere
	fence   raft.Term  // the only term in which the command may be appended, and only by its server; 0 for any

	op       Op
	client   int8   // the client with a session
	sequence uint32 // the sequence number of its command
	only     bool   // the client said that it had sent no other copy of the command
}

// An outcome is what a client was told about its operation.
type outcome uint8

const (
	outcomeOpen outcome = iota
	outcomeDone
	outcomeNotApplied
	outcomeUnknown
	outcomeGone // the server crashed first, or the client gave the read up
)

// operationOf returns the operation of the next command that is committed, or nil if nobody
// proposed the command.
func (w *World) operationOf(e *raft.Entry) *operation {
	s := serverOf(e.Origin.Server)
	if s >= w.n {
		return nil
	}
	// A server with another disk may use the same name again. A leader takes commands from the disk
	// that its configuration names. It takes its own commands even if its configuration doesn't
	// name it any more.
	var named *raft.Member
	for n := len(w.ghost.configurations); n > 0 && named == nil; n-- {
		named = memberOf(w.ghost.configurations[n-1].configuration, e.Origin.Server)
	}
	for g, starts := range w.servers[s].starts {
		life := lifeOf(starts, e.Origin.Start)
		if named == nil || w.servers[s].disks[g].state.Incarnation != named.Incarnation || life == nil {
			continue
		}
		if numbers := life.byNumber; e.Number < uint64(len(numbers)) && numbers[e.Number] != 0 {
			return &w.ops[numbers[e.Number]-1]
		}
	}
	return nil
}

// committedIn returns the first term whose leader has committed an index that is committed. It
// returns 0 if that was before the run began.
func (g *ghost) committedIn(index raft.Index) raft.Term {
	return raft.Term(max(0, slices.IndexFunc(g.commits, func(commit raft.Index) bool { return commit >= index })))
}
