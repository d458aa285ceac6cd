package sim

import (
	"sort"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/internal/sessionmodel"
)

// A ghost is what an observer knows who sees everything and forgets nothing, crashes included. The
// cluster itself never looks at it.
type ghost struct {
	// log has, for each index, the entries that ever stood there in any log, one for each term.
	log [][]slot

	// committed is the log as far as some leader has committed it; entries and results belong to it.
	// result is a hash, 0 where there is no command; command is the index of the last command up to there.
	committed []slot
	entries   []raft.Entry
	captures  []uint64 // by index: a hash of the bytes of a snapshot; 0 for none
	results   []uint64
	commands  []raft.Index
	reference raft.StateMachine
	one       [1]raft.Entry
	result    [1][]byte
	table     sessionmodel.Table
	verdicts  []verdict // likewise
	buffer    []byte

	// leaders and commits, by term: who led, and how far it had committed.
	leaders []leader
	commits []raft.Index

	// votes, by disk and term: the server that got it, plus 1.
	votes [maxDisks * MaxServers][]int8

	// configurations are those that are committed. change is the operation that the last one belongs to, settled the last one
	// that was settled.
	configurations []placed
	change         int32 // plus 1
	settled        *raft.Configuration

	acknowledged raft.Index // the highest index that was ever answered to a client
	answers      []answered // when it rose
}

// answered says from when on an index was answered to a client.
type answered struct {
	at    int64
	index raft.Index
}

// answer notes that an index is answered to a client.
func (w *World) answer(index raft.Index) {
	g := &w.ghost
	if index > g.acknowledged {
		g.acknowledged = index
		g.answers = append(g.answers, answered{w.now, index})
	}
}

// answeredBefore returns the highest index that was answered before an instant.
func (g *ghost) answeredBefore(at int64) raft.Index {
	i := sort.Search(len(g.answers), func(i int) bool { return g.answers[i].at >= at })
	if i == 0 {
		return 0
	}
	return g.answers[i-1].index
}

// A leader is the one of a term.
type leader struct {
	server int8 // plus 1; 0 for none
	life   uint32
	asked  uint32 // the servers that asked for votes, a bit each
}

func (g *ghost) reset(reference raft.StateMachine) {
	for i := range g.log {
		g.log[i] = g.log[i][:0]
	}
	g.log = g.log[:0]
	g.committed, g.results, g.commands = g.committed[:0], g.results[:0], g.commands[:0]
	g.entries, g.captures = g.entries[:0], g.captures[:0]
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

// maxTerm bounds the terms of a run: with the luck of no run do they rise that far.
const maxTerm = 1 << 16

// leader returns the place for the leader of a term.
func (g *ghost) leader(t raft.Term) *leader {
	for raft.Term(len(g.leaders)) <= t {
		g.leaders = append(g.leaders, leader{})
		g.commits = append(g.commits, 0)
	}
	return &g.leaders[t]
}

// vote returns the place for a disk's vote in a term.
func (g *ghost) vote(disk int, t raft.Term) *int8 {
	for raft.Term(len(g.votes[disk])) <= t {
		g.votes[disk] = append(g.votes[disk], 0)
	}
	return &g.votes[disk][t]
}

// An operation is a call of a client.
type operation struct {
	server  int8
	life    uint32
	read    bool
	outcome outcome
	number  uint64 // in the core
	index   raft.Index
	data    uint64     // hash of the command
	since   raft.Index // what was acknowledged when a read was called
	started bool
	stale   bool       // a read that may be
	call    *raft.Call // of a change of the members
	refused bool       // the change was given up
	fence   raft.Term  // the term in which a command may be appended, by its server alone; 0 for any

	op       Op
	client   int8   // with a session
	sequence uint32 // of its command
	only     bool   // its client said that no other copy of that was sent
}

// An outcome is what a client was told.
type outcome uint8

const (
	outcomeOpen outcome = iota
	outcomeDone
	outcomeNotApplied
	outcomeUnknown
	outcomeGone // the server crashed first, or the read was given up
)

// operationOf returns the operation behind the next command that is committed; nil if nobody proposed it.
func (w *World) operationOf(e *raft.Entry) *operation {
	s := serverOf(e.Origin.Server)
	if s >= w.n {
		return nil
	}
	// The same name may be given again on another disk. Leaders take commands from the one that their configuration names, and
	// their own also when it names them no more.
	var named *raft.Member
	for n := len(w.ghost.configurations); n > 0 && named == nil; n-- {
		named = memberOf(w.ghost.configurations[n-1].configuration, e.Origin.Server)
	}
	for g, starts := range w.servers[s].starts {
		if named == nil || w.servers[s].disks[g].state.Incarnation != named.Incarnation || e.Origin.Start >= uint64(len(starts)) {
			continue
		}
		if numbers := starts[e.Origin.Start].byNumber; e.Number < uint64(len(numbers)) && numbers[e.Number] != 0 {
			return &w.ops[numbers[e.Number]-1]
		}
	}
	return nil
}
